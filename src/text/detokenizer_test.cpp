#include "text/detokenizer.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/test_corpus.h"
#include "text/token_decoder.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace sgl {
namespace {

using Kind = DecodeStep::Kind;
using Strings = std::vector<std::string>;

DecodeStep step(Kind kind, std::string text = "", bool flag = false) {
  DecodeStep s;
  s.kind = kind;
  s.text = std::move(text);
  s.flag = flag;
  return s;
}
DecodeStep strip(size_t start, size_t stop) {
  DecodeStep s = step(Kind::Strip, " ");
  s.start = start, s.stop = stop;
  return s;
}
DecodeStep replace(Pattern pattern, std::string content) {
  DecodeStep s = step(Kind::Replace, std::move(content));
  s.pattern = std::make_shared<const Pattern>(std::move(pattern));
  return s;
}
Strings stream(const TokenDecoder& decoder, const Strings& tokens) {
  DecodeStream s(decoder);
  Strings out;
  for (const std::string& token : tokens) s.push(token, out.emplace_back());
  s.finish(out.emplace_back());
  return out;
}

const std::string kBad(kReplacementCharacter);

TEST(TokenDecoder, ByteRunsWaitForTheirEndOrForTheByteThatSpoilsThem) {
  TokenDecoder d({step(Kind::ByteFallback), step(Kind::Fuse)});
  EXPECT_EQ(stream(d, {"a", "<0xC3>", "<0xA9>", "b", "<0xC3>"}), (Strings{"a", "", "", "éb", "", kBad}));
  EXPECT_EQ(stream(d, {"<0x41>", "<0xFF>", "<0x42>", "c"}), (Strings{"", kBad + kBad, kBad, "c", ""}));
  EXPECT_EQ(stream(d, {"<0xC3>", "<0x41>"}), (Strings{"", kBad + kBad, ""}));
  EXPECT_EQ(stream(d, {"<0xE4>", "<0xBD>", "x"}), (Strings{"", "", kBad + kBad + "x", ""}));
  EXPECT_EQ(stream(d, {"<0xGG>", "<0x4>"}), (Strings{"<0xGG>", "<0x4>", ""}));
}

TEST(TokenDecoder, ByteLevelHoldsBackHalfACharacter) {
  TokenDecoder d({step(Kind::ByteLevel)});
  EXPECT_EQ(stream(d, {"Ġa", "ä", "½", "ł", "b"}), (Strings{" a", "", "", "你", "b", ""}));
  EXPECT_EQ(stream(d, {"ä", "a"}), (Strings{"", kBad + "a", ""}));
  EXPECT_EQ(stream(d, {"ä½"}), (Strings{"", kBad}));
  EXPECT_EQ(stream(d, {"<a b>", "Ġ"}), (Strings{"<a b>", " ", ""}));
}

TEST(TokenDecoder, StepsAfterFuseSeeOneText) {
  TokenDecoder llama({replace(Pattern::literal("▁"), " "), step(Kind::ByteFallback), step(Kind::Fuse), strip(1, 0)});
  EXPECT_EQ(stream(llama, {"▁", "▁Hi", "▁you"}), (Strings{"", " Hi", " you", ""}));
  TokenDecoder both({step(Kind::Fuse), strip(2, 2)});
  EXPECT_EQ(stream(both, {" ", "  a ", " ", " ", "b", "  "}), (Strings{"", " a", "", " ", "  b", "", ""}));
  EXPECT_EQ(stream(TokenDecoder({step(Kind::Fuse), strip(0, 1)}), {" ", " "}), (Strings{"", " ", ""}));
  TokenDecoder across({step(Kind::Fuse), replace(Pattern::literal("abc"), "X")});
  EXPECT_EQ(stream(across, {"a", "ab", "c", "ab", "d", "ab"}), (Strings{"", "a", "X", "", "abd", "", "ab"}));
  TokenDecoder regex({step(Kind::Fuse), replace(Pattern::regex("a+"), "X")});
  EXPECT_EQ(stream(regex, {"a", "ab"}), (Strings{"", "", "Xb"})) << "an expression needs the whole text";
}

TEST(TokenDecoder, FirstAndLastTokensAreSpecial) {
  EXPECT_EQ(stream(TokenDecoder({step(Kind::Metaspace, "▁", true)}), {"▁a", "▁b▁"}), (Strings{"a", " b ", ""}));
  EXPECT_EQ(stream(TokenDecoder({step(Kind::Metaspace, "▁", false)}), {"▁a"}), (Strings{" a", ""}));
  EXPECT_EQ(stream(TokenDecoder({step(Kind::WordPiece, "##", true)}), {"do", "##n", "'", "n't", "."}),
            (Strings{"do", "n", " '", "n't", ".", ""}));
  EXPECT_EQ(stream(TokenDecoder({step(Kind::BpeSuffix, "</w>")}), {"a</w>", "b", "c</w>"}),
            (Strings{"", "a ", "b", "c"}));
  EXPECT_EQ(stream(TokenDecoder({step(Kind::Spaced)}), {"a", "b"}), (Strings{"a", " b", ""}));
  EXPECT_EQ(stream(TokenDecoder({strip(1, 1)}), {" a ", " b"}), (Strings{"a", "b", ""}));
}

TEST(TokenDecoder, TokenBytesAreThoseInTheMiddleOfAText) {
  EXPECT_EQ(TokenDecoder({step(Kind::ByteLevel)}).token_bytes("Ġä"), " \xE4");
  TokenDecoder llama({replace(Pattern::literal("▁"), " "), step(Kind::ByteFallback), step(Kind::Fuse), strip(1, 0)});
  EXPECT_EQ(llama.token_bytes("▁a"), " a");
  EXPECT_EQ(llama.token_bytes("<0xE4>"), "\xE4");
  EXPECT_EQ(TokenDecoder({step(Kind::WordPiece, "##", true)}).token_bytes("##a"), "a");
  EXPECT_EQ(TokenDecoder({step(Kind::WordPiece, "##", true)}).token_bytes("a"), " a");
}

std::vector<std::string> small_tokenizers() {
  return {"llama3", "qwen2", "llama2", "gemma3", "unigram", "unigram_bytes", "bert", "clip", "roberta", "words"};
}

TEST(IncrementalDetokenizer, RandomIdsInRandomPiecesGiveWhatDecodeGives) {
  unsigned seed = 12;
  std::mt19937 random(seed);
  for (const std::string& name : small_tokenizers()) {
    auto tokenizer = load_tokenizer_json(tokenizer_test_data("small/" + name));
    for (int round = 0; round < 500; ++round) {
      std::vector<int32_t> ids;
      for (unsigned n = random() % 30; n > 0; --n) {
        ids.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(tokenizer->vocab_size() + 3)) - 1);
      }
      for (bool skip : {true, false}) {
        ASSERT_EQ(decode_by_pieces(*tokenizer, ids, skip, random), tokenizer->decode(ids, skip))
            << name << ", seed " << seed;
      }
    }
  }
}

