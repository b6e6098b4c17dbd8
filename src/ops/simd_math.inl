// Elementary functions on VecF, and sums of 16 lanes in one order on every instruction set.

#include "ops/simd.h"

namespace sgl::SGL_ISA {
namespace {

/// e^x with a relative error below 2e-7; exactly 1 at 0, 0 below −87.33 (−∞ too), about 2e38 above 88.37, NaN at NaN.
/// e^x = 2^n · e^r with |r| ≤ ln 2 / 2, and a polynomial of degree 7 for e^r (coefficients: Moshier's Cephes, expf).
SGL_INLINE VecF exp(VecF x) {
  const VecF lowest = splat(-87.33F);
  VecF c = max(lowest, min(splat(88.37F), x));  // NaN stays NaN
  VecI n = round_to_int(c * splat(1.44269504F));
  VecF nf = to_float(n);
  VecF r = fnma(nf, splat(0.693359375F), c);
  r = fnma(nf, splat(-2.12194440e-4F), r);
  VecF p = splat(1.9875691500e-4F);
  p = fma(p, r, splat(1.3981999507e-3F));
  p = fma(p, r, splat(8.3334519073e-3F));
  p = fma(p, r, splat(4.1665795894e-2F));
  p = fma(p, r, splat(1.6666665459e-1F));
  p = fma(p, r, splat(5.0000001201e-1F));
  p = fma(p * r, r, r) + splat(1.0F);
  VecF power = from_bits(shift_left<23>(n + splat(127)));
  return if_less(x, lowest, zero(), p * power);
}

/// tanh x with a relative error below 3e-7; ±1 for large |x|.
SGL_INLINE VecF tanh(VecF x) {
  VecF size = abs(x);
  VecF sign = from_bits(bits(x) & splat(INT32_MIN));
  VecF large = splat(1.0F) - splat(2.0F) / (exp(size + size) + splat(1.0F));
  large = from_bits(bits(large) | bits(sign));
  VecF z = x * x;  // near 0: x + x³ · polynomial (Cephes, tanhf)
  VecF p = splat(-5.70498872745e-3F);
  p = fma(p, z, splat(2.06390887954e-2F));
  p = fma(p, z, splat(-5.37397155531e-2F));
  p = fma(p, z, splat(1.33314422036e-1F));
  p = fma(p, z, splat(-3.33332819422e-1F));
  return if_less(size, splat(0.625F), fma(p * z, x, x), large);
}

/// erf x with an absolute error below 3e-7 (Abramowitz & Stegun, 7.1.26).
SGL_INLINE VecF erf(VecF x) {
  VecF size = abs(x);
  VecF t = splat(1.0F) / fma(splat(0.3275911F), size, splat(1.0F));
  VecF p = splat(1.061405429F);
  p = fma(p, t, splat(-1.453152027F));
  p = fma(p, t, splat(1.421413741F));
  p = fma(p, t, splat(-0.284496736F));
  p = fma(p, t, splat(0.254829592F));
  VecF y = fnma(p * t, exp(zero() - size * size), splat(1.0F));
  return from_bits(bits(y) | (bits(x) & splat(INT32_MIN)));
}

constexpr int kPer16 = 16 / kLanes;  // vectors that make 16 lanes

/// Sum of 16 lanes, halves added to halves: lane i to i + 8, then i + 4, i + 2, i + 1.
SGL_INLINE float sum_of_16(const VecF* v) {
#if SGL_ISA_LEVEL == 3
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v->v), _mm512_extractf32x8_ps(v->v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
#elif SGL_ISA_LEVEL == 2
  __m256 a = _mm256_add_ps(v[0].v, v[1].v);
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
#endif
#if SGL_ISA_LEVEL > 1
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
#else
  VecF b = (v[0] + v[2]) + (v[1] + v[3]);
  return (b.v[0] + b.v[2]) + (b.v[1] + b.v[3]);
#endif
}

SGL_INLINE float max_of_16(const VecF* v) {
#if SGL_ISA_LEVEL == 3
  __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v->v), _mm512_extractf32x8_ps(v->v, 1));
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
#elif SGL_ISA_LEVEL == 2
  __m256 a = _mm256_max_ps(v[0].v, v[1].v);
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
#endif
#if SGL_ISA_LEVEL > 1
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
#else
  VecF b = max(max(v[0], v[2]), max(v[1], v[3]));
  float c = b.v[0] > b.v[1] ? b.v[0] : b.v[1], d = b.v[2] > b.v[3] ? b.v[2] : b.v[3];
  return c > d ? c : d;
#endif
}

}  // namespace
}  // namespace sgl::SGL_ISA
