// Weights on the device, and the products with them.

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "ops/backend_cuda.h"
#include "ops/ref_backend.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

constexpr size_t kSentBytes = size_t{16} << 20;  // of rows that are converted and sent at once
// Of rows, or of sums, at once: they stay in the second-level cache.
constexpr int64_t kDequantizedBytes = int64_t{32} << 20;

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

// A quantized weight's memory: codes, then scales.
int64_t scales_at(Quantization q, const Weight& w) { return (code_bytes(q, w.out, w.in) + 255) / 256 * 256; }

cuda::QuantizedMatrix matrix_of(const Weight& w) {
  const auto format = static_cast<Quantization>(w.parts[0].layout);
  std::byte* memory = w.parts[0].packed.data();
  if (format == Quantization::None) return {format, w.out, w.in, memory, nullptr};
  return {format, w.out, w.in, memory, memory + scales_at(format, w)};
}

}  // namespace

// Two pinned buffers in turn, from one matrix to the next: while one is on its way, the other is filled. On the device
// the rows wait in one buffer until `take` has read them.
void CudaBackend::send_rows(const Tensor& host, const TakeRows& take, bool as_it_is) {
  if (pinned_rows_.bytes() == 0) pinned_rows_ = cuda::allocate_pinned(2 * kSentBytes);
  if (sent_rows_.bytes() == 0) sent_rows_ = cuda::allocate_device(kSentBytes);
  if (pool_ == nullptr) pool_ = std::make_unique<ThreadPool>(threads_);
  const int64_t cols = host.cols();
  as_it_is = as_it_is || host.dtype == type_;
  const DType sent = as_it_is ? host.dtype : DType::F32;
  const int64_t bytes_of_row = row_bytes(sent, cols), chunk = static_cast<int64_t>(kSentBytes) / bytes_of_row;
  if (chunk == 0) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("a matrix has rows of {} elements; the cuda device takes {} at most", cols,
                            kSentBytes / sizeof(float)));
  }
  for (int64_t begin = 0; begin < host.rows(); begin += chunk, sending_ ^= 1) {
    const int64_t rows = std::min(chunk, host.rows() - begin);
    std::byte* pinned = pinned_rows_.data() + static_cast<size_t>(sending_) * kSentBytes;
    rows_sent_[sending_].wait("copy of weights");
    pool_->parallel_for(rows, 1 + 65536 / cols, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const std::byte* from = host.data + (begin + r) * row_bytes(host.dtype, cols);
        std::byte* row = pinned + r * bytes_of_row;
        if (as_it_is) {
          std::memcpy(row, from, static_cast<size_t>(bytes_of_row));
        } else {
          dequantize_row(host.dtype, from, reinterpret_cast<float*>(row), cols);
        }
      }
    });
    cuda::check(cudaMemcpyAsync(sent_rows_.data(), pinned, static_cast<size_t>(bytes_of_row * rows),
                                cudaMemcpyHostToDevice, stream_),
                "copy of weights");
    rows_sent_[sending_].record(stream_);
    take(begin, Tensor(sent_rows_.data(), sent, {rows, cols}));
    cuda::check(cudaGetLastError(), "conversion of weights");
  }
  // Products fetch weights before they wait for the kernel before them: none starts until the last rows are taken.
  cuda::check(cudaMemsetAsync(sent_rows_.data(), 0, 1, stream_), "cudaMemset");
}

Weight CudaBackend::prepare_head(std::span<const Tensor> parts) {
  Weight w = describe_weight(parts);
  Buffer memory = cuda::allocate_device(padded_bytes(type_, w.out, w.in));
  const Tensor all = padded_rows(memory.data(), type_, w.out, w.in);
  send_parts(w, [&](int64_t row, Tensor rows) { cuda::convert(stream_, all.slice_rows(row, rows.rows()), rows); });
  w.parts[0].packed = std::move(memory);
  return w;
}