TEST(IncrementalDetokenizer, ContinuesAPromptWithoutLosingTheSpaceOfItsFirstToken) {
  for (const std::string& name : small_tokenizers()) {
    if (name == "words" || name == "clip" || name == "bert") continue;  // those lose spaces and case
    auto tokenizer = load_tokenizer_json(tokenizer_test_data("small/" + name));
    std::string prompt = "Once upon a time", rest = " there was some text";
    std::vector<int32_t> ids = tokenizer->encode(prompt, true), all = tokenizer->encode(prompt + rest, true);
    if (tokenizer->encode(prompt + rest, false).size() != all.size() && all.back() < 3)
      all.pop_back(), ids.pop_back();  // </s>
    if (!std::equal(ids.begin(), ids.end(), all.begin())) continue;
    IncrementalDetokenizer stream(*tokenizer, true, ids);
    std::string text = stream.append(std::span(all).subspan(ids.size()));
    EXPECT_EQ(text + stream.flush(), rest) << name;
  }
}

TEST(IncrementalDetokenizer, FinishesACharacterThatThePromptBegan) {
  for (const char* name : {"llama2", "llama3"}) {
    auto tokenizer = load_tokenizer_json(tokenizer_test_data(std::string("small/") + name));
    std::vector<int32_t> ids = tokenizer->encode("a 🫠🫠", false);
    for (size_t cut = 1; cut <= ids.size(); ++cut) {
      std::string before = tokenizer->decode(std::span(ids).first(cut));
      IncrementalDetokenizer stream(*tokenizer, true, std::span(ids).first(cut));
      std::string after = stream.append(std::span(ids).subspan(cut));
      after += stream.flush();
      while (before.ends_with(kReplacementCharacter)) before.resize(before.size() - kReplacementCharacter.size());
      // A whole character in the prompt's run of bytes belongs to the prompt; decode shows it only with a valid end.
      EXPECT_TRUE((before + after == "a 🫠🫠") || (before + "🫠" + after == "a 🫠🫠"))
          << name << " " << cut << ": " << before << after;
    }
  }
}

// Somebody else's tokenizer: each id is a byte.
class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool) const override { return {text.begin(), text.end()}; }
  std::string decode(std::span<const int32_t> ids, bool) const override {
    std::string bytes;
    for (int32_t id : ids) bytes += static_cast<char>(id);
    return to_valid_utf8(bytes);
  }
  int32_t vocab_size() const override { return 256; }
  std::string token_bytes(int32_t id) const override { return std::string(1, static_cast<char>(id)); }
  std::string_view token(int32_t) const override { return {}; }
  std::optional<int32_t> token_to_id(std::string_view) const override { return std::nullopt; }
  bool is_special(int32_t) const override { return false; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  const std::vector<int32_t>& eos_ids() const override { return none_; }
  const std::string& chat_template() const override { return empty_; }

 private:
  std::vector<int32_t> none_;
  std::string empty_;
};

TEST(IncrementalDetokenizer, WorksWithOtherImplementationsOfTheInterface) {
  ByteTokenizer tokenizer;
  std::mt19937 random(13);
  for (const std::string& text : {std::string("héllo 世界 🫠"), std::string("\xE4\xBD")}) {
    std::vector<int32_t> ids = tokenizer.encode(text, false);
    EXPECT_EQ(decode_by_pieces(tokenizer, ids, true, random), to_valid_utf8(text));
  }
  std::vector<int32_t> prompt = tokenizer.encode("abc", false);
  IncrementalDetokenizer stream(tokenizer, true, prompt);
  EXPECT_EQ(stream.append('d'), "d");
}

}  // namespace
}  // namespace sgl
