#include "bench/sse_parser.h"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "bench/random_text.h"

namespace sgl::bench {
namespace {

std::vector<std::string> parse(const std::vector<std::string>& pieces) {
  std::vector<std::string> events;
  SseParser parser([&](std::string_view data) { events.emplace_back(data); });
  for (const std::string& piece : pieces) parser.feed(piece);
  return events;
}

using Events = std::vector<std::string>;

TEST(SseParser, GivesEachEventsData) {
  EXPECT_EQ(parse({"data: {\"a\":1}\n\ndata: [DONE]\n\n"}), (Events{"{\"a\":1}", "[DONE]"}));
}

TEST(SseParser, KnowsAllLineEndsAndOptionalSpaces) {
  EXPECT_EQ(parse({"data:a\r\n\r\ndata:  b\r\rdata: c\n\n"}), (Events{"a", " b", "c"}));
}

TEST(SseParser, SkipsCommentsOtherFieldsAndEventsWithoutData) {
  EXPECT_EQ(parse({": ping\n\nevent: x\nid: 7\ndata: a\nretry: 1\n\nevent: y\n\ndatax: no\n\n"}), (Events{"a"}));
}

TEST(SseParser, JoinsTheDataLinesOfAnEvent) {
  EXPECT_EQ(parse({"data: a\ndata\ndata: b\n\n"}), (Events{"a\n\nb"}));
  EXPECT_EQ(parse({"data:\n\n"}), (Events{""}));
}

TEST(SseParser, DropsAnEventThatDoesNotEnd) { EXPECT_EQ(parse({"data: a\n\ndata: b\n"}), (Events{"a"})); }

TEST(SseParser, ResultsDoNotDependOnHowTheBytesWereCut) {
  const std::string stream =
      "data: {\"x\":\"wörld\"}\r\n\r\n: c\r\rdata: a\r\ndata:b\n\nevent: e\rdata: last\r\r\n\ndata: [DONE]\n\n";
  const Events whole = parse({stream});
  ASSERT_EQ(whole, (Events{"{\"x\":\"wörld\"}", "a\nb", "last", "[DONE]"}));
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EXPECT_EQ(parse({stream.substr(0, cut), stream.substr(cut)}), whole) << "cut at " << cut;
  }
  Random random(11);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < stream.size();) {
      const size_t n = 1 + random.below(6);
      pieces.push_back(stream.substr(at, n));
      at += n;
    }
    EXPECT_EQ(parse(pieces), whole) << "round " << round;
  }
}

}  // namespace
}  // namespace sgl::bench
