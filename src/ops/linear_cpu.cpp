// linear() and gated_linear() on the processor: packs weights into panels of 16 outputs, cuts x into tiles of rows, and
// multiplies each panel with each tile.
//
// A task is a panel times a chunk of tiles. The chunk's rows stay in the L2 cache while panels pass by, and a panel
// stays there while it meets the chunk's tiles; for one row this is the plain stream through the weights.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>
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

// Rows of a type that no panel holds, as float32; or of numbers, quantized: false where some are not finite.
bool pack_converted(const Tensor& source, DType type, int64_t panel, std::byte* packed) {
  const int64_t in = source.cols(), first = panel * kPanelRows;
  const int64_t n = std::min<int64_t>(kPanelRows, source.rows() - first);
  std::vector<float> rows(static_cast<size_t>(n * in));
  dequantize_row(source.dtype, source.data + row_bytes(source.dtype, first * in), rows.data(), n * in);
  if (type == DType::F32) {
    pack_float_panel(type, reinterpret_cast<const std::byte*>(rows.data()), n, in, 0, packed);
    return true;
  }
  if (!std::all_of(rows.begin(), rows.end(), [](float x) { return std::isfinite(x); })) return false;
  std::vector<std::byte> blocks(static_cast<size_t>(row_bytes(type, n * in)));
  quantize_row(type, rows.data(), blocks.data(), n * in);
  pack_panel(type, blocks.data(), n, in, 0, packed);
  return true;
}

}  // namespace

Weight CpuBackend::pack(std::span<const Tensor> parts, Quantization quantization) {
  Weight w = describe_weight(parts);
  for (Weight::Part& part : w.parts) {
    const Tensor source = part.source;
    if (w.in % block_layout(part.format).elements != 0) {
      throw Error(ErrorKind::Internal, fmt::format("a weight of {} has rows of {}; expected a multiple of {}",
                                                   name(part.format), w.in, block_layout(part.format).elements));
    }
    part.format = quantized_format(quantization, source.dtype, w.in);
    const DType type = panel_type(part.format);
    const bool in_bf16 = bf16_.multiply != nullptr && type == DType::BF16;
    const int64_t bytes = in_bf16 ? tile_panel_bytes(w.in) : panel_bytes(type, w.in), panels = num_panels(part.rows);
    part.packed = weights_.take(static_cast<size_t>(bytes * panels));
    part.layout = in_bf16 ? kBf16Panels : static_cast<int>(type);
    part.source = Tensor();
    std::atomic<bool> finite = true;
    pool_.parallel_for(panels, std::max<int64_t>(1, (256 << 10) / bytes), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        std::byte* to = part.packed.data() + p * bytes;
        if (in_bf16) {
          bf16_.pack(source.data, part.rows, w.in, p, to);
        } else if (type != source.dtype) {
          if (!pack_converted(source, type, p, to)) finite = false;
        } else if (panel_format(type).bits > 0) {
          pack_panel(type, source.data, part.rows, w.in, p, to);
        } else {
          pack_float_panel(type, source.data, part.rows, w.in, p, to);
        }
      }
    });
    if (!finite) {
      throw Error(
          ErrorKind::CorruptFile,
          fmt::format("a matrix of {} by {} has numbers that are infinite or no numbers, and cannot be quantized; "
                      "leave out --quantization",
                      part.rows, w.in));
    }
  }
  return w;
}

void CpuBackend::quantize_rows(Tensor x, int64_t count) {
  const Tiles tiles(x.rows(), int8_.max_rows);
  const int64_t in = x.cols();
  std::byte* to = quantized_.get(static_cast<size_t>(quantized_tile_bytes(1, in) * x.rows()));
  pool_.parallel_for(count, std::max<int64_t>(1, (16 << 10) / std::max<int64_t>(in * tiles.size(0), 1)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t t = begin; t < end; ++t) {
                         const int64_t row = tiles.begin(t);
                         int8_.quantize(x.f32(row), x.row_stride, tiles.size(t), in,
                                        to + quantized_tile_bytes(1, in) * row);
                       }
                     });
}

