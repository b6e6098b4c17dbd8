// The wire of the remote backends: what is sent, what is made of the answers, and what happens when things go wrong.

#include <numeric>

#include "lang/http_client.h"
#include "lang/test_programs.h"
#include "lang/test_server.h"

namespace sgl {
namespace {

using Json = nlohmann::json;

TestReply json(const Json& body, int status = 200) { return {.status = status, .body = body.dump()}; }

ApiOptions options_for(const TestServer& server) {
  ApiOptions o;
  o.model = "test-model";
  o.base_url = server.url() + "/v1";
  o.api_key = "secret";
  o.retry_delay = 1ms;
  return o;
}

Json chat_answer(const std::string& text, const std::string& finish = "stop") {
  return {{"id", "chatcmpl-1"},
          {"object", "chat.completion"},
          {"created", 1},
          {"model", "test-model"},
          {"choices",
           Json::array(
               {{{"index", 0}, {"message", {{"role", "assistant"}, {"content", text}}}, {"finish_reason", finish}}})},
          {"usage", {{"prompt_tokens", 7}, {"completion_tokens", 3}, {"total_tokens", 10}}}};
}
Json completion_answer(const std::string& text) {
  return {{"id", "cmpl-1"},
          {"object", "text_completion"},
          {"created", 1},
          {"model", "test-model"},
          {"choices", Json::array({{{"index", 0}, {"text", text}, {"finish_reason", "stop"}, {"logprobs", nullptr}}})},
          {"usage", {{"prompt_tokens", 7}, {"completion_tokens", 3}, {"total_tokens", 10}}}};
}

void ask(State& s) {
  s += sgl::system("Be brief.") + user("Capital of France?") +
       assistant(gen("a", {.max_tokens = 9, .temperature = 0, .stop = "\n"}));
}

// ── OpenAI ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(OpenAiChat, SendsMessagesAndReadsTheAnswer) {
  within_patience([] {
    TestServer server([](const TestCall&) { return json(chat_answer("Paris.")); });
    auto r = run_with({.backend = openai_chat(options_for(server))}, ask);
    EXPECT_EQ(r["a"], "Paris.");
    EXPECT_EQ(r["a"].meta().finish_reason, "stop");
    EXPECT_EQ(r["a"].meta().rid, "chatcmpl-1");
    EXPECT_EQ(r["a"].meta().prompt_tokens, 7);
    const TestCall call = server.calls().at(0);
    EXPECT_EQ(call.method, "POST");
    EXPECT_EQ(call.path, "/v1/chat/completions");
    EXPECT_EQ(call.headers.at("authorization"), "Bearer secret");
    EXPECT_EQ(call.headers.at("content-type"), "application/json");
    const Json expected = {
        {"model", "test-model"},
        {"max_tokens", 9},
        {"temperature", 0.0},
        {"top_p", 1.0},
        {"stop", {"\n"}},
        {"messages",
         {{{"role", "system"}, {"content", "Be brief."}}, {{"role", "user"}, {"content", "Capital of France?"}}}}};
    EXPECT_EQ(call.body, expected);
  });
}

TEST(OpenAiChat, StreamsDeltas) {
  within_patience([] {
    TestServer server([](const TestCall&) {
      auto chunk = [](const Json& delta, const Json& finish = nullptr) {
        return Json{{"id", "c"},
                    {"choices", Json::array({{{"index", 0}, {"delta", delta}, {"finish_reason", finish}}})}}
            .dump();
      };
      return events({chunk({{"role", "assistant"}, {"content", ""}}), chunk({{"content", "Par"}}),
                     chunk({{"content", "is"}}), chunk(Json::object(), "stop"),
                     R"({"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}})", "[DONE]"});
    });
    auto live = stream_with({.backend = openai_chat(options_for(server))}, ask);
    std::vector<std::string> pieces;
    std::string text;
    for (std::string_view piece : live.text_iter("a")) text += piece;
    EXPECT_EQ(text, "Paris");
    EXPECT_EQ(live["a"].meta().completion_tokens, 2);
    EXPECT_EQ(live["a"].meta().finish_reason, "stop");
    EXPECT_EQ(server.body(0).at("stream"), true);
    EXPECT_EQ(server.body(0).at("stream_options"), (Json{{"include_usage", true}}));
  });
}

