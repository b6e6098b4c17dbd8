// Vectors of the widest kind that an instruction set has, behind one set of names. Included only by kernel files, which
// define SGL_ISA as generic, avx2, avx512, avx512bf16 or amx first: everything here lives in that namespace, so that a
// function compiled for a wide machine can never be linked into code that runs on a narrow one. For the same reason
// kernel files use no inline functions or templates of other headers.
//
// VecF holds kLanes float32, VecI as many int32. Each lane is computed by itself with the same operations on each
// instruction set; fma() rounds once where the machine has it, twice in the portable version.

#ifndef SGL_ISA
#error "define SGL_ISA (generic, avx2, avx512, avx512bf16 or amx) before including simd.h"
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define SGL_ISA_IS_generic 1
#define SGL_ISA_IS_avx2 2
#define SGL_ISA_IS_avx512 3
#define SGL_ISA_IS_avx512bf16 3  // the vectors of avx512
#define SGL_ISA_IS_amx 3
#define SGL_CONCAT_(a, b) a##b
#define SGL_CONCAT(a, b) SGL_CONCAT_(a, b)
#define SGL_ISA_LEVEL SGL_CONCAT(SGL_ISA_IS_, SGL_ISA)

#if SGL_ISA_LEVEL > 1
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of the undefined vectors inside of its own intrinsics (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#endif

// Before a loop over rows whose values shall stay in registers.
#if defined(__clang__)
#define SGL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SGL_UNROLL _Pragma("GCC unroll 16")
#endif

#define SGL_INLINE [[gnu::always_inline]] static inline

// Sanitizers make unrolled kernels so large that compiling them takes minutes. Their tiles are smaller: results are the
// same, whatever the tile.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SGL_SMALL_TILES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SGL_SMALL_TILES 1
#endif
#endif
#ifndef SGL_SMALL_TILES
#define SGL_SMALL_TILES 0
#endif

namespace sgl::SGL_ISA {

#if SGL_ISA_LEVEL == 3

inline constexpr int kLanes = 16;
struct VecF {
  __m512 v;
};
struct VecI {
  __m512i v;
};

SGL_INLINE VecF load(const float* p) { return {_mm512_loadu_ps(p)}; }
SGL_INLINE void store(float* p, VecF x) { _mm512_storeu_ps(p, x.v); }
SGL_INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1U << n) - 1U); }
/// The first n ≤ kLanes elements; the rest of the vector is zero and the rest of the memory untouched.
SGL_INLINE VecF load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
SGL_INLINE void store_first(float* p, VecF x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x.v); }
SGL_INLINE VecF splat(float x) { return {_mm512_set1_ps(x)}; }
SGL_INLINE VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
SGL_INLINE VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
SGL_INLINE VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
SGL_INLINE VecF operator/(VecF a, VecF b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a · b + c
SGL_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
/// c − a · b
SGL_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
/// b where either is NaN.
SGL_INLINE VecF max(VecF a, VecF b) { return {_mm512_max_ps(a.v, b.v)}; }
SGL_INLINE VecF min(VecF a, VecF b) { return {_mm512_min_ps(a.v, b.v)}; }
SGL_INLINE VecF sqrt(VecF a) { return {_mm512_sqrt_ps(a.v)}; }
/// a < b ? x : y
SGL_INLINE VecF if_less(VecF a, VecF b, VecF x, VecF y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
/// Lanes [begin, end) of x, `other` elsewhere.
SGL_INLINE VecF keep_range(VecF x, int begin, int end, VecF other) {
  auto mask = static_cast<__mmask16>(((1U << end) - 1U) & ~((1U << begin) - 1U));
  return {_mm512_mask_blend_ps(mask, other.v, x.v)};
}

SGL_INLINE VecI load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
SGL_INLINE void store(int32_t* p, VecI x) { _mm512_storeu_si512(p, x.v); }
SGL_INLINE VecI splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
SGL_INLINE VecI operator+(VecI a, VecI b) { return {_mm512_add_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator-(VecI a, VecI b) { return {_mm512_sub_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator*(VecI a, VecI b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator&(VecI a, VecI b) { return {_mm512_and_si512(a.v, b.v)}; }
SGL_INLINE VecI operator|(VecI a, VecI b) { return {_mm512_or_si512(a.v, b.v)}; }
SGL_INLINE VecI operator^(VecI a, VecI b) { return {_mm512_xor_si512(a.v, b.v)}; }
SGL_INLINE VecI max(VecI a, VecI b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int n>
SGL_INLINE VecI shift_left(VecI a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
SGL_INLINE VecI shift_right(VecI a) {
  return {_mm512_srli_epi32(a.v, n)};
}
SGL_INLINE VecF to_float(VecI a) { return {_mm512_cvtepi32_ps(a.v)}; }
/// To nearest, ties to even; INT32_MIN where that is outside of the range, or NaN.
SGL_INLINE VecI round_to_int(VecF a) { return {_mm512_cvtps_epi32(a.v)}; }
SGL_INLINE VecI bits(VecF a) { return {_mm512_castps_si512(a.v)}; }
SGL_INLINE VecF from_bits(VecI a) { return {_mm512_castsi512_ps(a.v)}; }

/// kLanes numbers of 8 or 16 bits, widened.
SGL_INLINE VecI load_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
SGL_INLINE VecI load_i8(const uint8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
/// Stores the low byte of each lane.
SGL_INLINE void store_i8(int8_t* p, VecI x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
SGL_INLINE VecI load_u16(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
SGL_INLINE void store_u16(uint16_t* p, VecI x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x.v));
}
SGL_INLINE VecF load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
SGL_INLINE void store_f16(uint16_t* p, VecF x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}

#elif SGL_ISA_LEVEL == 2

inline constexpr int kLanes = 8;
struct VecF {
  __m256 v;
};
struct VecI {
  __m256i v;
};

SGL_INLINE VecF load(const float* p) { return {_mm256_loadu_ps(p)}; }
SGL_INLINE void store(float* p, VecF x) { _mm256_storeu_ps(p, x.v); }
SGL_INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SGL_INLINE VecF load_first(const float* p, int n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
SGL_INLINE void store_first(float* p, VecF x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x.v); }
SGL_INLINE VecF splat(float x) { return {_mm256_set1_ps(x)}; }
SGL_INLINE VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
SGL_INLINE VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
SGL_INLINE VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
SGL_INLINE VecF operator/(VecF a, VecF b) { return {_mm256_div_ps(a.v, b.v)}; }
SGL_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
SGL_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
SGL_INLINE VecF max(VecF a, VecF b) { return {_mm256_max_ps(a.v, b.v)}; }
SGL_INLINE VecF min(VecF a, VecF b) { return {_mm256_min_ps(a.v, b.v)}; }
SGL_INLINE VecF sqrt(VecF a) { return {_mm256_sqrt_ps(a.v)}; }
SGL_INLINE VecF if_less(VecF a, VecF b, VecF x, VecF y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
SGL_INLINE VecF keep_range(VecF x, int begin, int end, VecF other) {
  __m256i mask = _mm256_andnot_si256(first_lanes(begin), first_lanes(end));
  return {_mm256_blendv_ps(other.v, x.v, _mm256_castsi256_ps(mask))};
}

SGL_INLINE VecI load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
SGL_INLINE void store(int32_t* p, VecI x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.v); }
SGL_INLINE VecI splat(int32_t x) { return {_mm256_set1_epi32(x)}; }
SGL_INLINE VecI operator+(VecI a, VecI b) { return {_mm256_add_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator-(VecI a, VecI b) { return {_mm256_sub_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator*(VecI a, VecI b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
SGL_INLINE VecI operator&(VecI a, VecI b) { return {_mm256_and_si256(a.v, b.v)}; }
SGL_INLINE VecI operator|(VecI a, VecI b) { return {_mm256_or_si256(a.v, b.v)}; }
SGL_INLINE VecI operator^(VecI a, VecI b) { return {_mm256_xor_si256(a.v, b.v)}; }
SGL_INLINE VecI max(VecI a, VecI b) { return {_mm256_max_epi32(a.v, b.v)}; }
template <int n>
SGL_INLINE VecI shift_left(VecI a) {
  return {_mm256_slli_epi32(a.v, n)};
}
template <int n>
SGL_INLINE VecI shift_right(VecI a) {
  return {_mm256_srli_epi32(a.v, n)};
}
SGL_INLINE VecF to_float(VecI a) { return {_mm256_cvtepi32_ps(a.v)}; }
SGL_INLINE VecI round_to_int(VecF a) { return {_mm256_cvtps_epi32(a.v)}; }
SGL_INLINE VecI bits(VecF a) { return {_mm256_castps_si256(a.v)}; }
SGL_INLINE VecF from_bits(VecI a) { return {_mm256_castsi256_ps(a.v)}; }

SGL_INLINE VecI load_u8(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
SGL_INLINE VecI load_i8(const uint8_t* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
SGL_INLINE void store_i8(int8_t* p, VecI x) {
  const __m256i low_bytes = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                             0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  __m256i packed = _mm256_shuffle_epi8(x.v, low_bytes);
  int32_t low = _mm256_extract_epi32(packed, 0), high = _mm256_extract_epi32(packed, 4);
  std::memcpy(p, &low, 4);
  std::memcpy(p + 4, &high, 4);
}
SGL_INLINE VecI load_u16(const uint16_t* p) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
SGL_INLINE void store_u16(uint16_t* p, VecI x) {
  __m256i low = _mm256_and_si256(x.v, _mm256_set1_epi32(0xffff));
  __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
SGL_INLINE VecF load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
SGL_INLINE void store_f16(uint16_t* p, VecF x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}

#else  // the compiler's own vectors of 16 bytes: SSE2, NEON

inline constexpr int kLanes = 4;
using Float4 [[gnu::vector_size(16)]] = float;
using Int4 [[gnu::vector_size(16)]] = int32_t;
using UInt4 [[gnu::vector_size(16)]] = uint32_t;
struct VecF {
  Float4 v;
};
struct VecI {
  Int4 v;
};

SGL_INLINE VecF load(const float* p) {
  VecF x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
SGL_INLINE void store(float* p, VecF x) { std::memcpy(p, &x, sizeof x); }
SGL_INLINE VecF load_first(const float* p, int n) {
  VecF x = {Float4{}};
  for (int i = 0; i < n; ++i) x.v[i] = p[i];
  return x;
}
SGL_INLINE void store_first(float* p, VecF x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x.v[i];
}
SGL_INLINE VecF splat(float x) { return {Float4{x, x, x, x}}; }
SGL_INLINE VecF operator+(VecF a, VecF b) { return {a.v + b.v}; }
SGL_INLINE VecF operator-(VecF a, VecF b) { return {a.v - b.v}; }
SGL_INLINE VecF operator*(VecF a, VecF b) { return {a.v * b.v}; }
SGL_INLINE VecF operator/(VecF a, VecF b) { return {a.v / b.v}; }
#if defined(__aarch64__) || defined(__FMA__)
SGL_INLINE VecF fma(VecF a, VecF b, VecF c) {
  VecF r;
  for (int i = 0; i < 4; ++i) r.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return r;
}
SGL_INLINE VecF fnma(VecF a, VecF b, VecF c) {
  VecF r;
  for (int i = 0; i < 4; ++i) r.v[i] = __builtin_fmaf(-a.v[i], b.v[i], c.v[i]);
  return r;
}
#else  // without the instruction it would be a function call for each lane
SGL_INLINE VecF fma(VecF a, VecF b, VecF c) { return {a.v * b.v + c.v}; }
SGL_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {c.v - a.v * b.v}; }
#endif
SGL_INLINE VecF select(Int4 mask, VecF x, VecF y) {
  return {reinterpret_cast<Float4>((reinterpret_cast<Int4>(x.v) & mask) | (reinterpret_cast<Int4>(y.v) & ~mask))};
}
SGL_INLINE VecF max(VecF a, VecF b) { return select(a.v > b.v, a, b); }
SGL_INLINE VecF min(VecF a, VecF b) { return select(a.v < b.v, a, b); }
SGL_INLINE VecF sqrt(VecF a) {
  for (int i = 0; i < 4; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
SGL_INLINE VecF if_less(VecF a, VecF b, VecF x, VecF y) { return select(a.v < b.v, x, y); }
SGL_INLINE VecF keep_range(VecF x, int begin, int end, VecF other) {
  const Int4 lane = {0, 1, 2, 3};
  return select((lane >= Int4{begin, begin, begin, begin}) & (lane < Int4{end, end, end, end}), x, other);
}

SGL_INLINE VecI load(const int32_t* p) {
  VecI x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
SGL_INLINE void store(int32_t* p, VecI x) { std::memcpy(p, &x, sizeof x); }
SGL_INLINE VecI splat(int32_t x) { return {Int4{x, x, x, x}}; }
// Sums and products wrap around, as the instructions do.
SGL_INLINE UInt4 wrapping(VecI a) { return reinterpret_cast<UInt4>(a.v); }
SGL_INLINE VecI operator+(VecI a, VecI b) { return {reinterpret_cast<Int4>(wrapping(a) + wrapping(b))}; }
SGL_INLINE VecI operator-(VecI a, VecI b) { return {reinterpret_cast<Int4>(wrapping(a) - wrapping(b))}; }
SGL_INLINE VecI operator*(VecI a, VecI b) { return {reinterpret_cast<Int4>(wrapping(a) * wrapping(b))}; }
SGL_INLINE VecI operator&(VecI a, VecI b) { return {a.v & b.v}; }
SGL_INLINE VecI operator|(VecI a, VecI b) { return {a.v | b.v}; }
SGL_INLINE VecI operator^(VecI a, VecI b) { return {a.v ^ b.v}; }
SGL_INLINE VecI max(VecI a, VecI b) {
  Int4 mask = a.v > b.v;
  return {(a.v & mask) | (b.v & ~mask)};
}
template <int n>
SGL_INLINE VecI shift_left(VecI a) {
  return {reinterpret_cast<Int4>(reinterpret_cast<UInt4>(a.v) << n)};
}
template <int n>
SGL_INLINE VecI shift_right(VecI a) {
  return {reinterpret_cast<Int4>(reinterpret_cast<UInt4>(a.v) >> n)};
}
SGL_INLINE VecF to_float(VecI a) { return {__builtin_convertvector(a.v, Float4)}; }
SGL_INLINE VecI bits(VecF a) { return {reinterpret_cast<Int4>(a.v)}; }
SGL_INLINE VecF from_bits(VecI a) { return {reinterpret_cast<Float4>(a.v)}; }
SGL_INLINE VecI round_to_int(VecF a) {
  // Adding 1.5 · 2^23 leaves the integer, rounded to even, in the low bits: right for |a| < 2^22, all that is asked
  // here.
  Int4 in_range = (a.v < 4194304.0F) & (a.v > -4194304.0F);
  Int4 rounded = reinterpret_cast<Int4>(a.v + 12582912.0F) - 0x4b400000;
  return {(rounded & in_range) | (Int4{INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN} & ~in_range)};
}

SGL_INLINE VecI load_u8(const uint8_t* p) { return {Int4{p[0], p[1], p[2], p[3]}}; }
SGL_INLINE VecI load_i8(const uint8_t* p) {
  return {
      Int4{static_cast<int8_t>(p[0]), static_cast<int8_t>(p[1]), static_cast<int8_t>(p[2]), static_cast<int8_t>(p[3])}};
}
SGL_INLINE void store_i8(int8_t* p, VecI x) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<int8_t>(x.v[i]);
}
SGL_INLINE VecI load_u16(const uint16_t* p) { return {Int4{p[0], p[1], p[2], p[3]}}; }
SGL_INLINE void store_u16(uint16_t* p, VecI x) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint16_t>(x.v[i]);
}
/// binary16 → binary32: the exponent moved to the other bias by a multiplication, which also makes subnormals right.
SGL_INLINE VecF load_f16(const uint16_t* p) {
  VecI h = load_u16(p);
  VecI sign = shift_left<16>(h & splat(0x8000));
  VecI rest = h & splat(0x7fff);
  VecF small = from_bits(shift_left<13>(rest)) * from_bits(splat(0x77800000));  // · 2^112
  VecI large = shift_left<13>(rest) | splat(0x7f800000);                        // infinities and NaN
  Int4 is_large = rest.v >= 0x7c00;
  return {reinterpret_cast<Float4>((bits(small).v & ~is_large) | (large.v & is_large) | sign.v)};
}
SGL_INLINE uint16_t f16_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  uint32_t sign = (u >> 16) & 0x8000U;
  u &= 0x7fffffffU;
  if (u > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U);
  if (u >= 0x477ff000U) return static_cast<uint16_t>(sign | 0x7c00U);  // ≥ 65520 rounds to infinity
  if (u < 0x38800000U) {                                               // subnormal in binary16
    float scaled;
    std::memcpy(&scaled, &u, 4);
    scaled += 0.5F;  // leaves the fraction in units of 2^-24
    std::memcpy(&u, &scaled, 4);
    return static_cast<uint16_t>(sign | (u - 0x3f000000U));
  }
  return static_cast<uint16_t>(sign | ((u + 0xfffU + ((u >> 13) & 1U) - (112U << 23)) >> 13));
}
SGL_INLINE void store_f16(uint16_t* p, VecF x) {
  for (int i = 0; i < 4; ++i) p[i] = f16_bits(x.v[i]);
}

#endif

SGL_INLINE VecF load_bf16(const uint16_t* p) { return from_bits(shift_left<16>(load_u16(p))); }
/// To nearest, ties to even; NaN stays NaN.
SGL_INLINE void store_bf16(uint16_t* p, VecF x) {
  VecI u = bits(x);
  VecI rounded = shift_right<16>(u + splat(0x7fff) + (shift_right<16>(u) & splat(1)));
  VecI magnitude = u & splat(0x7fffffff);
  VecI nan = shift_right<16>(u) | splat(0x40);
  // A lane's sign bit as a mask: set where the magnitude is above infinity's.
  VecI above = splat(0x7f800000) - magnitude;
  VecI mask = splat(0) - shift_right<31>(above);
  store_u16(p, (nan & mask) | (rounded & (splat(-1) - mask)));
}

/// a | (b & mask)
SGL_INLINE VecI or_masked(VecI a, VecI b, VecI mask) {
#if SGL_ISA_LEVEL == 3
  return {_mm512_ternarylogic_epi32(a.v, b.v, mask.v, 0xf8)};
#else
  return a | (b & mask);
#endif
}

template <int bytes>
SGL_INLINE void prefetch_lines(const uint8_t* p) {
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

SGL_INLINE VecF zero() { return splat(0.0F); }
SGL_INLINE VecF abs(VecF x) { return from_bits(bits(x) & splat(0x7fffffff)); }

SGL_INLINE int min_of(int a, int b) { return a < b ? a : b; }
SGL_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
SGL_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace sgl::SGL_ISA
