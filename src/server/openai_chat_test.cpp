// POST /v1/chat/completions: what becomes of its fields, and what its answers look like.

#include "server/openai_chat.h"

#include <string>

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

const char* const kReply = "Hello, wörld!";
const char* const kChat = "/v1/chat/completions";

// A request with one user message and further fields.
std::string user(const std::string& fields = "") {
  return R"({"model":"m","messages":[{"role":"user","content":"Hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
}

TEST(Chat, AnAnswerHasTheOpenAiShape) {
  TestService t;
  Json answer = t.ok(kChat, user());
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_GT(answer["created"].get<int64_t>(), 1'700'000'000);
  answer.erase("id");
  answer.erase("created");
  EXPECT_EQ(answer, Json::parse(R"({"object":"chat.completion","model":"m","choices":[{"index":0,
      "message":{"role":"assistant","content":"Hello, wörld!","reasoning_content":null,"tool_calls":null},
      "logprobs":null,"finish_reason":"stop","matched_stop":257}],
      "usage":{"prompt_tokens":3,"completion_tokens":15,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":3},
          "completion_tokens_details":{"reasoning_tokens":0}}})"));
}

TEST(Chat, TheModelNamesItselfIfTheRequestDoesNot) {
  TestService t;
  EXPECT_EQ(t.ok(kChat, R"({"messages":[{"role":"user","content":"Hi"}]})")["model"], "org/fake");
}

TEST(Chat, DefaultsComeFromTheModelAndTheLengthIsUnlimited) {
  TestService t;
  t.ok(kChat, user());
  EXPECT_EQ(t.engine->last().sampling.temperature, 0.5F);
  EXPECT_EQ(t.engine->last().sampling.top_k, 20);
  EXPECT_EQ(t.engine->last().sampling.top_p, 1.0F);
  EXPECT_EQ(t.engine->last().sampling.max_new_tokens, std::nullopt);
  t.ok(kChat, user(R"("temperature":0,"top_k":-1)"));
  EXPECT_EQ(t.engine->last().sampling.temperature, 0);
  EXPECT_EQ(t.engine->last().sampling.top_k, -1);
}

TEST(Chat, DefaultsMayBeOpenAisOwn) {
  ServerOptions options;
  options.sampling_defaults = "openai";
  TestService t(options);
  t.ok(kChat, user());
  EXPECT_EQ(t.engine->last().sampling.temperature, 1.0F);
  EXPECT_EQ(t.engine->last().sampling.top_k, -1);
}

TEST(Chat, EveryFieldArrives) {
  TestService t;
  t.ok(kChat, user(R"("max_tokens":5,"max_completion_tokens":6,"min_tokens":1,"stop":"x","seed":-3,"temperature":0.25,
      "top_p":0.5,"frequency_penalty":1,"presence_penalty":-1,"logit_bias":{"50":-100},"n":2,"min_p":0.05,
      "repetition_penalty":1.25,"ignore_eos":true,"stop_token_ids":[9],"skip_special_tokens":false,"no_stop_trim":true)"));
  const Request r = t.engine->last();
  const SamplingParams& s = r.sampling;
  EXPECT_EQ(s.max_new_tokens, 6);
  EXPECT_EQ(s.min_new_tokens, 1);
  EXPECT_EQ(s.stop, (std::vector<std::string>{"x"}));
  EXPECT_EQ(s.seed, -3);
  EXPECT_EQ(s.temperature, 0.25F);
  EXPECT_EQ(s.top_p, 0.5F);
  EXPECT_EQ(s.frequency_penalty, 1.0F);
  EXPECT_EQ(s.presence_penalty, -1.0F);
  EXPECT_EQ(s.logit_bias, (std::map<int32_t, float>{{50, -100.0F}}));
  EXPECT_EQ(s.n, 2);
  EXPECT_EQ(s.min_p, 0.05F);
  EXPECT_EQ(s.repetition_penalty, 1.25F);
  EXPECT_TRUE(s.ignore_eos && s.no_stop_trim);
  EXPECT_FALSE(s.skip_special_tokens);
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{9}));
  EXPECT_FALSE(r.return_logprob);
}

