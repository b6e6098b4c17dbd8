#include "text/added_tokens.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

using Parts = std::vector<std::pair<int32_t, std::string>>;

AddedToken token(int32_t id, std::string content) {
  AddedToken t;
  t.id = id;
  t.content = std::move(content);
  return t;
}

Parts raw_parts(const AddedTokens& tokens, const std::string& text) {
  Parts parts;
  tokens.split_raw(text, [&](int32_t id, std::string_view part, size_t begin) {
    EXPECT_EQ(text.substr(begin, part.size()), part);
    parts.emplace_back(id, part);
  });
  return parts;
}

TEST(AddedTokens, TheLeftmostAndThenTheLongestWins) {
  AddedTokens tokens;
  tokens.add(token(1, "<a>"));
  tokens.add(token(2, "<a><b>"));
  tokens.add(token(3, "a><"));
  tokens.add(token(4, ""));
  tokens.finish(nullptr);
  EXPECT_EQ(raw_parts(tokens, "x<a><b><a><c"), (Parts{{-1, "x"}, {2, "<a><b>"}, {1, "<a>"}, {-1, "<c"}}));
  EXPECT_EQ(raw_parts(tokens, "xa><a>"), (Parts{{-1, "x"}, {3, "a><"}, {-1, "a>"}}));
  EXPECT_TRUE(raw_parts(tokens, "").empty());
  EXPECT_EQ(tokens.end_id(), 4);
  EXPECT_EQ(raw_parts(AddedTokens(), "x"), (Parts{{-1, "x"}}));
}

TEST(AddedTokens, StripTakesWhiteSpaceAlong) {
  AddedTokens tokens;
  AddedToken left = token(1, "<l>"), right = token(2, "<r>");
  left.lstrip = true;
  right.rstrip = true;
  tokens.add(left);
  tokens.add(right);
  tokens.finish(nullptr);
  EXPECT_EQ(raw_parts(tokens, "a \n<l> b"), (Parts{{-1, "a"}, {1, " \n<l>"}, {-1, " b"}}));
  EXPECT_EQ(raw_parts(tokens, "<r> \u3000b"), (Parts{{2, "<r> \u3000"}, {-1, "b"}}));
  EXPECT_EQ(raw_parts(tokens, "<r>  <l>"), (Parts{{2, "<r>  "}, {1, "<l>"}}));
}

TEST(AddedTokens, SingleWordsStandAlone) {
  AddedTokens tokens;
  AddedToken word = token(1, "ab");
  word.single_word = true;
  tokens.add(word);
  tokens.finish(nullptr);
  EXPECT_EQ(raw_parts(tokens, "ab abc xab éab ab-"), (Parts{{1, "ab"}, {-1, " abc xab éab "}, {1, "ab"}, {-1, "-"}}));
}

TEST(AddedTokens, NormalizedTokensAreFoundInNormalizedText) {
  AddedTokens tokens;
  AddedToken t = token(1, "<A>");
  t.normalized = true;
  t.special = true;
  tokens.add(t);
  tokens.add(token(2, "<B>"));
  NormalizerPtr lower = make_lowercase_normalizer();
  tokens.finish(lower.get());
  EXPECT_EQ(raw_parts(tokens, "<A><B>"), (Parts{{-1, "<A>"}, {2, "<B>"}}));
  Parts parts;
  tokens.split_normalized("<a>", [&](int32_t id, std::string_view part, size_t) { parts.emplace_back(id, part); });
  EXPECT_EQ(parts, (Parts{{1, "<a>"}}));
  EXPECT_EQ(tokens.find("<A>"), 1);
  EXPECT_EQ(tokens.find(1)->spelling, "<a>");
  EXPECT_TRUE(tokens.is_special(1) && !tokens.is_special(2) && !tokens.is_special(3));
}

TEST(AddedTokens, ALaterTokenReplacesAnEarlierOne) {
  AddedTokens tokens;
  tokens.add(token(1, "<a>"));
  tokens.add(token(5, "<a>"));
  tokens.finish(nullptr);
  EXPECT_EQ(raw_parts(tokens, "<a>"), (Parts{{5, "<a>"}}));
  EXPECT_EQ(tokens.tokens().size(), 1U);
}

}  // namespace
}  // namespace sgl
