#include "engine/text_stream.h"

#include <random>

#include <gtest/gtest.h>

#include "sgl/error.h"
#include "text/test_corpus.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

// Token i is the string i of a list; bytes go through as they are.
class ListTokenizer : public Tokenizer {
 public:
  explicit ListTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  std::vector<int32_t> encode(std::string_view, bool) const override { return {}; }
  std::string decode(std::span<const int32_t> ids, bool) const override {
    std::string s;
    for (int32_t id : ids) s += tokens_[static_cast<size_t>(id)];
    return s;
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  std::string token_bytes(int32_t id) const override { return tokens_[static_cast<size_t>(id)]; }
  std::string_view token(int32_t id) const override { return tokens_[static_cast<size_t>(id)]; }
  std::optional<int32_t> token_to_id(std::string_view) const override { return std::nullopt; }
  bool is_special(int32_t) const override { return false; }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  const std::vector<int32_t>& eos_ids() const override { return none_; }
  const std::string& chat_template() const override { return empty_; }

 private:
  std::vector<std::string> tokens_;
  std::vector<int32_t> none_;
  std::string empty_;
};

TEST(TextStream, HoldsBackWhatCouldBecomeAStopString) {
  ListTokenizer t({"a", "S", "TO", "P", "b"});
  TextStream stream(t, {"STOP"}, true, false);
  std::string shown;
  EXPECT_FALSE(stream.append(0, shown));
  EXPECT_EQ(shown, "a");
  EXPECT_FALSE(stream.append(1, shown));
  EXPECT_FALSE(stream.append(2, shown));
  EXPECT_EQ(shown, "a");
  EXPECT_FALSE(stream.append(4, shown));
  EXPECT_EQ(shown, "aSTOb");  // it was none
  stream.append(1, shown);
  stream.append(2, shown);
  EXPECT_EQ(stream.append(3, shown), "STOP");
  EXPECT_EQ(shown, "aSTOb");
}

TEST(TextStream, KeepsTheStopStringWhenAsked) {
  ListTokenizer t({"xENDy"});
  TextStream stream(t, {"END"}, true, true);
  std::string shown;
  EXPECT_EQ(stream.append(0, shown), "END");
  EXPECT_EQ(shown, "xEND");
}

TEST(TextStream, TheFirstMatchInTheTextWins) {
  ListTokenizer t({"one two three"});
  TextStream stream(t, {"three", "two", "tw"}, true, false);
  std::string shown;
  EXPECT_EQ(stream.append(0, shown), "two");  // listed before "tw", which begins at the same place
  EXPECT_EQ(shown, "one ");
}

TEST(TextStream, ReleasesTheRestAtTheEnd) {
  ListTokenizer t({"abST"});
  TextStream stream(t, {"STOP"}, true, false);
  std::string shown;
  stream.append(0, shown);
  EXPECT_EQ(shown, "ab");
  stream.finish(shown);
  EXPECT_EQ(shown, "abST");
}

TEST(TextStream, APatternEndsTheTextWithItsTokenAndCutsNothing) {
  ListTokenizer t({"call 0", "12-34", "5 now", "!"});
  TextStream stream(t, {"nowhere"}, true, false, {StopPattern("x+"), StopPattern("[0-9]{3}-[0-9]{3}")});
  std::string shown;
  EXPECT_FALSE(stream.append(0, shown));
  EXPECT_FALSE(stream.append(1, shown));
  EXPECT_EQ(stream.append(2, shown), "[0-9]{3}-[0-9]{3}");
  EXPECT_EQ(shown, "call 012-345 now");
}

TEST(TextStream, AnAnchoredPatternIsTestedAfterEachToken) {
  ListTokenizer t({"done", " or", " done"});
  TextStream stream(t, {}, true, false, {StopPattern("or done$")});
  std::string shown;
  EXPECT_FALSE(stream.append(0, shown));
  EXPECT_FALSE(stream.append(1, shown));
  EXPECT_TRUE(stream.append(2, shown));
  EXPECT_THROW(StopPattern("(a"), Error);
  EXPECT_THROW(StopPattern("(a)\\1"), Error);
}

TEST(TextStream, AnySplitShowsTheSameText) {
  std::mt19937_64 rng(5);
  const std::string text = "ÄÖ日本語 STSTO STOST stop 🎉 STOPafter";
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      size_t n = std::min<size_t>(1 + rng() % 5, text.size() - at);
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    ListTokenizer t(pieces);
    TextStream stream(t, {"STOP", "🎈"}, true, false);
    std::string shown;
    bool stopped = false;
    for (int32_t id = 0; id < t.vocab_size() && !stopped; ++id) stopped = stream.append(id, shown).has_value();
    EXPECT_TRUE(stopped);
    EXPECT_EQ(shown, text.substr(0, text.find("STOP")));
  }
}

// SentencePiece's decoders drop the space that begins a text, but a grammar counts it.
TEST(TextStream, TheSpaceAtTheBeginningStaysBehindAPrompt) {
  const std::unique_ptr<Tokenizer> t = load_tokenizer_json(tokenizer_test_data("small/llama2"));
  const std::vector<int32_t> ids = t->encode("abc", false);
  std::string shown;
  TextStream plain(*t, {}, true, false);
  for (int32_t id : ids) plain.append(id, shown);
  plain.finish(shown);
  EXPECT_EQ(shown, "abc");

  shown.clear();
  TextStream behind(*t, {}, true, false);
  behind.resume(t->encode("A prompt", true));
  for (int32_t id : ids) behind.append(id, shown);
  behind.finish(shown);
  EXPECT_EQ(shown, " abc");
}

}  // namespace
}  // namespace sgl
