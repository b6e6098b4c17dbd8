#include "text/unicode.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <utf8proc.h>

namespace sgl {
namespace {

std::string utf8(std::initializer_list<char32_t> codes) {
  std::string text;
  for (char32_t c : codes) append_utf8(text, c);
  return text;
}

TEST(Utf8, EveryScalarValueRoundTrips) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = utf8({U'x', c});
    ASSERT_TRUE(is_valid_utf8(text)) << static_cast<uint32_t>(c);
    ASSERT_EQ(decode_utf8(text, 1).code, c);
    ASSERT_EQ(decode_utf8_before(text, text.size()).code, c);
    ASSERT_EQ(incomplete_utf8_tail(text), 0U);
    for (size_t cut = 1; cut + 1 < text.size(); ++cut) {
      ASSERT_EQ(incomplete_utf8_tail(text.substr(0, 1 + cut)), cut) << static_cast<uint32_t>(c);
    }
  }
}

TEST(Utf8, MaximalIllFormedPartsBecomeOneReplacementEach) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(to_valid_utf8("plain \xC3\xA9"), "plain \xC3\xA9");
  EXPECT_EQ(to_valid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(to_valid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xE4\xBD"), r);
}

TEST(Utf8, TailsThatCannotBecomeACharacterAreNotIncomplete) {
  EXPECT_EQ(incomplete_utf8_tail("a\xE4\xBD"), 2U);
  EXPECT_EQ(incomplete_utf8_tail("a\xF0\x9F\x98"), 3U);
  EXPECT_EQ(incomplete_utf8_tail("a\xED\xA0"), 0U);  // would be a surrogate
  EXPECT_EQ(incomplete_utf8_tail("a\x80"), 0U);
  EXPECT_EQ(incomplete_utf8_tail("\xC0"), 0U);
  EXPECT_EQ(incomplete_utf8_tail(""), 0U);
}

TEST(CharacterClasses, FollowTheReferencesVersionsOfUnicode) {
  EXPECT_TRUE(is_letter(U'é') && is_letter(U'世') && is_letter(0x1C89));  // U+1C89 is of Unicode 16
  EXPECT_TRUE(is_number(U'²') && is_number(U'Ⅷ') && !is_number(U'a'));
  EXPECT_TRUE(is_space(0x85) && is_space(0x3000) && !is_space(0x180E) && !is_space(0x200B));
  EXPECT_TRUE(is_word(U'_') && is_word(0x200D) && is_word(0x24B6) && !is_word(U'²') && !is_word(U'-'));
  EXPECT_TRUE(is_bert_punctuation(U'$') && is_bert_punctuation(U'。') && !is_bert_punctuation(0x2E52));
  EXPECT_TRUE(is_bert_control(0x200D) && is_bert_control(0xE000) && !is_bert_control(U'a'));
  EXPECT_TRUE(is_chinese(U'世') && !is_chinese(U'あ') && !is_chinese(0x2B81F + 1));
  EXPECT_TRUE(is_combining_mark(0x301) && !is_combining_mark(0x898));
  EXPECT_EQ(to_lower("ÀÉİS"), "àéi̇s");
  EXPECT_EQ(to_lower(utf8({0x1C89, 0x10D50})), utf8({0x1C8A, 0x10D70}));
}

TEST(CharacterClasses, NewerCharactersOfACategoryAreListed) {
  auto letters = newer_in_category("L"), upper = newer_in_category("Lu");
  EXPECT_GT(letters.size(), upper.size());
  bool found = false;
  for (auto [first, last] : upper) {
    EXPECT_LE(first, last);
    found |= first <= 0x10D50 && 0x10D50 <= last;
  }
  EXPECT_TRUE(found);
  EXPECT_TRUE(newer_in_category("Zs").empty());
}

TEST(NormalForm, KnownExamples) {
  EXPECT_EQ(normal_form("e\u0301 \u212B \u1100\u1161\u11A8", NormalForm::Nfc), "\u00E9 \u00C5 \uAC01");
  EXPECT_EQ(normal_form("\u00E9\uAC01", NormalForm::Nfd), "e\u0301\u1100\u1161\u11A8");
  EXPECT_EQ(normal_form("\uFB01 \u2460 \uFF21", NormalForm::Nfkc), "fi 1 A");
  EXPECT_EQ(normal_form("\u00BD", NormalForm::Nfkd), "1\u20442");
  EXPECT_EQ(normal_form("a\u0315\u0300", NormalForm::Nfd), "a\u0300\u0315");
  EXPECT_EQ(normal_form("", NormalForm::Nfc), "");
  EXPECT_EQ(normal_form("か\u3099がが", NormalForm::Nfc), "ががが");
}

// utf8proc's own normalization of the whole text. Only for characters on whose normal form both agree.
std::string whole_form(const std::string& text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  if (form == NormalForm::Nfkc || form == NormalForm::Nfkd) options |= UTF8PROC_COMPAT;
  options |= form == NormalForm::Nfc || form == NormalForm::Nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  utf8proc_uint8_t* out = nullptr;
  auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                           static_cast<utf8proc_ssize_t>(text.size()), &out, static_cast<utf8proc_option_t>(options));
  std::string result(reinterpret_cast<char*>(out), static_cast<size_t>(size));
  std::free(out);
  return result;
}

TEST(NormalForm, CuttingAtStableCharactersGivesWhatTheWholeTextGives) {
  const std::vector<std::pair<uint32_t, uint32_t>> ranges = {
      {0x20, 0x7E},     {0xA0, 0x24F},    {0x300, 0x345},   {0x370, 0x3FF},   {0x400, 0x486},
      {0x5D0, 0x5EA},   {0x620, 0x655},   {0x900, 0x97F},   {0xE00, 0xE4E},   {0x1100, 0x1112},
      {0x1161, 0x1175}, {0x11A8, 0x11C2}, {0x1E00, 0x1FFF}, {0x2100, 0x214F}, {0x3040, 0x30FF},
      {0xAC00, 0xAC40}, {0xF900, 0xFA2D}, {0xFB00, 0xFB4E}, {0xFF00, 0xFFEF}};
  unsigned seed = 20;
  std::mt19937 random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (unsigned n = random() % 12; n > 0; --n) {
      auto [first, last] = ranges[random() % ranges.size()];
      append_utf8(text, first + static_cast<char32_t>(random() % (last - first + 1)));
    }
    for (NormalForm form : {NormalForm::Nfc, NormalForm::Nfd, NormalForm::Nfkc, NormalForm::Nfkd}) {
      ASSERT_EQ(normal_form(text, form), whole_form(text, form)) << "seed " << seed << ", round " << round;
    }
  }
}

TEST(NormalForm, LongRunsOfMarksTakeLinearTime) {
  std::string text = "e";
  for (int i = 0; i < 200000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0327";  // quadratic sorting would take minutes
  std::string form = normal_form(text, NormalForm::Nfd);
  EXPECT_EQ(form.size(), text.size());
  EXPECT_EQ(form.substr(0, 5), "e\u0327\u0327");
}

}  // namespace
}  // namespace sgl
