#include "server/json_scanner.h"

#include <string>

#include <gtest/gtest.h>

#include "server/json_reader.h"

namespace sgl {
namespace {

TEST(JsonScanner, AgreesWithTheJsonLibraryOnEveryObject) {
  const char* const kTexts[] = {"{}",
                                "{ }",
                                R"({"a":1})",
                                R"( {"a" : [1, -0.5e+10, true, false, null, "x\n\u00e4\"", {}, []]} )",
                                R"({"a":01})",
                                R"({"a":1.})",
                                R"({"a":.5})",
                                R"({"a":-})",
                                R"({"a":1e})",
                                R"({"a":1e5})",
                                R"({"a":+1})",
                                R"({"a":0.0})",
                                R"({"a":tru})",
                                R"({"a":truee})",
                                R"({"a":"\x"})",
                                R"({"a":"\u12g4"})",
                                "{\"a\":\"\n\"}",
                                R"({"a":1,})",
                                R"({,"a":1})",
                                R"({"a":[1,]})",
                                R"({"a":[,1]})",
                                R"({"a" 1})",
                                R"({"a"})",
                                R"({a:1})",
                                R"({'a':1})",
                                R"({"a":1]})",
                                R"({"a":[1}})",
                                R"({"a":1 2})",
                                R"({"a":-0})",
                                R"({"a":10E-2,"b":{"c":[[[]]]}})",
                                "[]",
                                "1",
                                "x"};
  for (const std::string text : kTexts) {
    JsonScanner scanner;
    const bool done =
        scanner.scan(text) == Scan::Done && text.find_first_not_of(' ', scanner.position()) == std::string::npos;
    const Json json = Json::parse(text, nullptr, false);
    EXPECT_EQ(done, json.is_object()) << text;
  }
}

TEST(JsonScanner, EndsWithTheObjectAndSaysWhereMembersStand) {
  const std::string text = R"( {"name": "f", "arguments": {"a": {"name": 1}}, "n": 12} and more)";
  JsonScanner scanner;
  for (size_t n = 1; n <= text.find(" and"); ++n) {
    EXPECT_EQ(scanner.scan(text.substr(0, n)), n < text.find(" and") ? Scan::More : Scan::Done) << n;
  }
  EXPECT_EQ(text.substr(scanner.position()), " and more");
  ASSERT_EQ(scanner.members().size(), 3U);
  const auto value = [&](size_t i) {
    const JsonScanner::Member& m = scanner.members()[i];
    return m.key + "=" + text.substr(m.begin, m.end - m.begin);
  };
  EXPECT_EQ(value(0), "name=\"f\"");
  EXPECT_EQ(value(1), R"(arguments={"a": {"name": 1}})");
  EXPECT_EQ(value(2), "n=12");
}

TEST(JsonScanner, NestsBeyondTheLimitAreBroken) {
  JsonScanner scanner;
  EXPECT_EQ(scanner.scan("{\"a\":" + std::string(1000, '[')), Scan::Broken);
}

}  // namespace
}  // namespace sgl
