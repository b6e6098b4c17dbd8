#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

const std::byte* table_row(const char* op, const Tensor& table, int32_t id) {
  if (id < 0 || id >= table.shape[0]) {
    throw Error(ErrorKind::Internal,
                fmt::format("{}: id {} is outside of the table's {} rows", op, id, table.shape[0]));
  }
  return table.data + id * row_bytes(table.dtype, table.cols());
}

}  // namespace

void RefBackend::embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) {
  check_shapes("embedding", {{"out", out, "n d"}, {"table", table, "v d"}});
  for (size_t i = 0; i < ids.size(); ++i) {
    float* o = out.f32(static_cast<int64_t>(i));
    dequantize_row(table.dtype, table_row("embedding", table, ids[i]), o, table.cols());
    if (scale != 1.0F) {
      for (int64_t j = 0; j < table.cols(); ++j) o[j] *= scale;
    }
  }
}

void RefBackend::add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) {
  check_shapes("add_embedding", {{"h", h, "n d"}, {"table", table, "v d"}});
  std::vector<float> row(static_cast<size_t>(table.cols()));
  for (size_t i = 0; i < ids.size(); ++i) {
    dequantize_row(table.dtype, table_row("add_embedding", table, ids[i]), row.data(), table.cols());
    float* o = h.f32(static_cast<int64_t>(i));
    for (int64_t j = 0; j < table.cols(); ++j) o[j] += row[static_cast<size_t>(j)];
  }
}

void RefBackend::gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) {
  check_shapes("gather_rows", {{"out", out, "m d"}, {"x", x, "n d"}});
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* from = x.f32(rows[i]);
    std::copy(from, from + x.cols(), out.f32(static_cast<int64_t>(i)));
  }
}

}  // namespace sgl