TEST(OpenAiChat, ReasoningModelsSchemasSamplesPicturesAndExtras) {
  within_patience([] {
    TestServer server([](const TestCall& call) {
      Json answer = chat_answer("{}");
      if (call.body.contains("n"))
        answer["choices"].push_back(
            {{"index", 1}, {"message", {{"role", "assistant"}, {"content", "two"}}}, {"finish_reason", "stop"}});
      return json(answer);
    });
    ApiOptions o = options_for(server);
    o.model = "o3-mini";
    o.extra_body = R"({"service_tier":"flex"})";
    o.headers["X-Mine"] = "yes";
    run_with({.backend = openai_chat(o)}, ask).sync();
    EXPECT_EQ(server.body(0).at("max_completion_tokens"), 9);
    EXPECT_FALSE(server.body(0).contains("temperature") || server.body(0).contains("max_tokens") ||
                 server.body(0).contains("stop"));
    EXPECT_EQ(server.body(0).at("service_tier"), "flex");
    EXPECT_EQ(server.calls().at(0).headers.at("x-mine"), "yes");

    const std::string png("\x89PNG\r\n\x1a\n-pixels-", 16);
    auto r = run_with({.backend = openai_chat(options_for(server))}, [&](State& s) {
      s += user(image(png) + "What?") + assistant(gen("a", {.n = 2, .seed = 5}));
      s += user("As JSON") + assistant(gen("b", {.json_schema = R"({"type":"object"})"}));
    });
    EXPECT_EQ(r["a"].list(), (std::vector<std::string>{"{}", "two"}));
    r.sync();
    const Json content = server.body(1).at("messages").at(0).at("content");
    EXPECT_EQ(content.at(0), (Json{{"type", "text"}, {"text", "<image>What?"}}));
    EXPECT_EQ(content.at(1).at("image_url").at("url"), "data:image/png;base64,iVBORw0KGgotcGl4ZWxzLQ==");
    EXPECT_EQ(server.body(1).at("seed"), 5);
    EXPECT_EQ(server.body(2).at("response_format"),
              (Json{{"type", "json_schema"},
                    {"json_schema", {{"name", "b"}, {"schema", {{"type", "object"}}}, {"strict", true}}}}));
  });
}

TEST(OpenAiChat, StopStringsThatTheApiDoesNotTakeEndTheTextHere) {
  within_patience([] {
    TestServer server([](const TestCall&) { return json(chat_answer("one. two; three", "length")); });
    ApiOptions o = options_for(server);
    o.reasoning_model = true;
    const auto body = [](State& s) { s += user("Count") + assistant(gen("a", {.stop = {";", "."}})); };
    auto r = run_with({.backend = openai_chat(o)}, body);
    EXPECT_EQ(r["a"], "one");
    EXPECT_EQ(r["a"].meta().finish_reason, "stop");
    EXPECT_EQ(r["a"].meta().matched, ".");
    auto live = stream_with({.backend = openai_chat(o)}, body);
    std::string text;
    for (std::string_view piece : live.text_iter("a")) text += piece;
    EXPECT_EQ(text, "one");
  });
}

TEST(OpenAiChat, PicturesAndSchemasAreSentAsTheApiTakesThem) {
  within_patience([] {
    TestServer server([](const TestCall&) { return json(chat_answer("{}")); });
    auto r = run_with({.backend = openai_chat(options_for(server))}, [](State& s) {
      s += user(image("GIF89a-pixels") + image("RIFF1234WEBP-pixels") + image("\xFF\xD8\xFF-pixels")) +
           assistant(gen("a b/ü", {.json_schema = R"({"type":"object"})"}));
    });
    r.sync();
    const Json body = server.body(0);
    const Json content = body.at("messages").at(0).at("content");
    EXPECT_TRUE(contains(content.at(1).at("image_url").at("url"), "data:image/gif;"));
    EXPECT_TRUE(contains(content.at(2).at("image_url").at("url"), "data:image/webp;"));
    EXPECT_TRUE(contains(content.at(3).at("image_url").at("url"), "data:image/jpeg;"));
    EXPECT_EQ(body.at("response_format").at("json_schema").at("name"), "a_b___");
  });
}

