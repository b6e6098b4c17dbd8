// Tools and thinking in POST /v1/chat/completions: what the prompt and the sampler get, and what the answers look like.

#include "server/openai_tools.h"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

const char* const kChat = "/v1/chat/completions";
const char* const kTools = R"("tools":[{"type":"function","function":{"name":"weather","description":"Tells it.",
    "parameters":{"type":"object","properties":{"city":{"type":"string"},"a":{"type":"integer"}},"required":["city"]}}},
    {"type":"function","function":{"name":"time"}}])";
const char* const kCalls =
    "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n"
    "</tool_call>\n<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>";

std::string user(const std::string& fields) {
  return R"({"model":"m","messages":[{"role":"user","content":"Hi"}],)" + fields + "}";
}
std::string with_tools(const std::string& fields = "") { return user(kTools + (fields.empty() ? "" : "," + fields)); }

// A service whose model's template knows tools.
std::unique_ptr<TestService> service(const std::string& reply, const std::string& chat_template = "tools <tool_call>",
                                     const std::string& reasoning = "") {
  ServerOptions options;
  options.reasoning_parser = reasoning;
  auto t = std::make_unique<TestService>(options, reply);
  t->engine->set_chat_template(chat_template);
  t->service.set_engine(t->engine);
  return t;
}

ChatPrompt last_prompt(TestService& t) { return std::get<ChatPrompt>(t.engine->last().prompt); }

TEST(ChatTools, AnAnswerWithCallsHasTheOpenAiShape) {
  const auto t = service(kCalls);
  Json choice = t->ok(kChat, with_tools())["choices"][0];
  Json& calls = choice["message"]["tool_calls"];
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_TRUE(calls[0]["id"].get<std::string>().starts_with("call_"));
  EXPECT_NE(calls[0]["id"], calls[1]["id"]);
  for (Json& call : calls) call.erase("id");
  EXPECT_EQ(choice, Json::parse(R"({"index":0,"message":{"role":"assistant","content":"Let me see.",
      "reasoning_content":null,"tool_calls":[
        {"type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\"}"}},
        {"type":"function","function":{"name":"time","arguments":"{}"}}]},
      "logprobs":null,"finish_reason":"tool_calls","matched_stop":257})"));
}

TEST(ChatTools, CallsAloneLeaveTheContentNull) {
  const auto t = service("<tool_call>{\"name\": \"time\"}</tool_call>");
  EXPECT_TRUE(t->ok(kChat, with_tools())["choices"][0]["message"]["content"].is_null());
}

TEST(ChatTools, AStreamNamesTheCallFirstAndThenGoesOnWithItsArguments) {
  for (const char* fields : {"", R"("tool_choice":"required")"}) {
    const auto t = service(kCalls);
    std::string text;
    std::vector<Json> calls;
    const auto chunks = json_events_of(
        t->post(kChat, with_tools(std::string(R"("stream":true)") + (*fields != 0 ? "," : "") + fields)).body);
    size_t argument_chunks = 0;
    for (const Json& c : chunks) {
      const Json& delta = c["choices"][0]["delta"];
      if (delta.contains("content")) text += delta["content"];
      if (!delta.contains("tool_calls")) continue;
      ASSERT_EQ(delta["tool_calls"].size(), 1U);
      const Json& call = delta["tool_calls"][0];
      if (call.contains("id")) {
        EXPECT_EQ(call["index"], calls.size());
        EXPECT_EQ(call["type"], "function");
        EXPECT_EQ(call["function"]["arguments"], "");
        calls.push_back(call);
      } else {
        ASSERT_EQ(call["index"], calls.size() - 1);
        EXPECT_EQ(call["function"].size(), 1U);
        calls.back()["function"]["arguments"] =
            calls.back()["function"]["arguments"].get<std::string>() + call["function"]["arguments"].get<std::string>();
        ++argument_chunks;
      }
    }
    EXPECT_EQ(text, "Let me see.");
    ASSERT_EQ(calls.size(), 2U);
    EXPECT_EQ(calls[0]["function"], Json::parse(R"({"name":"weather","arguments":"{\"city\": \"Paris\"}"})"));
    EXPECT_EQ(calls[1]["function"], Json::parse(R"({"name":"time","arguments":"{}"})"));
    EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "tool_calls");
    if (*fields == 0) {
      EXPECT_EQ(argument_chunks, 2U) << "what may turn out broken comes when it is whole";
    } else {
      EXPECT_GT(argument_chunks, 10U) << "what cannot comes as it is written";
    }
  }
}