TEST(Chat, MessagesOfAllRolesPassToTheTemplate) {
  const ChatPrompt chat = read_chat_prompt(Json::parse(R"({"messages":[
      {"role":"developer","content":"Be brief."},
      {"role":"user","name":"ada","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"reasoning_content":"hm",
       "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}},
                     {"id":"c2","type":"function","function":{"name":"g","arguments":{"y":2}}}]},
      {"role":"tool","tool_call_id":"c1","content":"42"},
      {"role":"assistant","content":"done"}],
      "chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"low"})"));
  ASSERT_EQ(chat.messages.size(), 5U);
  EXPECT_EQ(chat.messages[0].role, "system");
  EXPECT_EQ(chat.messages[0].parts[0].text, "Be brief.");
  EXPECT_EQ(chat.messages[1].name, "ada");
  ASSERT_EQ(chat.messages[1].parts.size(), 2U);
  EXPECT_EQ(chat.messages[1].parts[1].text, "b");
  EXPECT_TRUE(chat.messages[2].parts.empty());
  EXPECT_EQ(chat.messages[2].reasoning_content, "hm");
  EXPECT_EQ(chat.messages[2].tool_calls[0].arguments_json, "{\"x\": 1}");
  EXPECT_EQ(chat.messages[2].tool_calls[1].name, "g");
  EXPECT_EQ(chat.messages[2].tool_calls[1].arguments_json, "{\"y\":2}");
  EXPECT_EQ(chat.messages[3].tool_call_id, "c1");
  EXPECT_EQ(Json::parse(chat.template_kwargs_json),
            Json::parse(R"({"enable_thinking":false,"reasoning_effort":"low"})"));
  EXPECT_TRUE(chat.add_generation_prompt);
  EXPECT_FALSE(chat.continue_final_message);
}

TEST(Chat, TheOlderFormOfACallIsACall) {
  const ChatPrompt chat = read_chat_prompt(Json::parse(R"({"messages":[{"role":"user","content":"a"},
      {"role":"assistant","content":null,"function_call":{"name":"now","arguments":"{\"zone\":\"UTC\"}"}},
      {"role":"function","name":"now","content":"noon"}]})"));
  ASSERT_EQ(chat.messages[1].tool_calls.size(), 1U);
  EXPECT_EQ(chat.messages[1].tool_calls[0].name, "now");
  EXPECT_EQ(chat.messages[1].tool_calls[0].arguments_json, R"({"zone":"UTC"})");
  EXPECT_EQ(chat.messages[2].name, "now");
  EXPECT_EQ(TestService().refusal(kChat, R"({"messages":[{"role":"assistant","function_call":"now"}]})"),
            "messages[0].function_call must be an object, got the string \"now\"");
}

TEST(Chat, TheLastMessageCanBeLeftOpen) {
  const ChatPrompt chat = read_chat_prompt(Json::parse(
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"continue_final_message":true})"));
  EXPECT_TRUE(chat.continue_final_message);
  EXPECT_FALSE(chat.add_generation_prompt);
  TestService t;
  EXPECT_NE(t.refusal(kChat, user(R"("continue_final_message":true)")).find("last message of the assistant"),
            std::string::npos);
}

TEST(Chat, LogProbabilitiesCarryTokensAndBytes) {
  TestService t(ServerOptions{}, "Aö");
  const Json answer = t.ok(kChat, user(R"("logprobs":true,"top_logprobs":2)"));
  const Json& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 4U);
  EXPECT_EQ(content[0], Json::parse(R"({"token":"A","logprob":-0.25,"bytes":[65],"top_logprobs":[
      {"token":"A","logprob":-0.25,"bytes":[65]},{"token":"B","logprob":-1.25,"bytes":[66]}]})"));
  EXPECT_EQ(content[1]["token"], "\xef\xbf\xbd") << "half a character";
  EXPECT_EQ(content[1]["bytes"], Json::parse("[195]"));
  EXPECT_EQ(content[3]["token"], "</s>") << "a special token is spelled out";
  EXPECT_EQ(answer["choices"][0]["logprobs"]["refusal"], nullptr);
  EXPECT_EQ(t.ok(kChat, user(R"("logprobs":true)"))["choices"][0]["logprobs"]["content"][0]["top_logprobs"],
            Json::array());
  t.engine->set_best({{-0.125F, 'y'}, {-std::numeric_limits<float>::infinity(), 'z'}});
  EXPECT_EQ(
      t.ok(kChat, user(R"("logprobs":true,"top_logprobs":2)"))["choices"][0]["logprobs"]["content"][0]["top_logprobs"],
      Json::parse(R"([{"token":"y","logprob":-0.125,"bytes":[121]}])"))
      << "what a grammar forbids has no log-probability to write";
  EXPECT_EQ(t.refusal(kChat, user(R"("top_logprobs":2)")), "top_logprobs needs logprobs to be true");
  EXPECT_EQ(t.refusal(kChat, user(R"("logprobs":true,"top_logprobs":21)")), "top_logprobs must be in [0, 20], got 21");
}

