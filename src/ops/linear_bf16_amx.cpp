// Kernels of linear() by tiles of bfloat16: see linear_bf16.h for the arithmetic and the layout.
//
// Two panels meet two tiles of rows at a time: four products for four loads. Where there is one tile of rows, the
// weights stream by.

#define SGL_ISA amx
#include "ops/amx.h"
#include "ops/linear_bf16.inl"

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

// Writes tile C of a panel, [16 outputs][rows], to rows [row, row + rows) of y.
template <int tile>
SGL_INLINE void write_tile(const Bf16Product& t, int panel, int64_t row, int rows) {
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
void multiply_tiles(const Bf16Product& t, int64_t tile, int rows) {
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
void multiply_panels(const Bf16Product& t) {
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

void multiply(const Bf16Product& t) {
  if (t.num_panels == 2) return multiply_panels<2>(t);
  multiply_panels<1>(t);
}

}  // namespace

Bf16Kernels bf16_kernels() { return {pack_tile_panel, round, multiply}; }

}  // namespace sgl::amx
