// Reading bodies strictly, and writing JSON.

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "server/json_reader.h"
#include "server/json_writer.h"

namespace sgl {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

TEST(JsonReader, ErrorsSayWhere) {
  EXPECT_EQ(message_of([] { parse_json("{\"a\":\n 1,}"); }),
            "invalid JSON at byte 10 (line 2, column 4): unexpected '}'; expected string literal");
  EXPECT_NE(message_of([] { parse_json(""); }).find("invalid JSON at byte 1 "), std::string::npos);
  EXPECT_NE(message_of([] { parse_json("[1] x"); }).find("byte 5"), std::string::npos);
}

TEST(JsonReader, WhatIsNotJsonIsRefused) {
  for (const char* text : {"",          " ",       "{",        "[1,]",    "{'a':1}", "NaN",      "[Infinity]",  "-",
                           "01",        "// c\n1", "\"\x01\"", "\"\\x\"", "1e999",   "[-1e999]", "\"\\ud800\"", "nul",
                           "{\"a\" 1}", "[1 2]",   "\"abc",    "]",       "}{"}) {
    EXPECT_THROW(parse_json(text), MalformedJson) << text;
  }
}

TEST(JsonReader, InvalidUtf8IsRefusedWithItsPosition) {
  for (const char* bad : {"\"a\xff\"", "\"a\xc3\"", "\"a\xed\xa0\x80\"", "\"a\xf5\x80\x80\x80\"", "\"a\xc0\xaf\""}) {
    const std::string message = message_of([&] { parse_json(bad); });
    EXPECT_NE(message.find("at byte "), std::string::npos) << message;
    EXPECT_NE(message.find("UTF-8"), std::string::npos) << message;
    std::string written;
    append_json_string(written, message);
    EXPECT_EQ(written.find("\xef\xbf\xbd"), std::string::npos) << "the message itself must be clean: " << message;
  }
  EXPECT_THROW(parse_json("\xff"), MalformedJson);
}

TEST(JsonReader, DeepNestsAndMassesOfValuesAreRefusedBeforeParsing) {
  const size_t deepest = static_cast<size_t>(kDeepestJson);
  EXPECT_NO_THROW(parse_json(std::string(deepest, '[') + std::string(deepest, ']')));
  EXPECT_THROW(parse_json(std::string(deepest + 1, '[') + std::string(deepest + 1, ']')), MalformedJson);
  EXPECT_THROW(parse_json(std::string(8'000'000, '[')), MalformedJson);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THROW(parse_json(objects), MalformedJson);
  std::string many = "[0";
  for (int64_t i = 0; i < kMostJsonValues; ++i) many += ",0";
  EXPECT_NE(message_of([&] { parse_json(many + "]"); }).find("more than"), std::string::npos);
  // Members are kept in order, and looked for one by one.
  std::string object = "{\"k\":0";
  for (int i = 0; i < 16'000; ++i) object += ",\"k" + std::to_string(i) + "\":0";
  EXPECT_EQ(parse_json(object + "}").size(), 16'001U);
  for (int i = 16'000; i < 20'000; ++i) object += ",\"k" + std::to_string(i) + "\":0";
  EXPECT_NE(message_of([&] { parse_json(object + "}"); }).find("too many members"), std::string::npos);
  // Brackets in strings do not count.
  EXPECT_EQ(parse_json("\"" + std::string(1000, '[') + "\\\"[[\"").get<std::string>().size(), 1003U);
}

TEST(JsonReader, RandomBytesEitherParseOrAreRefused) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  const std::string alphabet = "{}[]\",:0123456789.eE+-truefalsn\\u \n\xc3\xa9\xff" + std::string(1, '\0');
  int parsed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (unsigned n = rng() % 24; n > 0; --n) text += alphabet[rng() % alphabet.size()];
    try {
      parse_json(text);
      ++parsed;
    } catch (const MalformedJson&) {
    }
  }
  EXPECT_GT(parsed, 0);
}

TEST(JsonReader, OfADuplicateKeyTheLastValueCounts) {
  const Json body = parse_json(R"({"a":1,"a":2})");
  EXPECT_EQ(Fields(body).integer("a"), 2);
}

TEST(JsonReader, WrongTypesNameFieldExpectationAndValue) {
  const Json body =
      parse_json(R"({"s":"hot","n":1.5,"b":true,"o":{},"a":[1,"x"],"z":null,"big":3000000000,"huge":1e300})");
  const Fields f(body);
  EXPECT_EQ(message_of([&] { f.number("s"); }), "s must be a number, got the string \"hot\"");
  EXPECT_EQ(message_of([&] { f.integer("n"); }), "n must be an integer, got the number 1.5");
  EXPECT_EQ(message_of([&] { f.integer("b"); }), "b must be an integer, got true");
  EXPECT_EQ(message_of([&] { f.boolean("o"); }), "o must be true or false, got an object");
  EXPECT_EQ(message_of([&] { f.string("a"); }), "a must be a string, got an array");
  EXPECT_EQ(message_of([&] { f.strings("a"); }), "a must be a string or an array of strings, got the number 1 in it");
  EXPECT_EQ(message_of([&] { f.ids("a"); }), "a[1] must be a token id, got the string \"x\"");
  EXPECT_EQ(message_of([&] { f.small_integer("big"); }), "big must fit 32 bits, got 3000000000");
  EXPECT_EQ(message_of([&] { Fields{body["a"]}; }), "the request's body must be an object, got an array");
  EXPECT_THROW(f.number("huge"), Error);
  EXPECT_THROW(f.number("s"), ValidationError);
  EXPECT_EQ(f.string("z"), std::nullopt);
  EXPECT_EQ(f.string("absent"), std::nullopt);
}

TEST(JsonReader, NumbersAreReadExactly) {
  const Json body = parse_json(R"({"whole":5.0,"min":-9223372036854775808,"max":9223372036854775807,
                                   "over":9223372036854775808,"far":1e19,"i":3,"ids":[1,null,2],"bias":{"7":-1.5,"0":2}})");
  const Fields f(body);
  EXPECT_EQ(f.integer("whole"), 5);
  EXPECT_EQ(f.integer("min"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(f.integer("max"), std::numeric_limits<int64_t>::max());
  EXPECT_THROW(f.integer("over"), Error);
  EXPECT_THROW(f.integer("far"), Error);
  EXPECT_EQ(f.number("i"), 3.0F);
  EXPECT_EQ(f.ids("ids"), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(message_of([&] { read_ids(*f.find("ids"), "ids"); }), "ids[1] must be a token id, got null");
  EXPECT_EQ(f.id_map("bias"), (std::map<int32_t, float>{{0, 2.0F}, {7, -1.5F}}));
  const Json bad = parse_json(R"({"bias":{"x":1}})");
  EXPECT_THROW(Fields(bad).id_map("bias"), ValidationError);
}

TEST(JsonReader, ListsOfNothingAskForNothing) {
  for (const char* text :
       {"null", "false", "\"\"", "[]", "{}", "[null]", "[null,null]", "[[null],[]]", "[false,\"\"]"}) {
    const Json value = parse_json(text);
    EXPECT_FALSE(asks_for_something(&value)) << text;
  }
  for (const char* text : {"true", "0", "\"x\"", "[null,\"x\"]", "[[0]]", "{\"url\":null}"}) {
    const Json value = parse_json(text);
    EXPECT_TRUE(asks_for_something(&value)) << text;
  }
}

TEST(JsonWriter, WritesWhatAParserReads) {
  std::string out;
  JsonWriter(out)
      .begin_object()
      .field("a", 1)
      .field("b", true)
      .field("c", "x")
      .key("d")
      .begin_array()
      .value(0.5F)
      .null()
      .begin_object()
      .end_object()
      .end_array()
      .null_field("e")
      .field("f", int64_t{-9223372036854775807})
      .end_object();
  EXPECT_EQ(out, R"({"a":1,"b":true,"c":"x","d":[0.5,null,{}],"e":null,"f":-9223372036854775807})");
}

TEST(JsonWriter, FloatsComeBackBitForBitAndNaNIsNull) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  for (int i = 0; i < 20'000; ++i) {
    const uint32_t bits = static_cast<uint32_t>(rng());
    float x = 0;
    std::memcpy(&x, &bits, sizeof(x));
    std::string out;
    JsonWriter(out).value(x);
    if (!std::isfinite(x)) {
      EXPECT_EQ(out, "null");
      continue;
    }
    const Json read = parse_json(out);
    EXPECT_TRUE(read.is_number_float()) << out;
    EXPECT_EQ(static_cast<float>(read.get<double>()), x) << out;
  }
  std::string out;
  JsonWriter(out).begin_array().value(std::nan("")).value(HUGE_VAL).value(1.0F).value(-0.0).end_array();
  EXPECT_EQ(out, "[null,null,1.0,-0.0]");
}

TEST(JsonWriter, StringsAreEscapedAndIllFormedUtf8IsReplaced) {
  const auto written = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  EXPECT_EQ(written("a\"\\\n\t\r\x01\x7f é 😀"), "\"a\\\"\\\\\\n\\t\\r\\u0001\x7f é 😀\"");
  EXPECT_EQ(written(std::string_view("\0", 1)), "\"\\u0000\"");
  // One U+FFFD for each maximal ill-formed part, as Python's errors="replace" has it.
  EXPECT_EQ(written("\xff\xe2\x82x\xf0\x9f\x98"), "\"\xef\xbf\xbd\xef\xbf\xbdx\xef\xbf\xbd\"");
  EXPECT_EQ(written("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(written("\xc0\xaf\xf4\x90\x80\x80").size(), 2 + 6 * 3U);
}

TEST(JsonWriter, RandomBytesBecomeValidJson) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  for (int i = 0; i < 5'000; ++i) {
    std::string bytes;
    for (unsigned n = rng() % 20; n > 0; --n)
      bytes += static_cast<char>(rng() % 4 == 0 ? rng() % 128 : 128 + rng() % 128);
    std::string out;
    append_json_string(out, bytes);
    EXPECT_NO_THROW(parse_json(out)) << out;
  }
}

}  // namespace
}  // namespace sgl
