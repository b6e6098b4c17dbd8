#include "server/observed.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

RequestTag tag(const std::string& name, const std::string& value) {
  HttpRequest request;
  request.headers = {{name, value}};
  return tag_of(request);
}

TEST(RequestTag, TheIdIsTheClientsIfItIsANameAndElseRandom) {
  EXPECT_EQ(tag("x-request-id", "job-17/a:b.c_d+e=").id, "job-17/a:b.c_d+e=");
  for (const std::string& bad :
       {std::string(), std::string(129, 'a'), std::string("a b"), std::string("a\"b"), std::string("\xc3\xbc")}) {
    const std::string id = tag("X-Request-Id", bad).id;
    EXPECT_EQ(id.size(), 32U) << bad;
    EXPECT_NE(id, tag("X-Request-Id", bad).id);
  }
}

TEST(RequestTag, ATraceparentIsReadIfItIsValid) {
  const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736", span = "00f067aa0ba902b7";
  const auto parsed = tag("traceparent", "00-" + trace + "-" + span + "-01");
  EXPECT_EQ(parsed.trace_id, trace);
  EXPECT_EQ(parsed.parent_span, span);
  EXPECT_EQ(tag("traceparent", "cc-" + trace + "-" + span + "-01-what-comes-later").trace_id, trace);
  const std::string zeros(32, '0');
  for (const std::string& bad :
       {std::string(), "00-" + trace + "-" + span, "00-" + trace + "-" + span + "-01-more",
        "00-" + trace + "-" + span + "-1", "ff-" + trace + "-" + span + "-01", "00-" + zeros + "-" + span + "-01",
        "00-" + trace + "-" + zeros.substr(16) + "-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + span + "-01",
        "00_" + trace + "-" + span + "-01", "00-" + trace + "-" + span + "-zz"}) {
    EXPECT_EQ(tag("traceparent", bad).trace_id, "") << bad;
  }
}

}  // namespace
}  // namespace sgl
