#include "nn/key_balance.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "ops/op_cases.h"
#include "ops/ref_backend.h"
#include "ops/test_data.h"

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

// Bit for bit, channel by channel, turned as heads of the shape are.
TEST(KeyBalance, LeavesProductsAsTheyAre) {
  RefBackend ref;
  std::mt19937 random(20261128);
  std::normal_distribution<float> normal;
  for (const RopeCase& c : kRopeCases) {
    const HeadShape shape = {2 * c.heads, c.heads, c.head_dim, c.rotary_dim, c.interleaved};
    const int64_t nkv = int64_t{c.heads} * c.head_dim;
    std::vector<float> bias(static_cast<size_t>(nkv));
    for (float& b : bias) b = std::exp(2.0F * normal(random));
    test::Matrix as_they_are = test::random_matrix(random, c.n, 3 * nkv), balanced = as_they_are;
    const test::Matrix cos_sin = test::random_matrix(random, c.n, c.rotary_dim);
    const std::vector<float> factors = balance_keys(bias, shape);
    ASSERT_EQ(factors.size(), static_cast<size_t>(3 * nkv));
    ref.scale_columns(balanced.tensor, factors);
    for (test::Matrix* m : {&as_they_are, &balanced}) ref.rope(m->tensor, cos_sin.tensor, c.head_dim, c.interleaved);
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t j = 0; j < 2 * nkv; ++j) {
        const int64_t key = 2 * nkv + j / (2 * c.head_dim) * c.head_dim + j % c.head_dim;
        const float *was = as_they_are.tensor.f32(i), *is = balanced.tensor.f32(i);
        ASSERT_EQ(is[j] * is[key], was[j] * was[key]) << "head " << j / c.head_dim << ", channel " << j % c.head_dim;
      }
    }
  }
}

TEST(KeyBalance, IsEmptyWhereNothingIsLarge) {
  EXPECT_TRUE(balance_keys(std::vector<float>{1.2F, -1.0F, 0.0F, 0.3F}, {1, 1, 4, 4, false}).empty());
}

}  // namespace
}  // namespace sgl
