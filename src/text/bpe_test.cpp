#include "text/bpe.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "text/unicode.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace sgl {
namespace {

using Ids = std::vector<int32_t>;

Vocab make_vocab(const std::vector<std::string>& tokens) {
  Vocab vocab;
  vocab.reserve(tokens.size(), 0);
  for (size_t i = 0; i < tokens.size(); ++i) vocab.add(tokens[i], static_cast<int64_t>(i));
  vocab.finish();
  return vocab;
}

Ids encode(const TokenModel& model, const std::string& piece) {
  Ids ids;
  model.encode(piece, ids);
  return ids;
}

ErrorKind error_of(auto call) {
  try {
    call();
  } catch (const Error& e) {
    return e.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::Internal;
}

using Strings = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

MergeTable make_table(const Vocab& vocab, const Pairs& pairs, size_t prefix_size = 0) {
  std::vector<MergeTable::Pair> views(pairs.begin(), pairs.end());
  return MergeTable(vocab, views, prefix_size);
}

// The definition: until no pair of neighbours has a merge, apply the first in the list, at its leftmost place.
Ids naive_bpe(const Strings& tokens, const Pairs& merges, const std::string& word) {
  Strings parts;
  for (char c : word) parts.emplace_back(1, c);
  for (;;) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      auto rank = static_cast<size_t>(std::find(merges.begin(), merges.end(), std::pair(parts[i], parts[i + 1])) -
                                      merges.begin());
      if (rank < best_rank) best_rank = rank, best = i;
    }
    if (best_rank == merges.size()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& p : parts)
    ids.push_back(static_cast<int32_t>(std::find(tokens.begin(), tokens.end(), p) - tokens.begin()));
  return ids;
}

struct RandomBpe {
  Strings tokens = {"a", "b", "c"};
  Pairs merges;
  explicit RandomBpe(std::mt19937& random) {
    for (unsigned n = random() % 40; n > 0; --n) {
      std::string left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
      if (left.size() + right.size() > 9 ||
          std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end())
        continue;
      merges.emplace_back(left, right);
      if (std::find(tokens.begin(), tokens.end(), left + right) == tokens.end()) tokens.push_back(left + right);
    }
    std::shuffle(merges.begin(), merges.end(), random);
  }
};

std::string random_word(std::mt19937& random, unsigned longest) {
  std::string word;
  for (unsigned n = random() % longest + 1; n > 0; --n) word += static_cast<char>('a' + random() % 3);
  return word;
}

TEST(Bpe, ScanAndHeapGiveWhatTheDefinitionGives) {
  unsigned seed = 8;
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    RandomBpe r(random);
    Vocab vocab = make_vocab(r.tokens);
    MergeTable table = make_table(vocab, r.merges);
    Bpe bpe(std::move(vocab), std::move(table), {});
    for (int i = 0; i < 10; ++i) {
      std::string word = random_word(random, i < 8 ? 30 : 120);  // beyond 40 symbols, the heap
      ASSERT_EQ(encode(bpe, word), naive_bpe(r.tokens, r.merges, word))
          << "seed " << seed << ", round " << round << ": " << word;
    }
  }
}

TEST(Bpe, ScoresGiveWhatTheMergesDerivedFromThemGive) {
  unsigned seed = 9;
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    RandomBpe r(random);
    std::vector<float> scores;
    for (size_t i = 0; i < r.tokens.size(); ++i) scores.push_back(-static_cast<float>(random() % 6));  // many ties
    for (auto ties : {ScoredMerges::Ties::ById, ScoredMerges::Ties::ByLength}) {
      struct Derived {
        size_t product, left, left_size, right_size;
      };
      std::map<std::string, size_t> id;
      for (size_t i = 0; i < r.tokens.size(); ++i) id[r.tokens[i]] = i;
      std::vector<Derived> derived;
      for (const auto& [token, product] : id) {
        for (size_t n = 1; n < token.size(); ++n) {
          if (id.contains(token.substr(0, n)) && id.contains(token.substr(n))) {
            derived.push_back({product, id[token.substr(0, n)], n, token.size() - n});
          }
        }
      }
      std::sort(derived.begin(), derived.end(), [&](const Derived& a, const Derived& b) {
        if (scores[a.product] != scores[b.product]) return scores[a.product] > scores[b.product];
        if (ties == ScoredMerges::Ties::ByLength) {
          if (a.left_size != b.left_size) return a.left_size > b.left_size;
          if (a.right_size != b.right_size) return a.right_size > b.right_size;
        }
        return a.product != b.product ? a.product < b.product : a.left < b.left;
      });
      Pairs merges;
      for (const Derived& d : derived) merges.emplace_back(r.tokens[d.left], r.tokens[d.product].substr(d.left_size));
      Bpe bpe(make_vocab(r.tokens), ScoredMerges(scores, ties), {});
      for (int i = 0; i < 5; ++i) {
        std::string word = random_word(random, i < 4 ? 30 : 90);
        ASSERT_EQ(encode(bpe, word), naive_bpe(r.tokens, merges, word))
            << "seed " << seed << ", round " << round << ": " << word;
      }
    }
  }
}

