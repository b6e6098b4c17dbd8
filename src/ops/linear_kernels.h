#pragma once
// The kernels of linear() as each instruction set offers them: plain pointers and sizes.
//
// Two paths. int8: activations are rounded to int8 in blocks of 32 along `in`, each with its own scale, and multiplied
// with the codes of quantized weights in integers. Float: activations stay float32; weights of any format become
// float32 on the way.
//
// Each output is computed by the same operations in the same order whatever tile it falls into:
//   int8:  for each block b:  acc ← fma(float(dot_b), scale_w[b] · scale_x[b], acc);  then the block's minimum, if any
//   float: for each k:        acc ← fma(x[k], w[k], acc)
// and at the end acc + bias. dot_b is an integer, so its own order is free.

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace sgl {

inline constexpr int kMaxTileRows = 16;
inline constexpr int kNumDTypes = static_cast<int>(DType::Int4G128) + 1;

/// Quantized activations of a tile of R ≤ kMaxTileRows rows, for each block b of 32 along `in`:
///   int8 codes[R][32];  float scale[R];  float sum[R];  int32 minus_codes[R], minus_codes_low[R]
/// x ≈ scale · code, |code| ≤ 127; sum = scale · Σ codes; minus_codes = −Σ codes, the low one over the first 16.
constexpr int64_t quantized_block_bytes(int rows) { return int64_t{48} * rows; }
constexpr int64_t quantized_tile_bytes(int rows, int64_t in) { return in / 32 * quantized_block_bytes(rows); }

/// One panel (16 outputs, see linear_layout.h) times one tile of rows.
struct LinearTile {
  const std::byte* panel = nullptr;
  const std::byte* x = nullptr;  ///< int8 path: the quantized tile; float path: float [in][rows]
  int64_t in = 0;
  int64_t ahead = 0;   ///< int8 path: bytes from what is computed to what is fetched from memory meanwhile
  float* y = nullptr;  ///< [rows][columns], of which `columns` ≤ 16 exist
  int64_t y_stride = 0;
  int columns = 0;
  const float* bias = nullptr;  ///< [columns] or null
};

struct Int8Kernels {
  using Tile = void (*)(const LinearTile&);
  Tile tile[kNumDTypes][kMaxTileRows];  ///< [format of the panel][rows − 1]; rows ≤ max_rows
  int max_rows;
  /// Rounds `rows` rows of x to a quantized tile. Requires: in is a multiple of 32.
  void (*quantize)(const float* x, int64_t x_stride, int rows, int64_t in, std::byte* tile);
};

struct FloatKernels {
  using Tile = void (*)(const LinearTile&, DType format);
  Tile tile[kMaxTileRows];  ///< [rows − 1]; rows ≤ max_rows; every weight format
  int max_rows;
};

namespace generic {
Int8Kernels int8_kernels();
FloatKernels float_kernels();
}  // namespace generic
namespace avx2 {
Int8Kernels int8_kernels();
FloatKernels float_kernels();
}  // namespace avx2
namespace avx512 {
Int8Kernels int8_kernels();
FloatKernels float_kernels();
}  // namespace avx512

}  // namespace sgl