TEST(OpenAiChat, SelectBySchemaIfAskedFor) {
  within_patience([] {
    TestServer server([](const TestCall&) { return json(chat_answer(R"({"choice":"no"})")); });
    ApiOptions o = options_for(server);
    auto body = [](State& s) { s += user("Is it?") + assistant(select("c", {"yes", "no"})); };
    EXPECT_EQ(error_of([&] { run_with({.backend = openai_chat(o)}, body); }).kind(), ErrorKind::Unsupported);
    o.select_by_schema = true;
    EXPECT_EQ(run_with({.backend = openai_chat(o)}, body)["c"], "no");
  });
}

TEST(OpenAiChat, ThreeFieldsAreOneCallOfASlowServer) {
  within_patience([] {
    TestServer server([](const TestCall& call) {
      int prompt_tokens = 0;  // a byte is a token here
      for (const Json& m : call.body.at("messages"))
        prompt_tokens += static_cast<int>(m.at("content").get<std::string>().size());
      const std::string asked = call.body["messages"].back()["content"];
      const std::map<std::string, std::string> answers = {{"Name?", "Ada"}, {"Job?", "engineer"}, {"Home?", "London"}};
      const std::string text = answers.contains(asked) ? answers.at(asked) : "Name: Ada\nJob: engineer\nHome: London";
      Json answer = chat_answer(text);
      answer["usage"] = {{"prompt_tokens", prompt_tokens}, {"completion_tokens", text.size()}};
      return TestReply{.body = answer.dump(), .delay = 200ms};
    });
    const std::vector<std::string> fields = {"name", "job", "home"};
    const auto check = [&](auto& r) {
      EXPECT_EQ(r["name"], "Ada");
      EXPECT_EQ(r["job"], "engineer");
      EXPECT_EQ(r["home"], "London");
    };
    auto one_by_one = run_with({.backend = openai_chat(options_for(server))}, [](State& s) {
      s += sgl::system("You invent characters.");
      s += user("Name?") + assistant(gen("name")) + user("Job?") + assistant(gen("job"));
      s += user("Home?") + assistant(gen("home"));
    });
    check(one_by_one);
    EXPECT_EQ(server.calls().size(), 3);
    int prompt_tokens = 0;
    for (const std::string& field : fields) prompt_tokens += one_by_one[field].meta().prompt_tokens;

    auto together = run_with({.backend = openai_chat(options_for(server)), .api_spec_tokens = 64}, [](State& s) {
      s += sgl::system("You invent characters.") + user("Name, Job, Home?");
      s += assistant("Name: " + gen("name", {.stop = "\n"}) + "\nJob: " + gen("job", {.stop = "\n"}) +
                     "\nHome: " + gen("home", {.stop = "\n"}));
    });
    check(together);
    EXPECT_EQ(server.calls().size(), 4);
    EXPECT_EQ(together["home"].meta().prompt_tokens, 38);
    EXPECT_EQ(prompt_tokens, 27 + 34 + 47);
  });
}