// Tiles [in][rows].
void CpuBackend::interleave_rows(Tensor x, int64_t count) {
  const Tiles tiles(x.rows(), float_.max_rows);
  const int64_t in = x.cols();
  auto* all = reinterpret_cast<float*>(interleaved_.get(static_cast<size_t>(in * x.rows()) * sizeof(float)));
  pool_.parallel_for(count, std::max<int64_t>(1, (16 << 10) / std::max<int64_t>(in * tiles.size(0), 1)),
                     [&](int64_t begin, int64_t end) {
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
  const int64_t work = std::max<int64_t>(kPanels * bytes * std::min(y.rows(), chunk_rows), 1);
  const int64_t grain = std::max(chunks * groups / (pool_.threads() * kPiecesPerThread), kMinPieceBytes / work);
  pool_.parallel_for(chunks * groups, std::max<int64_t>(1, grain), multiply);
}

// A part whose products are made tile by tile, and the rows x that it is multiplied with, in the form its kernels want.
struct CpuBackend::TiledPart {
  const Weight::Part& part;
  DType type;  ///< of the panels
  bool int8;
  int64_t in, panel_bytes;
  Tiles tiles;
  int64_t row_bytes;  ///< of x as it is kept
  const std::byte* rows;

  int64_t panels() const { return num_panels(part.rows); }
  int64_t tiles_per_chunk() const { return std::max<int64_t>(1, kChunkBytes / (row_bytes * tiles.size(0))); }
};

CpuBackend::TiledPart CpuBackend::tiled_part(const Weight& w, const Weight::Part& part, int64_t rows) const {
  const auto type = static_cast<DType>(part.layout);
  const bool int8 = quantize_activations_ && panel_format(type).bits > 0;
  const int64_t row_bytes = int8 ? quantized_tile_bytes(1, w.in) : w.in * static_cast<int64_t>(sizeof(float));
  return {.part = part,
          .type = type,
          .int8 = int8,
          .in = w.in,
          .panel_bytes = panel_bytes(type, w.in),
          .tiles = Tiles(rows, int8 ? int8_.max_rows : float_.max_rows),
          .row_bytes = row_bytes,
          .rows = nullptr};
}

// Has x ready for the part: once for all parts of a weight that want it in the same form.
void CpuBackend::prepare_rows(Tensor x, TiledPart& t, RowsReady& ready) {
  if (t.int8 && !std::exchange(ready.quantized, true)) quantize_rows(x, t.tiles.count);
  if (!t.int8 && !std::exchange(ready.interleaved, true)) interleave_rows(x, t.tiles.count);
  t.rows = (t.int8 ? quantized_ : interleaved_).get(0);
}

// y: where the tile's first row and column go. bias: of the panel's first column, or null.
void CpuBackend::multiply_tile(const TiledPart& t, int64_t panel, int64_t tile, bool first_of_panel, float* y,
                               int64_t y_stride, const float* bias) const {
  const LinearTile task{.panel = t.part.packed.data() + panel * t.panel_bytes,
                        .x = t.rows + t.tiles.begin(tile) * t.row_bytes,
                        .in = t.in,
                        .ahead = first_of_panel ? kAhead : 0,
                        .y = y,
                        .y_stride = y_stride,
                        .columns = static_cast<int>(std::min<int64_t>(kPanelRows, t.part.rows - panel * kPanelRows)),
                        .bias = bias};
  const int rows = t.tiles.size(tile);
  if (t.int8) {
    int8_.tile[t.part.layout][rows - 1](task);
  } else {
    float_.tile[rows - 1](task, t.type);
  }
}

// body(panel, first tile, end of tiles) for all panels and chunks of tiles. `bytes`: of weights that a panel has.
template <typename F>
void CpuBackend::for_chunks(const TiledPart& t, int64_t panels, int64_t bytes, F body) {
  const int64_t tiles_per_chunk = t.tiles_per_chunk();
  const int64_t chunks = (t.tiles.count + tiles_per_chunk - 1) / tiles_per_chunk;
  const int64_t work = bytes * std::min(t.tiles.rows, tiles_per_chunk * t.tiles.size(0));
  const int64_t grain = std::max(chunks * panels / (pool_.threads() * kPiecesPerThread), kMinPieceBytes / work);
  pool_.parallel_for(chunks * panels, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / panels * tiles_per_chunk;
      body(i % panels, first, std::min(first + tiles_per_chunk, t.tiles.count));
    }
  });
}