Weight CudaBackend::prepare(std::span<const Tensor> parts) {
  // Groups of the kernels' own size stay as they are, whatever the others become; the kernels multiply 16-bit numbers.
  const bool int4 = type_ != DType::F32 &&
                    std::all_of(parts.begin(), parts.end(), [](const Tensor& t) { return t.dtype == DType::Int4G128; });
  const Quantization format = int4 ? Quantization::Int4 : quantization_;
  if (format == Quantization::None) return prepare_head(parts);
  Weight w = describe_weight(parts);
  w.parts[0].packed = cuda::allocate_device(static_cast<size_t>(scales_at(format, w) + scale_bytes(format, w.out)));
  w.parts[0].layout = static_cast<int>(format);
  cuda::check(cudaMemsetAsync(w.parts[0].packed.data(), 0, w.parts[0].packed.bytes(), stream_),
              "cudaMemset");  // padding
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  send_parts(
      w, [&](int64_t row, Tensor rows) { (int4 ? cuda::take_int4 : cuda::quantize)(stream_, matrix, row, rows); },
      int4);
  return w;
}

// `take` gets all rows of the weight's parts; their sources are not needed any more.
void CudaBackend::send_parts(Weight& w, const TakeRows& take, bool as_it_is) {
  int64_t row = 0;
  for (Weight::Part& part : w.parts) {
    send_rows(
        part.source, [&](int64_t first, Tensor rows) { take(row + first, rows); }, as_it_is);
    row += part.rows;
    part.source = {};
  }
}

Param CudaBackend::prepare_table(const Tensor& table) {
  Param p;
  p.memory = cuda::allocate_device(padded_bytes(type_, table.rows(), table.cols()));
  p.tensor = padded_rows(p.memory.data(), type_, table.rows(), table.cols());
  send_rows(table,
            [&](int64_t row, Tensor rows) { cuda::convert(stream_, p.tensor.slice_rows(row, rows.rows()), rows); });
  return p;
}

Tensor CudaBackend::input(Tensor x) {
  if (x.dtype == type_ && is_aligned(x)) return x;
  Tensor in = padded_rows(scratch(x_, padded_bytes(type_, x.rows(), x.cols())), type_, x.rows(), x.cols());
  cuda::convert(stream_, in, x);
  return in;
}

// y = x · wᵀ + bias, or y += that. x: what input() gave; y: aligned, of type_ or float32, and float32 if `add`.
void CudaBackend::multiply(Tensor y, Tensor x, const Weight& w, Tensor bias, bool add) {
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  if (!deterministic_ && cuda::can_gemv(x, matrix)) return cuda::gemv(stream_, y, x, matrix, bias, add);
  if (matrix.format == Quantization::None) {
    dense_.multiply(y, x, padded_rows(matrix.codes, type_, w.out, w.in), add);
  } else if (!multiply_quantized_rows(y, x, matrix, add)) {
    multiply_dequantized(y, x, matrix, add);
  }
  if (!bias.empty()) cuda::add_bias(stream_, y, bias);
}

// With x quantized by rows; false where cuBLASLt has no such product, as of fp8 before Hopper: then nothing was done.
bool CudaBackend::multiply_quantized_rows(Tensor y, Tensor x, const cuda::QuantizedMatrix& w, bool add) {
  const bool fp8 = w.format == Quantization::Fp8;
  if (deterministic_ || w.format == Quantization::Int4 || (fp8 && !dense_.has_fp8())) return false;
  if (!fp8 && w.out % 4 != 0) return false;  // scale_sums() takes fours
  const int64_t cols = num_chunks(w.format, w.in) * kCodeChunk;
  std::byte* codes = scratch(x_codes_, static_cast<size_t>(x.rows() * (cols + int64_t{sizeof(float)})));
  auto* scales = reinterpret_cast<float*>(codes + x.rows() * cols);
  cuda::quantize_activations(stream_, w.format, codes, cols, scales, x);
  if (!fp8) return multiply_int8(y, Tensor(codes, DType::I8, {x.rows(), cols}), scales, w, add);
  return dense_.multiply_fp8(y, Tensor(codes, DType::U8, {x.rows(), cols}), scales,
                             Tensor(w.codes, DType::U8, {w.out, cols}), reinterpret_cast<const float*>(w.scales), add);
}

