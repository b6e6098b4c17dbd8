// linear() on the processor: packs weights into panels of 16 outputs, cuts x into tiles of rows, and multiplies each
// panel with each tile.
//
// A task is a panel times a chunk of tiles. The chunk's rows stay in the L2 cache while panels pass by, and a panel
// stays there while it meets the chunk's tiles; for one row this is the plain stream through the weights.

#include <algorithm>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "ops/cpu_backend.h"
#include "ops/linear_bf16.h"
#include "ops/linear_layout.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

constexpr int64_t kChunkBytes = 256 << 10;    // of rows, that stay in the L2 cache
constexpr int64_t kBf16ChunkBytes = 1 << 20;  // of rows in bfloat16, whose weights are larger: more must share them
constexpr int64_t kMinPieceBytes = 16 << 10;  // of weights times rows: less is not worth a thread's attention
constexpr int kPiecesPerThread = 8;
constexpr int64_t kAhead = 8 << 10;  // bytes: at the speed of memory about 200 ns ahead

// Rows are split as evenly as they go: 20 rows are 2 tiles of 10, not 16 and 4.
struct Tiles {
  int64_t rows, count;
  Tiles(int64_t n, int max_rows) : rows(n), count((n + max_rows - 1) / max_rows) {}
  int64_t begin(int64_t tile) const { return tile * rows / count; }
  int size(int64_t tile) const { return static_cast<int>(begin(tile + 1) - begin(tile)); }
};

// The type whose panels hold a part: what the kernels know as it is, the rest as float32.
DType panel_type(DType format) {
  const bool known = panel_format(format).bits > 0 || format == DType::F16 || format == DType::BF16;
  return known ? format : DType::F32;
}

int64_t panel_bytes(DType type, int64_t in) {
  return panel_format(type).bits > 0 ? panel_format(type).panel_bytes(in) : float_panel_bytes(type, in);
}

// Weight::Part::layout of panels that are multiplied in bfloat16; otherwise it is the type of the panels.
constexpr int kBf16Panels = -1;

int64_t num_panels(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

// Rows of a type that no panel holds, as float32.
void pack_converted(const Tensor& source, int64_t panel, std::byte* packed) {
  const int64_t in = source.cols(), first = panel * kPanelRows;
  const int64_t n = std::min<int64_t>(kPanelRows, source.rows() - first);
  std::vector<float> rows(static_cast<size_t>(n * in));
  dequantize_row(source.dtype, source.data + row_bytes(source.dtype, first * in), rows.data(), n * in);
  pack_float_panel(DType::F32, reinterpret_cast<const std::byte*>(rows.data()), n, in, 0, packed);
}

}  // namespace

Weight CpuBackend::prepare(std::span<const Tensor> parts) {
  Weight w = describe_weight(parts);
  for (Weight::Part& part : w.parts) {
    const Tensor source = part.source;
    if (w.in % block_layout(part.format).elements != 0) {
      throw Error(ErrorKind::Internal, fmt::format("a weight of {} has rows of {}; expected a multiple of {}",
                                                   name(part.format), w.in, block_layout(part.format).elements));
    }
    const DType type = panel_type(part.format);
    const bool in_bf16 = bf16_.multiply != nullptr && type == DType::BF16;
    const int64_t bytes = in_bf16 ? tile_panel_bytes(w.in) : panel_bytes(type, w.in), panels = num_panels(part.rows);
    part.packed = weights_.take(static_cast<size_t>(bytes * panels));
    part.layout = in_bf16 ? kBf16Panels : static_cast<int>(type);
    part.source = Tensor();
    pool_.parallel_for(panels, std::max<int64_t>(1, (256 << 10) / bytes), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        std::byte* to = part.packed.data() + p * bytes;
        if (in_bf16) {
          bf16_.pack(source.data, part.rows, w.in, p, to);
        } else if (type != part.format) {
          pack_converted(source, p, to);
        } else if (panel_format(type).bits > 0) {
          pack_panel(type, source.data, part.rows, w.in, p, to);
        } else {
          pack_float_panel(type, source.data, part.rows, w.in, p, to);
        }
      }
    });
  }
  return w;
}

void CpuBackend::quantize_rows(Tensor x, int64_t count) {
  const Tiles tiles(x.rows(), int8_.max_rows);
  const int64_t in = x.cols();
  std::byte* to = quantized_.get(static_cast<size_t>(quantized_tile_bytes(1, in) * x.rows()));
  pool_.parallel_for(count, std::max<int64_t>(1, (16 << 10) / (in * tiles.size(0))), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = tiles.begin(t);
      int8_.quantize(x.f32(row), x.row_stride, tiles.size(t), in, to + quantized_tile_bytes(1, in) * row);
    }
  });
}

// Tiles [in][rows].
void CpuBackend::interleave_rows(Tensor x, int64_t count) {
  const Tiles tiles(x.rows(), float_.max_rows);
  const int64_t in = x.cols();
  auto* all = reinterpret_cast<float*>(interleaved_.get(static_cast<size_t>(in * x.rows()) * sizeof(float)));
  pool_.parallel_for(count, std::max<int64_t>(1, (16 << 10) / (in * tiles.size(0))), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int n = tiles.size(t);
      float* to = all + tiles.begin(t) * in;
      for (int r = 0; r < n; ++r) {
        const float* from = x.f32(tiles.begin(t) + r);
        for (int64_t k = 0; k < in; ++k) to[k * n + r] = from[k];
      }
    }
  });
}

