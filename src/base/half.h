#pragma once
// 16-bit floating point numbers as bit patterns, and their conversion.
//
// f16 (IEEE 754 binary16): 1 sign, 5 exponent, 10 fraction bits; max 65504, 11 significant bits.
// bf16: the upper half of a float32: 8 exponent bits, 8 significant bits.
// Conversions to 16 bits round to nearest even, as the hardware does; NaN stays NaN.

#include <bit>
#include <cstdint>

namespace sgl {

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

inline float to_float(bf16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

inline bf16 to_bf16(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffU) > 0x7f800000U) return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  return {static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16)};
}

inline float to_float(f16 x) {
  uint32_t sign = uint32_t{x.bits & 0x8000U} << 16;
  uint32_t rest = x.bits & 0x7fffU;
  if (rest >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | (rest & 0x3ffU) << 13);
  if (rest >= 0x0400U) return std::bit_cast<float>(sign | ((rest << 13) + (112U << 23)));
  float subnormal = static_cast<float>(rest) * 0x1p-24F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(subnormal));
}

inline f16 to_f16(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  uint32_t sign = (u >> 16) & 0x8000U;
  u &= 0x7fffffffU;
  if (u > 0x7f800000U) return {static_cast<uint16_t>(sign | 0x7e00U)};
  if (u >= 0x477ff000U) return {static_cast<uint16_t>(sign | 0x7c00U)};  // ≥ 65520 rounds to infinity
  if (u < 0x38800000U) {                                                 // below 2^-14: subnormal in f16
    float scaled = std::bit_cast<float>(u) + 0.5F;  // adding 0.5 leaves the fraction in units of 2^-24
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - 0x3f000000U))};
  }
  uint32_t rounded = u + 0xfffU + ((u >> 13) & 1U);
  return {static_cast<uint16_t>(sign | ((rounded - (112U << 23)) >> 13))};
}

}  // namespace sgl