// cuBLASLt has no scales by rows for int8: sums of some outputs at a time are made in int32, and scaled by a pass over
// them.
bool CudaBackend::multiply_int8(Tensor y, Tensor x, const float* x_scales, const cuda::QuantizedMatrix& w, bool add) {
  const Tensor codes(w.codes, DType::I8, {w.out, x.cols()});
  // The same for about as many rows, so that shapes are few and their products found before the first request.
  const auto about = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(x.rows())));
  const int64_t most = std::max<int64_t>(kDequantizedBytes / (about * int64_t{sizeof(int32_t)}), 64);
  const int64_t times = (w.out + most - 1) / most, chunk = ((w.out + times - 1) / times + 63) / 64 * 64;
  std::byte* sums = scratch(w_, static_cast<size_t>(x.rows() * chunk) * sizeof(int32_t));
  for (int64_t begin = 0; begin < w.out; begin += chunk) {
    const int64_t outputs = std::min(chunk, w.out - begin);
    if (!dense_.multiply_int8(Tensor(sums, DType::I32, {x.rows(), outputs}), x, codes.slice_rows(begin, outputs))) {
      if (begin == 0) return false;
      throw Error(ErrorKind::Internal,
                  fmt::format("cuda: linear of [{}, {}] by [{}, {}] in int8: cuBLASLt has no product "
                              "for the last {} outputs",
                              x.rows(), w.in, w.out, w.in, outputs));
    }
    cuda::scale_sums(stream_, y.slice_cols(begin, outputs), reinterpret_cast<const int32_t*>(sums), x_scales,
                     reinterpret_cast<const float*>(w.scales) + begin, add);
  }
  return true;
}

// With some rows of w at a time as numbers of type_.
void CudaBackend::multiply_dequantized(Tensor y, Tensor x, const cuda::QuantizedMatrix& w, bool add) {
  const int64_t fit = kDequantizedBytes / static_cast<int64_t>(padded_bytes(type_, 1, w.in));
  const int64_t chunk = std::min(w.out, std::max<int64_t>(fit / 64 * 64, 64));  // y's pieces stay aligned
  std::byte* memory = scratch(w_, padded_bytes(type_, chunk, w.in));
  for (int64_t begin = 0; begin < w.out; begin += chunk) {
    const int64_t rows = std::min(chunk, w.out - begin);
    const Tensor part = padded_rows(memory, type_, rows, w.in);
    cuda::dequantize(stream_, part, w, begin);
    dense_.multiply(y.slice_cols(begin, rows), x, part, add);
  }
}

void CudaBackend::linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_linear(y, x, w, bias);
  if (x.rows() == 0) return;
  Tensor out = y;
  if (!is_aligned(y) || (y.dtype != type_ && y.dtype != DType::F32)) {
    out = padded_rows(scratch(y_, padded_bytes(DType::F32, y.rows(), y.cols())), DType::F32, y.rows(), y.cols());
  }
  multiply(out, input(x), w, bias, false);
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
  multiply(h, input(x), w, bias, true);
  cuda::launched("linear_add", h);
}

void CudaBackend::gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch_rows) {
  check_linear(scratch_rows, x, w, bias);
  check_gated_act(out, scratch_rows);
  if (x.rows() == 0) return;
  const Tensor in = input(x);
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  if (!deterministic_ && bias.empty() && is_aligned(out)) {
    const bool step = cuda::can_multiply_gated_step(out, in, matrix);
    if (step || cuda::can_multiply_gated(out, in, matrix)) {
      (step ? cuda::multiply_gated_step : cuda::multiply_gated)(stream_, out, in, matrix, act);
      cuda::launched("gated_linear", out);
      return;
    }
  }
  if (deterministic_ || out.dtype != type_ || !cuda::can_gemv_gated(out, in, matrix)) {
    Backend::gated_linear(out, in, w, bias, act, scratch_rows);
    return;
  }
  cuda::gemv_gated(stream_, out, in, matrix, bias, act);
  cuda::launched("gated_linear", out);
}

