// Calls of tools in the text of models: each format, what is broken, and texts cut into pieces anywhere.

#include "server/tool_parser.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

#include "server/answer_parser.h"
#include "server/python_literal.h"

namespace sgl {
namespace {

const std::vector<Tool>& tools() {
  static const std::vector<Tool> kTools = {
      {"weather", "", Json::parse(R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"},
          "hours":{"type":"array"},"units":{"enum":["C","F"]},"rain":{"type":"boolean"}}})"),
       false},
      {"time", "", {}, false},
      {"time_zone", "", {}, false}};
  return kTools;
}

// "text|weather({"city": "Paris"})|…": the pieces, readably.
std::string words(const std::vector<AnswerPiece>& pieces) {
  std::string out;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const AnswerPiece& p = pieces[i];
    if (p.kind == AnswerPiece::Kind::Arguments) {
      out += p.text;
      if (i + 1 == pieces.size() || pieces[i + 1].kind != p.kind) out += ")";
      continue;
    }
    if (i > 0) out += "|";
    if (p.kind == AnswerPiece::Kind::Reasoning) out += "(" + p.text + ")";
    if (p.kind == AnswerPiece::Kind::Content) out += p.text;
    if (p.kind == AnswerPiece::Kind::Call) out += std::to_string(p.call) + ":" + p.text + "(";
  }
  return out;
}

std::string parsed(std::string_view format, std::string_view text) {
  return words(parse_tool_calls(*find_tool_format(format), tools(), text));
}

TEST(ToolParser, ReadsHermes) {
  EXPECT_EQ(
      parsed("hermes", "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>"),
      R"(0:weather({"city": "Paris"}))");
  EXPECT_EQ(parsed("qwen25",
                   "I look.\n\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>\n<tool_call>\n"
                   "{\"arguments\": {\"days\":2}, \"name\": \"weather\"}\n</tool_call>\nDone."),
            "I look.|0:time({})|1:weather({\"days\":2})|\nDone.");
  EXPECT_EQ(parsed("hermes", R"(<tool_call>{"name": "time"}</tool_call>)"), "0:time({})");
  EXPECT_EQ(parsed("hermes", R"(<tool_call>{"name": "time", "parameters": {"a": 1}})"), R"(0:time({"a": 1}))")
      << "a closing tag that lacks does no harm";
}

TEST(ToolParser, ReadsLlama3) {
  EXPECT_EQ(parsed("llama3", R"({"name": "time", "parameters": {}})"), "0:time({})");
  EXPECT_EQ(parsed("llama3", R"(<|python_tag|>{"name": "time", "parameters": {}}; {"name": "time", "parameters": {}})"),
            "0:time({})|1:time({})");
  EXPECT_EQ(parsed("llama3", R"(It is {"name": "time", "parameters": {}})"),
            R"(It is {"name": "time", "parameters": {}})")
      << "bare JSON counts only at the beginning";
  EXPECT_EQ(parsed("llama3", R"({"name": "time", "parameters": {}}; and so on)"), "0:time({})|; and so on");
}

TEST(ToolParser, ReadsMistral) {
  EXPECT_EQ(
      parsed(
          "mistral",
          R"([TOOL_CALLS] [{"name": "time", "arguments": {}}, {"name": "weather", "arguments": {"days": 1}, "id": "x"}])"),
      R"(0:time({})|1:weather({"days": 1}))");
  EXPECT_EQ(parsed("mistral", R"([TOOL_CALLS]time[ARGS]{}[TOOL_CALLS]weather[ARGS]{"days": 1})"),
            R"(0:time({})|1:weather({"days": 1}))");
  EXPECT_EQ(parsed("mistral", "[1] is a number, [TOOL_CALLS] a tag"), "[1] is a number, [TOOL_CALLS] a tag");
}

TEST(ToolParser, ReadsDeepSeek) {
  const std::string call =
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"days\": 1}\n```<｜tool▁call▁end｜>";
  EXPECT_EQ(parsed("deepseekv3", "So: <｜tool▁calls▁begin｜>" + call + "\n" + call + "<｜tool▁calls▁end｜>"),
            R"(So:|0:weather({"days": 1})|1:weather({"days": 1}))");
  EXPECT_EQ(parsed("deepseekv31",
                   "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
                   "<｜tool▁call▁begin｜>time_zone<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            R"(0:time({})|1:time_zone({"a":1}))");
}

TEST(ToolParser, ReadsQwen3CoderAndItsTypes) {
  EXPECT_EQ(
      parsed(
          "qwen3_coder",
          "Hm.\n<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n"
          "</parameter>\n<parameter=hours>\n[1, 2]\n</parameter>\n<parameter=rain>\nTrue\n</parameter>\n"
          "<parameter=units>\nC\n</parameter>\n<parameter=other>\na\n\"b\"\n</parameter>\n</function>\n</tool_call>"),
      R"(Hm.|0:weather({"city": "12", "days": 3, "hours": [1, 2], "rain": true, "units": "C", "other": "a\n\"b\""}))");
  EXPECT_EQ(parsed("qwen3_coder", "<function=time></function>"), "0:time({})");
}

