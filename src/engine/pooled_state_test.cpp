#include "engine/pooled_state.h"

#include <cmath>

#include <gtest/gtest.h>

namespace sgl {
namespace {

std::vector<float> pool(const PoolingRule& rule, const std::vector<std::vector<float>>& states,
                        std::optional<int> dimensions = {}) {
  PooledState p(rule, dimensions);
  const int n = static_cast<int>(states.size());
  for (int i = 0; i < n; ++i) {
    if (p.wants(i, n)) p.add(states[static_cast<size_t>(i)]);
  }
  return p.result();
}

TEST(PooledState, TakesTheMeanOrOneState) {
  const std::vector<std::vector<float>> states = {{3, 0}, {0, 6}, {9, 9}};
  EXPECT_EQ(pool({Pooling::Mean, false}, states), (std::vector<float>{4, 5}));
  EXPECT_EQ(pool({Pooling::First, false}, states), (std::vector<float>{3, 0}));
  EXPECT_EQ(pool({Pooling::Last, false}, states), (std::vector<float>{9, 9}));
}

TEST(PooledState, NormalisesWhatIsLeftOfTheDimensions) {
  EXPECT_EQ(pool({Pooling::Last, true}, {{3, 4, 12}}, 2), (std::vector<float>{0.6F, 0.8F}));
  EXPECT_EQ(pool({Pooling::Last, false}, {{3, 4, 12}}, 2), (std::vector<float>{3, 4}));
  EXPECT_EQ(pool({Pooling::Last, true}, {{0, 0}}), (std::vector<float>{0, 0})) << "zeros have no direction";
}

TEST(PooledState, ScoresAreSigmoidsWhereTheModelSaysSo) {
  EXPECT_EQ(pool({Pooling::First, false, true}, {{0}}), (std::vector<float>{0.5F}));
  EXPECT_FLOAT_EQ(pool({Pooling::First, false, true}, {{2}})[0], static_cast<float>(1 / (1 + std::exp(-2.0))));
}

TEST(PooledState, DoesNotHideWhatIsNoNumber) {
  EXPECT_TRUE(std::isnan(pool({Pooling::Mean, true}, {{1, NAN}, {1, 1}})[1]));
}

TEST(PooledState, OnlyTheLastStateCanDoWithACachedPrefix) {
  EXPECT_EQ(PooledState({Pooling::Last}, {}).most_cached(10), 9);
  EXPECT_EQ(PooledState({Pooling::First}, {}).most_cached(10), 0);
  EXPECT_EQ(PooledState({Pooling::Mean}, {}).most_cached(10), 0);
}

TEST(PooledState, BeginsAnew) {
  PooledState p({Pooling::Mean, false}, {});
  p.add(std::vector<float>{100, 100});
  p.clear();
  p.add(std::vector<float>{1, 2});
  EXPECT_EQ(p.result(), (std::vector<float>{1, 2}));
}

}  // namespace
}  // namespace sgl