// Tiles of bfloat16, see linear_bf16.h.
void CpuBackend::round_rows(Tensor x) {
  const int64_t in = x.cols(), count = (x.rows() + kTileColumns - 1) / kTileColumns;
  std::byte* all = rounded_.get(static_cast<size_t>(tile_row_bytes(in) * x.rows()));
  pool_.parallel_for(count, std::max<int64_t>(1, (8 << 10) / in), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = t * kTileColumns;
      const int rows = static_cast<int>(std::min<int64_t>(kTileColumns, x.rows() - row));
      bf16_.round(x.f32(row), x.row_stride, rows, in, all + row * tile_row_bytes(in));
    }
  });
}

void CpuBackend::multiply_bf16(Tensor y, const Weight::Part& part, int64_t in, const float* bias) {
  constexpr int64_t kPanels = 2;
  const int64_t bytes = tile_panel_bytes(in), row_bytes = tile_row_bytes(in);
  const int64_t groups = (num_panels(part.rows) + kPanels - 1) / kPanels;
  const int64_t chunk_rows = std::max<int64_t>(1, kBf16ChunkBytes / row_bytes / kTileColumns) * kTileColumns;
  const int64_t chunks = (y.rows() + chunk_rows - 1) / chunk_rows;
  auto multiply = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i % groups * kPanels, row = i / groups * chunk_rows, column = panel * kPanelRows;
      Bf16Product t;
      t.panels = part.packed.data() + panel * bytes;
      t.columns = std::min(kPanels * kPanelRows, part.rows - column);
      t.num_panels = static_cast<int>(num_panels(t.columns));
      t.in = in;
      t.x = rounded_.get(0) + row * row_bytes;
      t.rows = std::min(chunk_rows, y.rows() - row);
      t.y = y.f32(row) + column;
      t.y_stride = y.row_stride;
      t.bias = bias != nullptr ? bias + column : nullptr;
      bf16_.multiply(t);
    }
  };
  const int64_t work = kPanels * bytes * std::min(y.rows(), chunk_rows);
  const int64_t grain = std::max(chunks * groups / (pool_.threads() * kPiecesPerThread), kMinPieceBytes / work);
  pool_.parallel_for(chunks * groups, std::max<int64_t>(1, grain), multiply);
}

void CpuBackend::linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_linear(y, x, w, bias);
  if (x.rows() == 0 || w.out == 0) return;
  int64_t column = 0;
  bool is_quantized = false, is_interleaved = false, is_rounded = false;
  for (const Weight::Part& part : w.parts) {
    if (part.layout == kBf16Panels) {
      if (!is_rounded) round_rows(x);
      is_rounded = true;
      multiply_bf16(y.slice_cols(column, part.rows), part, w.in, bias.empty() ? nullptr : bias.f32() + column);
      column += part.rows;
      continue;
    }
    const auto type = static_cast<DType>(part.layout);
    const bool int8 = quantize_activations_ && panel_format(type).bits > 0;
    const Tiles tiles(x.rows(), int8 ? int8_.max_rows : float_.max_rows);
    bool& is_ready = int8 ? is_quantized : is_interleaved;
    if (!is_ready) {
      if (int8) {
        quantize_rows(x, tiles.count);
      } else {
        interleave_rows(x, tiles.count);
      }
      is_ready = true;
    }
    const std::byte* rows = (int8 ? quantized_ : interleaved_).get(0);
    const int64_t bytes_per_row = int8 ? quantized_tile_bytes(1, w.in) : w.in * static_cast<int64_t>(sizeof(float));
    const int64_t bytes = panel_bytes(type, w.in), panels = num_panels(part.rows);
    const int64_t tiles_per_chunk = std::max<int64_t>(1, kChunkBytes / (bytes_per_row * tiles.size(0)));
    const int64_t chunks = (tiles.count + tiles_per_chunk - 1) / tiles_per_chunk;

    auto multiply = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t p = i % panels, first_tile = i / panels * tiles_per_chunk;
        LinearTile tile;
        tile.panel = part.packed.data() + p * bytes;
        tile.in = w.in;
        tile.columns = static_cast<int>(std::min<int64_t>(kPanelRows, part.rows - p * kPanelRows));
        tile.bias = bias.empty() ? nullptr : bias.f32() + column + p * kPanelRows;
        tile.y_stride = y.row_stride;
        for (int64_t t = first_tile; t < std::min(first_tile + tiles_per_chunk, tiles.count); ++t) {
          const int64_t row = tiles.begin(t);
          tile.ahead = t == first_tile ? kAhead : 0;
          tile.x = rows + row * bytes_per_row;
          tile.y = y.f32(row) + column + p * kPanelRows;
          if (int8) {
            int8_.tile[part.layout][tiles.size(t) - 1](tile);
          } else {
            float_.tile[tiles.size(t) - 1](tile, type);
          }
        }
      }
    };
    const int64_t work = bytes * std::min(x.rows(), tiles_per_chunk * tiles.size(0));
    const int64_t grain = std::max(chunks * panels / (pool_.threads() * kPiecesPerThread), kMinPieceBytes / work);
    pool_.parallel_for(chunks * panels, std::max<int64_t>(1, grain), multiply);
    column += part.rows;
  }
}

}  // namespace sgl
