// POST /v1/completions: what becomes of its fields, and what its answers look like.

#include "server/openai_completions.h"

#include <string>

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

const char* const kPath = "/v1/completions";

TEST(Completions, AnAnswerHasTheOpenAiShape) {
  TestService t;
  Json answer = t.ok(kPath, R"({"model":"m","prompt":"Hi","max_tokens":2})");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("cmpl-"));
  answer.erase("id");
  answer.erase("created");
  EXPECT_EQ(answer, Json::parse(R"({"object":"text_completion","model":"m","choices":[{"index":0,"text":"He",
      "logprobs":null,"finish_reason":"length","matched_stop":null}],
      "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":3},
          "completion_tokens_details":{"reasoning_tokens":0}}})"));
}

TEST(Completions, SixteenTokensAreTheDefault) {
  TestService t(ServerOptions{}, "0123456789abcdefghij");
  EXPECT_EQ(t.ok(kPath, R"({"prompt":"a"})")["choices"][0]["text"], "0123456789abcdef");
  t.ok(kPath, R"({"prompt":"a","max_tokens":null})");
  EXPECT_EQ(t.engine->last().sampling.max_new_tokens, 16);
}

TEST(Completions, PromptsComeInFourForms) {
  TestService t;
  const auto prompts = [&](const std::string& prompt) {
    return t.ok(kPath, R"({"max_tokens":1,"prompt":)" + prompt + "}")["choices"].size();
  };
  EXPECT_EQ(prompts(R"("a")"), 1U);
  EXPECT_EQ(prompts("[1,2,3]"), 1U);
  EXPECT_EQ(std::get<std::vector<int32_t>>(t.engine->last().prompt), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(prompts(R"(["a","b"])"), 2U);
  EXPECT_EQ(prompts("[[1],[2],[3]]"), 3U);
  for (const char* bad : {"5", "{}", "[]", "[\"a\",1]", "[1,\"a\"]", "[[1],2]", "[1.5]", "null", "[null]"}) {
    EXPECT_EQ(t.post(kPath, std::string(R"({"prompt":)") + bad + "}").status, 400) << bad;
  }
}

TEST(Completions, ChoicesOfSeveralPromptsAreInOrder) {
  TestService t;
  const Json answer = t.ok(kPath, R"({"prompt":["a","bcd"],"n":2,"max_tokens":1,"best_of":2,"echo":true})");
  ASSERT_EQ(answer["choices"].size(), 4U);
  const char* const texts[] = {"aH", "aH", "bcdH", "bcdH"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["text"], texts[i]);
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2 + 4);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 4);
  const auto submitted = t.engine->submitted();
  EXPECT_NE(submitted[0].rid, submitted[1].rid);
}

TEST(Completions, EchoOfIdsIsTheirText) {
  TestService t;
  EXPECT_EQ(t.ok(kPath, R"({"prompt":[97,98],"max_tokens":1,"echo":true})")["choices"][0]["text"], "abH");
}

TEST(Completions, LogProbabilitiesAreListsSideBySide) {
  TestService t(ServerOptions{}, "xöy");
  const Json answer = t.ok(kPath, R"({"prompt":"a","max_tokens":4,"logprobs":2})");
  EXPECT_EQ(answer["choices"][0]["logprobs"], Json::parse(R"({"tokens":["x","\ufffd","\ufffd","y"],
      "token_logprobs":[-0.25,-0.25,-0.25,-0.25],
      "top_logprobs":[{"x":-0.25,"y":-1.25},{"\ufffd":-0.25},{"\ufffd":-0.25},{"y":-0.25,"z":-1.25}],
      "text_offset":[0,1,2,2]})"));
  const Json none = t.ok(kPath, R"({"prompt":"a","max_tokens":1,"logprobs":0})")["choices"][0]["logprobs"];
  EXPECT_EQ(none["top_logprobs"], nullptr);
  EXPECT_EQ(none["tokens"].size(), 1U);
}

TEST(Completions, EchoedLogProbabilitiesScoreThePrompt) {
  TestService t;
  const Json choice = t.ok(kPath, R"({"prompt":"ab","max_tokens":0,"logprobs":1,"echo":true})")["choices"][0];
  EXPECT_EQ(choice["text"], "ab");
  EXPECT_EQ(choice["logprobs"], Json::parse(R"({"tokens":["<s>","a","b"],"token_logprobs":[null,-0.25,-0.25],
      "top_logprobs":[null,{"a":-0.25},{"b":-0.25}],"text_offset":[0,0,1]})"));
  const Json silent = t.ok(kPath, R"({"prompt":"ab","max_tokens":0,"logprobs":1})")["choices"][0];
  EXPECT_EQ(silent["logprobs"]["tokens"], Json::array()) << "what is not echoed is not listed";
}

TEST(Completions, TheTokenThatIsThereIsListedBesideTheBestAndTheForbiddenOnesAreNot) {
  TestService t;
  t.engine->set_best({{-0.125F, 'y'}, {-std::numeric_limits<float>::infinity(), 'z'}});
  const Json logprobs = t.ok(kPath, R"({"prompt":"a","max_tokens":1,"logprobs":2})")["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["top_logprobs"], Json::parse(R"([{"y":-0.125,"H":-0.25}])"));
}

TEST(Completions, AStreamGivesTheWholeText) {
  TestService t;
  const auto chunks = json_events_of(
      t.post(kPath, R"({"model":"m","prompt":"a","stream":true,"echo":true,"stream_options":{"include_usage":true}})")
          .body);
  std::string text;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i]["object"], "text_completion");
    EXPECT_EQ(chunks[i]["usage"], nullptr);
    text += chunks[i]["choices"][0]["text"];
    EXPECT_EQ(chunks[i]["choices"][0]["finish_reason"], i + 2 < chunks.size() ? Json(nullptr) : Json("stop"));
  }
  EXPECT_EQ(text, "aHello, wörld!");
  EXPECT_EQ(chunks.back()["choices"], Json::array());
  EXPECT_EQ(chunks.back()["usage"]["total_tokens"], 17);
}

TEST(Completions, StreamedOffsetsContinue) {
  TestService t;
  int64_t expected = 0;
  for (const Json& c :
       json_events_of(t.post(kPath, R"({"prompt":"a","max_tokens":5,"stream":true,"logprobs":0})").body)) {
    for (const Json& offset : c["choices"][0]["logprobs"]["text_offset"]) EXPECT_EQ(offset, expected++);
  }
  EXPECT_EQ(expected, 5);
}

TEST(Completions, WhatWouldChangeTheAnswerIsRefused) {
  TestService t;
  EXPECT_EQ(t.refusal(kPath, R"({"prompt":"a","suffix":"z"})"),
            "suffix: insertion between a prompt and a suffix is not supported");
  EXPECT_EQ(t.refusal(kPath, R"({"prompt":"a","suffix":[]})"), "suffix must be a string, got an array");
  EXPECT_NE(t.refusal(kPath, R"({"prompt":"a","best_of":3})").find("best_of must equal n (1)"), std::string::npos);
  EXPECT_EQ(t.refusal(kPath, R"({"prompt":"a","logprobs":21})"), "logprobs must be in [0, 20], got 21");
  EXPECT_EQ(t.refusal(kPath, R"({"prompt":"a","logprobs":true})"), "logprobs must be an integer, got true");
  EXPECT_EQ(t.refusal(kPath, "{}"), "prompt is required: a string, token ids, or a list of either");
  t.ok(kPath, R"({"prompt":"a","suffix":"","best_of":1,"user":"x","seed":5})");
}

}  // namespace
}  // namespace sgl