TEST(Bpe, WordsOfATextAreCutOnlyWhereNoTokenReachesOver) {
  // ">▁<" reaches over a "▁", so a text is not cut behind ">"; behind "a" it is.
  Strings tokens = {"<unk>", "▁", "a", "<", ">", ">▁", ">▁<", "▁a", "aa"};
  std::vector<float> scores = {0, -9, -9, -9, -9, -1, -2, -3, -4};
  BpeOptions options;
  options.unknown = 0;
  Bpe bpe(make_vocab(tokens), ScoredMerges(scores, ScoredMerges::Ties::ById), options);
  EXPECT_EQ(encode(bpe, "a▁aa▁a>▁<a▁>▁▁a"), (Ids{2, 7, 2, 7, 6, 2, 1, 5, 7}));
}

TEST(Bpe, UnknownCharactersBecomeBytesOrTheUnknownToken) {
  Strings tokens = {"<unk>", "a", "<0xC3>", "<0xA9>", "▁"};
  BpeOptions options;
  options.unknown = 0;
  EXPECT_EQ(encode(Bpe(make_vocab(tokens), MergeTable(), options), "aéxa"), (Ids{1, 0, 0, 1}));
  options.fuse_unknown = true;
  EXPECT_EQ(encode(Bpe(make_vocab(tokens), MergeTable(), options), "aéxa"), (Ids{1, 0, 1}));
  options.byte_fallback = true;
  EXPECT_EQ(encode(Bpe(make_vocab(tokens), MergeTable(), options), "aéxa"), (Ids{1, 2, 3, 0, 1}));
  EXPECT_EQ(encode(Bpe(make_vocab(tokens), MergeTable(), options), "xéx"), (Ids{2, 3, 0})) << "as the reference has it";
  options.unknown.reset();
  EXPECT_EQ(encode(Bpe(make_vocab(tokens), MergeTable(), options), "xa"), (Ids{1}));
}

TEST(Bpe, IgnoreMergesTakesAPieceThatIsAToken) {
  Strings tokens = {"a", "b", "c", "ab", "bc", "abc"};
  Pairs merges = {{"b", "c"}};
  Vocab vocab = make_vocab(tokens);
  MergeTable table = make_table(vocab, merges);
  EXPECT_EQ(encode(Bpe(vocab, table, {}), "abc"), (Ids{0, 4}));
  EXPECT_EQ(encode(Bpe(vocab, table, {}), "abc"), (Ids{0, 4}));
  BpeOptions options;
  options.ignore_merges = true;
  EXPECT_EQ(encode(Bpe(vocab, table, options), "abc"), (Ids{5}));
  EXPECT_EQ(encode(Bpe(vocab, table, options), "abcbc"), (Ids{0, 4, 4}));
}

TEST(Bpe, MergesThatNameAbsentTokensAreCorrupt) {
  Vocab vocab = make_vocab({"a", "b", "ab"});
  EXPECT_EQ(error_of([&] { make_table(vocab, {{"a", "x"}}); }), ErrorKind::CorruptFile);
  EXPECT_EQ(error_of([&] { make_table(vocab, {{"x", "a"}}); }), ErrorKind::CorruptFile);
  EXPECT_EQ(error_of([&] { make_table(vocab, {{"a", "b"}, {"b", "a"}}); }), ErrorKind::CorruptFile);
  EXPECT_NO_THROW(make_table(vocab, {{"a", "b"}, {"a", "b"}}));
}

TEST(Bpe, LongPiecesAreNotQuadratic) {
  Strings tokens = {"a", "aa", "aaaa", "aaaaaaaa", "b"};
  Vocab vocab = make_vocab(tokens);
  MergeTable table = make_table(vocab, {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}});
  Bpe bpe(std::move(vocab), std::move(table), {});
  Ids ids = encode(bpe, std::string(1 << 20, 'a'));
  EXPECT_EQ(ids, Ids((1 << 20) / 8, 3));
}