TEST(OpenAiCompletion, SendsTheTextAndSpeculatesWithTokens) {
  within_patience([] {
    TestServer server([](const TestCall&) {
      Json answer = completion_answer("Ada\nAge: 36\nHome: ");
      answer["choices"][0]["finish_reason"] = "length";
      answer["choices"][0]["logprobs"] = {{"tokens", {"Ada", "\n", "Age:", " 36", "\n", "Home:", " "}},
                                          {"token_logprobs", {0, 0, 0, 0, 0, 0, 0}}};
      return json(answer);
    });
    auto r = run_with({.backend = openai(options_for(server)), .api_spec_tokens = 16}, [](State& s) {
      s += "Name: " + gen("name", {.max_tokens = 5, .stop = "\n"}) + "\nAge:" + gen("age", {.max_tokens = 1}) + "!";
    });
    EXPECT_EQ(r.text(), "Name: Ada\nAge: 36!");
    EXPECT_EQ(server.calls().size(), 1);
    EXPECT_EQ(server.calls()[0].path, "/v1/completions");
    EXPECT_EQ(server.body(0), (Json{{"model", "test-model"},
                                    {"prompt", "Name: "},
                                    {"max_tokens", 16},
                                    {"temperature", 1.0},
                                    {"top_p", 1.0},
                                    {"logprobs", 1}}));
  });
}

TEST(OpenAiCompletion, SelectsByEchoedLogProbabilities) {
  within_patience([] {
    TestServer server([](const TestCall& call) {
      EXPECT_EQ(call.body.at("prompt"), (Json{"Sky? yes", "Sky? no"}));
      EXPECT_EQ(call.body.at("echo"), true);
      Json answer = completion_answer("");
      answer["choices"] = Json::array();
      for (double score : {-2.0, -0.5}) {
        answer["choices"].push_back({{"index", 0},
                                     {"text", ""},
                                     {"finish_reason", "length"},
                                     {"logprobs",
                                      {{"tokens", {"Sky", "? ", "x"}},
                                       {"text_offset", {0, 3, 5}},
                                       {"token_logprobs", {nullptr, -9.0, score}}}}});
      }
      return json(answer);
    });
    auto r = run_with({.backend = openai(options_for(server))}, [](State& s) {
      s += "Sky? " + select("c", {"yes", "no"});
    });
    EXPECT_EQ(r["c"], "no");
    EXPECT_EQ(r["c"].meta().scores->tokens, (std::vector<std::vector<double>>{{-2.0}, {-0.5}}));
  });
}

TEST(OpenAi, TheKeyAndTheModelAreAskedFor) {
  unsetenv("OPENAI_API_KEY");
  unsetenv("OPENAI_BASE_URL");
  EXPECT_TRUE(contains(error_of([] { openai_chat({.model = "m"}); }).what(), "OPENAI_API_KEY"));
  EXPECT_EQ(error_of([] { openai({}); }).kind(), ErrorKind::InvalidArgument);
  setenv("OPENAI_API_KEY", "from-environment", 1);
  TestServer server([](const TestCall&) { return json(chat_answer("x")); });
  ApiOptions o = options_for(server);
  o.api_key.clear();
  run_with({.backend = openai_chat(o)}, ask).sync();
  EXPECT_EQ(server.calls().at(0).headers.at("authorization"), "Bearer from-environment");
  unsetenv("OPENAI_API_KEY");
}

// ── Anthropic ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Anthropic, TheSystemTurnStandsApartAndStaysForTheNextCall) {
  within_patience([] {
    TestServer server([](const TestCall&) {
      return json({{"id", "msg_1"},
                   {"type", "message"},
                   {"role", "assistant"},
                   {"content", {{{"type", "text"}, {"text", "Paris."}}}},
                   {"stop_reason", "end_turn"},
                   {"usage", {{"input_tokens", 4}, {"output_tokens", 2}}}});
    });
    ApiOptions o = options_for(server);
    o.base_url = server.url();
    auto r = run_with({.backend = anthropic(o)}, [](State& s) {
      ask(s);
      s += sgl::system("Be kind, too.") + user("And Italy?") + assistant(gen("b"));
    });
    EXPECT_EQ(r["b"], "Paris.");
    EXPECT_EQ(r["b"].meta().finish_reason, "stop");
    EXPECT_EQ(server.calls().at(0).path, "/v1/messages");
    EXPECT_EQ(server.calls()[0].headers.at("x-api-key"), "secret");
    EXPECT_EQ(server.calls()[0].headers.at("anthropic-version"), "2023-06-01");
    EXPECT_EQ(server.body(0), (Json{{"model", "test-model"},
                                    {"max_tokens", 9},
                                    {"system", "Be brief."},
                                    {"temperature", 0.0},
                                    {"messages", {{{"role", "user"}, {"content", "Capital of France?"}}}}}));
    EXPECT_EQ(server.body(1).at("system"), "Be brief.\n\nBe kind, too.");
    EXPECT_EQ(server.body(1).at("messages").size(), 3);
  });
}

