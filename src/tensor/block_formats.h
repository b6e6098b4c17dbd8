#pragma once
// The number formats of weights, written down: what a block's bytes mean, and the conversion of rows from and to
// float32.
//
// A block format cuts a row into blocks of 32 or 256 elements that share scales. All multi-byte fields are
// little-endian; blocks have no padding and follow each other without gaps, at any address: read them by memcpy or as
// the packed structs below (all members are bytes or arrays of bytes, so their alignment is 1).
//
// Notation: d, m, dmin are binary16 numbers; q is an element's code; nib(a, i) is the low nibble of a[i], or the high
// one where i runs past the array: element i < n/2 of a block of n stands in the low nibble of byte i, element i + n/2
// in the high nibble of the same byte.
//
// Formulas are evaluated in float32 in the order given, each operation rounded: so they agree bit for bit with the
// reference implementation (the `gguf` package of llama.cpp).

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace sgl {

/// A little-endian 16-bit field of a block, at any address; holds a binary16 number.
struct HalfBytes {
  uint8_t low, high;
  uint16_t bits() const { return static_cast<uint16_t>(low | high << 8); }
};

/// x as binary16, rounded to nearest.
HalfBytes half_bytes(float x);

/// Q4_0: 4.5 bits an element. q = nib(qs, i) in [0, 15];  x = d · (q − 8)
struct BlockQ4_0 {
  HalfBytes d;
  uint8_t qs[16];
};

/// Q4_1: 5 bits an element. q = nib(qs, i) in [0, 15];  x = d · q + m
struct BlockQ4_1 {
  HalfBytes d, m;
  uint8_t qs[16];
};

/// Q5_0: 5.5 bits an element. Bit 4 of element i is bit i of the 32-bit number qh.
/// q = nib(qs, i) | qh.i << 4 in [0, 31];  x = d · (q − 16)
struct BlockQ5_0 {
  HalfBytes d;
  uint8_t qh[4];
  uint8_t qs[16];
};

/// Q5_1: 6 bits an element. As Q5_0, but x = d · q + m
struct BlockQ5_1 {
  HalfBytes d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};

/// Q8_0: 8.5 bits an element. q in [−128, 127] (writers use −127 … 127);  x = q · d
struct BlockQ8_0 {
  HalfBytes d;
  int8_t qs[32];
};

/// IQ4_NL: 4.5 bits an element, codes are indices of a table that is denser near 0 (kIq4Values).
/// x = d · kIq4Values[nib(qs, i)]
struct BlockIQ4_NL {
  HalfBytes d;
  uint8_t qs[16];
};
inline constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};

// The K formats: 256 elements in sub-blocks of 16 or 32, whose scales are themselves quantized.
//
// 2-bit planes: a run of 32 bytes holds 128 elements; element 32·s + j (s in 0…3) is bits 2s, 2s+1 of byte j.
// 4-bit planes: a run of 32 bytes holds 64 elements; element 32·s + j (s in 0, 1) is nibble s of byte j.
// 1-bit planes: 32 bytes hold 256 elements; element 32·s + j (s in 0…7) is bit s of byte j.

/// Q2_K: 2.625 bits an element; 16 sub-blocks of 16. scales[k]: low nibble sc, high nibble mn of sub-block k.
/// q in [0, 3] from two runs of the 2-bit plane;  x = (d · sc) · q − (dmin · mn)
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  HalfBytes d, dmin;
};

/// Q3_K: 3.4375 bits an element; 16 sub-blocks of 16. Low two bits of q in two runs of the 2-bit plane qs, the third in
/// the 1-bit plane hmask.  x = (d · (sc − 32)) · (q − 4), q in [0, 7].
/// 6-bit sc of sub-block k: low 4 bits in nibble k/8 of scales[k % 8], high 2 in bits 2(k/4), +1 of scales[8 + k % 4].
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  HalfBytes d;
};

/// Q4_K: 4.5 bits an element; 8 sub-blocks of 32. q in [0, 15] from four runs of the 4-bit plane.
/// x = (d · sc) · q − (dmin · mn), 6-bit sc and mn of sub-block k packed in 12 bytes:
///   k < 4: sc = scales[k] & 63,                                     mn = scales[k + 4] & 63
///   k ≥ 4: sc = (scales[k + 4] & 15) | (scales[k − 4] >> 6) << 4,   mn = (scales[k + 4] >> 4) | (scales[k] >> 6) << 4
struct BlockQ4_K {
  HalfBytes d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};

/// Q5_K: 5.5 bits an element. As Q4_K, with bit 4 of each q in the 1-bit plane qh: q in [0, 31].
struct BlockQ5_K {
  HalfBytes d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

/// Q6_K: 6.5625 bits an element; 16 sub-blocks of 16. In each half of 128 elements, 64 bytes of ql and 32 of qh:
/// element 32·s + j has its low 4 bits in nibble s/2 of ql[32·(s % 2) + j] and its high 2 in the 2-bit plane qh.
/// q in [0, 63];  x = (d · sc) · (q − 32), sc in [−128, 127]
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  HalfBytes d;
};

/// 4-bit codes as AWQ and GPTQ checkpoints have them, put into rows: groups of 32 or 128 elements with a scale and a
/// zero point. 4.75 or 4.19 bits an element. q in [0, 15]: of each 32 elements, nib of their 16 bytes;
/// x = d · (q − zero)
template <int kGroup>
struct BlockInt4 {
  HalfBytes d;
  uint8_t zero;  ///< 0 to 15
  uint8_t qs[kGroup / 2];
};

static_assert(sizeof(BlockInt4<32>) == 19 && sizeof(BlockInt4<128>) == 67);
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18 && sizeof(BlockQ2_K) == 84);
static_assert(sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 &&
              sizeof(BlockQ6_K) == 210);

/// sc and mn of the eight sub-blocks of Q4_K and Q5_K, each in [0, 63].
struct ScalesQ4_K {
  uint8_t scale[8];
  uint8_t min[8];
};
ScalesQ4_K unpack_scales_q4_k(const uint8_t (&packed)[12]);
/// sc − 32 of the sixteen sub-blocks of Q3_K, each in [−32, 31].
std::array<int8_t, 16> unpack_scales_q3_k(const uint8_t (&packed)[12]);

/// n elements of any type as float32 (integers and float64 rounded to nearest). `src` may have any alignment.
/// Requires: n is a multiple of the block's elements.
void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n);

/// n floats into F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Int4G32 or Int4G128; blocks by round-to-nearest on
/// their extremes, without search; a block too small for a scale is zero, and scales end at float16's largest number.
/// Throws Unsupported for other types. Requires: n is a multiple of the block's elements; all floats are finite.
void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n);

}  // namespace sgl