TEST(Bpe, ThreadsThatLearnWordsTogetherAgree) {
  std::mt19937 random(10);
  RandomBpe r(random);
  Vocab vocab = make_vocab(r.tokens);
  MergeTable table = make_table(vocab, r.merges);
  Strings words;
  for (int i = 0; i < 500; ++i) words.push_back(random_word(random, 12));
  const Bpe bpe(std::move(vocab), std::move(table), {});
  std::vector<std::vector<Ids>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (const std::string& word : words) result.push_back(encode(bpe, word));
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
  for (size_t i = 0; i < words.size(); ++i) ASSERT_EQ(results[0][i], naive_bpe(r.tokens, r.merges, words[i]));
}

TEST(Unigram, FindsTheBestOfAllSegmentations) {
  unsigned seed = 11;
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    Strings tokens = {"<unk>", "a", "b"};
    for (int i = 0; i < 12; ++i) {
      std::string word = random_word(random, 4);
      if (std::find(tokens.begin(), tokens.end(), word) == tokens.end()) tokens.push_back(word);
    }
    std::vector<double> scores;
    for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-1.0 - static_cast<double>(random() % 1000) / 100);
    double unknown = *std::min_element(scores.begin(), scores.end()) - 10;
    Unigram model(make_vocab(tokens), scores, 0, false);
    std::string word = random_word(random, 10);
    std::vector<double> best(word.size() + 1, -1e9);  // of word[0, i), by trying every token
    best[0] = 0;
    for (size_t i = 0; i < word.size(); ++i) {
      bool single = false;
      for (size_t t = 1; t < tokens.size(); ++t) {
        if (word.compare(i, tokens[t].size(), tokens[t]) != 0) continue;
        best[i + tokens[t].size()] = std::max(best[i + tokens[t].size()], best[i] + scores[t]);
        single |= tokens[t].size() == 1;
      }
      if (!single) best[i + 1] = std::max(best[i + 1], best[i] + unknown);
    }
    double got = 0;
    std::string text;
    bool has_unknown = false;
    for (int32_t id : encode(model, word)) {
      has_unknown |= id == 0;
      got += scores[static_cast<size_t>(id)];
      text += tokens[static_cast<size_t>(id)];
    }
    if (has_unknown) continue;  // a fused one stands for several
    ASSERT_EQ(text, word);
    ASSERT_NEAR(got, best.back(), 1e-9) << "seed " << seed << ", round " << round << ": " << word;
  }
}

TEST(Unigram, UnknownCharactersAreFusedOrBecomeBytes) {
  Strings tokens = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  std::vector<double> scores = {0, -1, -5, -5};
  EXPECT_EQ(encode(Unigram(make_vocab(tokens), scores, 0, false), "aééa"), (Ids{1, 0, 1}));
  EXPECT_EQ(encode(Unigram(make_vocab(tokens), scores, 0, true), "aéa"), (Ids{1, 2, 3, 1}));
  EXPECT_EQ(encode(Unigram(make_vocab(tokens), scores, 0, true), "éx"), (Ids{0})) << "all of a run, or none";
  Unigram strict(make_vocab(tokens), scores, std::nullopt, false);
  EXPECT_EQ(error_of([&] { encode(strict, "x"); }), ErrorKind::InvalidArgument);
}

TEST(WordPiece, TakesTheLongestTokenFromTheLeft) {
  Strings tokens = {"[UNK]", "un", "##aff", "##able", "##a", "unaffx", "世", "##界"};
  WordPiece model(make_vocab(tokens), 0, "##", 12);
  EXPECT_EQ(encode(model, "unaffable"), (Ids{1, 2, 3}));
  EXPECT_EQ(encode(model, "世界"), (Ids{6, 7}));
  EXPECT_EQ(encode(model, "unaffzz"), (Ids{0}));
  EXPECT_EQ(encode(model, "unaaaaaaaaaaa"), (Ids{0})) << "13 characters are too many";
  EXPECT_EQ(encode(WordLevel(make_vocab(tokens), 0), "un"), (Ids{1}));
  EXPECT_EQ(encode(WordLevel(make_vocab(tokens), 0), "una"), (Ids{0}));
}

}  // namespace
}  // namespace sgl
