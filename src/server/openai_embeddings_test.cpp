// /v1/embeddings over a fake engine, whose vectors count the letters a, b and c.

#include <thread>

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

TEST(Embeddings, AnAnswerHasTheOpenAiShape) {
  TestService t(3, false);
  const Json answer = t.ok("/v1/embeddings", R"({"model": "any", "input": "abba", "user": "me"})");
  EXPECT_EQ(answer, Json::parse(R"({"object": "list", "data": [{"object": "embedding", "embedding": [2.0, 2.0, 0.0],
    "index": 0}], "model": "any", "usage": {"prompt_tokens": 5, "total_tokens": 5}})"));
  EXPECT_EQ(t.ok("/v1/embeddings", R"({"input": "c"})")["model"], "org/fake");
}

TEST(Embeddings, InputsComeInFiveForms) {
  TestService t(3, false);
  const auto vectors = [&](const std::string& input) {
    std::vector<std::vector<float>> out;
    const Json answer = t.ok("/v1/embeddings", R"({"input": )" + input + "}");
    for (const Json& item : answer["data"]) {
      EXPECT_EQ(item["index"], out.size());
      out.push_back(item["embedding"].get<std::vector<float>>());
    }
    return out;
  };
  using Vectors = std::vector<std::vector<float>>;
  EXPECT_EQ(vectors(R"("aab")"), (Vectors{{2, 1, 0}}));
  EXPECT_EQ(vectors(R"(["aab", "c"])"), (Vectors{{2, 1, 0}, {0, 0, 1}}));
  EXPECT_EQ(vectors("[97, 99]"), (Vectors{{1, 0, 1}}));
  EXPECT_EQ(vectors("[[97, 99], [98]]"), (Vectors{{1, 0, 1}, {0, 1, 0}}));
  EXPECT_EQ(vectors(R"([{"text": "b"}, {"text": "cc"}])"), (Vectors{{0, 1, 0}, {0, 0, 2}}));
  EXPECT_EQ(t.ok("/v1/embeddings", R"({"input": ["aab", "c"]})")["usage"]["prompt_tokens"], 6);
}

TEST(Embeddings, Base64HoldsTheSameNumbers) {
  TestService t(3, false);
  // 2, 1 and 0 as little-endian float32: 00000040 0000803f 00000000
  const Json answer = t.ok("/v1/embeddings", R"({"input": "aab", "encoding_format": "base64"})");
  EXPECT_EQ(answer["data"][0]["embedding"], "AAAAQAAAgD8AAAAA");
}

TEST(Embeddings, DimensionsReachTheEngine) {
  TestService t(3, false);
  const Json answer = t.ok("/v1/embeddings", R"({"input": "aab", "dimensions": 2})");
  EXPECT_EQ(answer["data"][0]["embedding"], Json::parse("[2.0, 1.0]"));
}

TEST(Embeddings, WhatIsWrongIsNamed) {
  TestService t(3, false);
  const auto refused = [&](const std::string& body, const char* part) {
    const std::string message = t.refusal("/v1/embeddings", body);
    EXPECT_NE(message.find(part), std::string::npos) << body << ": " << message;
  };
  refused("{}", "input");
  refused(R"({"input": 5})", "input must be");
  refused(R"({"input": []})", "input is an empty list");
  refused(R"({"input": ""})", "input is empty");
  refused(R"({"input": ["a", " \n"]})", "input[1] is empty");
  refused(R"({"input": ["a", 5]})", "input[1]");
  refused(R"({"input": [[97], "a"]})", "input[1]");
  refused(R"({"input": [{"image": "x"}]})", "image");
  refused(R"({"input": [{}]})", "input[0].text");
  refused(R"({"input": "a", "encoding_format": "int8"})", "encoding_format");
  refused(R"({"input": "a", "dimensions": 4})", "dimensions");
  refused(R"({"input": "a", "dimensions": "3"})", "dimensions");
}

TEST(Embeddings, TheOtherKindOfModelIsNamed) {
  TestService generates;
  EXPECT_NE(generates.refusal("/v1/embeddings", R"({"input": "a"})").find("--is-embedding"), std::string::npos);
  EXPECT_NE(generates.refusal("/encode", R"({"text": "a"})").find("--is-embedding"), std::string::npos);
  TestService embeds(3, false);
  for (const char* body :
       {R"({"prompt": "a"})", R"({"text": "a"})", R"({"messages": [{"role": "user", "content": "a"}]})"}) {
    const char* route = body[2] == 'p' ? "/v1/completions" : body[2] == 't' ? "/generate" : "/v1/chat/completions";
    EXPECT_NE(embeds.refusal(route, body).find("served for embeddings"), std::string::npos) << route;
  }
  TestService scores(1, true);
  EXPECT_NE(scores.refusal("/v1/embeddings", R"({"input": "a"})").find("/v1/rerank"), std::string::npos);
}

TEST(Embeddings, AnAbortedCallIsAnError) {
  TestService t(3, false);
  t.engine->hold(true);
  std::thread abort([&] {
    ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 2; }));
    t.engine->abort("mine");
  });
  const HttpResponse answer = t.post("/v1/embeddings", R"({"input": ["a", "b"], "rid": "mine"})");
  abort.join();
  EXPECT_GE(answer.status, 400) << answer.body;
}

TEST(Embeddings, HealthAndInformationKnowThatTheModelEmbeds) {
  TestService t(3, false);
  EXPECT_EQ(t.call("GET", "/health").status, 200);
  EXPECT_EQ(t.call("GET", "/health_generate").status, 200);
  const Json info = Json::parse(t.call("GET", "/get_model_info").body);
  EXPECT_EQ(info["is_generation"], false);
  EXPECT_EQ(info["embedding_size"], 3);
}

}  // namespace
}  // namespace sgl
