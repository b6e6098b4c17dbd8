#include "engine/queue_wait.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(QueueWait, WithoutAQueueNothingIsKnown) {
  QueueWait wait;
  EXPECT_EQ(wait.seconds_per_admission(), 0);
  wait.turn(1, 5, /*left=*/false);
  wait.turn(1, 0, /*left=*/false);
  EXPECT_EQ(wait.seconds_per_admission(), 0);
}

TEST(QueueWait, TheTimeBetweenAdmissionsIsAveraged) {
  QueueWait wait;
  wait.turn(1, 0, true);
  wait.turn(1, 2, true);  // 1 s each
  EXPECT_DOUBLE_EQ(wait.seconds_per_admission(), 1);
  wait.turn(4, 2, true);  // 2 s each
  EXPECT_DOUBLE_EQ(wait.seconds_per_admission(), 1.5);
}

TEST(QueueWait, TimeWithoutAQueueDoesNotCount) {
  QueueWait wait;
  wait.turn(100, 0, /*left=*/false);
  wait.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(wait.seconds_per_admission(), 1);
}

TEST(QueueWait, ItFollowsTheLastAdmissions) {
  QueueWait wait;
  for (int i = 0; i < 1000; ++i) wait.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(wait.seconds_per_admission(), 1);
  for (int i = 0; i < 200; ++i) wait.turn(5, 1, true);
  EXPECT_NEAR(wait.seconds_per_admission(), 5, 0.05);
  wait.turn(1, 64, true);  // more at once than it remembers
  EXPECT_DOUBLE_EQ(wait.seconds_per_admission(), 1.0 / 64);
}

}  // namespace
}  // namespace sgl