TEST(ToolParser, ReadsPython) {
  EXPECT_EQ(parsed("pythonic", R"([weather(city="Paris (N), F", days=3, rain=False), time()])"),
            R"(0:weather({"city": "Paris (N), F", "days": 3, "rain": false})|1:time({}))");
  EXPECT_EQ(parsed("pythonic", "[1, 2] is a list"), "[1, 2] is a list");
  EXPECT_EQ(parsed("pythonic", "[time](http://x)"), "[time](http://x)");
  EXPECT_EQ(parsed("pythonic", "<|python_start|>[time()]<|python_end|>"), "0:time({})");
}

TEST(ToolParser, WhatIsBrokenIsTextToTheLastByte) {
  const char* const kTexts[][2] = {
      {"hermes", "Well, <tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": }}\n</tool_call> ok"},
      {"hermes", R"(<tool_call>{"name": "unknown", "arguments": {}}</tool_call>)"},
      {"hermes", R"(<tool_call>{"name": "time", "arguments": "x"}</tool_call>)"},
      {"hermes", R"(<tool_call>{"name": 1, "arguments": {}}</tool_call>)"},
      {"hermes", R"(<tool_call>{"arguments": {}}</tool_call>)"},
      {"hermes", R"(<tool_call>{"name": "time", "arguments": {"a": "b)"},
      {"hermes", "<tool_call> is a tag, and so is </tool_call>.  \n"},
      {"hermes", "<tool_call"},
      {"llama3", R"({"a": 1})"},
      {"llama3", R"({"name": "time", "parameters": {)"},
      {"mistral", R"([TOOL_CALLS] [{"name": "time", "arguments": {]}])"},
      {"mistral", "[TOOL_CALLS]nobody[ARGS]{}"},
      {"deepseekv3", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{]\n```"},
      {"qwen3_coder", "<tool_call>\n<function=time>\nnothing</function>\n</tool_call>"},
      {"qwen3_coder", "<tool_call>\n<function=time>\n<parameter=a>\n1\n"},
      {"pythonic", "[time(a=)]"},
      {"pythonic", "[time(1)]"},
      {"pythonic", "[time(a=1"}};
  for (const auto& [format, text] : kTexts) EXPECT_EQ(parsed(format, text), text) << format;
}

TEST(ToolParser, ACallBehindABrokenOneIsFound) {
  EXPECT_EQ(parsed("hermes", R"(<tool_call>{"name": }</tool_call><tool_call>{"name": "time"}</tool_call>)"),
            R"(<tool_call>{"name": }</tool_call>|0:time({}))");
  EXPECT_EQ(parsed("llama3", R"({"a": 1} <|python_tag|>{"name": "time"})"), R"({"a": 1}|0:time({}))");
}

TEST(ToolParser, AConstrainedFirstCallIsGivenOutWhileItIsWritten) {
  const std::string text = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\":\"Paris\"}}\n</tool_call>";
  ToolParser parser(*find_tool_format("hermes"), tools(), {.constrained = true});
  std::vector<AnswerPiece> out;
  parser.push(text.substr(0, text.find("city")), out);
  EXPECT_EQ(words(out), "0:weather({\")");
  parser.push(text.substr(text.find("city")), out);
  parser.finish(out);
  EXPECT_EQ(words(out), R"(0:weather({"city":"Paris"}))");
  EXPECT_EQ(out.size(), 2U);

  // Cut off by the length: what was written stays a call.
  ToolParser cut(*find_tool_format("hermes"), tools(), {.constrained = true});
  std::vector<AnswerPiece> part;
  cut.push(text.substr(0, text.find("Paris")), part);
  cut.finish(part);
  EXPECT_EQ(words(part), "0:weather({\"city\":\")");
  EXPECT_TRUE(cut.cut_off());
  EXPECT_FALSE(parser.cut_off());

  // Of several calls only the first can be cut off: small models repeat calls until the limit.
  ToolParser several(*find_tool_format("hermes"), tools(), {.constrained = true});
  std::vector<AnswerPiece> calls;
  several.push(text + "\n" + text.substr(0, text.find("Paris")), calls);
  several.finish(calls);
  EXPECT_EQ(words(calls), R"(0:weather({"city":"Paris"})|)" + ("\n" + text.substr(0, text.find("Paris"))));
}

TEST(HeldText, IsWhatCameLessWhatWent) {
  std::mt19937_64 rng(5);
  HeldText held;
  std::string want;
  for (int i = 0; i < 2000; ++i) {
    const std::string more(rng() % 9, static_cast<char>('a' + i % 26));
    held.append(more);
    want += more;
    const size_t gone = rng() % (want.size() + 1);
    held.drop(gone);
    want.erase(0, gone);
    ASSERT_EQ(held.view(), want);
    ASSERT_EQ(held.size(), want.size());
    ASSERT_EQ(held.empty(), want.empty());
  }
}

// Each opening of such a text breaks at its end: beyond some of them the rest is text, which takes no time.
TEST(ToolParser, CallsThatAllBreakAtTheEndAreTextSoon) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "<tool_call>\n<function=weather>\n<parameter=x>";
  text += "</parameter>!";
  const auto out = parse_tool_calls(*find_tool_format("qwen3_coder"), tools(), text);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].text, text);
}

// Texts made of scraps that formats are made of, so that much is almost right.
std::string random_text(std::mt19937_64& rng, bool python) {
  static const char* const kScraps[] = {
      "<tool_call>",
      "</tool_call>",
      "\n",
      " ",
      "{\"name\": \"time\", \"arguments\": {}}",
      R"({"name": "weather", "parameters": {"city": "Zürich", "hours": [1, {"a": "]}"}]}})",
      "{\"name\":",
      "<|python_tag|>",
      ";",
      ",",
      "[TOOL_CALLS]",
      "[",
      "]",
      "time[ARGS]",
      "{}",
      "<｜tool▁calls▁begin｜>",
      "<｜tool▁call▁begin｜>",
      "function",
      "<｜tool▁sep｜>",
      "weather",
      "\n```json\n",
      "```",
      "<｜tool▁call▁end｜>",
      "<｜tool▁calls▁end｜>",
      "<function=time>",
      "<function=weather>",
      "<parameter=city>",
      "Paris",
      "</parameter>",
      "</function>",
      "time(a=1)",
      "weather(city='x, y')",
      "<think>",
      "</think>",
      "<",
      "</",
      "Hello, wörld! ",
      "\"",
      "\\",
      "(",
      "<｜tool",
      "</thi"};
  static const char* const kStarts[] = {"", "", "<think>", "[", "{\"name\": \"time\"}", " [time()", "\n"};
  std::string text = kStarts[rng() % std::size(kStarts)];
  if (python && rng() % 2 == 0) text = "[time(a=1)";
  for (size_t n = rng() % 14; n > 0; --n) text += kScraps[rng() % std::size(kScraps)];
  return text;
}

