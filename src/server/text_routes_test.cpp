#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

TEST(Tokenize, ATextGivesItsIds) {
  TestService t;
  const Json one = t.ok("/tokenize", R"({"prompt":"ab"})");
  EXPECT_EQ(one["tokens"], Json({256, 97, 98}));
  EXPECT_EQ(one["count"], 3);
  EXPECT_EQ(one["max_model_len"], 4096);
  EXPECT_EQ(t.ok("/v1/tokenize", R"({"model":"default","prompt":"ab","add_special_tokens":false})")["tokens"],
            Json({97, 98}));
  const Json list = t.ok("/tokenize", R"({"prompt":["a",""]})");
  EXPECT_EQ(list["tokens"], Json::parse("[[256,97],[256]]"));
  EXPECT_EQ(list["count"], Json::parse("[2,1]"));
}

TEST(Tokenize, AConversationGivesTheIdsOfItsTemplate) {
  TestService t;
  Request chat;
  ChatMessage message{.role = "user"};
  message.parts = {{ContentPart::Type::Text, "Hi"}};
  chat.prompt = ChatPrompt{.messages = {message}};
  const Json got = t.ok("/tokenize", R"({"messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(got["tokens"], Json(t.engine->tokenize(chat)));
  EXPECT_EQ(got["count"], got["tokens"].size());
}

TEST(Tokenize, DetokenizingGivesTheTextBack) {
  TestService t;
  EXPECT_EQ(t.ok("/detokenize", R"({"tokens":[97,98]})")["text"], "ab");
  EXPECT_EQ(t.ok("/v1/detokenize", R"({"tokens":[[97],[98]]})")["text"], Json::parse(R"(["a","b"])"));
  EXPECT_EQ(t.ok("/detokenize", R"({"tokens":[]})")["text"], "");
}

TEST(Tokenize, WhatIsWrongIsNamed) {
  TestService t;
  EXPECT_EQ(t.refusal("/tokenize", "{}"), "exactly one of prompt and messages must be given");
  EXPECT_EQ(t.refusal("/tokenize", R"({"prompt":"a","messages":[]})"),
            "exactly one of prompt and messages must be given");
  EXPECT_NE(t.refusal("/tokenize", R"({"prompt":7})").find("prompt must be"), std::string::npos);
  EXPECT_EQ(t.refusal("/detokenize", R"({"tokens":[97,258]})"), "tokens holds the token id 258; ids are in [0, 258)");
  EXPECT_NE(t.refusal("/detokenize", "{}").find("tokens"), std::string::npos);
  t.engine->set_tokenizer(false);
  EXPECT_NE(t.refusal("/tokenize", R"({"prompt":"a"})").find("--skip-tokenizer-init"), std::string::npos);
}

TEST(Loads, ShowWhatRunsAndWhatThePoolHolds) {
  TestService t;
  t.ok("/generate", R"({"text":"a"})");
  const Json loads = Json::parse(t.call("GET", "/v1/loads").body);
  ASSERT_EQ(loads["loads"].size(), 1U);
  for (const char* key :
       {"num_running_reqs", "num_waiting_reqs", "num_waiting_uncached_tokens", "num_used_tokens",
        "max_total_num_tokens", "max_running_requests", "token_usage", "gen_throughput", "cache_hit_rate"}) {
    EXPECT_TRUE(loads["loads"][0].contains(key)) << key;
  }
  EXPECT_TRUE(loads.contains("timestamp"));
}

}  // namespace
}  // namespace sgl
