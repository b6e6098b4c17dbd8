// /encode over a fake engine, whose vectors count the letters a, b and c.

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

TEST(Encode, ATextGivesAnObjectAndAListGivesAList) {
  TestService t(3, false);
  const Json one = t.ok("/encode", R"({"text": "abba", "rid": "mine"})");
  EXPECT_EQ(one["embedding"], Json::parse("[2.0, 2.0, 0.0]"));
  EXPECT_EQ(one["meta_info"]["id"], "mine");
  EXPECT_EQ(one["meta_info"]["prompt_tokens"], 5);
  EXPECT_TRUE(one["meta_info"].contains("e2e_latency"));
  const Json list = t.ok("/encode", R"({"text": ["c"], "dimensions": 1})");
  ASSERT_TRUE(list.is_array());
  EXPECT_EQ(list[0]["embedding"], Json::parse("[0.0]"));
  EXPECT_EQ(t.ok("/encode", R"({"input_ids": [97, 98]})")["embedding"], Json::parse("[1.0, 1.0, 0.0]"));
  EXPECT_EQ(t.ok("/encode", R"({"input_ids": [[97], [98]]})").size(), 2U);
}

TEST(Encode, CrossEncodersTakePairs) {
  TestService t(1, true);
  const Json list = t.ok("/encode", R"({"text": [["q", "four"], ["q", "sixsix"]], "is_cross_encoder_request": true})");
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0]["embedding"], Json::parse("[4.0]"));
  EXPECT_EQ(list[1]["embedding"], Json::parse("[6.0]"));
  EXPECT_TRUE(t.ok("/encode", R"({"text": ["q", "four"], "is_cross_encoder_request": true})").is_object());
  for (const char* text : {R"("q")", R"(["q"])", R"([["q", "d"], ["q"]])", R"([["q", 5]])", "5"}) {
    const std::string body = R"({"is_cross_encoder_request": true, "text": )" + std::string(text) + "}";
    EXPECT_NE(t.refusal("/encode", body).find("text"), std::string::npos) << text;
  }
}

TEST(Encode, MediaAndNothingAreRefused) {
  TestService t(3, false);
  EXPECT_NE(t.refusal("/encode", R"({"text": "a", "image_data": "x"})").find("image_data"), std::string::npos);
  EXPECT_NE(t.refusal("/encode", "{}").find("neither"), std::string::npos);
  EXPECT_NE(t.refusal("/encode", R"({"text": []})").find("empty"), std::string::npos);
}

}  // namespace
}  // namespace sgl