TEST(Anthropic, BlankStopStringsWhichTheApiRefusesEndTheTextHere) {
  within_patience([] {
    TestServer server([](const TestCall&) {
      return json({{"id", "msg_1"},
                   {"content", {{{"type", "text"}, {"text", "one\ntwo"}}}},
                   {"stop_reason", "end_turn"},
                   {"usage", {{"input_tokens", 4}, {"output_tokens", 2}}}});
    });
    ApiOptions o = options_for(server);
    o.base_url = server.url();
    const auto body = [](State& s) { s += user("Count") + assistant(gen("a", {.stop = {"\n", "END"}})); };
    EXPECT_EQ(run_with({.backend = anthropic(o)}, body)["a"], "one");
    EXPECT_EQ(stream_with({.backend = anthropic(o)}, body)["a"].str(), "one");
    EXPECT_EQ(server.body(0).at("stop_sequences"), Json::array({"END"}));
  });
}

TEST(Anthropic, Streams) {
  within_patience([] {
    TestServer server([](const TestCall&) {
      TestReply reply =
          events({R"({"type":"message_start","message":{"id":"m","usage":{"input_tokens":4}}})",
                  R"({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}})",
                  R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Par"}})",
                  R"({"type":"ping"})",
                  R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"is"}})",
                  R"({"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":2}})",
                  R"({"type":"message_stop"})"});
      reply.body = "event: message_start\n" + reply.body;
      return reply;
    });
    ApiOptions o = options_for(server);
    o.base_url = server.url();
    auto live = stream_with({.backend = anthropic(o)}, [](State& s) { s += user("Capital?") + assistant(gen("a")); });
    std::string text;
    for (std::string_view piece : live.text_iter("a")) text += piece;
    EXPECT_EQ(text, "Paris");
    EXPECT_EQ(live["a"].meta().finish_reason, "length");
    EXPECT_EQ(live["a"].meta().completion_tokens, 2);
  });
}

// ── The native API ───────────────────────────────────────────────────────────────────────────────────────────────────

/// Answers what a server answers besides /generate.
TestReply native(const TestCall& call, const std::function<TestReply(const TestCall&)>& generate) {
  if (call.path == "/get_model_info")
    return json({{"model_path", "some/Qwen2.5-Instruct"}, {"has_image_understanding", true}});
  if (call.path == "/server_info") return json({{"version", "x"}, {"grammar_backend", "none"}});
  if (call.path == "/generate") return generate(call);
  return {.status = 404, .body = "{}"};
}
Json native_answer(const std::string& text) {
  return {{"text", text},
          {"meta_info",
           {{"id", "r"},
            {"finish_reason", {{"type", "stop"}, {"matched", 2}}},
            {"prompt_tokens", 3},
            {"completion_tokens", 2},
            {"cached_tokens", 1}}}};
}

TEST(Runtime, AsksForItsModelAndSendsTheWholeText) {
  within_patience([] {
    TestServer server(
        [](const TestCall& c) { return native(c, [](const TestCall&) { return json(native_answer("Paris")); }); });
    auto backend = runtime(server.url() + "/");
    EXPECT_EQ(backend->chat_format().name, "qwen");
    auto r =
        run_with({.backend = backend}, [](State& s) { s += "Capital: " + gen("a", {.max_tokens = 4, .stop = "."}); });
    EXPECT_EQ(r["a"], "Paris");
    EXPECT_EQ(r["a"].meta().cached_tokens, 1);
    EXPECT_EQ(r["a"].meta().matched, "2");
    const Json body = server.calls().back().body;
    EXPECT_EQ(body.at("text"), "Capital: ");
    EXPECT_EQ(body.at("sampling_params").at("max_new_tokens"), 4);
    EXPECT_EQ(body.at("sampling_params").at("stop"), (Json{".", "<|im_end|>"}));
    EXPECT_FALSE(body.contains("stream"));
    // This server has no grammars.
    EXPECT_EQ(error_of([&] { run_with({.backend = backend}, [](State& s) { s += gen("x", {.regex = "a"}); }); }).kind(),
              ErrorKind::Unsupported);
  });
}