TEST(AnswerParser, AnyCutGivesTheSameAnswer) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  int calls = 0, thinking = 0;
  for (int round = 0; round < 20000; ++round) {
    auto format = std::make_shared<AnswerFormat>();
    format->tools_format = &tool_formats()[rng() % tool_formats().size()];
    format->tools = tools();
    format->tool_options.constrained = rng() % 2 == 0;
    format->stream_reasoning = rng() % 2 == 0;
    if (rng() % 2 == 0) format->reasoning = ReasoningTags{"<think>", "</think>", rng() % 2 == 0};
    const std::string text = random_text(rng, format->tools_format->body == CallBody::Python);

    std::vector<AnswerPiece> whole, pieces;
    AnswerParser(format).push(text, true, whole);
    AnswerParser parser(format);
    const size_t longest = 1 + rng() % 12;
    for (size_t at = 0; at < text.size();) {
      const size_t n = std::min(text.size() - at, 1 + rng() % longest);
      std::vector<AnswerPiece> out;
      parser.push(text.substr(at, n), false, out);
      for (const AnswerPiece& p : out) {
        if (p.kind == AnswerPiece::Kind::Call) pieces.push_back(p);
        if (p.kind != AnswerPiece::Kind::Call) append_text(pieces, p.kind, p.text, p.call);
      }
      at += n;
    }
    std::vector<AnswerPiece> out;
    parser.push("", true, out);
    for (const AnswerPiece& p : out) {
      if (p.kind == AnswerPiece::Kind::Call) pieces.push_back(p);
      if (p.kind != AnswerPiece::Kind::Call) append_text(pieces, p.kind, p.text, p.call);
    }
    ASSERT_EQ(pieces, whole) << format->tools_format->name << "\n"
                             << text << "\n"
                             << words(pieces) << "\n"
                             << words(whole);
    for (const AnswerPiece& p : whole) {
      calls += p.kind == AnswerPiece::Kind::Call;
      thinking += p.kind == AnswerPiece::Kind::Reasoning;
      if (p.kind == AnswerPiece::Kind::Arguments && !format->tool_options.constrained) {
        ASSERT_TRUE(Json::accept(p.text)) << p.text;
      }
    }
  }
  EXPECT_GT(calls, 1000);
  EXPECT_GT(thinking, 1000);
}

