// Kernels of linear() by dot products of pairs of bfloat16 (VDPBF16PS): see linear_bf16.h for the arithmetic and the
// layout.
//
// Two panels meet up to eight rows at a time, so that a pair of weights is loaded once for the rows and a pair of a row
// once for both panels; the sums are 16 chains in registers, which hide the instruction's latency. The first rows of a
// chunk ask for the weights ahead.

#define SGL_ISA avx512bf16
#include "ops/linear_bf16.inl"

namespace sgl::avx512bf16 {
namespace {

constexpr int kRows = SGL_SMALL_TILES ? 2 : 8;
constexpr int kPairBytes = kTileOutputs * 4;  // of a panel's weights at two neighbouring k
constexpr int kAhead = 8 << 10;               // bytes from what is computed to what is fetched meanwhile

SGL_INLINE __m512bh as_pairs(VecI x) {
  __m512bh pairs;
  std::memcpy(&pairs, &x.v, sizeof pairs);
  return pairs;
}

// P panels times R rows of a tile that has `rows`: x at the first of them, y at its outputs. The weights come from
// memory if `fetch`.
template <int P, int R, bool fetch>
[[gnu::noinline]] void multiply_rows(const Bf16Product& t, const int32_t* x, int rows, float* y) {
  const int64_t bytes = tile_panel_bytes(t.in);
  const std::byte* weights = t.panels;
  VecF acc[P][R];
  SGL_UNROLL for (int p = 0; p < P; ++p) { SGL_UNROLL for (int r = 0; r < R; ++r) acc[p][r] = zero(); }
  for (int64_t pairs = (t.in + 1) / 2; pairs > 0; --pairs, weights += kPairBytes, x += rows) {
    __m512bh w[P];
    SGL_UNROLL for (int p = 0; p < P; ++p) {
      const std::byte* at = weights + p * bytes;
      if (fetch) __builtin_prefetch(at + kAhead);
      w[p] = as_pairs(load(reinterpret_cast<const int32_t*>(at)));
    }
    SGL_UNROLL for (int r = 0; r < R; ++r) {
      const __m512bh pair = as_pairs(splat(x[r]));
      SGL_UNROLL for (int p = 0; p < P; ++p) acc[p][r].v = _mm512_dpbf16_ps(acc[p][r].v, w[p], pair);
    }
  }
  SGL_UNROLL for (int p = 0; p < P; ++p) {
    const int first = p * kTileOutputs;
    const int columns = static_cast<int>(min_of(t.columns - first, int64_t{kTileOutputs}));
    const VecF bias = t.bias != nullptr ? load_first(t.bias + first, columns) : zero();
    SGL_UNROLL for (int r = 0; r < R; ++r) {
      const VecF sum = t.bias != nullptr ? acc[p][r] + bias : acc[p][r];
      store_first(y + r * t.y_stride + first, sum, columns);
    }
  }
}

template <int P, int R>
void multiply_tile(const Bf16Product& t, const int32_t* x, int rows, int first, int last, float* y, bool fetch) {
  for (; last - first >= R; first += R, fetch = false) {
    float* at = y + first * t.y_stride;
    fetch ? multiply_rows<P, R, true>(t, x + first, rows, at) : multiply_rows<P, R, false>(t, x + first, rows, at);
  }
  if constexpr (R > 1) multiply_tile<P, R - 1>(t, x, rows, first, last, y, fetch);
}

template <int P>
void multiply_panels(const Bf16Product& t) {
  for (int64_t row = 0; row < t.rows; row += kTileColumns) {
    const int rows = static_cast<int>(min_of(t.rows - row, int64_t{kTileColumns}));
    const auto* x = reinterpret_cast<const int32_t*>(t.x + row * tile_row_bytes(t.in));
    float* y = t.y + row * t.y_stride;
    // Evenly: 9 rows as 5 and 4.
    const int half = rows > kRows ? (rows + 1) / 2 : rows;
    multiply_tile<P, kRows>(t, x, rows, 0, half, y, row == 0);
    if (half < rows) multiply_tile<P, kRows>(t, x, rows, half, rows, y, false);
  }
}

void multiply(const Bf16Product& t) {
  if (t.num_panels == 2) return multiply_panels<2>(t);
  multiply_panels<1>(t);
}

}  // namespace

Bf16Kernels bf16_kernels() { return {pack_pair_panel, round, multiply}; }

}  // namespace sgl::avx512bf16
