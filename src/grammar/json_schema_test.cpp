#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "grammar/grammar.h"
#include "grammar/regex_syntax.h"

namespace sgl {
namespace {

bool matches(const std::string& schema, const std::string& text) {
  return Grammar({GrammarKind::JsonSchema, schema, {}}, nullptr).matches(text);
}

// The message of the refusal, or nothing.
std::string refusal(const std::string& schema) {
  try {
    Grammar g({GrammarKind::JsonSchema, schema, {}}, nullptr);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

TEST(JsonSchema, TheFormatRegexTakesRegularExpressionsOnly) {
  const Grammar format({GrammarKind::JsonSchema, R"({"format":"regex","type":"string"})", {}}, nullptr);
  const auto takes = [&](const std::string& text) { return format.matches(json_string(text)); };
  for (const char* good : {"",
                           "([abc])+\\s+$",
                           "^[a-zA-Z_][a-zA-Z0-9_]*$",
                           "^[\\w-.]+@([\\w-]+\\.)+[\\w-]{2,4}$",
                           "a{1,2}?",
                           "x{0}",
                           "x{7,}",
                           "^(?!foo)(?:bar|baz)(?=x)[^]$",
                           "((((x))))",
                           "[\\u4e00-\\u9fa5]+",
                           "[\\x00-\\x1F]",
                           "[а-яё]",
                           "[ -~]",
                           "a-b",
                           "[a-z-9]",
                           "\\p{L}+\\p{Script=Greek}",
                           "[+-]?\\d+(\\.\\d+)?",
                           "a|b|",
                           "(?<=a)b",
                           "[-a]",
                           "[a-]",
                           "\\u{1F600}"}) {
    EXPECT_TRUE(takes(good)) << good;
  }
  for (const char* bad : {"^(abc]",   "^\\S(|(.|\\n)*\\S)\\Z",
                          "[z-a]",    "a{2,1}",
                          "a{12,11}", "a{21,12}",
                          "\\a",      "**",
                          "(?=a)*",   "\\p{Foo}",
                          "x{,5}",    "[\\u0020-\\u0010]",
                          "a)",       "(a",
                          "[a",       "a{",
                          "\\",       "(?P<n>a)",
                          "\\x1",     "[\\d-z-a]"}) {
    EXPECT_FALSE(takes(bad)) << bad;
  }
  // What it takes, the parser of patterns takes, whatever it is made of.
  const char* pieces[] = {"a", "z",   "0",   "9",   "-",  "[", "[^",  "]",   "(",    "(?:",  "(?=", "(?<!",
                          ")", "*",   "+",   "?",   "{",  "}", ",",   "1",   "2",    ".",    "|",   "^",
                          "$", "\\d", "\\w", "\\b", "\\", "/", "\\-", "{2}", "\\x4", "\\u00"};
  std::mt19937 random(5);
  int taken = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string text;
    for (size_t n = 1 + random() % 9; n > 0; --n) text += pieces[random() % std::size(pieces)];
    if (!takes(text)) continue;
    ++taken;
    try {
      grammar::parse_regex(text, grammar::RegexDialect::Ecma);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Unsupported) << text << ": " << e.what();
    }
  }
  EXPECT_GT(taken, 100);
}

TEST(JsonSchema, LengthBoundsCountCharactersAndNotRepetitions) {
  const std::string hex = R"({"type":"string","pattern":"^([0-9a-f]{2})*$","maxLength":4})";
  EXPECT_TRUE(matches(hex, R"("abab")"));
  EXPECT_FALSE(matches(hex, R"("ababab")"));
  EXPECT_TRUE(matches(R"({"type":"string","pattern":"^([0-9a-f]{2})*$","minLength":2})", R"("ab")"));
  const std::string uneven = R"({"type":"string","pattern":"^(a|bc)*$","maxLength":2})";
  EXPECT_TRUE(matches(uneven, R"("bc")"));
  EXPECT_TRUE(matches(uneven, R"("aa")"));
  EXPECT_FALSE(matches(uneven, R"("bcbc")"));
  const std::string single = R"({"type":"string","pattern":"^[a-f]+$","minLength":2,"maxLength":3})";
  for (size_t n = 0; n < 6; ++n) EXPECT_EQ(matches(single, '"' + std::string(n, 'a') + '"'), n == 2 || n == 3) << n;
}

// Of kinds that cloud resources' schemas are full of.
TEST(JsonSchema, PatternsHoldBesideLengthsAndWithLookaround) {
  const std::string arn = R"({"minLength":20,"maxLength":2048,
      "pattern":"^arn:[a-z0-9-]+:vpc-lattice:[a-zA-Z0-9-]+:\\d{12}:servicenetwork/sn-[0-9a-z]{17}$"})";
  EXPECT_TRUE(matches(arn, R"("arn:aws:vpc-lattice:eu-west-1:123456789012:servicenetwork/sn-0123456789abcdefg")"));
  EXPECT_FALSE(matches(arn, R"("arn:aws:vpc-lattice:eu-west-1:12345678901:servicenetwork/sn-0123456789abcdefg")"));
  const std::string any = R"({"type":"string","pattern":".+","minLength":1,"maxLength":2048})";
  EXPECT_TRUE(matches(any, R"("\n\nx")"));
  EXPECT_FALSE(matches(any, R"("\n\n")"));
  EXPECT_FALSE(matches(any, '"' + std::string(2049, 'x') + '"'));
  const std::string far = R"({"type":"string","pattern":".*","minLength":1000,"maxLength":10000000})";
  EXPECT_TRUE(matches(far, '"' + std::string(1000, 'x') + '"'));
  EXPECT_FALSE(matches(far, '"' + std::string(999, 'x') + '"'));
  struct Case {
    const char* pattern;
    std::vector<const char*> good, bad;
  };
  const std::vector<Case> cases = {
      {"^(?!aws:)[a-z:]{1,128}$", {"a", "aws", "xaws:"}, {"aws:", "aws:x", ""}},
      {"^(?!aws:.*)", {"", "x", "a-Z"}, {"aws:", "aws:x"}},
      {"(?!^[0-9]+$)([a-z0-9]+)", {"a1", "1a", "12"}, {"1", "", "-"}},
      {"^(?=^[a-z-]+$).{1,4}$", {"a", "a-b"}, {"", "abcde", "a1"}},
      {"^[a-z](?!.*--)[a-z-]*$", {"a", "a-b-c"}, {"a--b", "-a"}},
      {"^[a-z.]*(?<!\\\\.)$", {"", "a", "a.b"}, {"a.", "."}},
      {"^(((?!-)[a-z-]{0,5}[a-z])\\\\.)+$", {"a.", "a-b.c."}, {"-a.", "a-.", "."}},
      {"^(?!-)[a-z-]*(?<!-)$", {"", "a", "a-b"}, {"-", "a-", "-a"}},
      {"^(?!x)a$|^(?!y)b$", {"a", "b"}, {"x", "y", "ab"}},
      {"^[a\\\\uD800\\\\uDBFF-\\\\uDC00\\\\uD83D\\\\uDE00]$", {"a", "\xF0\x9F\x98\x80"}, {"b", "\xEE\x80\x80"}},
      {"\\\\A[a-z]+\\\\Z", {"abc"}, {"Abc", "abc1", ""}}};
  for (const Case& c : cases) {
    const std::string schema = R"({"type":"string","pattern":")" + std::string(c.pattern) + "\"}";
    for (const char* text : c.good)
      EXPECT_TRUE(matches(schema, '"' + std::string(text) + '"')) << schema << " " << text;
    for (const char* text : c.bad)
      EXPECT_FALSE(matches(schema, '"' + std::string(text) + '"')) << schema << " " << text;
  }
  EXPECT_TRUE(holds(refusal(R"({"type":"string","pattern":"^((?!ab).)*$"})"), "lookahead inside of a repetition"));
  const std::string duration = R"({"type":"string","pattern":"^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?)"
                               R"((T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$"})";
  for (const char* text : {R"("P3W")", R"("P1Y2M")", R"("PT5M")", R"("P1DT0.5S")"})
    EXPECT_TRUE(matches(duration, text)) << text;
  for (const char* text : {R"("P")", R"("P1DT")", R"("P1YW")", R"("PT5")"})
    EXPECT_FALSE(matches(duration, text)) << text;
}

