// Masks against a try of every token, where tokens are longer than a trie's node can count and halves of characters.

#include "grammar/token_masks.h"

#include <array>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "grammar/grammar.h"

namespace sgl {
namespace {

std::shared_ptr<const grammar::TokenVocabulary> vocabulary_of_runs() {
  std::vector<std::string> bytes;
  for (int b = 0; b < 256; ++b) bytes.emplace_back(1, static_cast<char>(b));
  for (const char* piece :
       {"a", "Z", "7", " ", "-", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "a-", "aZ\xC3\xA9", "\n"}) {
    std::string run;
    for (size_t n = 1; n <= 400; ++n) {
      run += piece;
      bool kept = n < 7 || (n > 14 && n < 22) || n == 253 || n == 254 || n == 255 || n == 256 || n == 300 || n == 400;
      if (!kept) continue;
      for (const char* end : {"", "\"", "\",", ",", "]", "\xC3", "\xE2\x82", "\\n", ".", "7"})
        bytes.push_back(run + end);
    }
  }
  bytes.emplace_back("\x82\xAC");
  bytes.emplace_back("\x82\xAC\",");
  for (const char* items : {"\",\"\",\"", "\",\"\",", "\",\"\"]", "7,77", "7,7,"}) bytes.emplace_back(items);
  bytes.emplace_back("</s>");
  auto eos = static_cast<int32_t>(bytes.size() - 1);
  return std::make_shared<const grammar::TokenVocabulary>(std::move(bytes), std::vector<int32_t>{eos});
}

TEST(TokenMasks, AreWhatEveryTokenTriedGives) {
  auto vocabulary = vocabulary_of_runs();
  std::vector<GrammarSpec> specs;
  for (int most : {1, 3, 5, 16, 17, 20, 254, 255, 256, 300}) {
    std::string n = std::to_string(most);
    specs.push_back({GrammarKind::JsonSchema, R"({"type":"string","maxLength":)" + n + "}", {}});
    specs.push_back({GrammarKind::JsonSchema,
                     R"({"type":"array","items":{"type":"string","minLength":2,"maxLength":)" + n + "}}",
                     {}});
    // Intersections: a pattern beside a length.
    for (const char* other :
         {R"("pattern":"7")", R"("pattern":"^[aZ7]*$")", R"("pattern":"^(a-|aZé)*$")", R"("pattern":"^.*[a7]$")",
          R"("pattern":"^[^-]{2,17}(-.*)?$")", R"("format":"email")", R"("not":{"pattern":"77"})",
          R"("pattern":"^(a{4}Z)*$","minLength":2)", R"("pattern":"^a{1,400}-?$","not":{"const":"aaa"})"}) {
      specs.push_back(
          {GrammarKind::JsonSchema, R"({"type":"string",)" + std::string(other) + R"(,"maxLength":)" + n + "}", {}});
    }
    specs.push_back({GrammarKind::Regex, "\"[^\"]{0," + n + "}é*", {}});  // what follows goes on as the counter does
    specs.push_back({GrammarKind::Regex, "\"(é|[^é\"]|éa){0," + n + "}\"", {}});  // more than a character at a time
    specs.push_back({GrammarKind::Regex, "\"[a-zA-Z -]{1," + n + "}[^a]+", {}});
    specs.push_back(
        {GrammarKind::Ebnf, "root ::= \"\\\"\" item (\"-\" item)*\nitem ::= [a-z7]{1," + n + "} | root \".\"", {}});
  }
  specs.push_back(
      {GrammarKind::JsonSchema, R"({"type":"string","minLength":18})", {}});  // ends within long tokens only
  specs.push_back({GrammarKind::Regex, "\"[^\"-]{18,}(\"7)?", {}});
  for (const char* items :
       {R"({"type":"string"})", R"({"type":"string","pattern":"^[a7-]*Z?$"})", R"({"type":"integer"})",
        R"({"type":"object","properties":{"a":{"type":"string"}},"required":["a"]})", "{}"}) {
    for (bool is_compact : {true, false}) {
      specs.push_back(
          {GrammarKind::JsonSchema, R"({"type":"array","uniqueItems":true,"items":)" + std::string(items) + "}", {}});
      specs.back().options.compact = is_compact;
    }
  }
  for (const GrammarSpec& spec : specs) {
    auto compiled = std::make_shared<const Grammar>(spec, vocabulary);
    for (const char* text : {"\"", "\"a", "\"aaa", "\"aaaaaaaaaaaa", "\"a@a", "\"a-a-a-", "\"7", "\"\xE2\x82\xAC",
                             "\"aa\xE2", "[\"", "[\"aa", "[\"aa\",", "[\"aa\",\"a", "[77,7", "[7,77,7", "[7,", "[7, ",
                             "[\"a\",\"", "[{\"a\":\"aa\"},{\"a\":\"a"}) {
      GrammarMatcher matcher(compiled);
      std::vector<uint32_t> mask(vocabulary->mask_words());
      if (!matcher.accept_text(text)) continue;
      matcher.fill_mask(mask);
      for (int32_t id = 0; id < vocabulary->size(); ++id) {
        bool expected = matcher.clone().accept(id);
        bool got = (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
        ASSERT_EQ(got, expected) << spec.text << " after " << text << ", token " << vocabulary->bytes(id);
      }
    }
  }
}

TEST(TokenMasks, AreRightForMoreKindsOfCharactersThanAreKept) {
  auto vocabulary = vocabulary_of_runs();
  for (size_t i = 0; i < grammar::TokenVocabulary::kMostKinds + 20; ++i) {
    std::string kinds = "a";
    for (size_t bit = 0; bit < 9; ++bit) {
      if ((i >> bit & 1) != 0) kinds += std::array{"A-Z", "0-9", " ", ".", ",", "\"", "\\-", "/", "'"}[bit];
    }
    auto compiled =
        std::make_shared<const Grammar>(GrammarSpec{GrammarKind::Regex, "[" + kinds + "]{1,19}", {}}, vocabulary);
    GrammarMatcher matcher(compiled);
    std::vector<uint32_t> mask(vocabulary->mask_words());
    matcher.fill_mask(mask);
    for (int32_t id = 0; id < vocabulary->size(); ++id) {
      bool got = (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
      ASSERT_EQ(got, matcher.clone().accept(id)) << kinds << ", token " << vocabulary->bytes(id);
    }
  }
}

TEST(TokenMasks, OfATextWithTooManyReadingsAreRefused) {
  // The state has a counter for each a, and another set of them behind each byte of a long token.
  std::vector<std::string> bytes;
  for (int b = 0; b < 256; ++b) bytes.emplace_back(1, static_cast<char>(b));
  std::mt19937 rng(1);
  auto random_text = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text.push_back(rng() % 2 ? 'a' : 'b');
    return text;
  };
  for (int i = 0; i < 100; ++i) bytes.push_back(random_text(20));
  auto vocabulary = std::make_shared<const grammar::TokenVocabulary>(std::move(bytes), std::vector<int32_t>{});
  auto compiled = std::make_shared<const Grammar>(GrammarSpec{GrammarKind::Regex, "[ab]*a[ab]{2000}", {}}, vocabulary);
  GrammarMatcher matcher(compiled);
  std::vector<uint32_t> mask(vocabulary->mask_words());
  matcher.fill_mask(mask);
  ASSERT_TRUE(matcher.accept_text(random_text(1500)));
  std::string error;
  try {
    matcher.fill_mask(mask);
  } catch (const Error& e) {
    error = e.what();
  }
  EXPECT_NE(error.find("too ambiguous"), std::string::npos) << error;
  // The grammar itself goes on, and so do other texts.
  EXPECT_TRUE(matcher.accept_text(std::string(2001, 'b')));
  GrammarMatcher other(compiled);
  other.fill_mask(mask);
  EXPECT_TRUE(mask['a' / 32] >> ('a' % 32) & 1);
}

}  // namespace
}  // namespace sgl