TEST(Chat, SeveralChoicesCountTheirPromptOnce) {
  TestService t;
  const Json answer = t.ok(kChat, user(R"("n":3,"max_tokens":2)"));
  ASSERT_EQ(answer["choices"].size(), 3U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answer["choices"][static_cast<size_t>(i)]["index"], i);
    EXPECT_EQ(answer["choices"][static_cast<size_t>(i)]["finish_reason"], "length");
    EXPECT_EQ(answer["choices"][static_cast<size_t>(i)]["matched_stop"], nullptr);
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 6);
}

TEST(Chat, AStreamSendsRoleTextReasonAndDone) {
  TestService t;
  const HttpResponse answer = t.post(kChat, user(R"("stream":true)"));
  EXPECT_EQ(answer.content_type, "text/event-stream");
  const auto chunks = json_events_of(answer.body);
  ASSERT_EQ(chunks.size(), 13U + 2U) << "a chunk for each character, one for the role, one for the reason";
  std::string text;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Json& c = chunks[i];
    EXPECT_EQ(c["id"], chunks[0]["id"]);
    EXPECT_EQ(c["object"], "chat.completion.chunk");
    EXPECT_EQ(c["model"], "m");
    EXPECT_FALSE(c.contains("usage"));
    const Json& choice = c["choices"][0];
    EXPECT_EQ(choice["index"], 0);
    EXPECT_EQ(choice["logprobs"], nullptr);
    if (i == 0) {
      EXPECT_EQ(choice["delta"], Json::parse(R"({"role":"assistant","content":""})"));
    } else if (i + 1 < chunks.size()) {
      text += choice["delta"]["content"];
      EXPECT_EQ(choice["delta"].size(), 1U);
    }
    EXPECT_EQ(choice["finish_reason"], i + 1 < chunks.size() ? Json(nullptr) : Json("stop"));
  }
  EXPECT_EQ(chunks.back()["choices"][0]["delta"], Json::object());
  EXPECT_EQ(chunks.back()["choices"][0]["matched_stop"], 257);
  EXPECT_EQ(text, kReply);
}

TEST(Chat, UsageComesInAChunkOfItsOwn) {
  TestService t;
  const auto chunks =
      json_events_of(t.post(kChat, user(R"("stream":true,"stream_options":{"include_usage":true})")).body);
  for (size_t i = 0; i + 1 < chunks.size(); ++i)
    EXPECT_TRUE(chunks[i].contains("usage") && chunks[i]["usage"].is_null());
  EXPECT_EQ(chunks.back()["choices"], Json::array());
  EXPECT_EQ(chunks.back()["usage"]["completion_tokens"], 15);
  const auto continuous =
      json_events_of(t.post(kChat, user(R"("stream":true,"stream_options":{"continuous_usage_stats":true})")).body);
  EXPECT_EQ(continuous[1]["usage"]["completion_tokens"], 1);
  EXPECT_EQ(continuous.back()["usage"]["completion_tokens"], 15);
  EXPECT_NE(t.refusal(kChat, user(R"("stream_options":{"include_usage":true})")).find("stream"), std::string::npos);
}

TEST(Chat, StreamedLogProbabilitiesAreThoseOfTheWholeAnswer) {
  TestService t;
  const Json whole = t.ok(kChat, user(R"("logprobs":true,"top_logprobs":1)"))["choices"][0]["logprobs"]["content"];
  Json streamed = Json::array();
  for (const Json& c : json_events_of(t.post(kChat, user(R"("logprobs":true,"top_logprobs":1,"stream":true)")).body)) {
    const Json& logprobs = c["choices"][0]["logprobs"];
    if (!logprobs.is_null()) streamed.insert(streamed.end(), logprobs["content"].begin(), logprobs["content"].end());
  }
  EXPECT_EQ(streamed, whole);
}