TEST(JsonSchema, UniqueItemsDifferInValue) {
  GrammarOptions spaced;
  spaced.compact = false;
  const Grammar any({GrammarKind::JsonSchema, R"({"type":"array","uniqueItems":true})", spaced}, nullptr);
  for (const char* text : {"[]", "[1]", "[1,2]", R"(["a","b","ab","ba"])", R"([1,"1",true,null,[1],{"a":1}])",
                           "[[1,2],[2,1]]", R"([{"a":1,"b":2},{"a":2,"b":1},{"a":1}])", "[ 1 , 10 , 100 ]"}) {
    EXPECT_TRUE(any.matches(text)) << text;
  }
  for (const char* text : {"[1,1]", "[1,2,1]", "[1,1.0]", "[10,1e1]", R"(["a","b","a"])", "[null,null]", "[[1],[1]]",
                           "[[1,{}],[1,{ }]]", R"([{"a":1,"b":2},{"b":2,"a":1}])",
                           R"([{"a":{"c":1,"d":"x","e":[]},"b":2},3,{"b":2.0,"a":{"e":[],"d":"\u0078","c":1}}])"}) {
    EXPECT_FALSE(any.matches(text)) << text;
  }
  EXPECT_FALSE(any.matches(R"(["x","\u0078"])"));
  EXPECT_FALSE(any.matches(R"(["\ud83d\ude00","😀"])"));
  const std::string words =
      R"({"type":"array","items":{"type":"string","pattern":"^[ab]{1,2}$"},"uniqueItems":true,"minItems":6})";
  EXPECT_TRUE(matches(words, R"(["a","b","aa","ab","ba","bb"])"));
  EXPECT_FALSE(matches(words, R"(["a","b","aa","ab","ba"])"));
  EXPECT_FALSE(matches(words, R"(["a","b","aa","ab","ba","a"])"));
  EXPECT_FALSE(matches(words, R"(["a","b","aa","ab","ba","bb","a"])"));
  EXPECT_TRUE(holds(
      refusal(R"({"type":"array","items":{"type":"string","pattern":"^[ab]{1,2}$"},"uniqueItems":true,"minItems":7})"),
      "no more than 6"));
  const std::string nested =
      R"({"$defs":{"n":{"type":"array","items":{"$ref":"#/$defs/n"},"uniqueItems":true}},"$ref":"#/$defs/n"})";
  EXPECT_TRUE(matches(nested, "[[],[[]],[[[]]]]"));
  EXPECT_FALSE(matches(nested, "[[],[[],[]]]"));
  EXPECT_FALSE(matches(nested, "[[[]],[],[[]]]"));
  const std::string some =
      R"({"type":"array","items":{"type":"integer","minimum":0,"maximum":30},"uniqueItems":true,"maxItems":3})";
  EXPECT_TRUE(matches(some, "[30,3,0]"));
  EXPECT_FALSE(matches(some, "[30,3,3.0]"));
  EXPECT_FALSE(matches(some, "[30,3,0,1]"));
}

