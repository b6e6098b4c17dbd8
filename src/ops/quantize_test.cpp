#include "ops/quantize.h"

#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/half.h"

namespace sgl {
namespace {

TEST(Quantize, E4m3CodesAreTheNearestNumbers) {
  std::vector<float> all;  // of codes 0 to 0x7e, ascending
  for (int code = 0; code < 0x7f; ++code) all.push_back(from_e4m3(static_cast<uint8_t>(code)));
  EXPECT_EQ(all[1], 0x1p-9F);
  EXPECT_EQ(all[8], 0x1p-6F);
  EXPECT_EQ(all[0x38], 1.0F);
  EXPECT_EQ(all[0x7e], 448.0F);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(to_e4m3(all[i]), i);
    EXPECT_EQ(to_e4m3(-all[i]), i | 0x80U);
    if (i == 0) continue;
    const float middle = (all[i - 1] + all[i]) / 2;
    EXPECT_EQ(to_e4m3(middle), i % 2 == 0 ? i : i - 1) << "a tie goes to the even code";
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0F)), i - 1);
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 1000.0F)), i);
  }
  EXPECT_EQ(to_e4m3(460.0F), 0x7e);
  EXPECT_EQ(to_e4m3(-1e30F), 0xfe);
  EXPECT_EQ(to_e4m3(std::numeric_limits<float>::infinity()), 0x7e);
  EXPECT_TRUE(std::isnan(from_e4m3(to_e4m3(NAN))));
}

TEST(Quantize, ScalesAreRoundedToFloat16AsEverywhere) {
  for (uint32_t bits = 0; bits < 0x7c00U; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    const float x = to_float(f16{b});
    EXPECT_EQ(from_f16_bits(b), x);
    EXPECT_EQ(f16_bits(x), bits);
    const float middle = (x + to_float(f16{static_cast<uint16_t>(bits + (bits < 0x7bffU ? 1 : 0))})) / 2;
    for (const float y : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 65504.0F)}) {
      EXPECT_EQ(f16_bits(y), to_f16(y).bits) << y;
    }
  }
}

// Weights of a row, one of them 0, before and after.
struct RoundTrip {
  explicit RoundTrip(Quantization format) : w(1000), q(w.size()) {
    std::mt19937 random(20260301);
    std::normal_distribution<float> normal(0.0F, 0.02F);
    for (float& x : w) x = normal(random);
    w[5] = 0.0F;
    quantized_values(format, w.data(), q.data(), 1000);
    for (float x : w) largest = std::max(largest, std::fabs(x));
  }
  std::vector<float> w, q;
  float largest = 0;
};

TEST(Quantize, Fp8IsWithinHalfAStepOfEachWeight) {
  const auto [w, q, largest] = RoundTrip(Quantization::Fp8);
  EXPECT_EQ(q[5], 0.0F);
  for (size_t i = 0; i < w.size(); ++i) {
    // 4 significant bits, and below 2^-6 of the scale's unit steps of 2^-9.
    EXPECT_LE(std::fabs(q[i] - w[i]), std::max(std::fabs(w[i]) * 0x1p-4F, largest / 448 * 0x1p-10F) * 1.0001F) << w[i];
  }
}

TEST(Quantize, Int8IsWithinHalfAStepOfEachWeight) {
  const auto [w, q, largest] = RoundTrip(Quantization::Int8);
  EXPECT_EQ(q[5], 0.0F);
  for (size_t i = 0; i < w.size(); ++i) EXPECT_LE(std::fabs(q[i] - w[i]), largest / 127 * 0.5001F) << w[i];
}

TEST(Quantize, Int4IsWithinAStepOfEachWeight) {
  std::mt19937 random(20260301);
  for (const float middle : {0.0F, 0.05F, -0.3F}) {
    std::normal_distribution<float> normal(middle, 0.02F);
    std::vector<float> w(300), q(w.size());
    for (float& x : w) x = normal(random);
    quantized_values(Quantization::Int4, w.data(), q.data(), 300);
    for (size_t begin = 0; begin < w.size(); begin += 128) {
      float least = 0, largest = 0;
      for (size_t i = begin; i < std::min(w.size(), begin + 128); ++i) {
        least = std::min(least, w[i]);
        largest = std::max(largest, w[i]);
      }
      // Half a step; and at the ends as much again, since the zero point is rounded, too. The scale is a float16.
      const float step = (largest - least) / 15;
      for (size_t i = begin; i < std::min(w.size(), begin + 128); ++i) EXPECT_LE(std::fabs(q[i] - w[i]), 1.01F * step);
    }
  }
}

TEST(Quantize, Int4HoldsItsOwnNumbersAndZeroExactly) {
  std::vector<float> w(128), q(128), again(128);
  for (size_t i = 0; i < w.size(); ++i) w[i] = 0.25F * static_cast<float>(static_cast<int>(i % 16) - 6);
  quantized_values(Quantization::Int4, w.data(), q.data(), 128);
  EXPECT_EQ(q, w);
  std::mt19937 random(1);
  for (float& x : w) x = static_cast<float>(random() % 1000) * 0.001F + 3.0F;
  w[9] = 0.0F;
  quantized_values(Quantization::Int4, w.data(), q.data(), 128);
  EXPECT_EQ(q[9], 0.0F);
}

TEST(Quantize, NothingAndNextToNothingStayNumbers) {
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    for (const float x : {0.0F, 1e-38F, -1e-12F}) {
      std::vector<float> w(130, x), q(130, NAN);
      quantized_values(format, w.data(), q.data(), 130);
      for (float y : q) EXPECT_NEAR(y, x, 1e-6F);
    }
  }
}

TEST(Quantize, SizesCountPadding) {
  EXPECT_EQ(quantized_bytes(Quantization::Fp8, 10, 64), 10 * 64 + 10 * 4);
  EXPECT_EQ(quantized_bytes(Quantization::Fp8, 10, 65), 10 * 128 + 10 * 4);
  EXPECT_EQ(quantized_bytes(Quantization::Int8, 10, 65), 10 * 128 + 10 * 4);
  EXPECT_EQ(quantized_bytes(Quantization::Int4, 10, 129), 16 * 2 * (64 + 4));
}

}  // namespace
}  // namespace sgl
