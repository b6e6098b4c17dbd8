// Structural tags for calls of tools: what the grammar lets through is what the parser reads. The two meet only here,
// above both folders.

#include "server/tool_constraint.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "grammar/grammar.h"
#include "server/answer_parser.h"
#include "server/structural_tags.h"

namespace sgl {
namespace {

using Calls = ToolConstraint::Calls;

Tool tool(const std::string& name, const std::string& schema, bool strict) {
  return {name, "", schema.empty() ? Json() : Json::parse(schema), strict};
}

const std::vector<Tool>& tools() {
  static const std::vector<Tool> kTools = {
      tool(
          "weather",
          R"({"type":"object","properties":{"units":{"enum":["C","F"]},"city":{"type":"string"},"days":{"$ref":"#/$defs/n"}},
               "required":["city"],"$defs":{"n":{"type":"integer","minimum":-99,"maximum":99}}})",
          true),
      tool("time", "", false)};
  return kTools;
}

struct Case {
  const char* format;
  const char* before;  ///< the calls of all texts
  const char* weather[3];
  const char* separator;
  const char* time;
  const char* after;
};
const Case kCases[] = {
    {"hermes",
     "",
     {"<tool_call>\n{\"name\": \"weather\", \"arguments\": "
      "{\"units\":\"C\",\"city\":\"Paris\",\"days\":3}}\n</tool_call>",
      "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\":\"\"}}\n</tool_call>",
      "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"units\":\"C\"}}\n</tool_call>"},
     "\n",
     "<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
     ""},
    {"llama3",
     "",
     {R"({"name": "weather", "parameters": {"units":"C","city":"Paris","days":3}})",
      R"({"name": "weather", "parameters": {"city":""}})", R"({"name": "weather", "parameters": {"units":"C"}})"},
     "; ",
     R"({"name": "time", "parameters": {}})",
     ""},
    {"mistral",
     "[TOOL_CALLS] [",
     {R"({"name": "weather", "arguments": {"units":"C","city":"Paris","days":3}})",
      R"({"name": "weather", "arguments": {"city":""}})", R"({"name": "weather", "arguments": {"units":"C"}})"},
     ", ",
     R"({"name": "time", "arguments": {}})",
     "]"},
    {"deepseekv3",
     "<｜tool▁calls▁begin｜>",
     {"<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"units\":\"C\",\"city\":\"Paris\",\"days\":3}\n``"
      "`<｜tool▁call▁end｜>",
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\":\"\"}\n```<｜tool▁call▁end｜>",
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"units\":\"C\"}\n```<｜tool▁call▁end｜>"},
     "\n",
     "<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜>",
     "<｜tool▁calls▁end｜>"},
    {"qwen3_coder",
     "",
     {"<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=units>\nC\n</parameter>\n"
      "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=weather>\n<parameter=city>\n\n</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=weather>\n<parameter=units>\nC\n</parameter>\n</function>\n</tool_call>"},
     "\n",
     "<tool_call>\n<function=time>\n</function>\n</tool_call>",
     ""},
    {"pythonic",
     "[",
     {R"(weather(city="Paris", units="C", days=3))", R"(weather(city=""))", R"(weather(units="C"))"},
     ", ",
     "time()",
     "]"},
};

Grammar compile(const std::string& tag) { return Grammar({GrammarKind::StructuralTag, tag}, nullptr); }

TEST(ToolConstraint, RequiredCallsAreWrittenAsTheParserReadsThem) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.format);
    const ToolFormat& format = *find_tool_format(c.format);
    const auto text = [&](const std::string& calls) { return c.before + calls + c.after; };
    const std::string weather = c.weather[0], time = c.time, two = weather + c.separator + time;

    const Grammar some = compile(tool_structural_tag(format, tools(), {Calls::Some, true}, "", nullptr));
    EXPECT_TRUE(some.matches(text(weather)));
    EXPECT_TRUE(some.matches(text(c.weather[1])));
    EXPECT_TRUE(some.matches(text(time)));
    EXPECT_TRUE(some.matches(text(two)));
    EXPECT_FALSE(some.matches(text(c.weather[2]))) << "a required argument lacks";
    EXPECT_FALSE(some.matches(""));
    EXPECT_FALSE(some.matches("Hello"));
    EXPECT_FALSE(some.matches(text(two) + " Hello"));

    EXPECT_FALSE(compile(tool_structural_tag(format, tools(), {Calls::Some, false}, "", nullptr)).matches(text(two)));
    const Grammar one = compile(tool_structural_tag(format, {tools()[1]}, {Calls::One, true}, "", nullptr));
    EXPECT_TRUE(one.matches(text(time)));
    EXPECT_FALSE(one.matches(text(weather)));
    EXPECT_FALSE(one.matches(text(time + c.separator + time)));
  }
}

