#include "engine/queue_wait.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(QueueWait, BeforeItIsFullNothingIsKnown) {
  QueueWait wait;
  EXPECT_EQ(wait.seconds_per_place(), 0);
  wait.turn(1, 5, /*full=*/false);
  wait.turn(1, 0, /*full=*/true);
  EXPECT_EQ(wait.seconds_per_place(), 0);
}

TEST(QueueWait, TheTimeBetweenEndsIsAveraged) {
  QueueWait wait;
  wait.turn(1, 0, true);
  wait.turn(1, 2, true);  // 1 s each
  EXPECT_DOUBLE_EQ(wait.seconds_per_place(), 1);
  wait.turn(4, 2, true);  // 2 s each
  EXPECT_DOUBLE_EQ(wait.seconds_per_place(), 1.5);
}

TEST(QueueWait, TimeWithFreePlacesDoesNotCount) {
  QueueWait wait;
  wait.turn(1, 0, true);
  wait.turn(100, 3, /*full=*/false);
  wait.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(wait.seconds_per_place(), 2);
}

TEST(QueueWait, ItFollowsTheLastEnds) {
  QueueWait wait;
  for (int i = 0; i < 1000; ++i) wait.turn(1, 1, true);
  EXPECT_DOUBLE_EQ(wait.seconds_per_place(), 1);
  for (int i = 0; i < 200; ++i) wait.turn(5, 1, true);
  EXPECT_NEAR(wait.seconds_per_place(), 5, 0.05);
  wait.turn(1, 64, true);  // more at once than it remembers
  EXPECT_DOUBLE_EQ(wait.seconds_per_place(), 1.0 / 64);
}

}  // namespace
}  // namespace sgl
