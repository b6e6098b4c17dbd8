// Loops that reach what the machine can do: see roof_kernels.h. Sums are returned so that no compiler drops the work.

#include "bench/roof_kernels.h"
#include "ops/simd_math.inl"

namespace sgl::SGL_ISA {
namespace {

constexpr int kChains = 12;  // independent sums: enough to hide an instruction's latency

SGL_INLINE uint32_t first_lane(VecI x) {
  int32_t lanes[kLanes];
  store(lanes, x);
  return static_cast<uint32_t>(lanes[0]);
}

uint32_t read(const std::byte* data, size_t bytes) {
  const auto* p = reinterpret_cast<const int32_t*>(data);
  VecI a = splat(0), b = splat(0), c = splat(0), d = splat(0);
  for (size_t i = 0; i < bytes / 4; i += 4 * kLanes) {
    a = a ^ load(p + i);
    b = b ^ load(p + i + kLanes);
    c = c ^ load(p + i + 2 * kLanes);
    d = d ^ load(p + i + 3 * kLanes);
  }
  return first_lane((a ^ b) ^ (c ^ d));
}

// Sums begin differently, and each product's factor is new to the compiler: else it would compute one for all.
uint32_t int8_dots(int64_t rounds) {
  VecI sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = splat(c + 1);
  VecI a = splat(0x01020304), b = splat(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
    SGL_UNROLL for (int c = 0; c < kChains; ++c) {
#if SGL_ISA_LEVEL == 3
      sum[c].v = _mm512_dpbusd_epi32(sum[c].v, a.v, b.v);
#elif SGL_ISA_LEVEL == 2
      asm volatile("" : "+x"(a.v));
      sum[c].v = _mm256_add_epi16(sum[c].v, _mm256_maddubs_epi16(a.v, b.v));
#else
      sum[c] = sum[c] * a + b;
#endif
    }
  }
  for (int c = 1; c < kChains; ++c) sum[0] = sum[0] + sum[c];
  return first_lane(sum[0]);
}

uint32_t float_fmas(int64_t rounds) {
  VecF sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = splat(1.0F + static_cast<float>(c));
  const VecF a = splat(0.999F), b = splat(0.001F);
  for (int64_t i = 0; i < rounds; ++i) {
    SGL_UNROLL for (int c = 0; c < kChains; ++c) sum[c] = fma(sum[c], a, b);
  }
  for (int c = 1; c < kChains; ++c) sum[0] = sum[0] + sum[c];
  return first_lane(bits(sum[0]));
}

}  // namespace

RoofKernels roof_kernels() {
  // A vector of bytes holds four products a lane; the portable version multiplies one.
  const int64_t products = SGL_ISA_LEVEL > 1 ? 4 : 1;
  return {read, int8_dots, float_fmas, 2 * products * kLanes * kChains, 2 * int64_t{kLanes} * kChains};
}

}  // namespace sgl::SGL_ISA
