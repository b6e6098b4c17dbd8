// Kernels of linear() by tiles: see linear_tiles.h for the arithmetic and the layout.
//
// Two panels meet two tiles of rows at a time: four products for four loads. Where there is one tile of rows, the
// weights stream by.

#define SGL_ISA amx
#include "ops/amx.h"
#include "ops/linear_tiles.h"
#include "ops/simd.h"

namespace sgl::amx {
namespace {

constexpr int kTileBytes = kTileOutputs * kTileDepth * 2;  // of weights
constexpr int kAhead = 8 << 10;                            // bytes from what is computed to what is fetched meanwhile

// C of (panel, tile of rows), A of each panel, B of each tile of rows.
constexpr int c_tile(int panel, int rows) { return 2 * panel + rows; }
constexpr int a_tile(int panel) { return 4 + panel; }
constexpr int b_tile(int rows) { return 6 + rows; }

void configure(int rows) {
  TileConfig c;
  for (int t = 0; t < 8; ++t) {
    c.rows[t] = 16;
    c.row_bytes[t] = static_cast<uint16_t>(t == a_tile(0) || t == a_tile(1) ? 64 : 4 * rows);
  }
  load_tiles(c);
}

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

// Writes tile C of a panel, [16 outputs][rows], to rows [row, row + rows) of y.
template <int tile>
SGL_INLINE void write_tile(const TileProduct& t, int panel, int64_t row, int rows) {
  const int columns = static_cast<int>(min_of(t.columns - panel * kTileOutputs, int64_t{kTileOutputs}));
  const VecF bias = t.bias != nullptr ? load_first(t.bias + panel * kTileOutputs, columns) : zero();
  float* y = t.y + row * t.y_stride + panel * kTileOutputs;
  alignas(64) int32_t c[kTileOutputs][kTileColumns];
  if (rows == 1) {
    store_tile<tile>(c, 4);
    VecF sum = from_bits(load(c[0]));
    if (t.bias != nullptr) sum = sum + bias;
    return store_first(y, sum, columns);
  }
  store_tile<tile>(c, 64);
  __m512i v[16];
  SGL_UNROLL for (int n = 0; n < 16; ++n) v[n] = _mm512_load_si512(c[n]);
  transpose(v);
  SGL_UNROLL for (int r = 0; r < kTileColumns; ++r) {
    if (r >= rows) return;
    VecF sum = from_bits(VecI{v[r]});
    if (t.bias != nullptr) sum = sum + bias;
    store_first(y + r * t.y_stride, sum, columns);
  }
}

// P panels times R tiles of rows; the last one has `rows` rows, one before it 16.
template <int P, int R>
void multiply_tiles(const TileProduct& t, int64_t tile, int rows) {
  const int64_t blocks = tile_blocks(t.in), x_bytes = int64_t{kTileDepth} * 2 * rows;
  const std::byte* x = t.x + tile * kTileColumns * tile_row_bytes(t.in);
  const std::byte* next = x + kTileColumns * tile_row_bytes(t.in);
  const std::byte* weights[P];
  for (int p = 0; p < P; ++p) weights[p] = t.panels + p * tile_panel_bytes(t.in);
  zero_tile<c_tile(0, 0)>();
  if constexpr (P == 2) zero_tile<c_tile(1, 0)>();
  if constexpr (R == 2) zero_tile<c_tile(0, 1)>();
  if constexpr (P == 2 && R == 2) zero_tile<c_tile(1, 1)>();
  for (int64_t b = 0; b < blocks; ++b) {
    if (tile == 0) {
      for (int p = 0; p < P; ++p) {
        prefetch_lines<kTileBytes>(reinterpret_cast<const uint8_t*>(weights[p] + b * kTileBytes) + kAhead);
      }
    }
    load_tile<a_tile(0)>(weights[0] + b * kTileBytes, 64);
    load_tile<b_tile(0)>(x + b * x_bytes, 4 * rows);
    add_products_bf16<c_tile(0, 0), a_tile(0), b_tile(0)>();
    if constexpr (P == 2) {
      load_tile<a_tile(1)>(weights[1] + b * kTileBytes, 64);
      add_products_bf16<c_tile(1, 0), a_tile(1), b_tile(0)>();
    }
    if constexpr (R == 2) {
      load_tile<b_tile(1)>(next + b * x_bytes, 64);
      add_products_bf16<c_tile(0, 1), a_tile(0), b_tile(1)>();
      if constexpr (P == 2) add_products_bf16<c_tile(1, 1), a_tile(1), b_tile(1)>();
    }
  }
  const int64_t row = tile * kTileColumns;
  write_tile<c_tile(0, 0)>(t, 0, row, rows);
  if constexpr (P == 2) write_tile<c_tile(1, 0)>(t, 1, row, rows);
  if constexpr (R == 2) write_tile<c_tile(0, 1)>(t, 0, row + kTileColumns, rows);
  if constexpr (P == 2 && R == 2) write_tile<c_tile(1, 1)>(t, 1, row + kTileColumns, rows);
}

template <int P>
void multiply_panels(const TileProduct& t) {
  const int64_t whole = t.rows / kTileColumns;
  const int rest = static_cast<int>(t.rows % kTileColumns);
  if (whole > 0) configure(kTileColumns);
  int64_t tile = 0;
  for (; tile + 2 <= whole; tile += 2) multiply_tiles<P, 2>(t, tile, kTileColumns);
  for (; tile < whole; ++tile) multiply_tiles<P, 1>(t, tile, kTileColumns);
  if (rest > 0) {
    configure(rest);
    multiply_tiles<P, 1>(t, tile, rest);
  }
  release_tiles();
}

void multiply(const TileProduct& t) {
  if (t.num_panels == 2) return multiply_panels<2>(t);
  multiply_panels<1>(t);
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

TileKernels tile_kernels() { return {round, multiply}; }

}  // namespace sgl::amx