TEST(JsonSchema, TagsThatAreSaidTwiceOrAreNoTextsAreTold) {
  for (const char* tags : {R"("a","a")", R"("a",["x"],["y"],"a")"}) {
    const std::string schema = std::string(R"({"oneOf":[{"type":"object","properties":{"k":{"enum":[)") + tags +
                               R"(]}},"required":["k"]},
                                 {"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]})";
    EXPECT_TRUE(matches(schema, R"({"k":"a"})")) << tags;
    EXPECT_TRUE(matches(schema, R"({"k":"b"})")) << tags;
    EXPECT_FALSE(matches(schema, R"({"k":"c"})")) << tags;
  }
}

TEST(JsonSchema, FlagsOfDraft4AreNoBoundsOfTheirOwn) {
  const std::string above = R"({"not":{"minimum":5,"exclusiveMinimum":true}})";
  EXPECT_FALSE(matches(above, "10"));
  EXPECT_TRUE(matches(above, "5"));
  const std::string one = R"({"oneOf":[{"type":"number","minimum":0,"exclusiveMinimum":true},
                                       {"type":"number","maximum":10}]})";
  EXPECT_FALSE(matches(one, "5"));
  EXPECT_TRUE(matches(one, "11"));
  EXPECT_TRUE(matches(one, "0"));
  const std::string when = R"({"type":"object","if":{"properties":{"n":{"type":"number","minimum":5,
      "exclusiveMinimum":true}},"required":["n"]},"then":{"required":["big"]}})";
  EXPECT_FALSE(matches(when, R"({"n":10})"));
  EXPECT_TRUE(matches(when, R"({"n":5})"));
}

TEST(JsonSchema, WhatDraft3AloneHasIsRefused) {
  for (const char* keyword :
       {R"("divisibleBy":2)", R"("disallow":"integer")", R"("extends":{"minimum":5})", R"("required":true)"}) {
    const std::string schema =
        std::string(R"({"$schema":"http://json-schema.org/draft-03/schema#","properties":{"a":{)") + keyword + "}}}";
    EXPECT_TRUE(holds(refusal(schema), "at #/properties/a/")) << keyword << ": " << refusal(schema);
  }
}

TEST(JsonSchema, ValuesOfAListAreHeldAgainstUnevaluatedItems) {
  EXPECT_FALSE(matches(R"({"const":[1],"unevaluatedItems":false})", "[1]"));
  EXPECT_TRUE(matches(R"({"enum":[[1],["a"]],"unevaluatedItems":{"type":"string"}})", R"(["a"])"));
  EXPECT_FALSE(matches(R"({"enum":[[1],["a"]],"unevaluatedItems":{"type":"string"}})", "[1]"));
}

TEST(JsonSchema, IdentifiersAreThoseOfTheDraft) {
  const std::string named = R"("properties":{"q":{"type":"string"},"a":{"id":"x","$id":"y","properties":{
      "q":{"type":"integer"},"b":{"$ref":"#/properties/q"}}}}})";
  EXPECT_TRUE(matches("{" + named, R"({"a":{"b":1}})"));
  EXPECT_FALSE(matches("{" + named, R"({"a":{"b":"s"}})"));
  const std::string plain = R"({"properties":{"q":{"type":"string"},"a":{"id":"x","properties":{
      "q":{"type":"integer"},"b":{"$ref":"#/properties/q"}}}}})";
  EXPECT_TRUE(matches(plain, R"({"a":{"b":"s"}})"));
  EXPECT_FALSE(matches(plain, R"({"a":{"b":1}})"));
  const std::string old =
      R"({"$schema":"http://json-schema.org/draft-04/schema#","id":"http://x/root.json","properties":{
      "a":{"$ref":"item.json"},"b":{"$ref":"#mark"}},"definitions":{"i":{"id":"item.json","type":"null"},
      "m":{"id":"#mark","type":"boolean"},"z":{"$id":"other.json","properties":{"c":{"$ref":"#mark"}}}}})";
  EXPECT_TRUE(matches(old, R"({"a":null,"b":true})"));
  EXPECT_FALSE(matches(old, R"({"a":1})"));
  EXPECT_FALSE(matches(old, R"({"b":1})"));
}

TEST(JsonSchema, TheTextSaysWhatAnIntegerIsInOldDrafts) {
  GrammarOptions spaced;
  spaced.compact = false;
  spaced.plain_integers = false;
  auto takes = [&](const std::string& draft, const std::string& keywords, const std::string& text) {
    const std::string schema = R"({"$schema":"http://json-schema.org/)" + draft + R"(/schema#",)" + keywords + "}";
    return Grammar({GrammarKind::JsonSchema, schema, spaced}, nullptr).matches(text);
  };
  for (const char* text : {"5.0", "5e0", "50e-1"}) {
    EXPECT_FALSE(takes("draft-04", R"("type":"integer")", text)) << text;
    EXPECT_FALSE(takes("draft-03", R"("type":"integer","minimum":1)", text)) << text;
    EXPECT_FALSE(takes("draft-04", R"("type":"integer","enum":[5.0])", text)) << text;
  }
  EXPECT_TRUE(takes("draft-04", R"("type":"integer")", "5"));
  EXPECT_TRUE(takes("draft-04", R"("type":"integer","enum":[5.0])", "5"));
  EXPECT_TRUE(takes("draft-04", R"("type":"number")", "5.0"));
  EXPECT_TRUE(takes("draft-04", R"("type":"number","not":{"type":"integer"})", "5.0"));
  EXPECT_FALSE(takes("draft-04", R"("type":"number","not":{"type":"integer"})", "5"));
  EXPECT_TRUE(takes("draft-06", R"("type":"integer")", "5.0"));
  EXPECT_FALSE(takes("draft-06", R"("type":"number","not":{"type":"integer"})", "5.0"));
}