void CpuBackend::linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_linear(y, x, w, bias);
  if (x.rows() == 0 || w.out == 0) return;
  int64_t column = 0;
  bool is_rounded = false;
  RowsReady ready;
  for (const Weight::Part& part : w.parts) {
    const float* part_bias = bias.empty() ? nullptr : bias.f32() + column;
    if (part.layout == kBf16Panels) {
      if (!std::exchange(is_rounded, true)) round_rows(x);
      multiply_bf16(y.slice_cols(column, part.rows), part, w.in, part_bias);
    } else {
      TiledPart t = tiled_part(w, part, x.rows());
      prepare_rows(x, t, ready);
      for_chunks(t, t.panels(), t.panel_bytes, [&](int64_t panel, int64_t first, int64_t end) {
        const int64_t at = panel * kPanelRows;
        for (int64_t tile = first; tile < end; ++tile) {
          multiply_tile(t, panel, tile, tile == first, y.f32(t.tiles.begin(tile)) + column + at, y.row_stride,
                        part_bias == nullptr ? nullptr : part_bias + at);
        }
      });
    }
    column += part.rows;
  }
}

// A task is a panel of gate, the same one of up, and a chunk of tiles: what they give is gated while it is in the
// cache, and only that is written. Of a prompt's step, gate and up are the largest matrices there are.
void CpuBackend::gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch) {
  check_linear(scratch, x, w, bias);
  check_gated_act(out, scratch);
  const int64_t d = out.cols(), panels = d / kPanelRows;
  const bool one = w.parts.size() == 1;
  const bool two = w.parts.size() == 2 && w.parts[0].rows == d;
  const auto tiled = [](const Weight::Part& p) { return p.layout != kBf16Panels; };
  if (x.rows() == 0 || d == 0 || d % kPanelRows != 0 || !(one || two) ||
      !std::all_of(w.parts.begin(), w.parts.end(), tiled)) {
    return Backend::gated_linear(out, x, w, bias, act, scratch);
  }
  TiledPart gate = tiled_part(w, w.parts[0], x.rows()), up = tiled_part(w, w.parts.back(), x.rows());
  if (gate.int8 != up.int8) return Backend::gated_linear(out, x, w, bias, act, scratch);
  RowsReady ready;
  prepare_rows(x, gate, ready);
  prepare_rows(x, up, ready);
  const int64_t up_panel = one ? panels : 0;  // where up begins in its part
  for_chunks(gate, panels, gate.panel_bytes + up.panel_bytes, [&](int64_t panel, int64_t first, int64_t end) {
    constexpr int64_t kTile = int64_t{kMaxTileRows} * kPanelRows;
    alignas(64) float gates[kTile], ups[kTile], gated[kTile];
    const int64_t at = panel * kPanelRows;
    for (int64_t tile = first; tile < end; ++tile) {
      const bool fetch = tile == first;
      multiply_tile(gate, panel, tile, fetch, gates, kPanelRows, bias.empty() ? nullptr : bias.f32() + at);
      multiply_tile(up, up_panel + panel, tile, fetch, ups, kPanelRows, bias.empty() ? nullptr : bias.f32() + d + at);
      const int64_t row = gate.tiles.begin(tile), rows = gate.tiles.size(tile);
      vector_.gated_act(gated, gates, ups, rows * kPanelRows, act);
      for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(out.f32(row + r) + at, gated + r * kPanelRows, kPanelRows * sizeof(float));
      }
    }
  });
}

}  // namespace sgl