TEST(Runtime, StreamsOfCumulativeTextsGiveTheNewParts) {
  within_patience([] {
    TestServer server([](const TestCall& c) {
      return native(c, [](const TestCall&) {
        auto event = [](const std::string& t) { return native_answer(t).dump(); };
        return events({event("Par"), event("Paris"), event("Paris"), "[DONE]"});
      });
    });
    auto live = stream_with({.backend = runtime(server.url())}, [](State& s) { s += gen("a"); });
    std::string text;
    for (std::string_view piece : live.text_iter()) text += piece;
    EXPECT_EQ(text, "Paris");
    EXPECT_EQ(live["a"].meta().completion_tokens, 2);
  });
}

// Tokens are characters; a choice's score is set by its characters.
TEST(Runtime, SelectScoresFromWhereTheChoicesLeaveThePrompt) {
  within_patience([] {
    const std::string prompt(20, 'p');
    int batches = 0, with_images = 0;
    TestServer server([&](const TestCall& c) {
      return native(c, [&](const TestCall& g) {
        auto info = [&](const std::vector<int>& ids, int start) {
          Json logprobs = Json::array();
          for (size_t i = static_cast<size_t>(start); i < ids.size(); ++i) {
            // The first entry of a window is null at other servers.
            logprobs.push_back(
                {i == static_cast<size_t>(start) ? Json(nullptr) : Json(-ids[i] / 100.0), ids[i], nullptr});
          }
          return Json{{"text", ""}, {"meta_info", {{"prompt_tokens", ids.size()}, {"input_token_logprobs", logprobs}}}};
        };
        auto ids_of = [](const std::string& text) { return std::vector<int>(text.begin(), text.end()); };
        if (g.body.contains("input_ids")) {
          Json out = Json::array();
          for (const Json& ids : g.body["input_ids"]) out.push_back(info(ids.get<std::vector<int>>(), 0));
          return json(out);
        }
        if (g.body.at("text").is_string()) return json(info(ids_of(g.body["text"]), 0));
        ++batches;
        EXPECT_EQ(g.body.at("logprob_start_len"), g.body["text"][0].get<std::string>().size() - 8);
        if (g.body.contains("image_data")) {
          ++with_images;
          EXPECT_EQ(g.body["image_data"].size(), g.body["text"].size());
        }
        Json out = Json::array();
        for (const Json& text : g.body["text"]) out.push_back(info(ids_of(text), g.body["logprob_start_len"]));
        return json(out);
      });
    });
    auto backend = runtime(server.url());
    auto r = run_with({.backend = backend}, [&](State& s) { s += prompt + select("c", {"zz", "ab", "b"}); });
    EXPECT_EQ(r["c"], "ab");  // mean of a and b beats z and b
    EXPECT_EQ(r["c"].meta().scores->ids, (std::vector<std::vector<int32_t>>{{'z', 'z'}, {'a', 'b'}, {'b'}}));
    EXPECT_EQ(batches, 1);
    auto gain = run_with({.backend = backend}, [&](State& s) {
      s += prompt + select("c", {"ab", "b"}, {.method = choice::unconditional_likelihood_normalized});
    });
    EXPECT_EQ(gain["c"].meta().scores->unconditional, (std::vector<std::vector<double>>{{0, -0.98}, {0}}));
    EXPECT_EQ(with_images, 0);
    run_with({.backend = backend}, [&](State& s) {
      s += image("\x89PNG\r\n\x1A\n-pixels") + prompt + select("c", {"ab", "b"});
    }).sync();
    EXPECT_GT(with_images, 0);
  });
}