TEST(JsonSchema, DialectsThatCannotSwitchKeywordsOffAreTaken) {
  auto of = [](const std::string& uri) { return R"({"$schema":")" + uri + R"(","type":"null"})"; };
  for (const char* uri : {"http://iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0#",
                          "https://json.schemastore.org/package", "https://mirror.example/draft-07/schema",
                          "https://json-schema.org/draft/2020-12/schema"}) {
    EXPECT_TRUE(matches(of(uri), "null")) << uri;
    EXPECT_FALSE(matches(of(uri), "1")) << uri;
  }
  EXPECT_TRUE(holds(refusal(of("http://localhost:1234/draft2020-12/metaschema-no-validation.json")), "$schema at #"));
  const std::string beside = R"({"$schema":"https://mirror.example/draft-07/schema","properties":{"a":{
      "$ref":"#/definitions/s","minLength":2}},"definitions":{"s":{"type":"string"}}})";
  EXPECT_TRUE(matches(beside, R"({"a":""})"));
}

TEST(JsonSchema, MembersOfSeveralSchemasComeInEachOnesOrder) {
  const std::string defs = R"("$defs":{"b":{"type":"object","properties":{"kind":{"type":"string"},
      "name":{"type":"string"}},"required":["kind","name"]}}})";
  const std::string derived = R"({"properties":{"size":{"type":"integer"},"kind":{"const":"c"}},"required":["size"]})";
  for (const std::string& schema : {R"({"allOf":[{"$ref":"#/$defs/b"},)" + derived + "]," + defs,
                                    R"({"allOf":[)" + derived + R"(,{"$ref":"#/$defs/b"}],)" + defs,
                                    R"({"$ref":"#/$defs/b",)" + derived.substr(1, derived.size() - 2) + "," + defs}) {
    EXPECT_TRUE(matches(schema, R"({"kind":"c","name":"n","size":1})")) << schema;
    EXPECT_TRUE(matches(schema, R"({"size":1,"kind":"c","name":"n"})")) << schema;
    EXPECT_FALSE(matches(schema, R"({"kind":"d","name":"n","size":1})")) << schema;
    EXPECT_FALSE(matches(schema, R"({"kind":"c","name":"n","size":1,"kind":"c"})")) << schema;
  }
  // One that only narrows what others name changes no order.
  const std::string narrowed = R"({"properties":{"a":{},"kind":{},"b":{}},"required":["a","kind","b"],
      "additionalProperties":false,"oneOf":[{"properties":{"kind":{"const":1}}},{"properties":{"kind":{"const":2}}}]})";
  EXPECT_TRUE(matches(narrowed, R"({"a":1,"kind":2,"b":1})"));
  EXPECT_FALSE(matches(narrowed, R"({"kind":2,"a":1,"b":1})"));
}

TEST(JsonSchema, CasesThatContradictOrSayNothingNewAreNoCases) {
  std::string tags = R"({"type":"object","properties":{"t":{"enum":["v0")";
  for (int i = 1; i < 30; ++i) tags += ",\"v" + std::to_string(i) + "\"";
  tags += R"(]}},"required":["t"],"allOf":[{})";
  for (int i = 0; i < 29; ++i) {
    tags += R"(,{"if":{"properties":{"t":{"const":"v)" + std::to_string(i) + R"("}}},"then":{"required":["b)" +
            std::to_string(i) + R"("]}})";
  }
  tags += "]}";
  EXPECT_TRUE(matches(tags, R"({"t":"v3","b3":1})"));
  EXPECT_FALSE(matches(tags, R"({"t":"v3","b4":1})"));
  EXPECT_TRUE(matches(tags, R"({"t":"v29"})"));

  std::string optional = R"({"type":"object","oneOf":[)", disjoint = optional;
  for (int i = 0; i < 10; ++i) {
    const std::string n = std::to_string(i);
    optional += std::string(i == 0 ? "" : ",") + R"({"properties":{"t":{"const":"v)" + n + R"("},"p)" + n +
                R"(":{"type":"string"}}})";
    if (i < 6) {
      disjoint += std::string(i == 0 ? "" : ",") + R"({"properties":{"p)" + n + R"(":{"type":"string"},"q)" + n +
                  R"(":{"type":"integer"}},"required":["p)" + n + R"(","q)" + n + R"("]})";
    }
  }
  optional += "]}";
  EXPECT_TRUE(matches(optional, R"({"t":"v3","p3":"s"})"));
  EXPECT_FALSE(matches(optional, R"({"t":"v3","p3":1})"));
  EXPECT_FALSE(matches(optional, R"({"p3":"s"})"));
  disjoint += "]}";
  EXPECT_TRUE(matches(disjoint, R"({"p3":"s","q3":1})"));
  EXPECT_TRUE(matches(disjoint, R"({"p3":"s","q3":1,"p4":"s"})"));
  EXPECT_TRUE(matches(disjoint, R"({"p3":"s","q3":1,"p4":1,"q4":1})"));
  EXPECT_FALSE(matches(disjoint, R"({"p3":"s","q3":1,"p4":"s","q4":1})"));
  EXPECT_FALSE(matches(disjoint, R"({"p3":"s"})"));
}

