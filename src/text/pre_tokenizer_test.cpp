#include "text/pre_tokenizer.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/normalizer.h"

namespace sgl {
namespace {

using Strings = std::vector<std::string>;

template <typename... Steps>
Strings pieces(const std::string& text, Steps... steps) {
  std::vector<PreTokenizerPtr> chain;
  (chain.push_back(std::move(steps)), ...);
  Strings out;
  run_pre_tokenizers(chain, {text, true}, [&](Piece p) { out.emplace_back(p.text); });
  return out;
}

std::string normalized(const NormalizerPtr& normalizer, std::string text) {
  normalizer->apply(text);
  return text;
}

TEST(PreTokenizer, SplitBehaviorsTreatDelimitersAsTheirNamesSay) {
  auto split = [](SplitBehavior b, bool invert) {
    return pieces("one--two, ", make_split(Pattern::regex("[-, ]"), b, invert));
  };
  EXPECT_EQ(split(SplitBehavior::Removed, false), (Strings{"one", "two"}));
  EXPECT_EQ(split(SplitBehavior::Isolated, false), (Strings{"one", "-", "-", "two", ",", " "}));
  EXPECT_EQ(split(SplitBehavior::MergedWithPrevious, false), (Strings{"one-", "-", "two,", " "}));
  EXPECT_EQ(split(SplitBehavior::MergedWithNext, false), (Strings{"one", "-", "-two", ",", " "}));
  EXPECT_EQ(split(SplitBehavior::Contiguous, false), (Strings{"one", "--", "two", ", "}));
  EXPECT_EQ(split(SplitBehavior::Removed, true), (Strings{"-", "-", ",", " "}));
  EXPECT_EQ(split(SplitBehavior::MergedWithNext, true), (Strings{"one-", "-", "two,", " "}));
}

TEST(PreTokenizer, MetaspacePrependsWhereItsSchemeSays) {
  auto metaspace = [](const std::string& text, PrependScheme s) {
    return pieces(text, make_whitespace_split(), make_metaspace("▁", s, true));
  };
  EXPECT_EQ(metaspace("a b", PrependScheme::Always), (Strings{"▁a", "▁b"}));
  EXPECT_EQ(metaspace("a b", PrependScheme::First), (Strings{"▁a", "b"}));
  EXPECT_EQ(metaspace(" a b", PrependScheme::First), (Strings{"a", "b"}));  // a does not begin the text
  EXPECT_EQ(metaspace("a b", PrependScheme::Never), (Strings{"a", "b"}));
  EXPECT_EQ(pieces("a  b▁", make_metaspace("▁", PrependScheme::Always, true)), (Strings{"▁a", "▁", "▁b", "▁"}));
  EXPECT_EQ(pieces(" a b", make_metaspace("▁", PrependScheme::Always, false)), (Strings{"▁a▁b"}));
}

TEST(PreTokenizer, CharacterClassesCutWhereTheyChange) {
  EXPECT_EQ(pieces("ab12²c", make_digits(true)), (Strings{"ab", "1", "2", "²", "c"}));
  EXPECT_EQ(pieces("ab12²c", make_digits(false)), (Strings{"ab", "12²", "c"}));
  EXPECT_EQ(pieces("Hi, you!?", make_whitespace()), (Strings{"Hi", ",", "you", "!?"}));
  EXPECT_EQ(pieces(" Hi,  you ", make_whitespace_split()), (Strings{"Hi,", "you"}));
  EXPECT_EQ(pieces("Hi, you!?", make_bert_pre_tokenizer()), (Strings{"Hi", ",", "you", "!", "?"}));
  EXPECT_EQ(pieces("a-b--", make_char_delimiter_split(U'-')), (Strings{"a", "b"}));
  EXPECT_EQ(pieces("a", make_prefix_space(), make_byte_spelling()), (Strings{"Ġa"}));
  EXPECT_EQ(pieces(" é", make_prefix_space(), make_byte_spelling()), (Strings{"ĠÃ©"}));
}

TEST(Normalizer, EachDoesItsOwn) {
  EXPECT_EQ(normalized(make_strip_normalizer(true, false), "\u3000 a "), "a ");
  EXPECT_EQ(normalized(make_strip_normalizer(true, true), " \n "), "");
  EXPECT_EQ(normalized(make_prepend_normalizer("▁"), "a"), "▁a");
  EXPECT_EQ(normalized(make_prepend_normalizer("▁"), ""), "");
  EXPECT_EQ(normalized(make_replace_normalizer(Pattern::regex(" {2,}"), "_"), "a  b   "), "a_b_");
  EXPECT_EQ(normalized(make_replace_normalizer(Pattern::literal("ab"), ""), "abcab"), "c");
  EXPECT_EQ(normalized(make_lowercase_normalizer(), "ÀB"), "àb");
  EXPECT_EQ(normalized(make_strip_accents_normalizer(), "e\u0301x"), "ex");
  EXPECT_EQ(normalized(make_nmt_normalizer(), "a\u200B\x01\tb"), "a  b");
  EXPECT_EQ(normalized(make_byte_level_normalizer(), " é"), "ĠÃ©");
  EXPECT_EQ(normalized(make_bert_normalizer({}), "Café\x01\t世x\uFFFD"), "cafe  世 x");
  BertNormalizerOptions cased{
      .clean_text = false, .handle_chinese_chars = false, .strip_accents = false, .lowercase = false};
  EXPECT_EQ(normalized(make_bert_normalizer(cased), "Café\t世"), "Café\t世");
  std::vector<NormalizerPtr> steps;
  steps.push_back(make_form_normalizer(NormalForm::Nfd));
  steps.push_back(make_strip_accents_normalizer());
  EXPECT_EQ(normalized(make_sequence_normalizer(std::move(steps)), "é"), "e");
}

}  // namespace
}  // namespace sgl
