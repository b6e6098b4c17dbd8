#include "base/log.h"

#include <gtest/gtest.h>

#include "sgl/error.h"

namespace sgl {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  log::append_json_string(out, text);
  return out;
}

TEST(Log, JsonStringsHoldNoControlCharactersAndOnlyWellFormedText) {
  EXPECT_EQ(json_string("plain ü €"), "\"plain ü €\"");
  EXPECT_EQ(json_string("a\"b\\c\nd\x01\x7f"), R"("a\"b\\c\nd\u0001\u007f")");
  EXPECT_EQ(json_string("\xc2\x9b"
                        "2J\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xc2\xa0"),
            "\"\\u009b2J\\u2028\\u202e\\u2066\xc2\xa0\"");
  const std::string replaced = "\"\xef\xbf\xbd\"";
  EXPECT_EQ(json_string("\xff"), replaced);
  EXPECT_EQ(json_string("\xc3"), replaced) << "cut off";
  EXPECT_EQ(json_string("\xc0"), replaced);
  EXPECT_EQ(json_string("\xed\xa0\x80").find('\xed'), std::string::npos) << "half of a surrogate pair";
  EXPECT_EQ(json_string("\xf5\x80\x80\x80").find('\xf5'), std::string::npos);
  EXPECT_EQ(json_string("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"");
}

TEST(Log, FieldsAreBareOnlyWhereNothingCanBeMistaken) {
  log::Fields f;
  f.add("id", "abc-1").add("path", "/a b").add("trick", "x level=error").add("line", "a\nb").add("empty", "");
  f.add("n", int64_t{5}).add("ms", 1.5).add("nan", 0.0 / 0.0);
  EXPECT_EQ(f.text(), R"( id=abc-1 path="/a b" trick="x level=error" line="a\nb" empty="" n=5 ms=1.5)");
  EXPECT_EQ(f.json(), R"(,"id":"abc-1","path":"/a b","trick":"x level=error","line":"a\nb","empty":"","n":5,"ms":1.5)");
}

TEST(Log, LinesAreTextOrOneJsonObject) {
  log::init("info", "text");
  testing::internal::CaptureStderr();
  log::info("hello \"{}\"", "you");
  log::write(spdlog::level::warn, "asked", log::Fields().add("id", "r1"));
  log::write(spdlog::level::debug, "not shown", {});
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("[info] hello \"you\"\n"), std::string::npos) << text;
  EXPECT_NE(text.find("[warning] asked id=r1\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("not shown"), std::string::npos);

  log::init("info", "json");
  testing::internal::CaptureStderr();
  log::info("hello \"{}\"", "you");
  log::write(spdlog::level::warn, "asked", log::Fields().add("id", "r1"));
  const std::string json = testing::internal::GetCapturedStderr();
  log::init("info");
  EXPECT_NE(json.find(R"(,"level":"info","message":"hello \"you\""})"), std::string::npos) << json;
  EXPECT_NE(json.find(R"(,"level":"warning","message":"asked","id":"r1"})"), std::string::npos) << json;
}

TEST(Log, UnknownNamesAreRefused) {
  EXPECT_THROW(log::init("loud"), Error);
  EXPECT_THROW(log::init("info", "xml"), Error);
  EXPECT_EQ(log::parse_level("warning"), log::parse_level("warn"));
}

}  // namespace
}  // namespace sgl