TEST(JsonSchema, AlternativesThatAreValuesExcludeEachOther) {
  std::string schema = R"({"oneOf":[{"const":"x"},{"enum":[1,"1",true]},{"const":1.0},{"const":"y"},{"const":null})";
  for (int i = 0; i < 2000; ++i) schema += R"(,{"const":"x)" + std::to_string(i) + "\"}";
  schema += "]}";
  for (const char* text : {R"("x")", R"("x1999")", R"("1")", "true", "null"})
    EXPECT_TRUE(matches(schema, text)) << text;
  for (const char* text : {"1", "false", R"("x2000")", "[]"}) EXPECT_FALSE(matches(schema, text)) << text;
}

TEST(JsonSchema, ItemsAndOtherMembersCanBeNegated) {
  struct Case {
    const char* schema;
    std::vector<const char*> good, bad;
  };
  const std::vector<Case> cases = {
      {R"({"not":{"items":{"type":"integer"}}})", {R"([1,"a"])", R"(["a"])"}, {"[]", "[1]", "1", "{}"}},
      {R"({"type":"array","not":{"items":false}})", {"[1]", "[1,2]"}, {"[]"}},
      {R"({"type":"array","not":{"contains":{"type":"integer"}}})", {"[]", R"(["a",null])"}, {"[1]", R"(["a",1])"}},
      {R"({"type":"array","not":{"contains":{"const":1},"minContains":2,"maxContains":3}})",
       {"[]", "[1]", "[1,1,1,1]", "[0,1,0]"},
       {"[1,1]", "[1,0,1,1]"}},
      {R"({"prefixItems":[{"type":"null"}],"not":{"contains":{"type":"integer"}},"type":"array"})",
       {"[]", R"([null,"a"])"},
       {"[null,1]", "[1]"}},
      {R"({"oneOf":[{"type":"array","items":{"type":"integer"}},{"type":"array","items":{"type":"string"}}]})",
       {"[1,2]", R"(["a"])"},
       {"[]", R"([1,"a"])", "[null]"}},
      {R"({"oneOf":[{"type":"array","items":{"type":"integer"},"minItems":1},
                    {"type":"array","items":{"type":"string"},"minItems":1}]})",
       {"[1,2]", R"(["a"])"},
       {"[]", R"([1,"a"])"}},
      {R"({"not":{"properties":{"a":{},"b":{}},"additionalProperties":false}})",
       {R"({"a":1,"c":1})", R"({"c":1,"a":1,"d":2})", R"({"c":1})"},
       {"{}", R"({"a":1,"b":2})", R"({"b":1})", "[]"}},
      {R"({"properties":{"a":{},"c":{}},"additionalProperties":false,"not":{"properties":{"a":{}},
          "additionalProperties":false}})",
       {R"({"a":1,"c":1})", R"({"c":1})"},
       {"{}", R"({"a":1})", R"({"d":1})"}},
      {R"({"type":"object","maxProperties":2,"not":{"properties":{"a":{}},"additionalProperties":false}})",
       {R"({"a":1,"c":1})", R"({"c":1,"d":1})"},
       {"{}", R"({"a":1})", R"({"a":1,"b":1,"c":1})"}},
      {R"({"type":"object","oneOf":[{"properties":{"a":{"type":"integer"}},"additionalProperties":false},
                                    {"properties":{"a":{},"b":{}},"required":["a"]}]})",
       {R"({"a":"s"})", "{}", R"({"a":1,"b":2})", R"({"a":1,"z":2})"},
       {R"({"a":1})", R"({"b":1})"}},
      {R"({"type":"object","not":{"additionalProperties":{"type":"integer"}}})",
       {R"({"a":"s"})", R"({"a":1,"b":null})", R"({"a":1,"b":"s","c":[]})"},
       {"{}", R"({"a":1})", R"({"a":"s","a":1})", "[]"}},
      {R"({"type":"object","not":{"required":["a"],"additionalProperties":{"type":"integer"}}})",
       {R"({"a":"s","b":1})", R"({"b":1,"a":"s"})", R"({"b":"s","a":1})", R"({"b":1})", "{}"},
       {R"({"a":1})", R"({"a":1,"b":2})"}},
      // Too many names for places of their own: the others come before the one that breaks it.
      {R"({"type":"object","not":{"required":["a","b","c","d","e","f","g","h"],"additionalProperties":{"type":"integer"}}})",
       {R"({"h":1,"g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":"s"})",
        R"({"h":"s","g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":"s"})",
        R"({"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":"s"})"},
       {R"({"h":1,"g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":1})"}},
      {R"({"type":"object","not":{"required":["a","b","c","d","e","f","g","h"],"additionalProperties":false}})",
       {R"({"h":1,"g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":1})"},
       {}},
      {R"({"type":"object","properties":{"b":{}},"not":{"properties":{"a":{}},"additionalProperties":{"type":"integer"}}})",
       {R"({"b":"s","c":1})", R"({"b":1,"c":"s"})"},
       {"{}", R"({"b":1})", R"({"a":"s"})", R"({"a":"s","b":1,"c":2})"}},
      {R"({"oneOf":[{"type":"object","additionalProperties":{"type":"integer"}},
                    {"type":"object","properties":{"kind":{"type":"string"}},"required":["kind"]}]})",
       {"{}", R"({"a":1})", R"({"kind":"s","a":1})", R"({"kind":"s"})", R"({"kind":1})"},
       {R"({"a":"s"})", R"({"kind":1,"a":"s"})"}},
      {R"({"type":"object","not":{"anyOf":[{"properties":{"a":{}},"additionalProperties":false},
                                           {"properties":{"b":{}},"additionalProperties":false},
                                           {"properties":{"c":{}},"additionalProperties":false}]}})",
       {R"({"a":1,"b":2})", R"({"d":1})", R"({"a":1,"d":1})"},
       {"{}", R"({"a":1})", R"({"b":1})", R"({"c":1})"}}};
  for (const Case& c : cases) {
    for (const char* text : c.good) EXPECT_TRUE(matches(c.schema, text)) << c.schema << " " << text;
    for (const char* text : c.bad) EXPECT_FALSE(matches(c.schema, text)) << c.schema << " " << text;
  }
  EXPECT_TRUE(holds(refusal(R"({"not":{"patternProperties":{"a":{"type":"null"}}}})"), "patternProperties at #/not"));
}

