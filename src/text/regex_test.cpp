#include "text/regex.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "text/pattern.h"
#include "text/unicode.h"

namespace sgl {
namespace {

using Spans = std::vector<std::pair<size_t, size_t>>;

template <typename R>
Spans matches(const R& regex, const std::string& text) {
  Spans spans;
  regex.for_each_match(text, [&](size_t begin, size_t end) { spans.emplace_back(begin, end); });
  return spans;
}

bool matches_all(const std::string& pattern, const std::string& text) {
  return matches(Regex("\\A(?:" + pattern + ")\\z"), text) == Spans{{0, text.size()}};
}

ErrorKind error_of(const std::string& pattern) {
  try {
    Regex regex(pattern);
  } catch (const Error& e) {
    return e.kind();
  }
  ADD_FAILURE() << "'" << pattern << "' was accepted";
  return ErrorKind::Internal;
}

TEST(Regex, MatchesFromLeftToRight) {
  EXPECT_EQ(matches(Regex("a+"), "baaxa"), (Spans{{1, 3}, {4, 5}}));
  EXPECT_EQ(matches(Regex("x*"), "axxb"), (Spans{{0, 0}, {1, 3}, {4, 4}}));
  EXPECT_EQ(matches(Regex("(?=é)"), "éé"), (Spans{{0, 0}, {2, 2}}));
  EXPECT_TRUE(matches(Regex("z"), "").empty());
}

TEST(Regex, ReadsRubySyntax) {
  EXPECT_TRUE(matches_all("\\s", "\u0085") && !matches_all("\\s", "\u180E"));
  EXPECT_TRUE(matches_all("[^\\s]", "\u180E"));
  EXPECT_TRUE(matches_all("\\h+", "0aF") && !matches_all("\\h", " "));
  EXPECT_TRUE(matches_all("\\p{L}+", "aé\U00010D50") && matches_all("[\\p{Lu}x]", "\U00010D50"));
  EXPECT_TRUE(matches_all("\\P{L}", "1") && !matches_all("\\P{L}", "\U00010D50"));
  EXPECT_TRUE(matches_all("\\p{^N}", "a") && !matches_all("\\p{^N}", "1"));
  EXPECT_TRUE(matches_all("\\p{Han}\\p{Letter}", "世a"));
  EXPECT_TRUE(matches_all("\\w+", "a_1é²") && matches_all("\\W", "-") && matches_all("\\D", "a"));
  EXPECT_TRUE(matches_all("[a[b-d]]+", "abcd") && matches_all("[[:alpha:]]", "q"));
  EXPECT_TRUE(matches_all("a{1,2}+", "aaaaa")) << "repeats the whole";
  EXPECT_TRUE(matches_all("(?:ab){2}+", "abababab"));
  EXPECT_TRUE(matches_all("a{,2}", "aa") && matches_all("a{x", "a{x"));
  EXPECT_TRUE(matches_all("(?m:.)", "\n") && !matches_all(".", "\n"));
  EXPECT_TRUE(matches_all("(?<=)(?<name>a)(?i:B)(?>c)", "abc"));
  EXPECT_TRUE(matches_all("\\u00e9\\x{e9}\\v", "éé\x0B"));
  EXPECT_EQ(matches(Regex("^b$"), "a\nb\nc"), (Spans{{2, 3}}));
}

TEST(Regex, RefusesWhatItCannotRead) {
  EXPECT_EQ(error_of("[a&&b]"), ErrorKind::Unsupported);
  EXPECT_EQ(error_of("[a[^b]]"), ErrorKind::Unsupported);
  EXPECT_EQ(error_of("[\\W]"), ErrorKind::Unsupported);
  for (const char* pattern :
       {"(", ")", "[a", "a\\", "\\p{L", "\\p{Nonsense}", "*", "[[:alpha", "\\u12", "(?<n", "\\C"}) {
    EXPECT_EQ(error_of(pattern), ErrorKind::CorruptFile) << pattern;
  }
  EXPECT_EQ(error_of(std::string(100000, '(')), ErrorKind::CorruptFile);
  EXPECT_EQ(error_of(std::string(100000, '[')), ErrorKind::CorruptFile);
}

TEST(Regex, GivesUpOnCatastrophicPatternsWithAnError) {
  Regex regex("(a+)+\\z");
  try {
    matches(regex, std::string(60, 'a') + "!");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
  }
}

TEST(Regex, RandomPatternsNeitherCrashNorHang) {
  unsigned seed = 5;
  std::mt19937 random(seed);
  const std::string parts = "ab\\psS{}L1,+*?()[]^$|.:<!=&-m\xC3\xA9";
  for (int round = 0; round < 20000; ++round) {
    std::string pattern;
    for (unsigned n = random() % 12; n > 0; --n) pattern += parts[random() % parts.size()];
    pattern = to_valid_utf8(pattern);
    try {
      matches(Regex(pattern), "aab1 é");
    } catch (const Error&) {
    }
  }
}

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {
      "a",  "B",  "s",      "'",      "'s", "'LL", "ſ",      "é", "世",     "1",      "23", "²",      " ", "  ", "\n",
      "\r", "\t", "\u00A0", "\u3000", "!",  "$",   "\u0301", "😀", "\u200D", "\u2028", "_",  "\u180E", "٣", "r",  "e"};
  std::string text;
  for (unsigned n = random() % 14; n > 0; --n) text += parts[random() % parts.size()];
  return text;
}

TEST(SplitScanner, EqualsTheRegularExpression) {
  unsigned seed = 6;
  std::mt19937 random(seed);
  for (SplitPattern p : {SplitPattern::Gpt2, SplitPattern::Llama3, SplitPattern::Qwen2}) {
    Regex regex{regex_of(p)};
    Pattern pattern = Pattern::regex(regex_of(p));
    for (int round = 0; round < 20000; ++round) {
      std::string text = random_text(random);
      ASSERT_EQ(matches(pattern, text), matches(regex, text)) << "seed " << seed << ": " << text;
    }
  }
}

TEST(SplitScanner, TrailingSpaceEqualsTheRegularExpression) {
  unsigned seed = 7;
  std::mt19937 random(seed);
  Regex regex("\\s+$");
  Pattern pattern = Pattern::regex("\\s+$");
  for (int round = 0; round < 20000; ++round) {
    std::string text = random_text(random);
    ASSERT_EQ(matches(pattern, text), matches(regex, text)) << "seed " << seed << ": " << text;
  }
  EXPECT_TRUE(matches(pattern, std::string(1000000, ' ') + "x").empty());  // quadratic in a regex engine
}

TEST(Pattern, LiteralsAreNotExpressions) {
  EXPECT_EQ(matches(Pattern::literal("a."), "aba.a.."), (Spans{{2, 4}, {4, 6}}));
  EXPECT_TRUE(matches(Pattern::literal(""), "abc").empty());
}

}  // namespace
}  // namespace sgl
