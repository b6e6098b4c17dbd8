#pragma once
// 8-bit floating point numbers, e4m3: 1 sign, 4 exponent, 3 fraction bits, bias 7, no infinity, up to 448 (Micikevicius
// et al. 2022). Host and kernels compile the same function.

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define SGL_HOST_DEVICE __host__ __device__
#else
#define SGL_HOST_DEVICE
#endif

namespace sgl {

/// To the nearest e4m3 number, ties to even; beyond ±448 to these; NaN to NaN.
SGL_HOST_DEVICE inline uint8_t to_e4m3(float x) {
  uint32_t u = 0;
  memcpy(&u, &x, 4);
  const auto sign = static_cast<uint8_t>(u >> 24 & 0x80U);
  u &= 0x7fffffffU;
  if (u > 0x7f800000U) return sign | 0x7fU;
  if (u >= 0x43e00000U) return sign | 0x7eU;  // 448 and more
  if (u < 0x3c800000U) {                      // below 2^-6: multiples of 2^-9
    float shifted = 0;
    memcpy(&shifted, &u, 4);
    shifted += 0x1p14F;  // whose last bit is 2^-9
    memcpy(&u, &shifted, 4);
    return sign | static_cast<uint8_t>(u & 0xfU);
  }
  const uint32_t rounded = u + 0x7ffffU + (u >> 20 & 1U);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120U << 3));
}

inline float from_e4m3(uint8_t code) {
  // As a float32 of the same exponent and fraction; that its bias is 120 more is taken back, exactly.
  const uint32_t bits = (code & 0x7fU) << 20;
  float x = 0;
  memcpy(&x, &bits, 4);
  x = (code & 0x7fU) == 0x7fU ? NAN : x * 0x1p120F;
  return (code & 0x80U) != 0 ? -x : x;
}

}  // namespace sgl
