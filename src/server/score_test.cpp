// /v1/score and /v1/rerank over a fake engine. To each label it gives the log-probability −2; its vectors count the
// letters a, b and c, and of a pair it tells how long the second text is.

#include <cmath>

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

TEST(Score, IsTheProbabilityOfEachLabel) {
  TestService t;
  const Json answer =
      t.ok("/v1/score", R"({"query": "ab", "items": ["c", "dd"], "label_token_ids": [65, 66], "model": "m"})");
  EXPECT_EQ(answer["object"], "scoring");
  EXPECT_EQ(answer["model"], "m");
  ASSERT_EQ(answer["scores"].size(), 2U);
  for (const Json& scores : answer["scores"]) {
    ASSERT_EQ(scores.size(), 2U);
    EXPECT_NEAR(scores[0].get<double>(), std::exp(-2.0), 1e-12);
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4 + 5);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
  const Request last = t.engine->last();
  EXPECT_EQ(std::get<std::string>(last.prompt), "abdd");
  EXPECT_EQ(last.token_ids_logprob, (std::vector<int32_t>{65, 66}));
  EXPECT_EQ(last.sampling.temperature, 0);
}

TEST(Score, SoftmaxSharesAmongTheLabels) {
  TestService t;
  const Json answer = t.ok("/v1/score", R"({"query": "q", "items": "i", "label_token_ids": [65, 66, 67, 68],
    "apply_softmax": true, "temperature": 0.5})");
  for (const Json& score : answer["scores"][0]) EXPECT_NEAR(score.get<double>(), 0.25, 1e-12);
}

TEST(Score, ItemsMayComeFirstAndAsIds) {
  TestService t;
  t.ok("/v1/score", R"({"query": "q", "items": ["item"], "label_token_ids": [1], "item_first": true})");
  EXPECT_EQ(std::get<std::string>(t.engine->last().prompt), "itemq");
  t.ok("/v1/score", R"({"query": [1, 2], "items": [[3]], "label_token_ids": [1]})");
  EXPECT_EQ(std::get<1>(t.engine->last().prompt), (std::vector<int32_t>{1, 2, 3}));
  t.ok("/v1/score", R"({"query": [1, 2], "items": [[3]], "label_token_ids": [1], "item_first": true})");
  EXPECT_EQ(std::get<1>(t.engine->last().prompt), (std::vector<int32_t>{3, 1, 2}));
}

TEST(Score, WhatIsWrongIsNamed) {
  TestService t;
  const auto refused = [&](const std::string& body, const char* part) {
    const std::string message = t.refusal("/v1/score", body);
    EXPECT_NE(message.find(part), std::string::npos) << body << ": " << message;
  };
  refused(R"({"query": "q", "items": ["i"]})", "label_token_ids");
  refused(R"({"query": "q", "items": ["i"], "label_token_ids": []})", "label_token_ids");
  refused(R"({"query": "q", "items": ["i"], "label_token_ids": [258]})", "258");
  refused(R"({"query": "q", "items": [], "label_token_ids": [1]})", "items");
  refused(R"({"items": ["i"], "label_token_ids": [1]})", "query");
  refused(R"({"query": "q", "items": [[1]], "label_token_ids": [1]})", "items");
  refused(R"({"query": [1], "items": ["i"], "label_token_ids": [1]})", "items[0]");
  refused(R"({"query": "q", "items": ["i"], "label_token_ids": [1], "temperature": 0.5})", "apply_softmax");
  refused(R"({"query": "q", "items": ["i"], "label_token_ids": [1], "apply_softmax": true, "temperature": 0})",
          "temperature");
  TestService embeds(3, false);
  EXPECT_NE(embeds.refusal("/v1/score", R"({"query": "q", "items": ["i"], "label_token_ids": [1]})").find("embeddings"),
            std::string::npos);
}

TEST(Rerank, ACrossEncodersScoresAreSorted) {
  TestService t(1, true);
  const Json list = t.ok("/v1/rerank", R"({"query": "q", "documents": ["two", "a long one", "mid one"]})");
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0]["score"], 10.0);
  EXPECT_EQ(list[0]["index"], 1);
  EXPECT_EQ(list[0]["document"], "a long one");
  EXPECT_EQ(list[1]["index"], 2);
  EXPECT_EQ(list[2]["index"], 0);
  EXPECT_TRUE(list[2]["meta_info"].contains("prompt_tokens"));
}

TEST(Rerank, AnEmbeddingModelRanksByTheCosine) {
  TestService t(3, false);
  const Json list = t.ok("/v1/rerank", R"({"query": "ab", "documents": ["cccc", "aabb", "a"], "top_n": 2,
    "return_documents": false})");
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0]["index"], 1);
  EXPECT_NEAR(list[0]["score"].get<double>(), 1.0, 1e-12);
  EXPECT_EQ(list[1]["index"], 2);
  EXPECT_NEAR(list[1]["score"].get<double>(), std::sqrt(0.5), 1e-12);
  EXPECT_FALSE(list[0].contains("document"));
}

TEST(Rerank, EqualScoresStayInOrder) {
  TestService t(1, true);
  const Json list = t.ok("/v1/rerank", R"({"query": "q", "documents": ["aa", "bb", "cc"], "top_n": 9})");
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(list[i]["index"], i);
}

TEST(Rerank, WhatIsWrongIsNamed) {
  TestService t(3, false);
  const auto refused = [](TestService& service, const std::string& body, const char* part) {
    const std::string message = service.refusal("/v1/rerank", body);
    EXPECT_NE(message.find(part), std::string::npos) << body << ": " << message;
  };
  refused(t, R"({"documents": ["d"]})", "query");
  refused(t, R"({"query": "q"})", "documents");
  refused(t, R"({"query": "q", "documents": []})", "documents");
  refused(t, R"({"query": "q", "documents": "d"})", "documents");
  refused(t, R"({"query": " ", "documents": ["d"]})", "query");
  refused(t, R"({"query": "q", "documents": ["d", ""]})", "documents[1]");
  refused(t, R"({"query": "q", "documents": ["d"], "top_n": 0})", "top_n");
  refused(t, R"({"query": "q", "documents": ["d"], "instruct": "judge"})", "instruct");
  TestService generates;
  refused(generates, R"({"query": "q", "documents": ["d"]})", "cross-encoder");
  TestService classifies(3, true);
  refused(classifies, R"({"query": "q", "documents": ["d"]})", "3 labels");
}

}  // namespace
}  // namespace sgl
