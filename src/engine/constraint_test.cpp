#include "engine/constraint.h"

#include <algorithm>
#include <bit>
#include <random>

#include <gtest/gtest.h>

#include "sgl/error.h"
#include "text/test_corpus.h"
#include "text/tokenizer_json.h"

namespace sgl {
namespace {

std::unique_ptr<Tokenizer> small_tokenizer(const std::string& name) {
  return load_tokenizer_json(tokenizer_test_data("small/" + name));
}

std::string bytes_of(const Tokenizer& t, const std::vector<int32_t>& ids) {
  std::string bytes;
  for (int32_t id : ids) bytes += t.token_bytes(id);
  return bytes;
}

// Byte-level, byte fallback with a space before a text (llama2) and without (gemma3), unigram.
class ExactIds : public testing::TestWithParam<std::string> {};

TEST_P(ExactIds, StandForExactlyTheText) {
  std::unique_ptr<Tokenizer> t = small_tokenizer(GetParam());
  int known = 0;
  for (const char* text :
       {"{\"name\":\"", "a", " a", "  two", "\n\n{", "Gryffindor\",\"alive\":", "é", "日本", "x y  z", "1234"}) {
    SCOPED_TRACE(text);
    std::optional<std::vector<int32_t>> ids = encode_exactly(*t, text);
    if (!ids) continue;
    ++known;
    EXPECT_EQ(bytes_of(*t, *ids), text);
  }
  EXPECT_GE(known, 8);
}
INSTANTIATE_TEST_SUITE_P(Small, ExactIds, testing::Values("smollm", "llama2", "llama3", "gemma3", "qwen2"),
                         [](const auto& param) { return param.param; });

TEST(ExactIds, SpecialTokensInTheTextAreNotText) {
  std::unique_ptr<Tokenizer> t = small_tokenizer("smollm");
  int32_t special = 0;
  while (special < t->vocab_size() && !t->is_special(special)) ++special;
  ASSERT_LT(special, t->vocab_size());
  const std::string spelled(t->token(special));
  EXPECT_FALSE(encode_exactly(*t, "a" + spelled + "b"));
}

class Jump : public testing::Test {
 protected:
  std::vector<int32_t> ids_of(const std::string& text) {
    std::optional<std::vector<int32_t>> ids = encode_exactly(*tokenizer_, text);
    EXPECT_TRUE(ids) << text;
    return ids.value_or(std::vector<int32_t>());
  }
  OutputConstraint constraint(const std::string& regex) {
    SamplingParams s;
    s.regex = regex;
    return *compiler_.compile(s);
  }
  std::unique_ptr<Tokenizer> tokenizer_ = small_tokenizer("smollm");
  ConstraintCompiler compiler_{tokenizer_.get(), tokenizer_->eos_ids(), {}};
};

TEST_F(Jump, ASpecialTokenOfATagIsSampledAndStays) {
  std::vector<int32_t> special;
  for (int32_t id = 0; id < tokenizer_->vocab_size() && special.size() < 2; ++id) {
    const std::vector<int32_t>& eos = tokenizer_->eos_ids();
    if (tokenizer_->is_special(id) && std::find(eos.begin(), eos.end(), id) == eos.end()) special.push_back(id);
  }
  ASSERT_EQ(special.size(), 2U);
  SamplingParams s;
  s.structural_tag = R"({"type":"structural_tag","format":{"type":"tag","begin":")" +
                     std::string(tokenizer_->token(special[0])) +
                     R"(","content":{"type":"const_string","value":"ab cd"},"end":")" +
                     std::string(tokenizer_->token(special[1])) + R"("}})";
  OutputConstraint c = *compiler_.compile(s);
  std::vector<int32_t> output;
  const auto only = [&](int32_t id) {
    EXPECT_FALSE(c.jump(output));
    std::vector<uint32_t> mask;
    EXPECT_TRUE(c.fill_mask(mask, tokenizer_->vocab_size()));
    int allowed = 0;
    for (uint32_t word : mask) allowed += std::popcount(word);
    EXPECT_EQ(allowed, 1);
    EXPECT_TRUE(c.accept(id));
    output.push_back(id);
  };
  only(special[0]);
  const auto jump = c.jump(output);
  ASSERT_TRUE(jump);
  EXPECT_EQ(jump->keep, 1U);
  EXPECT_EQ(bytes_of(*tokenizer_, jump->ids), "ab cd");
  output.insert(output.end(), jump->ids.begin(), jump->ids.end());
  only(special[1]);
  EXPECT_TRUE(c.must_end());
}

