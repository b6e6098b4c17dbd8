// The ops that take one row at a time, on the processor: splits rows over the threads where there are many.

#include <algorithm>
#include <cstring>

#include "ops/cpu_backend.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

// Elements a thread takes at once: some microseconds of work.
constexpr int64_t kPiece = 16 << 10;

}  // namespace

template <typename F>
void CpuBackend::for_rows(int64_t rows, int64_t cols, F body) {
  pool_.parallel_for(rows, std::max<int64_t>(1, kPiece / std::max<int64_t>(cols, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

template <typename F>
void CpuBackend::for_elements(int64_t rows, int64_t cols, F body) {
  if (cols <= kPiece) return for_rows(rows, cols, [&](int64_t i) { body(i, 0, cols); });
  const int64_t pieces = (cols + kPiece - 1) / kPiece;
  pool_.parallel_for(rows * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % pieces * kPiece;
      body(i / pieces, first, std::min(kPiece, cols - first));
    }
  });
}

void CpuBackend::rms_norm(Tensor out, Tensor x, Tensor w, float eps) {
  check_shapes("rms_norm", {{"out", out, "n c"}, {"x", x, "n c"}, {"w", w, "d"}});
  const int64_t d = w.cols();
  for_rows(x.rows(), x.cols(), [&](int64_t i) {
    for (int64_t g = 0; g < x.cols(); g += d) vector_.rms_norm(out.f32(i) + g, x.f32(i) + g, w.f32(), d, eps);
  });
}

void CpuBackend::add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) {
  check_shapes("add_rms_norm", {{"out", out, "n d"}, {"h", h, "n d"}, {"x", x, "n d"}, {"w", w, "d"}});
  for_rows(x.rows(), x.cols(), [&](int64_t i) {
    vector_.add(h.f32(i), x.f32(i), x.cols());
    vector_.rms_norm(out.f32(i), h.f32(i), w.f32(), x.cols(), eps);
  });
}

void CpuBackend::layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) {
  check_shapes("layer_norm", {{"out", out, "n d"}, {"x", x, "n d"}, {"w", w, "d"}, {"b", b, "d"}});
  for_rows(x.rows(), x.cols(),
           [&](int64_t i) { vector_.layer_norm(out.f32(i), x.f32(i), w.f32(), b.f32(), x.cols(), eps); });
}

void CpuBackend::rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) {
  check_rope(x, cos_sin, head_dim);
  const int64_t half = cos_sin.cols() / 2;
  const auto turn = interleaved ? vector_.rope_interleaved : vector_.rope;
  for_rows(x.rows(), x.cols(), [&](int64_t i) {
    for (int64_t head = 0; head < x.cols(); head += head_dim) turn(x.f32(i) + head, cos_sin.f32(i), half);
  });
}

void CpuBackend::gated_act(Tensor out, Tensor x, Act act) {
  check_gated_act(out, x);
  const int64_t d = out.cols();
  for_elements(x.rows(), d, [&](int64_t i, int64_t first, int64_t n) {
    vector_.gated_act(out.f32(i) + first, x.f32(i) + first, x.f32(i) + d + first, n, act);
  });
}

void CpuBackend::activation(Tensor out, Tensor x, Act act) {
  check_shapes("activation", {{"out", out, "n d"}, {"x", x, "n d"}});
  for_elements(x.rows(), x.cols(), [&](int64_t i, int64_t first, int64_t n) {
    vector_.activation(out.f32(i) + first, x.f32(i) + first, n, act);
  });
}

void CpuBackend::add(Tensor h, Tensor x) {
  check_shapes("add", {{"h", h, "n d"}, {"x", x, "n d"}});
  for_elements(x.rows(), x.cols(),
               [&](int64_t i, int64_t first, int64_t n) { vector_.add(h.f32(i) + first, x.f32(i) + first, n); });
}

void CpuBackend::softcap(Tensor x, float cap) {
  for_elements(x.rows(), x.cols(),
               [&](int64_t i, int64_t first, int64_t n) { vector_.softcap(x.f32(i) + first, n, cap); });
}

void CpuBackend::scale_columns(Tensor x, std::span<const float> factors) {
  check_scale_columns(x, factors);
  for_elements(x.rows(), x.cols(), [&](int64_t i, int64_t first, int64_t n) {
    float* to = x.f32(i) + first;
    for (int64_t j = 0; j < n; ++j) to[j] *= factors[static_cast<size_t>(first + j)];
  });
}

void CpuBackend::embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) {
  const auto n = static_cast<int64_t>(ids.size());
  const auto all_inside = std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id >= 0 && id < table.rows(); });
  check_shapes("embedding", {{"out", out, "n d"}, {"table", table, "v d"}});
  // A body must not throw: what is wrong is the reference's to say.
  if (!all_inside || n != out.rows()) return RefBackend::embedding(out, ids, table, scale);
  for_rows(n, 4 * table.cols(), [&](int64_t i) {
    const std::byte* row = table.data + ids[static_cast<size_t>(i)] * row_bytes(table.dtype, table.cols());
    float* o = out.f32(i);
    dequantize_row(table.dtype, row, o, table.cols());
    if (scale != 1.0F) {
      for (int64_t j = 0; j < table.cols(); ++j) o[j] *= scale;
    }
  });
}

void CpuBackend::gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) {
  check_shapes("gather_rows", {{"out", out, "m d"}, {"x", x, "n d"}});
  for_rows(static_cast<int64_t>(rows.size()), x.cols(), [&](int64_t i) {
    std::memcpy(out.f32(i), x.f32(rows[static_cast<size_t>(i)]), static_cast<size_t>(x.cols()) * sizeof(float));
  });
}

void CpuBackend::sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) {
  const SampleMath math = {vector_.argmax, vector_.exp_all, vector_.weigh, vector_.forbid};
  for_rows(static_cast<int64_t>(rows.size()), logits.cols(), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    sample_row(results[at], logits.f32(i), logits.cols(), rows[at], math);
  });
}

}  // namespace sgl