TEST(Runtime, ForksCommitTheirPrefix) {
  within_patience([] {
    TestServer server(
        [](const TestCall& c) { return native(c, [](const TestCall&) { return json(native_answer("x")); }); });
    run_with({.backend = runtime(server.url())}, [](State& s) {
      s += "shared";
      auto forks = s.fork(2);
      forks += gen("x");
      forks.join();
    });
    std::vector<int> max_tokens;
    for (const TestCall& c : server.calls()) {
      if (c.path == "/generate") max_tokens.push_back(c.body["sampling_params"]["max_new_tokens"]);
    }
    EXPECT_EQ(max_tokens, (std::vector<int>{0, 128, 128}));
  });
}

// ── What goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Remote, FailuresThatMayPassAreTriedAgain) {
  within_patience([] {
    std::atomic<int> n{0};
    TestServer server([&](const TestCall&) -> TestReply {
      switch (n++) {
        case 0:
          return json({{"error", {{"message", "slow down"}}}}, 429);
        case 1:
          return {.hang_up = true};
        case 2:
          return {.status = 503, .body = "busy"};
        default:
          return json(chat_answer("at last"));
      }
    });
    EXPECT_EQ(run_with({.backend = openai_chat(options_for(server))}, ask)["a"], "at last");
    EXPECT_EQ(n, 4);
  });
}

TEST(Remote, OthersAreErrorsWithStatusAndMessageAtOnce) {
  within_patience([] {
    std::atomic<int> n{0};
    TestServer server([&](const TestCall&) {
      ++n;
      return json({{"error", {{"message", "no such model"}, {"type", "invalid_request_error"}}}}, 404);
    });
    auto r = run_with({.backend = openai_chat(options_for(server))}, ask);
    const Error error = error_of([&] { r["a"].str(); });
    EXPECT_EQ(error.kind(), ErrorKind::Server);
    EXPECT_EQ(error.status(), 404);
    EXPECT_EQ(std::string(error.what()), "reading \"a\": server answered 404: no such model");
    EXPECT_EQ(n, 1);
  });
}

TEST(Remote, AfterTheLastTryItIsAnError) {
  within_patience([] {
    std::atomic<int> n{0};
    TestServer server([&](const TestCall&) -> TestReply {
      ++n;
      return {.status = 500, .body = R"({"message":"broken"})"};
    });
    ApiOptions o = options_for(server);
    o.attempts = 3;
    auto r = run_with({.backend = openai_chat(o)}, ask);
    EXPECT_EQ(error_of([&] { r.sync(); }).status(), 500);
    EXPECT_EQ(n, 3);
  });
}

TEST(Remote, NobodyThereIsUnavailable) {
  within_patience([] {
    std::string url;
    {
      TestServer server([](const TestCall&) { return TestReply{}; });
      url = server.url();
    }
    ApiOptions o{.model = "m", .base_url = url, .api_key = "k", .attempts = 2, .retry_delay = 1ms};
    auto r = run_with({.backend = openai_chat(o)}, ask);
    const Error error = error_of([&] { r.sync(); });
    EXPECT_EQ(error.kind(), ErrorKind::Unavailable);
    EXPECT_TRUE(contains(error.what(), url) && contains(error.what(), "attempt 2 of 2")) << error.what();
    EXPECT_EQ(error_of([&] { runtime(url, o); }).kind(), ErrorKind::Unavailable);
  });
}

TEST(Remote, AnswersOfAnotherFormAreErrors) {
  within_patience([] {
    for (const char* body :
         {"no JSON", "{}", R"({"choices":[]})", R"({"choices":[{"message":{"content":5}}]})", "[1]"}) {
      TestServer server([&](const TestCall&) { return TestReply{.body = body}; });
      auto r = run_with({.backend = openai_chat(options_for(server))}, ask);
      EXPECT_EQ(error_of([&] { r["a"].str(); }).kind(), ErrorKind::Server) << body;
    }
  });
}

