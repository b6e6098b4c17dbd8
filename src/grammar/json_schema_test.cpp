#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <sgl/error.h>

#include "grammar/grammar.h"

namespace sgl {
namespace {

bool matches(const std::string& schema, const std::string& text) {
  return Grammar({GrammarKind::JsonSchema, schema, {}}, nullptr).matches(text);
}

// The message of the refusal, or nothing.
std::string refusal(const std::string& schema) {
  try {
    Grammar g({GrammarKind::JsonSchema, schema, {}}, nullptr);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(JsonSchema, LargeObjectsAndRepeatedNamesAreReadInNoTime) {
  std::string schema = R"({"type":"object","additionalProperties":false,"properties":{)", required;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = "\"p" + std::to_string(i * 7919 % 3000) + "\"";
    schema += name + R"(:{"type":"string"},)" + name + (i < 2999 ? R"(:{"type":"null"},)" : R"(:{"type":"null"}})");
    required += (i > 0 ? "," : "") + name;
  }
  schema += R"(,"required":[)" + required + "]}";
  std::string text = "{";
  for (int i = 0; i < 3000; ++i) text += (i > 0 ? ",\"p" : "\"p") + std::to_string(i * 7919 % 3000) + "\":null";
  EXPECT_TRUE(matches(schema, text + "}"));
  text.replace(text.rfind("null"), 4, "\"\"");
  EXPECT_FALSE(matches(schema, text + "}"));
}

}  // namespace
}  // namespace sgl
