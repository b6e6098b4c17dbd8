#include "text/vocab.h"

#include <map>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "text/byte_level.h"
#include "text/byte_trie.h"

namespace sgl {
namespace {

std::string random_word(std::mt19937& random, unsigned longest) {
  std::string word;
  for (unsigned n = random() % longest + 1; n > 0; --n) word += static_cast<char>('a' + random() % 3);
  return word;
}

TEST(Vocab, FindsWhatAMapFinds) {
  std::mt19937 random(3);
  std::map<std::string, int32_t> expected;
  Vocab vocab;
  vocab.reserve(500, 0);
  for (int32_t id = 0; id < 500; ++id) {
    std::string word = random_word(random, 20);
    if (expected.contains(word)) word += std::to_string(id);
    expected[word] = id;
    vocab.add(word, id);
  }
  vocab.finish();
  EXPECT_EQ(vocab.size(), 500);
  std::vector<std::string> words;
  for (int i = 0; i < 3000; ++i) words.push_back(random_word(random, 20));
  for (const auto& [word, id] : expected) words.push_back(word);
  std::vector<std::string_view> views(words.begin(), words.end());
  std::vector<int32_t> ids(views.size());
  vocab.find_many(views, ids);
  for (size_t i = 0; i < words.size(); ++i) {
    auto it = expected.find(words[i]);
    ASSERT_EQ(ids[i], it == expected.end() ? -1 : it->second);
    ASSERT_EQ(vocab.find(words[i]).value_or(-1), ids[i]);
    if (ids[i] >= 0) {
      ASSERT_EQ(vocab.spelling(ids[i]), words[i]);
    }
  }
}

TEST(Vocab, KeepsHolesAndRefusesIdsOutOfProportion) {
  Vocab vocab;
  vocab.reserve(2, 8);
  vocab.add("b", 7);
  vocab.add("a", 2);
  vocab.add("longest", 3);
  vocab.finish();
  EXPECT_EQ(vocab.size(), 8);
  EXPECT_EQ(vocab.longest(), 7U);
  EXPECT_EQ(vocab.spelling(4), "");
  EXPECT_EQ(vocab.spelling(-1), "");
  EXPECT_EQ(vocab.spelling(99), "");
  EXPECT_FALSE(vocab.find(""));
  for (int64_t id : {int64_t{-1}, int64_t{1} << 21, int64_t{1} << 40}) {
    try {
      vocab.add("x", id);
      FAIL() << id;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptFile);
    }
  }
  EXPECT_FALSE(Vocab().find("a"));
}

TEST(ByteTrie, FindsTheLongestStringAtAPlace) {
  ByteTrie trie;
  trie.add("ab", 1);
  trie.add("abcd", 2);
  trie.add("b", 3);
  trie.add("", 4);
  trie.add("ab", 5);
  EXPECT_EQ(trie.longest("xabcde", 1).value, 2);
  EXPECT_EQ(trie.longest("xabcde", 1).size, 4U);
  EXPECT_EQ(trie.longest("abce", 0).value, 5);
  EXPECT_EQ(trie.longest("xabc", 0).value, -1);
  EXPECT_EQ(trie.longest("b", 0).value, 3);
  EXPECT_TRUE(trie.begins('a') && trie.begins('b') && !trie.begins('c'));
  EXPECT_TRUE(ByteTrie().empty() && !trie.empty());
}

TEST(ByteTrie, AgreesWithTryingEveryPrefix) {
  std::mt19937 random(4);
  std::map<std::string, int32_t> strings;
  ByteTrie trie;
  for (int32_t i = 0; i < 300; ++i) {
    std::string word = random_word(random, 8);
    strings[word] = i;
    trie.add(word, i);
  }
  for (int round = 0; round < 2000; ++round) {
    std::string text = random_word(random, 12);
    int32_t best = -1;
    for (size_t n = 1; n <= text.size(); ++n) {
      if (auto it = strings.find(text.substr(0, n)); it != strings.end()) best = it->second;
    }
    ASSERT_EQ(trie.longest(text, 0).value, best) << text;
  }
}

TEST(ByteLevel, EveryByteHasItsOwnCharacter) {
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  std::string spelled = bytes_to_spelling(all);
  EXPECT_EQ(spelling_to_bytes(spelled), all);
  EXPECT_EQ(bytes_to_spelling(" a\n\xAD"), "ĠaĊŃ");
  EXPECT_EQ(spelling_to_bytes("<|im_end|>"), "<|im_end|>");
  EXPECT_EQ(spelling_to_bytes("Ġ ok"), "Ġ ok");  // a space is not in the alphabet: the token stands for itself
  EXPECT_FALSE(byte_of_char(U' '));
  EXPECT_FALSE(byte_of_char(0x144));
}

}  // namespace
}  // namespace sgl
