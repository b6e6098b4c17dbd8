#include "nn/rope.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "ops/backend.h"

namespace sgl {
namespace {

RopeConfig base() {
  RopeConfig c;
  c.theta = 10000.0;
  c.rotary_dim = 8;
  return c;
}

TEST(Rope, FrequenciesFallGeometrically) {
  Rope rope(base(), 128);
  EXPECT_EQ(rope.rotary_dim(), 8);
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(rope.inv_freq()[static_cast<size_t>(i)], static_cast<float>(std::pow(10000.0, -i / 4.0)));
  }
}

TEST(Rope, TablesHoldCosinesThenSines) {
  Rope rope(base(), 128);
  std::vector<float> out(16);
  int32_t positions[] = {0, 3};
  Backend::create({.device = "ref"})
      ->rope_table(Tensor(out.data(), DType::F32, {2, 8}), positions, rope.inv_freq(), rope.attention_factor());
  for (size_t j = 0; j < 4; ++j) {
    EXPECT_EQ(out[j], 1.0F);
    EXPECT_EQ(out[4 + j], 0.0F);
    EXPECT_FLOAT_EQ(out[8 + j], std::cos(3 * rope.inv_freq()[j]));
    EXPECT_FLOAT_EQ(out[12 + j], std::sin(3 * rope.inv_freq()[j]));
  }
}

TEST(Rope, LinearScalingStretchesAll) {
  RopeConfig c = base();
  c.scaling = RopeConfig::Scaling::Linear;
  c.factor = 4;
  EXPECT_FLOAT_EQ(Rope(c, 128).inv_freq()[2], Rope(base(), 128).inv_freq()[2] / 4);
}

TEST(Rope, Llama3KeepsShortWavesAndStretchesLongOnes) {
  RopeConfig c = base();
  c.rotary_dim = 64;
  c.theta = 500000;
  Rope plain(c, 8192);
  c.scaling = RopeConfig::Scaling::Llama3;
  c.factor = 8;
  c.original_context = 8192;
  Rope scaled(c, 8192);
  for (size_t i = 0; i < 32; ++i) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(plain.inv_freq()[i]);
    if (wavelength < 8192 / 4.0) {
      EXPECT_EQ(scaled.inv_freq()[i], plain.inv_freq()[i]);
    } else if (wavelength > 8192) {
      EXPECT_FLOAT_EQ(scaled.inv_freq()[i], plain.inv_freq()[i] / 8);
    } else {
      EXPECT_LT(scaled.inv_freq()[i], plain.inv_freq()[i]);
      EXPECT_GT(scaled.inv_freq()[i], plain.inv_freq()[i] / 8);
    }
  }
}

TEST(Rope, DynamicScalingDependsOnTheServedContextOnly) {
  RopeConfig c = base();
  c.scaling = RopeConfig::Scaling::Dynamic;
  c.factor = 2;
  c.original_context = 128;
  EXPECT_EQ(Rope(c, 128).inv_freq(), Rope(base(), 128).inv_freq());
  const double theta = 10000.0 * std::pow(2.0 * 256 / 128 - 1, 8.0 / 6.0);
  EXPECT_FLOAT_EQ(Rope(c, 256).inv_freq()[1], static_cast<float>(std::pow(theta, -0.25)));
}

TEST(Rope, LongRopeTakesTheFactorsOfTheServedContext) {
  RopeConfig c = base();
  c.scaling = RopeConfig::Scaling::LongRope;
  c.factor = 32;
  c.original_context = 4096;
  c.short_factor = {1, 1, 2, 2};
  c.long_factor = {1, 2, 4, 8};
  EXPECT_FLOAT_EQ(Rope(c, 4096).inv_freq()[3], Rope(base(), 1).inv_freq()[3] / 2);
  EXPECT_FLOAT_EQ(Rope(c, 131072).inv_freq()[3], Rope(base(), 1).inv_freq()[3] / 8);
  EXPECT_FLOAT_EQ(Rope(c, 131072).attention_factor(),
                  static_cast<float>(std::sqrt(1 + std::log(32.0) / std::log(4096.0))));
}

TEST(Rope, YarnScalesAttention) {
  RopeConfig c = base();
  c.scaling = RopeConfig::Scaling::Yarn;
  c.factor = 4;
  c.original_context = 64;
  EXPECT_FLOAT_EQ(Rope(c, 256).attention_factor(), static_cast<float>(0.1 * std::log(4.0) + 1));
  c.attention_factor = 1.5;
  EXPECT_FLOAT_EQ(Rope(c, 256).attention_factor(), 1.5F);
}

TEST(Rope, FrequencyFactorsOfAFileDivide) {
  RopeConfig c = base();
  c.freq_factors = {1, 2, 4, 8};
  EXPECT_FLOAT_EQ(Rope(c, 64).inv_freq()[3], Rope(base(), 64).inv_freq()[3] / 8);
}

}  // namespace
}  // namespace sgl
