#include "base/half.h"

#include <cmath>

#include <gtest/gtest.h>

namespace sgl {
namespace {

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    f16 h{static_cast<uint16_t>(bits)};
    float f = to_float(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(f))));
    } else {
      EXPECT_EQ(to_f16(f).bits, h.bits) << bits;
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(to_f16(2049.0F).bits, to_f16(2048.0F).bits);  // a tie between 2048 and 2050
  EXPECT_EQ(to_f16(2051.0F).bits, to_f16(2052.0F).bits);
  EXPECT_EQ(to_float(to_f16(65519.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(to_float(to_f16(65520.0F))));
  EXPECT_EQ(to_float(to_f16(0x1p-25F)), 0.0F);  // a tie between 0 and the smallest subnormal
  EXPECT_EQ(to_float(to_f16(0x1.8p-25F)), 0x1p-24F);
  EXPECT_EQ(to_float(to_bf16(1.00390625F)), 1.0F);
  EXPECT_EQ(to_float(to_bf16(-3.0e38F)), to_float(bf16{0xff62}));
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
}

}  // namespace
}  // namespace sgl