TEST(ChatTools, BrokenCallsAreContent) {
  const std::string broken = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": }}\n</tool_call>";
  const auto t = service(broken);
  const Json choice = t->ok(kChat, with_tools())["choices"][0];
  EXPECT_EQ(choice["message"]["content"], broken);
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST(ChatTools, ACallThatTheTextEndsInIsNoReasonToCall) {
  const auto t = service("<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"");
  const Json choice = t->ok(kChat, with_tools(R"("tool_choice":"required","stop":["Paris"])"))["choices"][0];
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\": \"");
  EXPECT_EQ(choice["finish_reason"], "stop");
  const auto chunks = json_events_of(t->post(kChat, with_tools(R"("tool_choice":"required","stream":true)")).body);
  EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "stop");
}

TEST(ChatTools, TheTemplateGetsTheToolsInTheOrderOfTheirMembers) {
  const auto t = service("x");
  t->ok(kChat, with_tools());
  EXPECT_EQ(
      last_prompt(*t).tools_json,
      R"([{"type":"function","function":{"name":"weather","description":"Tells it.","parameters":{"type":"object",)"
      R"("properties":{"city":{"type":"string"},"a":{"type":"integer"}},"required":["city"]}}},)"
      R"({"type":"function","function":{"name":"time"}}])");
  EXPECT_EQ(t->engine->last().sampling.structural_tag, "");
}

TEST(ChatTools, ChoosingNoneHidesTheToolsAndLeavesTheText) {
  const auto t = service(kCalls);
  EXPECT_EQ(t->ok(kChat, with_tools(R"("tool_choice":"none")"))["choices"][0]["message"]["content"], kCalls);
  EXPECT_EQ(last_prompt(*t).tools_json, "");
}

TEST(ChatTools, RequiredNamedAndStrictCallsAreConstrained) {
  const auto t = service("x");
  const auto tag = [&](const std::string& fields) {
    t->ok(kChat, with_tools(fields));
    return t->engine->last().sampling.structural_tag;
  };
  const std::string some = tag(R"("tool_choice":"required")");
  EXPECT_NE(some.find(R"(\"name\": \"weather\")"), std::string::npos);
  EXPECT_NE(some.find(R"(\"name\": \"time\")"), std::string::npos);
  EXPECT_NE(some.find(R"("stop_after_first":false)"), std::string::npos);
  EXPECT_NE(tag(R"("tool_choice":"required","parallel_tool_calls":false)").find(R"("stop_after_first":true)"),
            std::string::npos);
  const std::string named = tag(R"("tool_choice":{"type":"function","function":{"name":"time"}})");
  EXPECT_EQ(named.find("weather"), std::string::npos);
  EXPECT_NE(last_prompt(*t).tools_json.find("weather"), std::string::npos) << "the prompt stays the same";
  t->ok(kChat, user(R"("tools":[{"type":"function","function":{"name":"f","strict":true}}])"));
  EXPECT_NE(t->engine->last().sampling.structural_tag.find("triggered_tags"), std::string::npos);
  // What the answer in words must be does not exclude calls.
  const std::string both = tag(R"("response_format":{"type":"json_object"})");
  EXPECT_NE(both.find(R"("or")"), std::string::npos);
  EXPECT_EQ(t->engine->last().sampling.json_schema, "");
}

TEST(ChatTools, WithoutToolsInTheTemplateTheConversationExplainsThem) {
  const auto t = service(kCalls, "");
  t->ok(kChat, R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},
      {"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"time","arguments":"{}"}},
          {"id":"b","type":"function","function":{"name":"time","arguments":"{\"z\": 1}"}}]},
      {"role":"tool","tool_call_id":"a","content":"noon"},{"role":"tool","tool_call_id":"b","content":"one"}],)" +
                   std::string(kTools) + "}");
  const ChatPrompt chat = last_prompt(*t);
  EXPECT_EQ(chat.tools_json, "");
  ASSERT_EQ(chat.messages.size(), 4U);
  EXPECT_NE(chat.messages[0].parts[1].text.find("{\"name\":\"weather\",\"description\":\"Tells it.\""),
            std::string::npos);
  EXPECT_NE(chat.messages[0].parts[1].text.find("<tool_call>\n{\"name\": \"NAME\""), std::string::npos);
  EXPECT_EQ(chat.messages[2].parts[0].text,
            "<tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>\n"
            "<tool_call>\n{\"name\": \"time\", \"arguments\": {\"z\": 1}}\n</tool_call>");
  EXPECT_EQ(chat.messages[3].role, "user");
  ASSERT_EQ(chat.messages[3].parts.size(), 2U);
  EXPECT_EQ(chat.messages[3].parts[1].text, "Result of the call: one");
  t->ok(kChat, with_tools());
  EXPECT_EQ(last_prompt(*t).messages[0].parts.size(), 2U) << "without a system message the user's first one";
}