TEST(JsonSchema, UnevaluatedMembersAreThoseOfNoSchemaThatHolds) {
  const std::string base = R"("$defs":{"b":{"type":"object","properties":{"a":{"type":"integer"}}}},)";
  const std::string ref = "{" + base + R"("$ref":"#/$defs/b","properties":{"c":{}},"unevaluatedProperties":false})";
  EXPECT_TRUE(matches(ref, R"({"a":1,"c":2})"));
  EXPECT_FALSE(matches(ref, R"({"a":"s"})"));
  EXPECT_FALSE(matches(ref, R"({"a":1,"d":2})"));
  const std::string one = R"({"type":"object","oneOf":[{"properties":{"t":{"const":1},"x":{}},"required":["t"]},
      {"properties":{"t":{"const":2},"y":{}},"required":["t"]}],"unevaluatedProperties":{"type":"null"}})";
  EXPECT_TRUE(matches(one, R"({"t":1,"x":1})"));
  EXPECT_TRUE(matches(one, R"({"t":1,"x":1,"y":null})"));
  EXPECT_FALSE(matches(one, R"({"t":1,"y":1})"));
  EXPECT_TRUE(matches(one, R"({"t":2,"y":1})"));
  const std::string any = R"({"type":"object","anyOf":[{"properties":{"x":{"type":"integer"}}},
      {"properties":{"y":{"type":"integer"}},"required":["y"]}],"unevaluatedProperties":false})";
  EXPECT_TRUE(matches(any, R"({"x":1,"y":1})"));
  EXPECT_TRUE(matches(any, R"({"x":1})"));
  EXPECT_FALSE(matches(any, R"({"x":1,"y":"s"})"));
  EXPECT_FALSE(matches(any, R"({"x":1,"z":1})"));
  const std::string when = R"({"type":"object","if":{"properties":{"k":{"const":1}},"required":["k"]},
      "then":{"patternProperties":{"^x":{}}},"else":{"properties":{"z":{}}},"unevaluatedProperties":false})";
  EXPECT_TRUE(matches(when, R"({"k":1,"xx":2})"));
  EXPECT_FALSE(matches(when, R"({"k":1,"z":2})"));
  EXPECT_TRUE(matches(when, R"({"z":2})"));
  EXPECT_FALSE(matches(when, R"({"k":2,"z":2})"));
  // What a not looks at is not evaluated.
  EXPECT_FALSE(matches(R"({"type":"object","not":{"not":{"properties":{"a":{}}}},"$ref":"#/$defs/t",
      "unevaluatedProperties":false,"$defs":{"t":{}}})",
                       R"({"a":1})"));
  // Values that are listed are asked, too.
  EXPECT_FALSE(
      matches(R"({"enum":[{"d":1}],"$ref":"#/$defs/b",)" + base + R"("unevaluatedProperties":false})", R"({"d":1})"));
}

TEST(JsonSchema, ReferencesMayHaveDotSegments) {
  const std::string schema = R"({"$id":"http://x/a/root.json","properties":{"p":{"$ref":"./item.json"},
      "q":{"$ref":"../a/./item.json"},"r":{"$ref":"../../../top.json#/x/../y"}},"$defs":{"i":{"$id":"item.json",
      "type":"null"},"t":{"$id":"/top.json","x":{"..":{"y":{"type":"boolean"}}}}}})";
  EXPECT_TRUE(matches(schema, R"({"p":null,"q":null,"r":true})"));
  for (const char* text : {R"({"p":1})", R"({"q":1})", R"({"r":1})"}) EXPECT_FALSE(matches(schema, text)) << text;
}

TEST(JsonSchema, AByteOrderMarkBeforeTheTextIsNoPartOfIt) {
  EXPECT_TRUE(matches("\xEF\xBB\xBF{\"type\":\"null\"}", "null"));
}

TEST(JsonSchema, LongNamesAreRefusedWhereOthersMayStandBesideThem) {
  const std::string name(30000, 'a');
  EXPECT_TRUE(holds(refusal(R"({"properties":{")" + name + R"(":{}}})"), "properties at #/properties"));
  EXPECT_TRUE(holds(refusal(R"({"required":[")" + name + R"("]})"), "required at #/required"));
  EXPECT_TRUE(matches(R"({"type":"object","properties":{")" + name + R"(":{}},"additionalProperties":false})",
                      "{\"" + name + "\":1}"));
  const std::string shorter(1000, 'a');
  const std::string open = R"({"type":"object","properties":{")" + shorter + R"(":{"type":"null"}}})";
  EXPECT_FALSE(matches(open, "{\"" + shorter + "\":1}"));
  EXPECT_TRUE(matches(open, "{\"" + shorter + "a\":1}"));
  EXPECT_LT(refusal(R"({"properties":{")" + name + R"(":{"type":"strin"}}})").size(), 500U);
}

