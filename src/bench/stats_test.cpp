#include "bench/stats.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "bench/random_text.h"

namespace sgl::bench {
namespace {

TEST(Stats, QuantilesLieBetweenNeighbours) {
  const std::vector<double> sorted = {10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(quantile(sorted, 0), 10);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.5), 25);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1.0 / 3), 20);
  EXPECT_DOUBLE_EQ(quantile(sorted, 0.9), 37);
  EXPECT_DOUBLE_EQ(quantile(sorted, 1), 40);
}

TEST(Stats, OfOneValueAllQuantilesAreThatValue) {
  const Summary s = summarize({7});
  for (double x : {s.mean, s.min, s.p50, s.p90, s.p95, s.p99, s.max}) EXPECT_EQ(x, 7);
}

TEST(Stats, OfNothingAllIsZero) {
  EXPECT_EQ(quantile({}, 0.5), 0);
  EXPECT_EQ(summarize({}).max, 0);
}

TEST(Stats, ASummaryDoesNotCareForTheOrder) {
  const Summary s = summarize({5, 1, 4, 2, 3});
  EXPECT_DOUBLE_EQ(s.mean, 3);
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.p50, 3);
  EXPECT_DOUBLE_EQ(s.p90, 4.6);
  EXPECT_EQ(s.max, 5);
}

TEST(Stats, AQuantileLeavesItsShareBelow) {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> values(1 + random.below(300));
    for (double& v : values) v = random.normal();
    std::sort(values.begin(), values.end());
    const double q = random.uniform();
    const double at = quantile(values, q);
    const auto below = std::count_if(values.begin(), values.end(), [&](double v) { return v < at; });
    const auto not_above = std::count_if(values.begin(), values.end(), [&](double v) { return v <= at; });
    const double rank = q * static_cast<double>(values.size() - 1);
    EXPECT_LE(static_cast<double>(below), rank + 1) << "round " << round;
    EXPECT_GE(static_cast<double>(not_above), std::floor(rank) + 1) << "round " << round;
  }
}

}  // namespace
}  // namespace sgl::bench