TEST(ReasoningParser, SeparatesTheThinking) {
  const auto separated = [](std::string_view name, std::string_view text) {
    auto format = std::make_shared<AnswerFormat>();
    format->reasoning = find_reasoning_tags(name);
    std::vector<AnswerPiece> out;
    AnswerParser(format).push(text, true, out);
    return words(out);
  };
  EXPECT_EQ(separated("qwen3", "<think>\nhm\n\nhm\n</think>\n\nYes."), "(hm\n\nhm)|Yes.");
  EXPECT_EQ(separated("qwen3", "<think>\n\n</think>\n\nYes."), "Yes.");
  EXPECT_EQ(separated("qwen3", "Yes </think>"), "Yes </think>") << "without a begin there is no thinking";
  EXPECT_EQ(separated("qwen3", " <thin"), " <thin");
  EXPECT_EQ(separated("deepseek-r1", "hm\n</think>\n\nYes."), "(hm)|Yes.");
  EXPECT_EQ(separated("deepseek-r1", "<think>\nhm</think>Yes."), "(hm)|Yes.");
  EXPECT_EQ(separated("deepseek-r1", "hm, and so on </thi"), "(hm, and so on </thi)") << "cut off";
  EXPECT_EQ(separated("<a>,</a>", "<a>hm</a>Yes."), "(hm)|Yes.");
  EXPECT_FALSE(find_reasoning_tags("nonsense"));
  EXPECT_FALSE(find_reasoning_tags(",</a>"));
}

TEST(ToolFormat, IsChosenByTheChatTemplate) {
  const auto chosen = [](std::string_view text) { return tool_format_of_template(text).name; };
  EXPECT_EQ(chosen("{% if tools %} <tool_call>"), "hermes");
  EXPECT_EQ(chosen("{% if tools %} <tool_call> <function=x>"), "qwen3_coder");
  EXPECT_EQ(chosen("{% if tools %} <|python_tag|>"), "llama3");
  EXPECT_EQ(chosen("{% if tools %} [TOOL_CALLS]"), "mistral");
  EXPECT_EQ(chosen("{% if tools %} <｜tool▁call▁begin｜> <｜tool▁sep｜> ```json"), "deepseekv3");
  EXPECT_EQ(chosen("nothing of them"), "hermes");
  for (const std::string& name : tool_parser_names()) EXPECT_NE(find_tool_format(name), nullptr) << name;
}

TEST(PythonLiteral, BecomesJson) {
  const auto json = [](std::string_view text) { return python_literal_to_json(text).value_or("none"); };
  EXPECT_EQ(json(R"({'a': (1, -2.5e3, 1e999), "b": [True, None, false,]})"),
            R"({"a": [1, -2.5e3, 1e999], "b": [true, null, false]})");
  EXPECT_EQ(json(R"('it\'s \x41\u00e4\U0001f600\ud83d\ude00\n\d')"), R"("it's Aä😀😀\n\\d")");
  for (const char* wrong : {"", "abc", "1 2", "[1", "{1: 2}", "'a", "01", ".5", "'\\ud800'", "1_000", "f(x)"}) {
    EXPECT_EQ(json(wrong), "none") << wrong;
  }
  EXPECT_EQ(python_arguments_to_json(" a = 1 , b='x', "), R"({"a": 1, "b": "x"})");
  for (const char* wrong : {"1", "a", "a=", "a=1 b=2", "a=1, a=2", ",", "a=1,,"}) {
    EXPECT_FALSE(python_arguments_to_json(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace sgl