TEST(JsonSchema, DivisorsAndNumbersOfManyDigitsAreRefused) {
  EXPECT_TRUE(holds(refusal(R"({"multipleOf":3.00000001})"), "multipleOf at #/multipleOf"));
  EXPECT_FALSE(refusal(R"({"minimum":0.)" + std::string(100000, '1') + "}").empty());
}

TEST(JsonSchema, ManyWaysToTheSameSchemaAreCheckedOnce) {
  std::string schema = R"({"const":{"a":1},"properties":{"a":{"$ref":"#/$defs/d0"}},"$defs":{)";
  for (int i = 0; i < 30; ++i) {
    const std::string next = R"({"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}";
    schema += "\"d" + std::to_string(i) + R"(":{"anyOf":[)" + next + "," + next + "]},";
  }
  EXPECT_FALSE(matches(schema + R"("d30":false}})", R"({"a":1})"));
  EXPECT_TRUE(matches(schema + R"("d30":{"minimum":1}}})", R"({"a":1})"));
}

TEST(JsonSchema, WorkIsBounded) {
  // On each level b asks for one schema more of all that lies below: 2^20 different sets of schemas.
  std::string schema = R"({"$ref":"#/$defs/n0","$defs":{"n20":{})";
  for (int i = 0; i < 20; ++i) {
    const std::string level = std::to_string(i), next = R"({"$ref":"#/$defs/n)" + std::to_string(i + 1) + "\"}";
    const std::string more = R"({"$ref":"#/$defs/m)" + level + "\"}";
    schema += ",\"m" + level + R"(":{"properties":{"a":)" + more + R"(,"b":)" + more + "}},\"n" + level +
              R"(":{"type":"object","properties":{"a":)" + next + R"(,"b":{"allOf":[)" + next + "," + more + "]}}}";
  }
  std::string why = refusal(schema + "}}");
  EXPECT_TRUE(holds(why, "steps to compile")) << why;
}

TEST(JsonSchema, LargeObjectsAndRepeatedNamesAreReadInNoTime) {
  std::string schema = R"({"type":"object","additionalProperties":false,"properties":{)", required;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "\"p" + std::to_string(i * 7919 % 3000) + "\"";
    schema += name + R"(:{"type":"string"},)" + name + (i < 2999 ? R"(:{"type":"null"},)" : R"(:{"type":"null"}})");
    required += (i > 0 ? "," : "") + name;
  }
  schema += R"(,"required":[)" + required + "]}";
  std::string text = "{";
  for (int i = 0; i < 3000; ++i) text += (i > 0 ? ",\"p" : "\"p") + std::to_string(i * 7919 % 3000) + "\":null";
  EXPECT_TRUE(matches(schema, text + "}"));
  text.replace(text.rfind("null"), 4, "\"\"");
  EXPECT_FALSE(matches(schema, text + "}"));
}

TEST(JsonSchema, PlainIntegersAreDigitsAlone) {
  auto plain = [](const std::string& schema, const std::string& text) {
    return Grammar({GrammarKind::JsonSchema, schema, {.plain_integers = true}}, nullptr).matches(text);
  };
  for (const char* schema :
       {R"({"type":"integer"})", R"({"type":"integer","minimum":-20,"maximum":2000})", R"({"enum":[12,-3,0]})",
        R"({"type":"integer","multipleOf":3})", R"({"type":"integer","not":{"const":7}})"}) {
    for (const char* text : {"12", "-3", "0"}) EXPECT_TRUE(plain(schema, text)) << schema << " " << text;
    for (const char* text : {"12.0", "12.", "1.2e1", "12e0", "1e1", "0.0", "-3.00"}) {
      EXPECT_FALSE(plain(schema, text)) << schema << " " << text;
    }
  }
  EXPECT_TRUE(plain(R"({"type":"number"})", "12.0"));
  EXPECT_TRUE(plain(R"({"enum":[1.5]})", "1.50"));
  EXPECT_TRUE(plain("true", "[1.0,1e1]"));
}

