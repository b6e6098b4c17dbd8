// Weights on the device, and the products with them.

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "ops/backend_cuda.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

constexpr size_t kChunkBytes = size_t{32} << 20;  // of rows that are converted and sent at once

int64_t padded(int64_t cols) { return (cols + 7) / 8 * 8; }

// Rows that cuBLASLt's fast kernels take.
bool is_aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && row_bytes(t.dtype, t.row_stride) % 16 == 0;
}

Tensor padded_rows(std::byte* data, DType type, int64_t rows, int64_t cols) {
  Tensor t(data, type, Shape{rows, cols});
  t.row_stride = padded(cols);
  return t;
}

size_t padded_bytes(DType type, int64_t rows, int64_t cols) {
  return static_cast<size_t>(row_bytes(type, rows * padded(cols)));
}

}  // namespace

// Two buffers in turn: while one is on its way, the other is filled.
void CudaBackend::send_rows(Tensor to, const Tensor& host) {
  if (pinned_rows_.bytes() == 0) pinned_rows_ = cuda::allocate_pinned(2 * kChunkBytes);
  if (pool_ == nullptr) pool_ = std::make_unique<ThreadPool>(threads_);
  const int64_t cols = host.cols();
  const bool as_it_is = host.dtype == type_;
  const DType sent = as_it_is ? type_ : DType::F32;
  const int64_t chunk = std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes) / row_bytes(sent, cols));
  if (row_bytes(sent, cols) > static_cast<int64_t>(kChunkBytes)) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("a matrix has rows of {} elements; the cuda device takes {} at most", cols,
                            kChunkBytes / sizeof(float)));
  }
  cudaEvent_t free[2];
  for (cudaEvent_t& e : free) cuda::check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "cudaEventCreate");
  int turn = 0;
  for (int64_t begin = 0; begin < host.rows(); begin += chunk, turn ^= 1) {
    const int64_t rows = std::min(chunk, host.rows() - begin);
    std::byte* pinned = pinned_rows_.data() + static_cast<size_t>(turn) * kChunkBytes;
    cuda::check(cudaEventSynchronize(free[turn]), "copy of weights");
    pool_->parallel_for(rows, 1 + 65536 / cols, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const std::byte* from = host.data + (begin + r) * row_bytes(host.dtype, cols);
        std::byte* row = pinned + r * row_bytes(sent, cols);
        if (as_it_is) {
          std::memcpy(row, from, static_cast<size_t>(row_bytes(sent, cols)));
        } else {
          dequantize_row(host.dtype, from, reinterpret_cast<float*>(row), cols);
        }
      }
    });
    const Tensor part = to.slice_rows(begin, rows);
    const auto bytes = static_cast<size_t>(row_bytes(sent, cols));
    if (as_it_is) {
      cuda::check(cudaMemcpy2DAsync(part.data, static_cast<size_t>(row_bytes(type_, to.row_stride)), pinned, bytes,
                                    bytes, static_cast<size_t>(rows), cudaMemcpyHostToDevice, stream_),
                  "copy of weights");
    } else {
      std::byte* floats = scratch(sent_rows_, kChunkBytes);
      cuda::check(cudaMemcpyAsync(floats, pinned, bytes * static_cast<size_t>(rows), cudaMemcpyHostToDevice, stream_),
                  "copy of weights");
      cuda::convert(stream_, part, Tensor(floats, DType::F32, {rows, cols}));
      cuda::check(cudaGetLastError(), "conversion of weights");
    }
    cuda::check(cudaEventRecord(free[turn], stream_), "cudaEventRecord");
  }
  cuda::check(cudaStreamSynchronize(stream_), "copy of weights");
  for (cudaEvent_t e : free) cudaEventDestroy(e);
}

Weight CudaBackend::prepare(std::span<const Tensor> parts) {
  Weight w = describe_weight(parts);
  Buffer memory = cuda::allocate_device(padded_bytes(type_, w.out, w.in));
  const Tensor all = padded_rows(memory.data(), type_, w.out, w.in);
  int64_t row = 0;
  for (Weight::Part& part : w.parts) {
    send_rows(all.slice_rows(row, part.rows), part.source);
    row += part.rows;
    part.source = {};
  }
  w.parts[0].packed = std::move(memory);
  return w;
}

Param CudaBackend::prepare_table(const Tensor& table) {
  Param p;
  p.memory = cuda::allocate_device(padded_bytes(type_, table.rows(), table.cols()));
  p.tensor = padded_rows(p.memory.data(), type_, table.rows(), table.cols());
  send_rows(p.tensor, table);
  return p;
}

Tensor CudaBackend::input(Tensor x) {
  if (x.dtype == type_ && is_aligned(x)) return x;
  Tensor in = padded_rows(scratch(x_, padded_bytes(type_, x.rows(), x.cols())), type_, x.rows(), x.cols());
  cuda::convert(stream_, in, x);
  return in;
}

void CudaBackend::linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_linear(y, x, w, bias);
  if (x.rows() == 0) return;
  const Tensor in = input(x), matrix = padded_rows(w.parts[0].packed.data(), type_, w.out, w.in);
  Tensor out = y;
  if (!is_aligned(y) || (y.dtype != type_ && y.dtype != DType::F32)) {
    out = padded_rows(scratch(y_, padded_bytes(DType::F32, y.rows(), y.cols())), DType::F32, y.rows(), y.cols());
  }
  if (cuda::can_gemv(in, matrix)) {
    cuda::gemv(stream_, out, in, matrix, bias, false);
  } else {
    dense_.multiply(out, in, matrix, false);
    if (!bias.empty()) cuda::add_bias(stream_, out, bias);
  }
  if (out.data != y.data) cuda::convert(stream_, y, out);
  cuda::launched("linear", y);
}

void CudaBackend::linear_add(Tensor h, Tensor x, const Weight& w, Tensor bias, Tensor scratch_rows) {
  check_linear(h, x, w, bias);
  if (x.rows() == 0) return;
  if (!is_aligned(h) || h.dtype != DType::F32) {
    Backend::linear_add(h, x, w, bias, scratch_rows);
    return;
  }
  const Tensor in = input(x), matrix = padded_rows(w.parts[0].packed.data(), type_, w.out, w.in);
  if (cuda::can_gemv(in, matrix)) {
    cuda::gemv(stream_, h, in, matrix, bias, true);
  } else {
    dense_.multiply(h, in, matrix, true);
    if (!bias.empty()) cuda::add_bias(stream_, h, bias);
  }
  cuda::launched("linear_add", h);
}

void CudaBackend::gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch_rows) {
  check_linear(scratch_rows, x, w, bias);
  check_gated_act(out, scratch_rows);
  if (x.rows() == 0) return;
  const Tensor in = input(x), matrix = padded_rows(w.parts[0].packed.data(), type_, w.out, w.in);
  if (out.dtype != type_ || !cuda::can_gemv(in, matrix)) {
    Backend::gated_linear(out, in, w, bias, act, scratch_rows);
    return;
  }
  cuda::gemv_gated(stream_, out, in, matrix, bias, act);
  cuda::launched("gated_linear", out);
}

}  // namespace sgl
