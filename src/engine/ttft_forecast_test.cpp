#include "engine/ttft_forecast.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(TtftRecord, BeforeItIsFullNothingIsKnown) {
  TtftRecord record;
  EXPECT_FALSE(record.forecast(0).known());
  record.turn(1, 5, /*full=*/false);
  record.turn(1, 0, /*full=*/true);
  EXPECT_FALSE(record.forecast(0).known());
  EXPECT_EQ(record.forecast(0).expected(7), 0);
}

TEST(TtftRecord, TheTimeBetweenEndsIsAveraged) {
  TtftRecord record;
  record.turn(1, 0, true);
  record.turn(1, 2, true);  // 1 s each
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(1), 1);
  record.turn(4, 2, true);  // 2 s each
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(2), 3);
}

TEST(TtftRecord, TimeWithFreePlacesDoesNotCount) {
  TtftRecord record;
  record.turn(1, 0, true);
  record.turn(100, 3, /*full=*/false);
  record.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(1), 2);
}

TEST(TtftRecord, ItFollowsTheLastEnds) {
  TtftRecord record;
  for (int i = 0; i < 1000; ++i) record.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(1), 1);
  for (int i = 0; i < 200; ++i) record.turn(5, 1, true);
  EXPECT_NEAR(record.forecast(0).expected(1), 5, 0.05);
  record.turn(1, 64, true);  // more at once than it remembers
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(1), 1.0 / 64);
}

TEST(TtftRecord, ThePromptTakesItsTime) {
  TtftRecord record;
  record.turn(1, 1, true);
  EXPECT_EQ(record.longest_running(), 0);
  record.first_token(0.75);
  record.first_token(0.25);
  EXPECT_DOUBLE_EQ(record.forecast(0).expected(3), 3.5);
  EXPECT_DOUBLE_EQ(record.longest_running(), 0.75);
  for (int i = 0; i < 32; ++i) record.first_token(0.25);
  EXPECT_DOUBLE_EQ(record.longest_running(), 0.25);
}

TEST(TtftRecord, TheMarginCoversTheLastErrorsForAMinute) {
  TtftRecord record;
  EXPECT_EQ(record.forecast(0).margin, 0);
  record.error(10, 2);
  record.error(11, 0.5);
  record.error(12, -3);  // earlier than was said
  EXPECT_DOUBLE_EQ(record.forecast(12).margin, 2);
  EXPECT_DOUBLE_EQ(record.forecast(12).margin_until, 72);
  EXPECT_DOUBLE_EQ(record.forecast(70.5).margin, 0.5);
  EXPECT_EQ(record.forecast(80).margin, 0);
  for (int i = 0; i < 128; ++i) record.error(12, 0.25);
  EXPECT_DOUBLE_EQ(record.forecast(12).margin, 0.25) << "128 are remembered";
}

}  // namespace
}  // namespace sgl
