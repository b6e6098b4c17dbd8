#include "nn/key_balance.h"

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(KeyBalance, DividesKeysByTheRootOfTheirBiasAndMultipliesQueries) {
  // Two query heads of one KV head, of which the first four channels turn, in pairs (0, 2) and (1, 3).
  const std::vector<float> bias = {0.5F, 100.0F, -16.0F, 0.0F, -5.0F, 1.3F};
  const std::vector<float> q = {4, 8, 4, 8, 2, 1}, k = {0.25F, 0.125F, 0.25F, 0.125F, 0.5F, 1};
  std::vector<float> want = q;
  want.insert(want.end(), q.begin(), q.end());
  want.insert(want.end(), k.begin(), k.end());
  EXPECT_EQ(balance_keys(bias, {2, 1, 6, 4, false}), want);
}

TEST(KeyBalance, PairsSideBySideAndHeadsThatDoNotTurn) {
  const std::vector<float> bias = {0, 16, 64, 0};
  EXPECT_EQ(balance_keys(bias, {1, 1, 4, 4, true}), (std::vector<float>{4, 4, 8, 8, 0.25F, 0.25F, 0.125F, 0.125F}));
  EXPECT_EQ(balance_keys(bias, {1, 1, 4, 0, false}), (std::vector<float>{1, 4, 8, 1, 1, 0.25F, 0.125F, 1}));
}

TEST(KeyBalance, EachKvHeadHasItsOwn) {
  const std::vector<float> bias = {0, 0, 16, 16};
  EXPECT_EQ(balance_keys(bias, {4, 2, 2, 2, false}), (std::vector<float>{1, 1, 1, 1, 4, 4, 4, 4, 1, 1, 0.25F, 0.25F}));
}

TEST(KeyBalance, IsEmptyWhereNothingIsLarge) {
  EXPECT_TRUE(balance_keys(std::vector<float>{1.2F, -1.0F, 0.0F, 0.3F}, {1, 1, 4, 4, false}).empty());
}

}  // namespace
}  // namespace sgl