TEST(ToolConstraint, StrictCallsInFreeTextFollowTheirSchema) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.format);
    const ToolFormat& format = *find_tool_format(c.format);
    const auto text = [&](const std::string& calls) { return c.before + calls + c.after; };
    const Grammar free = compile(tool_structural_tag(format, tools(), {Calls::Free, true}, "", nullptr));
    EXPECT_TRUE(free.matches("Hello, <b>you</b>!"));
    EXPECT_TRUE(free.matches(""));
    EXPECT_TRUE(free.matches(text(c.weather[0])));
    EXPECT_TRUE(free.matches(text(std::string(c.time) + c.separator + c.time)));
    EXPECT_FALSE(free.matches(text(c.weather[2])));
    if (format.trigger.empty()) continue;
    EXPECT_TRUE(free.matches("I look. " + text(c.time) + " So."));
    EXPECT_FALSE(free.matches("I look. " + text(c.weather[2]) + " So."));
    const Grammar single = compile(tool_structural_tag(format, tools(), {Calls::Free, false}, "", nullptr));
    EXPECT_FALSE(single.matches(text(std::string(c.time) + c.separator + c.time)));
  }
}

TEST(ToolConstraint, ArgumentsOfToolsThatAreNotStrictAreFree) {
  const ToolFormat& hermes = *find_tool_format("hermes");
  const Grammar free = compile(tool_structural_tag(hermes, tools(), {Calls::Free, true}, "", nullptr));
  EXPECT_TRUE(free.matches("<tool_call>\n{\"name\": \"time\", \"arguments\": {\"any\":[1]}}\n</tool_call>"));
  EXPECT_FALSE(free.matches("<tool_call>\n{\"name\": \"time\", \"arguments\": {\"any\":]}}\n</tool_call>"));
}

TEST(ToolConstraint, CallsComeBehindTheThinking) {
  const ToolFormat& llama = *find_tool_format("llama3");
  const std::string call = R"({"name": "time", "parameters": {}})";
  const ReasoningTags qwen = *find_reasoning_tags("qwen3"), r1 = *find_reasoning_tags("deepseek-r1");
  const Grammar may = compile(tool_structural_tag(llama, tools(), {Calls::Some, true}, "", &qwen));
  EXPECT_TRUE(may.matches("<think>\nhm {\n</think>\n\n" + call));
  EXPECT_TRUE(may.matches(call));
  EXPECT_FALSE(may.matches("hm</think>" + call));
  EXPECT_FALSE(may.matches("<think>hm</think>" + call + " so"));
  const Grammar must = compile(tool_structural_tag(llama, tools(), {Calls::Some, true}, "", &r1));
  EXPECT_TRUE(must.matches("hm {\n</think>\n\n" + call));
  EXPECT_FALSE(must.matches(call));
}

TEST(ToolConstraint, AnAnswerWithoutCallsFollowsItsOwnGrammar) {
  const ToolFormat& llama = *find_tool_format("llama3");
  SamplingParams sampling;
  sampling.json_schema = R"({"type":"object","properties":{"a":{"const":1}},"required":["a"]})";
  const Grammar both = compile(tool_structural_tag(llama, tools(), {}, tags::of_grammar(sampling), nullptr));
  EXPECT_TRUE(both.matches(R"({"a":1})"));
  EXPECT_FALSE(both.matches(R"({"a":2})"));
  EXPECT_TRUE(both.matches(R"({"name": "time", "parameters": {"b":[]}})"));
  EXPECT_FALSE(both.matches("Hello"));
  for (auto field :
       {&SamplingParams::regex, &SamplingParams::ebnf, &SamplingParams::json_schema, &SamplingParams::structural_tag}) {
    SamplingParams one;
    one.*field = field == &SamplingParams::regex         ? "\\[1\\]"
                 : field == &SamplingParams::ebnf        ? "root ::= \"[1]\""
                 : field == &SamplingParams::json_schema ? "$$ANY$$"
                                                         : R"({"format":{"type":"const_string","value":"[1]"}})";
    EXPECT_TRUE(compile(tags::whole(after_thinking(*find_reasoning_tags("qwen3"), tags::of_grammar(one))))
                    .matches("<think>hm</think>\n\n[1]"));
  }
}

