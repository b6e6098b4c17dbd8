#include "server/parse_routes.h"

#include <gtest/gtest.h>

#include "server/test_service.h"

namespace sgl {
namespace {

const char* const kTools =
    R"("tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}])";

TEST(ParseRoutes, CallsAreFoundInAText) {
  TestService t;
  const std::string body = R"({"text":"So: <tool_call>{\"name\": \"b\", \"arguments\": {\"x\": 1}}</tool_call>",)";
  const Json expected =
      Json::parse(R"({"normal_text":"So:","calls":[{"tool_index":1,"name":"b","parameters":"{\"x\": 1}"}]})");
  EXPECT_EQ(t.ok("/parse_function_call", body + kTools + R"(,"tool_call_parser":"qwen25"})"), expected);
  EXPECT_EQ(t.ok("/parse_function_call", body + kTools + "}"), expected) << "the model's own format";
  EXPECT_EQ(t.ok("/parse_function_call",
                 R"({"text":"<tool_call>{]","tool_call_parser":"hermes",)" + std::string(kTools) + "}"),
            Json::parse(R"({"normal_text":"<tool_call>{]","calls":[]})"));
  EXPECT_NE(t.refusal("/parse_function_call", body + kTools + R"(,"tool_call_parser":"x"})")
                .find("must be one of auto, hermes"),
            std::string::npos);
  EXPECT_EQ(t.refusal("/parse_function_call", R"({"text":"a"})"), "tools is required: an array of tools");
}

TEST(ParseRoutes, ThinkingIsSeparatedFromAText) {
  TestService t;
  EXPECT_EQ(t.ok("/separate_reasoning", R"({"text":"<think>Hm.</think>Yes.","reasoning_parser":"qwen3"})"),
            Json::parse(R"({"reasoning_text":"Hm.","text":"Yes."})"));
  EXPECT_NE(t.refusal("/separate_reasoning", R"({"text":"a"})").find("reasoning_parser must be one of"),
            std::string::npos);
  EXPECT_EQ(t.refusal("/separate_reasoning", "{}"), "text is required: the text that the model wrote");
}

}  // namespace
}  // namespace sgl
