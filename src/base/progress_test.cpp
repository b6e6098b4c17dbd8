#include "base/progress.h"

#include <string>

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(Progress, BytesHaveThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.50 kB");
  EXPECT_EQ(format_bytes(92871040), "92.9 MB");
  EXPECT_EQ(format_bytes(999999), "1.00 MB");
  EXPECT_EQ(format_bytes(4370000000), "4.37 GB");
}

TEST(Progress, DurationsReadLikeAClock) {
  EXPECT_EQ(format_duration(7.6), "8 s");
  EXPECT_EQ(format_duration(65), "1 min 05 s");
  EXPECT_EQ(format_duration(7380), "2 h 03 min");
  EXPECT_EQ(format_duration(1e300), "?");
  EXPECT_EQ(format_duration(-1), "0 s");
}

TEST(Progress, ALineShowsShareAmountsRateAndTimeLeft) {
  std::string line = format_progress("model", 50'000'000, 100'000'000, Progress::Unit::Bytes, 10e6, 100);
  EXPECT_EQ(line, "model [===============>              ]  50 % 50.0 MB/100 MB  10.0 MB/s  5 s left");
  EXPECT_EQ(format_progress("x", 3, 0, Progress::Unit::Items, 0, 80), "x  3");
}

TEST(Progress, ALineNeverExceedsTheColumns) {
  for (int columns = 0; columns < 120; ++columns) {
    EXPECT_LE(format_progress("a long label", 5, 10, Progress::Unit::Items, 2, columns).size(),
              static_cast<size_t>(columns));
  }
}

}  // namespace
}  // namespace sgl