// Of bfloat16 alone: rows that are not divided by their root mean square yet can be too large for float16. Where ranks
// add up what products make, norms are taken with the sums.
int64_t CudaBackend::num_square_sums(int64_t n, int64_t d) const {
  const bool left_to_products = !deterministic_ && type_ == DType::BF16 && n <= cuda::kGemvRows && group_ == nullptr;
  return left_to_products ? (d + cuda::kSquares - 1) / cuda::kSquares : 0;
}

void CudaBackend::linear_add_norm(Normed& y, Tensor h, Tensor x, const Weight& w, Tensor bias, const NormWeight& norm,
                                  Tensor scratch_rows) {
  check_linear(h, x, w, bias);
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  const Tensor in = input(x);
  // Of more rows of int4 the sums of squares are half as many bytes as the weights of a block.
  const bool few = x.rows() <= (matrix.format == Quantization::Int4 ? 8 : cuda::kGemvRows);
  if (x.rows() == 0 || !few || y.squares.empty() || y.x.dtype != type_ || h.dtype != DType::F32 || !is_aligned(h) ||
      !cuda::can_gemv(in, matrix)) {
    // Sums of quantized weights are rounded before they are added, which is faster; float16 has no room for them all.
    if (matrix.format != Quantization::None && type_ == DType::BF16) {
      return Backend::linear_add_norm(y, h, in, w, bias, norm, scratch_rows);
    }
    linear_add(h, in, w, bias, scratch_rows);
    rms_norm(y.x, h, norm.w, norm.eps);
    y.whole = true;
    return;
  }
  const Tensor sums(nullptr, DType::F32, {h.rows(), num_square_sums(h.rows(), h.cols())});
  check_shapes("linear_add_norm", {{"y", y.x, "n d"}, {"h", h, "n d"}, {"norm", norm.w, "d"}});
  check_shapes("linear_add_norm", {{"squares", y.squares, "n s"}, {"their number", sums, "n s"}});
  cuda::gemv_add_norm(stream_, y, h, in, matrix, bias, norm.w);
  y.whole = false;
  y.eps = norm.eps;
  cuda::launched("linear_add_norm", h);
}

Tensor CudaBackend::finished(const Normed& x) {
  if (x.whole) return x.x;
  Tensor rows = padded_rows(scratch(x_, padded_bytes(type_, x.x.rows(), x.x.cols())), type_, x.x.rows(), x.x.cols());
  cuda::finish_norm(stream_, rows, x);
  return rows;
}

void CudaBackend::normed_linear(Tensor y, const Normed& x, const Weight& w, Tensor bias) {
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  if (x.whole || !is_aligned(y) || (y.dtype != type_ && y.dtype != DType::F32) || !cuda::can_gemv(x.x, matrix)) {
    linear(y, finished(x), w, bias);
    return;
  }
  check_linear(y, x.x, w, bias);
  cuda::gemv(stream_, y, x, matrix, bias, false);
  cuda::launched("normed_linear", y);
}

void CudaBackend::normed_gated_linear(Tensor out, const Normed& x, const Weight& w, Tensor bias, Act act,
                                      Tensor scratch_rows) {
  const cuda::QuantizedMatrix matrix = matrix_of(w);
  if (x.whole || out.dtype != type_ || !cuda::can_gemv_gated(out, x.x, matrix)) {
    gated_linear(out, finished(x), w, bias, act, scratch_rows);
    return;
  }
  check_linear(scratch_rows, x.x, w, bias);
  check_gated_act(out, scratch_rows);
  cuda::gemv_gated(stream_, out, x, matrix, bias, act);
  cuda::launched("normed_gated_linear", out);
}

}  // namespace sgl