TEST(ToolConstraint, WhatAFormatCannotBeHeldToIsRefused) {
  const std::string length = R"({"type":"object","properties":{"a":{"type":"string","maxLength":3}}})";
  const std::string any = R"({"anyOf":[{"required":["a"]}],"properties":{"a":{"type":"string"}}})";
  const auto refusal = [](const char* format, const std::string& schema) -> std::string {
    try {
      compile(
          tool_structural_tag(*find_tool_format(format), {tool("f", schema, true)}, {Calls::Some, true}, "", nullptr));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("hermes", length), "");
  EXPECT_EQ(refusal("pythonic", length), "");
  EXPECT_NE(refusal("qwen3_coder", length).find("maxLength of \"a\""), std::string::npos);
  for (const char* more :
       {R"("format":"date")", R"("enum":["ab"],"pattern":"^b")", R"("enum":["ab"],"maxLength":1)", R"("if":true)"}) {
    const std::string schema = std::string(R"({"type":"object","properties":{"a":{"type":"string",)") + more + "}}}";
    EXPECT_NE(refusal("qwen3_coder", schema).find("of \"a\", a text"), std::string::npos) << schema;
  }
  EXPECT_EQ(
      refusal("qwen3_coder", R"({"type":"object","properties":{"a":{"type":"string","enum":["b"],"title":"A"}}})"), "");
  EXPECT_EQ(refusal("hermes", any), "");
  EXPECT_NE(refusal("pythonic", any).find("\"anyOf\" beside properties"), std::string::npos);
}

// Random texts that the grammar lets through, byte by byte.
std::string random_walk(const std::shared_ptr<const Grammar>& grammar, std::mt19937_64& rng) {
  GrammarMatcher matcher(grammar);
  std::string text;
  std::vector<uint32_t> mask(grammar->vocabulary()->mask_words());
  while (text.size() < 4000) {
    matcher.fill_mask(mask);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < 256; ++id) {
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    if (matcher.complete() && (allowed.empty() || rng() % 4 == 0)) return text;
    // Rather what ends strings, numbers and values, so that texts come to an end.
    int32_t next = allowed[rng() % allowed.size()];
    const auto rather = [&](char c) {
      const bool may = std::find(allowed.begin(), allowed.end(), static_cast<unsigned char>(c)) != allowed.end();
      if (may && rng() % 8 != 0) next = c;
    };
    if (rng() % 4 == 0) rather("\"}<\n,)"[rng() % 6]);
    const std::string_view tag = "\n</parameter>";
    for (size_t n = 1; n < tag.size(); ++n) {
      if (text.ends_with(tag.substr(0, n))) rather(tag[n]);
    }
    matcher.accept(next);
    text += static_cast<char>(next);
  }
  return "";
}

TEST(ToolConstraint, WhateverTheGrammarLetsThroughTheParserReads) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  std::vector<std::string> bytes;
  for (int i = 0; i < 256; ++i) bytes.emplace_back(1, static_cast<char>(i));
  bytes.emplace_back();
  const auto vocabulary = std::make_shared<const grammar::TokenVocabulary>(bytes, std::vector<int32_t>{256});
  for (const Case& c : kCases) {
    auto format = std::make_shared<AnswerFormat>();
    format->tools_format = find_tool_format(c.format);
    format->tools = tools();
    const auto grammar = std::make_shared<const Grammar>(
        GrammarSpec{GrammarKind::StructuralTag,
                    tool_structural_tag(*format->tools_format, tools(), {Calls::Some, true}, "", nullptr)},
        vocabulary);
    int texts = 0;
    for (int round = 0; round < 60; ++round) {
      const std::string text = random_walk(grammar, rng);
      // Half a surrogate pair is JSON, but no text.
      if (text.empty() || text.find("\\u") != std::string::npos) continue;
      ++texts;
      std::vector<AnswerPiece> out;
      AnswerParser(format).push(text, true, out);
      ASSERT_FALSE(out.empty());
      for (const AnswerPiece& p : out) {
        ASSERT_NE(p.kind, AnswerPiece::Kind::Content) << c.format << ": " << text;
        if (p.kind != AnswerPiece::Kind::Arguments) continue;
        const Json arguments = Json::parse(p.text, nullptr, false);
        ASSERT_TRUE(arguments.is_object()) << text;
        for (const auto& [key, value] : arguments.items()) ASSERT_EQ(value.is_string(), key != "days") << text;
      }
    }
    EXPECT_GT(texts, 20) << c.format;
  }
}

}  // namespace
}  // namespace sgl
