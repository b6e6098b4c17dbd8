#pragma once
// linear() of bfloat16 weights in bfloat16: how panels and activations stand in memory, and the kernels.
//
// Activations are rounded to bfloat16 and multiplied with float32 sums, by products of tiles (AMX),
//   C[16 outputs][rows] += A[16 outputs][32] · B[16 pairs][rows][2]
// or by dot products of pairs (AVX512_BF16), whose lanes are outputs:
//   c[16 outputs] += a[16 outputs][2] · b[2]
// Each output is one chain of them along `in`, ascending; then + bias. So a row's result does not depend on what else
// is computed beside it, or in which order. The two differ in their roundings within a block of 32.
//
// A panel is 16 outputs in blocks of 32 weights: for tiles [blocks][16][32] bfloat16, for pairs [blocks][16
// pairs][16][2]. Rows of x stand in tiles B of 16, the last one of what is left: [blocks][16 pairs][rows][2]. What is
// missing in the last block or panel is zero.

#include <cstddef>
#include <cstdint>

namespace sgl {

inline constexpr int kTileOutputs = 16;
inline constexpr int kTileDepth = 32;    ///< numbers along `in`
inline constexpr int kTileColumns = 16;  ///< rows of x

constexpr int64_t tile_blocks(int64_t in) { return (in + kTileDepth - 1) / kTileDepth; }
constexpr int64_t tile_row_bytes(int64_t in) { return tile_blocks(in) * kTileDepth * 2; }  ///< of x
constexpr int64_t tile_panel_bytes(int64_t in) { return tile_row_bytes(in) * kTileOutputs; }

/// Packs rows [16·panel, 16·panel + 16) of a bfloat16 matrix that has `rows` rows of `in` weights each.
void pack_tile_panel(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed);
void pack_pair_panel(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed);

/// One or two neighbouring panels times tiles of rows.
struct Bf16Product {
  const std::byte* panels = nullptr;
  int num_panels = 0;
  int64_t in = 0;
  const std::byte* x = nullptr;
  int64_t rows = 0;
  float* y = nullptr;  ///< of the first row and the first panel's first output
  int64_t y_stride = 0;
  int64_t columns = 0;          ///< outputs that exist, at most 16 · num_panels
  const float* bias = nullptr;  ///< [columns] or null
};

struct Bf16Kernels {
  void (*pack)(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed) = nullptr;
  /// Rounds up to kTileColumns rows of x to a tile of tile_row_bytes(in) · rows.
  void (*round)(const float* x, int64_t x_stride, int rows, int64_t in, std::byte* tile) = nullptr;
  void (*multiply)(const Bf16Product& product) = nullptr;
};

namespace amx {
Bf16Kernels bf16_kernels();
}
namespace avx512bf16 {
Bf16Kernels bf16_kernels();
}

}  // namespace sgl