// A number in all its spellings: never one that the schema does not allow, and each that programs write.
TEST(JsonSchema, SpellingsOfNumbersAreNeitherLooserNorNarrower) {
  constexpr int64_t kOne = 100'000'000;  // values are counted in units of 10^-8
  struct Case {
    std::string schema;
    std::function<bool(int64_t)> fits;
  };
  auto multiple = [](int64_t divisor) { return [=](int64_t v) { return v % divisor == 0; }; };
  auto other_than = [](int64_t value) { return [=](int64_t v) { return v != value; }; };
  const std::vector<Case> cases = {
      {R"({"type":"integer"})", multiple(kOne)},
      {R"({"type":"integer","minimum":0,"maximum":5000})",
       [](int64_t v) { return v % kOne == 0 && v >= 0 && v <= 5000 * kOne; }},
      {R"({"type":"integer","minimum":0,"not":{"multipleOf":1000}})",
       [](int64_t v) { return v >= 0 && v % kOne == 0 && v % (1000 * kOne) != 0; }},
      {R"({"type":"number","not":{"const":2}})", other_than(2 * kOne)},
      {R"({"type":"number","not":{"enum":[150,-5]}})", [](int64_t v) { return v != 150 * kOne && v != -5 * kOne; }},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", [](int64_t v) { return v % kOne != 0; }},
      {R"({"type":"number","if":{"const":5},"then":false})", other_than(5 * kOne)},
      {R"({"type":"number","multipleOf":0.01})", multiple(kOne / 100)},
      {R"({"type":"number","multipleOf":0.00001})", multiple(kOne / 100000)},
      {R"({"type":"number","multipleOf":0.25})", multiple(kOne / 4)},
      {R"({"type":"integer","multipleOf":1000})", multiple(1000 * kOne)},
      {R"({"type":"number","not":{"multipleOf":0.5}})", [](int64_t v) { return v % (kOne / 2) != 0; }},
      {R"({"type":"number","not":{"multipleOf":0.375}})", [](int64_t v) { return v % (kOne * 3 / 8) != 0; }},
  };
  struct Spelling {
    std::string text;
    int64_t value;
    bool usual;  // without an exponent, or with one that follows a digit or a digit and the fraction
  };
  std::vector<Spelling> spellings;
  for (const char* sign : {"", "-"}) {
    for (const char* mantissa :
         {"0", "1", "2", "5", "10", "15", "20", "150", "1000", "5000", "0.5", "0.0", "1.5", "2.50", "3.75", "1.25"}) {
      for (const char* exponent : {"", "e0", "e1", "e-1", "E2", "e+3", "e-05", "e-2", "e-02"}) {
        std::string m = mantissa, digits;
        int scale = 8 + (*exponent != '\0' ? std::atoi(exponent + 1) : 0);
        size_t point = m.find('.');
        for (char c : m) digits += c != '.' ? std::string(1, c) : "";
        if (point != std::string::npos) scale -= static_cast<int>(m.size() - point - 1);
        int64_t value = std::atoll(digits.c_str());
        for (int i = 0; i < scale; ++i) value *= 10;
        bool one_digit = (m.size() == 1 || point == 1) && (m[0] != '0' || value == 0);
        spellings.push_back({sign + m + exponent, *sign != '\0' ? -value : value, *exponent == '\0' || one_digit});
      }
    }
  }
  for (const Case& c : cases) {
    Grammar g({GrammarKind::JsonSchema, c.schema, {}}, nullptr);
    // Of these a fraction with an exponent is refused in every spelling.
    bool round_only = holds(c.schema, "1000") || holds(c.schema, "0.375") || holds(c.schema, "5000");
    for (const Spelling& s : spellings) {
      bool taken = g.matches(s.text), fits = c.fits(s.value);
      EXPECT_TRUE(fits || !taken) << c.schema << " accepts " << s.text;
      bool exponent = s.text.find_first_of("eE") != std::string::npos;
      if (!s.usual || (round_only && exponent)) continue;
      EXPECT_EQ(taken, fits) << c.schema << " on " << s.text;
    }
  }
  EXPECT_TRUE(matches(R"({"type":"integer","multipleOf":1000})", "5e3"));
}

TEST(JsonSchema, OneOfTellsManyAlternativesApartByAMember) {
  std::string list;
  for (int i = 0; i < 300; ++i) {
    list += (i > 0 ? "," : "") + std::string(R"({"type":"object","properties":{"kind":{"const":"k)") +
            std::to_string(i) + R"("},"v":{"type":"integer","maximum":)" + std::to_string(i) +
            R"(}},"required":["kind"]})";
  }
  const std::string schema = R"({"oneOf":[)" + list + "]}";
  EXPECT_TRUE(matches(schema, R"({"kind":"k250","v":250})"));
  EXPECT_FALSE(matches(schema, R"({"kind":"k250","v":251})"));
  // The last two overlap where both allow the value.
  const std::string twice =
      R"({"oneOf":[)" + list + R"(,{"type":"object","properties":{"kind":{"const":"k7"}},"required":["kind","w"]}]})";
  EXPECT_TRUE(matches(twice, R"({"kind":"k7","v":1})"));
  EXPECT_FALSE(matches(twice, R"({"kind":"k7","v":1,"w":1})"));
  EXPECT_TRUE(matches(twice, R"({"kind":"k7","v":8,"w":1})"));
}

TEST(JsonSchema, RepeatedNamesDoNotReachMinProperties) {
  EXPECT_TRUE(holds(refusal(R"({"type":"object","minProperties":2})"), "minProperties at #/minProperties"));
  EXPECT_TRUE(matches(R"({"type":"object","minProperties":1})", R"({"a":1})"));
  const std::string one_more = R"({"type":"object","properties":{"a":{}},"required":["a"],"minProperties":2})";
  EXPECT_FALSE(matches(one_more, R"({"a":1})"));
  EXPECT_TRUE(matches(one_more, R"({"a":1,"b":2})"));
  const std::string listed = R"({"type":"object","propertyNames":{"enum":["a","b","c"]},"minProperties":2})";
  EXPECT_TRUE(matches(listed, R"({"c":1,"a":2})"));
  EXPECT_FALSE(matches(listed, R"({"a":1,"a":2})"));
  EXPECT_FALSE(matches(listed, R"({"a":1,"d":2})"));
}

TEST(JsonSchema, LimitsNameTheKeywordAndItsPlace) {
  std::string many = R"({"properties":{"x":{"properties":{)";
  for (int i = 0; i < 4001; ++i) many += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + "\":{}";
  EXPECT_TRUE(holds(refusal(many + "}}}}"), "properties at #/properties/x/properties"));
  EXPECT_TRUE(holds(refusal(R"({"$ref":"#"})"), "$ref at #/$ref"));
  EXPECT_TRUE(holds(refusal(R"({"properties":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/properties/a"}]}}})"),
                    "$ref at #/properties/a/anyOf/1/$ref"));
  EXPECT_TRUE(matches(R"({"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#"}}]})", "[[null]]"));
}

}  // namespace
}  // namespace sgl