TEST(Chat, StreamedChoicesEachHaveRoleAndReason) {
  TestService t;
  std::map<int, std::string> texts;
  std::map<int, int> roles, reasons;
  for (const Json& c : json_events_of(t.post(kChat, user(R"("n":2,"stream":true)")).body)) {
    const Json& choice = c["choices"][0];
    const int index = choice["index"];
    texts[index] += choice["delta"].value("content", "");
    roles[index] += choice["delta"].contains("role") ? 1 : 0;
    reasons[index] += choice["finish_reason"].is_null() ? 0 : 1;
  }
  EXPECT_EQ(texts, (std::map<int, std::string>{{0, kReply}, {1, kReply}}));
  EXPECT_EQ(roles, (std::map<int, int>{{0, 1}, {1, 1}}));
  EXPECT_EQ(reasons, (std::map<int, int>{{0, 1}, {1, 1}}));
}

TEST(Chat, ErrorsAreFlat) {
  TestService t;
  EXPECT_EQ(
      Json::parse(t.post(kChat, user(R"("temperature":-1)")).body),
      Json::parse(
          R"({"object":"error","message":"temperature must be a number ≥ 0","type":"BadRequestError","param":null,"code":400})"));
  EXPECT_EQ(
      Json::parse(t.post(kChat, user(R"("temperature":"hot")")).body),
      Json::parse(
          R"({"object":"error","message":"temperature must be a number, got the string \"hot\"","type":"Bad Request","param":null,"code":400})"));
  EXPECT_EQ(Json::parse(t.post(kChat, "{").body)["type"], "Bad Request");
  EXPECT_EQ(Json::parse(t.call("POST", kChat, user(), "text/plain").body)["message"],
            "Content-Type must be application/json, got \"text/plain\"");
  EXPECT_EQ(t.call("POST", kChat, user(), "Application/JSON; charset=utf-8").status, 200);
}

TEST(Chat, LimitsOutOfRangeAreNamedAsTheClientNamesThem) {
  TestService t;
  EXPECT_EQ(t.refusal(kChat, user(R"("max_tokens":-5)")), "max_tokens must be at least 0, got -5");
  EXPECT_EQ(t.refusal(kChat, user(R"("max_completion_tokens":-1)")),
            "max_completion_tokens must be at least 0, got -1");
  EXPECT_EQ(t.refusal(kChat, user(R"("min_tokens":-2)")), "min_tokens must be at least 0, got -2");
  EXPECT_EQ(t.refusal("/v1/completions", R"({"prompt":"a","max_tokens":-5})"), "max_tokens must be at least 0, got -5");
}

TEST(Chat, BadMessagesAreNamed) {
  TestService t;
  const auto refusal = [&](const std::string& messages) {
    return t.refusal(kChat, R"({"messages":)" + messages + "}");
  };
  EXPECT_EQ(t.refusal(kChat, "{}"), "messages is required: an array of messages");
  EXPECT_EQ(refusal(R"("hi")"), "messages must be an array, got the string \"hi\"");
  EXPECT_EQ(refusal("[]"), "messages is empty; it must hold at least one message");
  EXPECT_EQ(refusal("[1]"), "messages[0] must be an object, got the number 1");
  EXPECT_EQ(refusal(R"([{"role":"user","content":"a"},{"content":"b"}])"),
            "messages[1].role is required: \"system\", \"user\", \"assistant\" or \"tool\"");
  EXPECT_NE(refusal(R"([{"role":"robot","content":"a"}])").find("messages[0].role must be"), std::string::npos);
  EXPECT_EQ(refusal(R"([{"role":"user"}])"), "messages[0].content is required: a string or an array of parts");
  EXPECT_EQ(refusal(R"([{"role":"user","content":5}])"),
            "messages[0].content must be a string or an array of parts, got the number 5");
  EXPECT_EQ(refusal(R"([{"role":"user","content":[{"type":"text"}]}])"),
            "messages[0].content[0].text is required: the part's text");
  EXPECT_NE(refusal(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])")
                .find("image_url are not supported yet"),
            std::string::npos);
  EXPECT_NE(refusal(R"([{"role":"user","content":[{"type":"poem"}]}])").find("must be \"text\", got \"poem\""),
            std::string::npos);
}