TEST_F(Jump, SpellsTheOutputAsTheTokenizerDoes) {
  // Whatever single bytes the model began with, the whole is what the tokenizer makes of it.
  const std::string text = "{\"name\":\"the value\",\"alive\":";
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    OutputConstraint c = constraint("[{]\"name\":\"the value\",\"alive\":(true|false)[}]");
    std::vector<int32_t> output;
    std::optional<OutputConstraint::Jump> jump;
    // A model without jumps for a while: the grammar is walked by random cuts of the forced text.
    const size_t cut = random() % text.size();
    for (size_t at = 0; at < cut;) {
      const size_t n = 1 + random() % std::min<size_t>(3, cut - at);
      for (int32_t id : ids_of(text.substr(at, n))) {
        ASSERT_TRUE(c.accept(id));
        output.push_back(id);
      }
      at += n;
    }
    jump = c.jump(output);
    ASSERT_TRUE(jump);
    EXPECT_EQ(jump->text, text.substr(cut));
    output.resize(jump->keep);
    output.insert(output.end(), jump->ids.begin(), jump->ids.end());
    EXPECT_EQ(output, tokenizer_->encode(text, false)) << "cut at " << cut;
    ASSERT_EQ(jump->ends.size(), jump->ids.size());
    EXPECT_EQ(jump->ends.back(), jump->text.size());
    EXPECT_FALSE(c.jump(output)) << "true or false: not forced";
  }
}

TEST_F(Jump, EndsWhereNothingIsLeft) {
  OutputConstraint c = constraint("yes");
  EXPECT_FALSE(c.must_end());
  ASSERT_TRUE(c.jump({}));
  EXPECT_TRUE(c.must_end());
  OutputConstraint open = constraint("yes!*");
  open.jump({});
  EXPECT_FALSE(open.must_end());
}

TEST_F(Jump, IsOffWhenAsked) {
  EngineOptions options;
  options.disable_jump_forward = true;
  ConstraintCompiler compiler(tokenizer_.get(), {}, options);
  SamplingParams s;
  s.regex = "yes";
  EXPECT_FALSE(compiler.compile(s)->jump({}));
}

TEST_F(Jump, CountsWhatItOnlySpellsAnew) {
  // "Gr" was sampled and "y" is forced: one token for both, perhaps, or more.
  OutputConstraint c = constraint("\"name\": \"(Gryffindor|Slytherin)\", \"age\": [0-9]+");
  std::vector<int32_t> output;
  for (const char* piece : {"\"", "na", "me", "\"", ":", " ", "\"", "G", "r"}) {
    for (int32_t id : ids_of(piece)) {
      ASSERT_TRUE(c.accept(id));
      output.push_back(id);
    }
  }
  OutputConstraint kept = c;
  const std::optional<OutputConstraint::Jump> jump = c.jump(output), alone = kept.jump(output, true);
  ASSERT_TRUE(jump && alone);
  EXPECT_EQ(jump->text, "yffindor\", \"age\": ");
  EXPECT_LT(jump->keep, output.size());
  size_t old = 0, at = 0, respelled = 0;
  for (size_t i = jump->keep; i < output.size(); ++i) old += tokenizer_->token_bytes(output[i]).size();
  for (int32_t id : jump->ids) {
    respelled += at < old ? 1 : 0;
    at += tokenizer_->token_bytes(id).size();
  }
  EXPECT_EQ(jump->respelled, respelled);
  EXPECT_GT(respelled, 0U);

  EXPECT_EQ(alone->keep, output.size());
  EXPECT_EQ(alone->respelled, 0U);
  EXPECT_EQ(bytes_of(*tokenizer_, alone->ids), jump->text);
}

TEST_F(Jump, KnowsWhatMustBeCompiled) {
  SamplingParams s;
  EXPECT_FALSE(compiler_.must_compile(s));
  s.regex = "new";
  EXPECT_TRUE(compiler_.must_compile(s));
  compiler_.compile(s);
  EXPECT_FALSE(compiler_.must_compile(s));
  s.ebnf = "root ::= \"a\"";
  EXPECT_THROW(compiler_.must_compile(s), Error);
}

TEST_F(Jump, MasksCoverTheModelsVocabularyAndAllowNothingBeyondTheTokenizers) {
  OutputConstraint c = constraint("[a-z]+");
  std::vector<uint32_t> mask;
  const int64_t padded = tokenizer_->vocab_size() + 100;
  ASSERT_TRUE(c.fill_mask(mask, padded));
  for (int64_t id = 0; id < padded; ++id) {
    const bool allowed = (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1U) != 0;
    const std::string bytes = tokenizer_->token_bytes(static_cast<int32_t>(id));
    const bool letters =
        !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [](char b) { return b >= 'a' && b <= 'z'; });
    ASSERT_EQ(allowed, letters) << id;
  }
}

TEST(ConstraintCompiler, NeedsATokenizer) {
  ConstraintCompiler compiler(nullptr, {}, {});
  SamplingParams s;
  EXPECT_FALSE(compiler.compile(s));
  s.regex = "a";
  EXPECT_THROW(compiler.compile(s), Error);
}

}  // namespace
}  // namespace sgl