TEST(ChatTools, MistakesNameTheField) {
  const auto t = service("x");
  const auto refusal = [&](const std::string& fields) { return t->refusal(kChat, user(fields)); };
  EXPECT_EQ(refusal(R"("tools":1)"), "tools must be an array, got the number 1");
  EXPECT_EQ(refusal(R"("tools":[{"type":"web_search"}])"),
            "tools[0].type: tools of type \"web_search\" are not supported, only \"function\"");
  EXPECT_EQ(refusal(R"("tools":[{"type":"function"}])"),
            "tools[0].function is required: an object with name, description and parameters");
  EXPECT_EQ(refusal(R"("tools":[{"function":{}}])"), "tools[0].function.name is required: the function's name");
  EXPECT_EQ(refusal(R"("tools":[{"function":{"name":"a b"}}])"),
            "tools[0].function.name must be 1 to 128 letters, digits, \"_\", \"-\" or \".\", got \"a b\"");
  EXPECT_EQ(refusal(R"("tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}])"),
            "tools[1].function.name \"a\" is taken by another tool");
  EXPECT_EQ(refusal(R"("tools":[{"function":{"name":"a","parameters":[]}}])"),
            "tools[0].function.parameters must be an object, got an array");
  EXPECT_EQ(refusal(R"("tools":[{"function":{"name":"a","parameters":{"required":"b"}}}])"),
            "tools[0].function.parameters.required must be an array of names, got the string \"b\"");
  for (const char* type : {"\"foo\"", "5", "[\"string\"]"}) {
    EXPECT_NE(refusal(fmt::format(R"("tools":[{{"function":{{"name":"a","parameters":{{"type":{}}}}}}}])", type))
                  .find("tools[0].function.parameters.type must be \"object\", got "),
              std::string::npos);
  }
  t->ok(kChat, user(R"("tools":[{"function":{"name":"a","parameters":{"type":["null","object"]}}}])"));
  EXPECT_NE(t->refusal(kChat, with_tools(R"("tool_choice":"required","regex":"a+")")).find("regex: "),
            std::string::npos);
  EXPECT_EQ(refusal(R"("tools":[{"function":{"name":"a","strict":1}}])"),
            "tools[0].function.strict must be true or false, got the number 1");
  EXPECT_EQ(refusal(R"("tool_choice":"required")"), "tool_choice: there are no tools to choose from");
  const auto choice = [&](const std::string& c) { return t->refusal(kChat, with_tools("\"tool_choice\":" + c)); };
  EXPECT_EQ(choice("\"any\""),
            "tool_choice must be \"none\", \"auto\", \"required\" or an object that names a function, got the string "
            "\"any\"");
  EXPECT_EQ(choice("{}"), "tool_choice.function is required: an object with the function's name");
  EXPECT_EQ(choice(R"({"type":"function","function":{"name":"f"}})"),
            "tool_choice.function.name \"f\" is none of the tools");
  EXPECT_EQ(t->refusal(kChat, with_tools(R"("parallel_tool_calls":"no")")),
            "parallel_tool_calls must be true or false, got the string \"no\"");
  EXPECT_NE(t->refusal("/v1/completions", R"({"prompt":"a",)" + std::string(kTools) + "}").find("/v1/chat/completions"),
            std::string::npos);
}