TEST(Chat, WhatWouldChangeTheAnswerIsRefusedAndTheRestIgnored) {
  TestService t;
  for (const char* field :
       {R"("functions":[{"name":"f"}])", R"("function_call":{"name":"f"})", R"("audio":{"voice":"x"})",
        R"("modalities":["text","audio"])", R"("web_search_options":{})", R"("audio":{})",
        R"("guided_json":{"type":"object"})", R"("guided_regex":"a")", R"("guided_choice":["a"])",
        R"("guided_grammar":"root ::= \"a\"")", R"("structured_outputs":{"regex":"a"})", R"("lora_path":"x")",
        R"("return_hidden_states":true)"}) {
    const std::string message = t.refusal(kChat, user(field));
    EXPECT_NE(message.find("support"), std::string::npos) << field << ": " << message;
  }
  EXPECT_EQ(t.refusal(kChat, user(R"("modalities":"text")")),
            "modalities must be an array of strings, got the string \"text\"");
  t.ok(kChat,
       user(R"("tools":[],"tool_choice":"none","functions":null,"response_format":{"type":"text"},"modalities":["text"],
      "audio":null,"user":"u","metadata":{"a":"b"},"store":false,"service_tier":"auto","parallel_tool_calls":true,
      "prediction":null,"prompt_cache_key":"x","safety_identifier":"y","verbosity":"low","separate_reasoning":true,
      "stream_reasoning":true,"priority":1,"unheard_of":{"a":1})"));
}

TEST(Chat, TheResponseFormatIsAGrammar) {
  TestService t;
  t.ok(kChat, user(R"("response_format":{"type":"json_object"})"));
  EXPECT_EQ(t.engine->last().sampling.json_schema, R"({"type": "object"})");
  t.ok(kChat, user(R"("response_format":{"type":"json_object","schema":{"required":["a"]}})"));
  EXPECT_EQ(t.engine->last().sampling.json_schema, R"({"required":["a"]})");
  // The order of the members is the order that the model will write them in.
  t.ok(kChat, user(R"("response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":
      {"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"integer"}}}}})"));
  EXPECT_EQ(t.engine->last().sampling.json_schema,
            R"({"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"integer"}}})");
  t.ok(kChat, user(R"("response_format":{"type":"structural_tag","structures":[],"triggers":[]})"));
  EXPECT_EQ(t.engine->last().sampling.structural_tag, R"({"type":"structural_tag","structures":[],"triggers":[]})");
  t.ok(kChat, user(R"("regex":"a+")"));
  EXPECT_EQ(t.engine->last().sampling.regex, "a+");

  EXPECT_EQ(
      t.refusal(kChat, user(R"("response_format":{"type":"yaml"})")),
      R"(response_format.type must be "text", "json_object", "json_schema" or "structural_tag", got the string "yaml")");
  EXPECT_EQ(t.refusal(kChat, user(R"("json_schema":"{}","response_format":{"type":"json_object"})")),
            "response_format and json_schema are both given; the output can follow one grammar only");
  EXPECT_NE(t.refusal(kChat, user(R"("response_format":{"type":"json_schema"})")).find("response_format.json_schema"),
            std::string::npos);
}

TEST(Chat, TheIdIsTheRequestsNameForAnAbort) {
  TestService t;
  const Json answer = t.ok(kChat, user());
  EXPECT_EQ(answer["id"], t.engine->last().rid);
  EXPECT_EQ(t.ok(kChat, user(R"("rid":"mine")"))["id"], "mine");
  EXPECT_TRUE(t.engine->last().rid.starts_with("mine/"));
}

TEST(Chat, AnAbortedAnswerSaysSo) {
  TestService t;
  t.engine->hold(true);
  std::thread abort([&] {
    t.engine->wait_running([](size_t n) { return n == 1; });
    t.post("/abort_request", R"({"abort_all":true})");
  });
  EXPECT_EQ(t.ok(kChat, user())["choices"][0]["finish_reason"], "abort");
  abort.join();
}

TEST(Chat, AStreamThatFailsBeforeItBeganHasAStatus) {
  TestService t;
  t.engine->hold(true);
  std::thread fail([&] {
    t.engine->wait_running([](size_t n) { return n == 1; });
    t.engine->fail_with(503, "no room");
  });
  const HttpResponse answer = t.post(kChat, user(R"("stream":true)"));
  fail.join();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(Json::parse(answer.body)["code"], 503);
}

}  // namespace
}  // namespace sgl
