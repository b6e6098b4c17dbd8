// What the kernels of linear() in bfloat16 share: rounding rows of x to tiles.

#include "ops/linear_bf16.h"
#include "ops/simd.h"

namespace sgl::SGL_ISA {
namespace {

// Swaps rows and columns of 16 × 16 words of 32 bits.
SGL_INLINE void transpose(__m512i* v) {
  __m512i t[16];
  SGL_UNROLL for (int i = 0; i < 16; i += 2) {  // pairs of words
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  SGL_UNROLL for (int i = 0; i < 16; i += 4) {  // fours
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  SGL_UNROLL for (int i = 0; i < 4; ++i) {  // quarters of registers
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  SGL_UNROLL for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

SGL_INLINE __m512i bf16_of(VecF low, VecF high) {
  const auto pairs = _mm512_cvtne2ps_pbh(high.v, low.v);
  __m512i v;
  std::memcpy(&v, &pairs, sizeof v);
  return v;
}

// 32 numbers of a row from k on, rounded; zero past `in`.
SGL_INLINE __m512i round_block(const float* row, int64_t k, int64_t in) {
  if (k + kTileDepth <= in) return bf16_of(load(row + k), load(row + k + 16));
  const int left = static_cast<int>(in - k);
  return bf16_of(load_first(row + k, min_of(left, 16)), left > 16 ? load_first(row + k + 16, left - 16) : zero());
}

void round(const float* x, int64_t x_stride, int rows, int64_t in, std::byte* tile) {
  for (int64_t k = 0; k < in; k += kTileDepth, tile += int64_t{kTileDepth} * 2 * rows) {
    if (rows == 1) {
      _mm512_storeu_si512(tile, round_block(x, k, in));
      continue;
    }
    __m512i v[16];
    SGL_UNROLL for (int r = 0; r < 16; ++r) {
      v[r] = r < rows ? round_block(x + r * x_stride, k, in) : _mm512_setzero_si512();
    }
    transpose(v);
    SGL_UNROLL for (int i = 0; i < 16; ++i) {
      store_first(reinterpret_cast<float*>(tile) + i * rows, from_bits(VecI{v[i]}), rows);
    }
  }
}

}  // namespace
}  // namespace sgl::SGL_ISA
