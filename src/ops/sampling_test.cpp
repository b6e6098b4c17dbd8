#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace sgl {
namespace {

// The definition, by sorting everything: which ids may be drawn, with which probability.
std::map<int32_t, double> distribution(const std::vector<float>& logits, const SampleRow& row) {
  std::vector<std::pair<double, int32_t>> p;
  double total = 0, largest = -INFINITY;
  for (float x : logits) largest = std::max(largest, double{x} / row.temperature);
  for (size_t i = 0; i < logits.size(); ++i) {
    double e = std::exp(double{logits[i]} / row.temperature - largest);
    p.emplace_back(-e, static_cast<int32_t>(i));
    total += e;
  }
  std::sort(p.begin(), p.end());
  auto renormalise = [&] {
    total = 0;
    for (auto& [q, id] : p) total -= q;
  };
  std::vector<std::pair<double, int32_t>> kept;
  double before = 0;
  if (row.min_p == 0.0F) {  // together, on the same distribution
    for (size_t i = 0; i < p.size(); ++i) {
      if ((row.top_k > 0 && static_cast<int>(i) >= row.top_k) || before > row.top_p * total) break;
      kept.push_back(p[i]);
      before -= p[i].first;
    }
    p = kept;
  } else {
    if (row.top_k > 0 && static_cast<size_t>(row.top_k) < p.size()) p.resize(static_cast<size_t>(row.top_k));
    renormalise();
    for (auto& c : p) {
      if (before > row.top_p * total) break;
      kept.push_back(c);
      before -= c.first;
    }
    p = kept;
    while (-p.back().first < row.min_p * -p[0].first) p.pop_back();
  }
  renormalise();
  std::map<int32_t, double> result;
  for (auto& [q, id] : p) result[id] = -q / total;
  return result;
}

std::vector<float> random_logits(size_t n, float spread, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(n);
  for (float& x : logits) x = normal(rng);
  return logits;
}

TEST(Sampling, DrawsFromTheFilteredDistribution) {
  for (SampleRow row : {SampleRow{.temperature = 0.8F}, SampleRow{.temperature = 1.3F, .top_k = 5},
                        SampleRow{.top_p = 0.6F}, SampleRow{.top_k = 12, .top_p = 0.8F}, SampleRow{.min_p = 0.2F},
                        SampleRow{.top_k = 10, .top_p = 0.7F, .min_p = 0.1F}}) {
    std::vector<float> logits = random_logits(40, 1.5F, 7);
    std::map<int32_t, double> expected = distribution(logits, row);
    std::map<int32_t, int> drawn;
    const int n = 20000;
    for (int i = 0; i < n; ++i) {
      std::vector<float> copy = logits;
      SampleResult r;
      row.seed = 11;
      row.position = static_cast<uint64_t>(i);
      sample_row(r, copy.data(), 40, row);
      ++drawn[r.token];
    }
    for (auto [id, count] : drawn) EXPECT_TRUE(expected.count(id)) << "id " << id << " was filtered out";
    for (auto [id, p] : expected) {
      double sigma = std::sqrt(p * (1 - p) / n);
      EXPECT_NEAR(static_cast<double>(drawn[id]) / n, p, 5 * sigma + 1e-9) << "id " << id;
    }
  }
}

// Many candidates, ties among them: which ids are ever drawn is compared with the definition's set.
TEST(Sampling, KeepsWhatTheDefinitionKeepsInALargeVocabulary) {
  const int n = 700;
  for (SampleRow row :
       {SampleRow{.top_p = 0.9F}, SampleRow{.top_p = 0.03F}, SampleRow{.top_p = 0.0F}, SampleRow{.top_k = 100},
        SampleRow{.top_k = 300, .top_p = 0.7F}, SampleRow{.min_p = 0.3F},
        SampleRow{.top_k = 200, .top_p = 0.9F, .min_p = 0.2F}, SampleRow{.top_p = 0.8F, .min_p = 0.1F}}) {
    for (float spread : {0.0F, 2.0F}) {
      std::vector<float> logits = random_logits(n, spread, 5);
      for (float& x : logits) x = std::round(x * 16.0F) / 16.0F;  // ties
      std::map<int32_t, double> expected = distribution(logits, row);
      std::map<int32_t, int> drawn;
      const int draws = 4 * n;
      for (int i = 0; i < draws; ++i) {
        std::vector<float> copy = logits;
        SampleResult r;
        row.position = static_cast<uint64_t>(i);
        sample_row(r, copy.data(), n, row);
        ++drawn[r.token];
      }
      for (auto [id, count] : drawn) ASSERT_TRUE(expected.count(id)) << "id " << id << " was filtered out";
      for (auto [id, p] : expected) {
        double sigma = std::sqrt(p * (1 - p) / draws);
        ASSERT_NEAR(static_cast<double>(drawn[id]) / draws, p, 6 * sigma + 2.0 / draws) << "id " << id;
      }
    }
  }
}

TEST(Sampling, GreedyTakesTheLowestIdOfATie) {
  std::vector<float> logits{1, 3, 3, 2};
  SampleResult r;
  sample_row(r, logits.data(), 4, SampleRow{.temperature = 0, .want_logprob = true});
  EXPECT_EQ(r.token, 1);
  EXPECT_NEAR(r.logprob, 3 - std::log(std::exp(1) + 2 * std::exp(3) + std::exp(2)), 1e-6);
}

TEST(Sampling, PenaltiesFollowTheirFormulas) {
  std::vector<float> logits{2, -2, 1, 0};
  std::pair<int32_t, int32_t> counts[] = {{0, 3}, {1, 1}};
  std::pair<int32_t, float> bias[] = {{3, 0.25F}};
  int32_t banned[] = {2};
  SampleResult r;
  SampleRow row{.temperature = 0,
                .frequency_penalty = 0.1F,
                .presence_penalty = 0.5F,
                .repetition_penalty = 2.0F,
                .counts = counts,
                .bias = bias,
                .banned = banned};
  sample_row(r, logits.data(), 4, row);
  EXPECT_FLOAT_EQ(logits[0], 2 / 2.0F - 0.3F - 0.5F);
  EXPECT_FLOAT_EQ(logits[1], -2 * 2.0F - 0.1F - 0.5F);
  EXPECT_EQ(logits[2], -INFINITY);
  EXPECT_FLOAT_EQ(logits[3], 0.25F);
  EXPECT_EQ(r.token, 3);
}

TEST(Sampling, NoPenaltyOrBiasMakesALogitInfinite) {
  const std::pair<int32_t, int32_t> counts[] = {{0, 1}, {1, 1}};
  const std::pair<int32_t, float> bias[] = {{0, 3e38F}, {2, -3e38F}};
  for (const float temperature : {0.0F, 2e-6F, 0.5F, 1.0F, 100.0F}) {
    for (const float penalty : {1e-38F, 1e-44F, 2.0F}) {
      std::vector<float> logits{12, 3, 9, -1};
      SampleResult r;
      sample_row(r, logits.data(), 4,
                 SampleRow{.temperature = temperature,
                           .repetition_penalty = penalty,
                           .counts = counts,
                           .bias = bias,
                           .want_logprob = true,
                           .top_logprobs = 4});
      EXPECT_FALSE(r.bad) << penalty << " at " << temperature;
      EXPECT_TRUE(r.token == 0 || r.token == 1) << r.token;
      EXPECT_TRUE(std::isfinite(r.logprob)) << r.logprob;
      for (const auto& [id, logprob] : r.top) EXPECT_FALSE(std::isnan(logprob)) << id;
    }
  }
}

TEST(Sampling, AnInfiniteLogitIsToldThoughItIsPenalised) {
  std::vector<float> logits{INFINITY, 3, 9};
  const std::pair<int32_t, int32_t> counts[] = {{0, 1}};
  const std::pair<int32_t, float> bias[] = {{0, -1.0F}};
  SampleResult r;
  sample_row(r, logits.data(), 3, SampleRow{.repetition_penalty = 1.5F, .counts = counts, .bias = bias});
  EXPECT_TRUE(r.bad);
}

TEST(Sampling, ReportsTemperedLogprobsOfTheBestAndTheAskedIds) {
  std::vector<float> logits{1, 2, 3, 2, -1};
  int32_t asked[] = {4, 0};
  SampleResult r;
  SampleRow row{.temperature = 2, .want_logprob = true, .top_logprobs = 3, .asked_ids = asked, .forced = 3};
  sample_row(r, logits.data(), 5, row);
  double total = 0;
  for (double x : {0.5, 1.0, 1.5, 1.0, -0.5}) total += std::exp(x);
  EXPECT_EQ(r.token, 3);
  EXPECT_NEAR(r.logprob, 1.0 - std::log(total), 1e-6);
  ASSERT_EQ(r.top.size(), 3U);
  EXPECT_EQ(r.top[0].first, 2);
  EXPECT_EQ(r.top[1].first, 1);  // a tie goes by id
  EXPECT_EQ(r.top[2].first, 3);
  ASSERT_EQ(r.asked.size(), 2U);
  EXPECT_NEAR(r.asked[0].second, -0.5 - std::log(total), 1e-6);
  EXPECT_NEAR(r.asked[1].second, 0.5 - std::log(total), 1e-6);
}

TEST(Sampling, AllowedMaskRestrictsTheChoice) {
  std::vector<float> logits = random_logits(100, 1, 3);
  uint32_t mask[4] = {0, 1U << 5, 1U << 31, 0};
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<float> copy = logits;
    SampleResult r;
    sample_row(r, copy.data(), 100, SampleRow{.allowed = mask, .seed = 1, .position = i});
    EXPECT_TRUE(r.token == 37 || r.token == 95) << r.token;
  }
}

TEST(Sampling, SaysWhenTheLogitsAreUnusable) {
  SampleResult r;
  std::vector<float> with_nan{1, NAN, 2};
  sample_row(r, with_nan.data(), 3, SampleRow{});
  EXPECT_TRUE(r.bad);
  std::vector<float> with_infinity{1, INFINITY, 2};
  sample_row(r, with_infinity.data(), 3, SampleRow{.top_p = 0.5F});
  EXPECT_TRUE(r.bad);
  std::vector<float> all_masked{1, 2, 3};
  uint32_t mask[1] = {0};
  sample_row(r, all_masked.data(), 3, SampleRow{.allowed = mask});
  EXPECT_TRUE(r.bad);
}

TEST(Sampling, UniformIsUniform) {
  double sum = 0, square = 0;
  for (uint64_t i = 0; i < 100000; ++i) {
    double u = counter_uniform(42, i);
    ASSERT_GT(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    square += u * u;
  }
  EXPECT_NEAR(sum / 1e5, 0.5, 0.005);
  EXPECT_NEAR(square / 1e5, 1.0 / 3, 0.005);
  EXPECT_NE(counter_uniform(1, 0), counter_uniform(0, 1));
}

}  // namespace
}  // namespace sgl