TEST(Remote, AStreamThatBreaksOffIsAnErrorAndIsNotSentAgain) {
  within_patience([] {
    std::atomic<int> n{0};
    TestServer server([&](const TestCall&) {
      ++n;
      return events({R"({"choices":[{"index":0,"delta":{"content":"Par"}}]})",
                     R"({"error":{"message":"out of memory","code":500}})"});
    });
    auto live = stream_with({.backend = openai_chat(options_for(server))}, ask);
    std::string text;
    const Error error = error_of([&] {
      for (std::string_view piece : live.text_iter("a")) text += piece;
    });
    EXPECT_EQ(text, "Par");
    EXPECT_TRUE(contains(error.what(), "out of memory"));
    EXPECT_EQ(n, 1);
  });
}

TEST(Remote, ADroppedRunHangsUp) {
  within_patience([] {
    TestServer server([](const TestCall&) { return TestReply{.body = chat_answer("late").dump(), .delay = 1h}; });
    auto backend = openai_chat(options_for(server));
    {
      auto r = run_with({.backend = backend}, ask);
      EXPECT_TRUE(eventually([&] { return !server.calls().empty(); }));
    }
    EXPECT_TRUE(eventually([&] { return server.hung_up() == 1; }));
  });
}

TEST(Remote, ATimeoutIsUnavailable) {
  within_patience([] {
    TestServer server([](const TestCall&) { return TestReply{.body = "{}", .delay = 1h}; });
    ApiOptions o = options_for(server);
    o.timeout = 1s;
    o.attempts = 1;
    auto r = run_with({.backend = openai_chat(o)}, ask);
    EXPECT_EQ(error_of([&] { r.sync(); }).kind(), ErrorKind::Unavailable);
  });
}

TEST(Remote, ManyCallsAtOnceButNoMoreThanAllowed) {
  within_patience([] {
    std::atomic<int> now{0}, most{0};
    TestServer server([&](const TestCall&) {
      const int n = ++now;
      for (int m = most; n > m && !most.compare_exchange_weak(m, n);) {
      }
      EXPECT_TRUE(eventually([&] { return most > 1; }));
      std::this_thread::sleep_for(5ms);  // for more than are allowed, if they come
      --now;
      return json(chat_answer("x"));
    });
    ApiOptions o = options_for(server);
    o.max_connections = 4;
    std::vector<int> rows(24);
    auto runs = run_batch([](State& s, int) { ask(s); }, rows, {.run = {.backend = openai_chat(o)}});
    for (auto& r : runs) EXPECT_EQ(r["a"], "x");
    EXPECT_LE(most, 4);
  });
}

TEST(Remote, CallsASecondAreLimited) {
  within_patience([] {
    TestServer server([](const TestCall&) { return json(chat_answer("x")); });
    ApiOptions o = options_for(server);
    o.max_requests_per_second = 50;
    const auto start = std::chrono::steady_clock::now();
    std::vector<int> rows(11);
    run_batch([](State& s, int) { ask(s); }, rows, {.run = {.backend = openai_chat(o)}});
    EXPECT_GE(std::chrono::steady_clock::now() - start, 200ms);  // the eleventh starts 10 × 20 ms after the first
  });
}

TEST(RetryPause, DoublesSpreadsAndObeysTheServer) {
  ApiOptions o;
  o.retry_delay = 100ms;
  o.max_retry_delay = 1000ms;
  EXPECT_EQ(lang::retry_pause(o, 1, {}, 0), 100ms);
  EXPECT_EQ(lang::retry_pause(o, 3, {}, 0), 400ms);
  EXPECT_EQ(lang::retry_pause(o, 1, {}, 1), 125ms);
  EXPECT_EQ(lang::retry_pause(o, 9, {}, 0.5), 1000ms);
  EXPECT_EQ(lang::retry_pause(o, 1, 7s, 0), 7000ms);
}

}  // namespace
}  // namespace sgl
