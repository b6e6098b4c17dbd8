#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "cli/test_world.h"

namespace sgl::cli {
namespace {

std::string write_file(const std::string& name, const std::string& text) {
  std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::ofstream(path) << text;
  return path.string();
}

TEST(GrammarCommand, SaysWhichStringsAreAccepted) {
  TestWorld w("\"ab\"\n\"\\u0061bb\"\n\"b\"\n");
  EXPECT_EQ(w.run({"grammar", "--regex", "ab+", "--accepts", "-"}), 0) << w.err.str();
  EXPECT_EQ(w.out.str(), "accept\naccept\nreject\n");
}

TEST(GrammarCommand, HalfACharacterIsInNoText) {
  TestWorld w("\"a\"\n\"\\ud800\"\n\"b\"\n");
  EXPECT_EQ(w.run({"grammar", "--regex", ".", "--accepts", "-"}), 0) << w.err.str();
  EXPECT_EQ(w.out.str(), "accept\nreject\naccept\n");
  TestWorld none("a\n");
  EXPECT_EQ(none.run({"grammar", "--regex", ".", "--accepts", "-"}), 1);
  EXPECT_NE(none.err.str().find("line 1: expected a JSON string"), std::string::npos) << none.err.str();
}

TEST(GrammarCommand, ExplainsInWordsUnlessToldOtherwise) {
  TestWorld words, dot;
  EXPECT_EQ(words.run({"grammar", "--regex", "ab", "--explain", "--sample", "ab"}), 0) << words.err.str();
  EXPECT_EQ(dot.run({"grammar", "--regex", "ab", "--explain", "dot"}), 0) << dot.err.str();
  EXPECT_EQ(dot.out.str().rfind("digraph", 0), 0U);
  EXPECT_NE(words.out.str().rfind("digraph", 0), 0U);
}

TEST(GrammarCommand, CompactMeansNoWhiteSpace) {
  std::string schema = write_file("schema.json", R"({"type":"array","items":{"type":"integer"}})");
  for (bool compact : {false, true}) {
    TestWorld w("\"[1, 2]\"\n\"[1,2]\"\n");
    std::vector<std::string> arguments = {"grammar", "--json-schema", schema, "--accepts", "-"};
    if (compact) arguments.emplace_back("--compact");
    EXPECT_EQ(w.run(arguments), 0) << w.err.str();
    EXPECT_EQ(w.out.str(), compact ? "reject\naccept\n" : "accept\naccept\n");
  }
}

TEST(GrammarCommand, WhatCannotBeCompiledGivesStatusTwoAndOneLine) {
  std::string schema = write_file("refused.json", R"({"properties":{"a":{"format":"idn-email"}}})");
  TestWorld w;
  EXPECT_EQ(w.run({"grammar", "--json-schema", schema, "--accepts", "-"}), 2);
  EXPECT_NE(w.err.str().find("format at #/properties/a/format"), std::string::npos) << w.err.str();
  TestWorld twice;
  EXPECT_EQ(twice.run({"grammar", "--regex", "a", "--json-schema", schema}), 2);
  TestWorld missing;
  EXPECT_EQ(missing.run({"grammar", "--ebnf", "/nonexistent/file"}), 2);
}

TEST(GrammarCommand, AGrammarThatMatchesNothingGivesStatusTwoButAcceptsRejectsAllTexts) {
  std::string schema = write_file("nothing.json", R"({"type":"string","minLength":2,"maxLength":1})");
  TestWorld w;
  EXPECT_EQ(w.run({"grammar", "--json-schema", schema}), 2);
  EXPECT_NE(w.err.str().find("matches no text at all"), std::string::npos) << w.err.str();
  TestWorld texts("\"1\"\n");
  EXPECT_EQ(texts.run({"grammar", "--json-schema", schema, "--accepts", "-"}), 0) << texts.err.str();
  EXPECT_EQ(texts.out.str(), "reject\n");
}

TEST(GrammarCommand, MasksAndTimesComeForEachToken) {
  std::string tokenizer = std::string(SGL_SOURCE_DIR) + "/tests/tokenizers/small/llama3";
  TestWorld masks("\"ab\"\n");
  EXPECT_EQ(masks.run({"grammar", "--regex", "[ab]{2}", "--tokenizer", tokenizer, "--masks", "-"}), 0)
      << masks.err.str();
  EXPECT_NE(masks.out.str().find(' '), std::string::npos);
  TestWorld bench("\"ab\"\n");
  EXPECT_EQ(bench.run({"grammar", "--regex", "[ab]{2}", "--tokenizer", tokenizer, "--bench", "-"}), 0)
      << bench.err.str();
  EXPECT_NE(bench.out.str().find("\"mask_us_p99\""), std::string::npos);
  EXPECT_NE(bench.out.str().find("\"accepted\": true"), std::string::npos);
}

}  // namespace
}  // namespace sgl::cli