TEST(ChatReasoning, ThinkingIsSeparated) {
  const auto t = service("<think>\nHm.\n</think>\n\nYes. <tool_call>{\"name\": \"time\"}</tool_call>",
                         "tools <tool_call>", "qwen3");
  const Json answer = t->ok(kChat, with_tools()), message = answer["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "Hm.");
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 20) << "bytes, with both tags";
  EXPECT_EQ(message["content"], "Yes.");
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "time");
  EXPECT_EQ(t->ok(kChat, user(R"("separate_reasoning":false)"))["choices"][0]["message"]["content"],
            "<think>\nHm.\n</think>\n\nYes. <tool_call>{\"name\": \"time\"}</tool_call>");

  for (const auto& [fields, pieces] : {std::pair("", 3), std::pair(R"(,"stream_reasoning":false)", 1)}) {
    std::string thinking, text;
    int chunks = 0;
    for (const Json& c : json_events_of(t->post(kChat, user(R"("stream":true)" + std::string(fields))).body)) {
      const Json& delta = c["choices"][0]["delta"];
      if (delta.contains("reasoning_content")) thinking += delta["reasoning_content"], ++chunks;
      if (delta.contains("content")) text += delta["content"];
    }
    EXPECT_EQ(thinking, "Hm.");
    EXPECT_EQ(text, "Yes. <tool_call>{\"name\": \"time\"}</tool_call>");
    EXPECT_EQ(chunks, pieces);
  }
}

TEST(ChatReasoning, TheRequestSaysWhetherTheModelThinks) {
  const auto t = service("Hm.\n</think>\n\nYes.", "", "qwen3-thinking");
  const Json thought = t->ok(kChat, user(R"("n":2)"));
  EXPECT_EQ(thought["choices"][0]["message"]["reasoning_content"], "Hm.");
  EXPECT_EQ(thought["usage"]["completion_tokens_details"]["reasoning_tokens"], 2 * 12);
  const auto events =
      json_events_of(t->post(kChat, user(R"("stream":true,"stream_options":{"include_usage":true})")).body);
  EXPECT_EQ(events.back()["usage"]["completion_tokens_details"]["reasoning_tokens"], 12);
  const Json answer = t->ok(kChat, user(R"("chat_template_kwargs":{"enable_thinking":false})"));
  EXPECT_EQ(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
  const Json message = answer["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], nullptr);
  EXPECT_EQ(message["content"], "Hm.\n</think>\n\nYes.");
}

TEST(ChatReasoning, GrammarsBeginBehindTheThinking) {
  const auto t = service("x", "", "deepseek-r1");
  t->ok(kChat, user(R"("response_format":{"type":"json_object"})"));
  const SamplingParams s = t->engine->last().sampling;
  EXPECT_EQ(s.json_schema, "");
  // What stands between them is white space of JSON: \s would take a line separator, too.
  EXPECT_NE(s.structural_tag.find(R"([ \\t\\r\\n]{0,4})"), std::string::npos) << s.structural_tag;
}

TEST(ChatReasoning, StructuralTagsOfTheFirstFormBeginBehindTheThinking) {
  const auto t = service("Hm.\n</think>\n\nYes.", "", "qwen3-thinking");
  const auto with = [](const std::string& tag) {
    return user(R"("response_format":{"type":"structural_tag",)" + tag + "}");
  };
  t->ok(kChat, with(R"("structures":[{"begin":"<f>","schema":{"z":1,"a":2},"end":"</f>"}],"triggers":["<f"])"));
  const std::string tag = t->engine->last().sampling.structural_tag;
  EXPECT_NE(tag.find(R"({"type":"triggered_tags","triggers":["<f"],"tags":[{"type":"tag","begin":"<f>",)"
                     R"("content":{"type":"json_schema","json_schema":{"z":1,"a":2}},"end":"</f>"}]})"),
            std::string::npos)
      << tag;
  EXPECT_NE(tag.find("</think>"), std::string::npos) << tag;
  for (const char* wrong : {R"("structures":[{"begin":"<f>","end":"</f>"}],"triggers":["<f"])",
                            R"("structures":{},"triggers":["<f"])", R"("structures":[],"triggers":[],"other":1)"}) {
    EXPECT_NE(t->refusal(kChat, with(wrong)).find("structural_tag: "), std::string::npos) << wrong;
  }
}

TEST(ChatReasoning, AnUnknownParserIsAnErrorAtTheStart) {
  ServerOptions options;
  options.reasoning_parser = "hermes";
  EXPECT_THROW(TestService{options}, Error);
  options.reasoning_parser = "";
  options.tool_call_parser = "qwen3";
  EXPECT_THROW(TestService{options}, Error);
}

}  // namespace
}  // namespace sgl
