// Weights and activations to quantized formats and back (quantize.h).

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWordsOfGroup = static_cast<int>(kInt4Group / 8);
constexpr int kBlockBytes = block_layout(DType::Int4G128).bytes;

// The largest over all threads of a block, for all of them.
__device__ float block_max(float x) {
  __shared__ float largest[kWarp];
  x = warp_max(x);
  __syncthreads();  // one before this has been read
  if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = largest[0];
  for (int i = 1; i < static_cast<int>(blockDim.x) / kWarp; ++i) x = fmaxf(x, largest[i]);
  return x;
}

// Numbers in units of a row's scale as codes of 8 bits.
struct Fp8Codes {
  static constexpr bool kHidesNan = false;
  static __device__ float scale(float largest) { return fp8_scale(largest); }
  static __device__ uint8_t encode(float x) { return from_float<E4m3>(x).code; }
};
struct Int8Codes {
  static constexpr bool kHidesNan = true;
  static __device__ float scale(float largest) { return int8_scale(largest); }
  static __device__ uint8_t encode(float x) { return static_cast<uint8_t>(to_int8(x)); }
};

// Where the code of an element of these lies: of each four, the second and third change places.
__device__ inline int place_of(int i) { return (i & ~3) | (i & 1) << 1 | (i >> 1 & 1); }

// Words of an int4 matrix: a row's group of codes, and its scale.
__device__ inline uint32_t* int4_codes(std::byte* codes, int64_t row, int64_t group, int64_t groups) {
  return reinterpret_cast<uint32_t*>(codes + (row / 8 * groups + group) * kInt4Piece + row % 8 * kCodeChunk);
}
__device__ inline uint32_t* int4_scale_of(std::byte* codes, int64_t row, int64_t group, int64_t groups) {
  return reinterpret_cast<uint32_t*>(codes + (row / 8 * groups + group) * kInt4Piece + 8 * kCodeChunk) + row % 8;
}

// A block has a row. codes: [rows, code_stride], zeros after the row's elements; V elements a thread and turn.
template <typename Code, typename T, int V>
__global__ void __launch_bounds__(kThreads)
    quantize_rows_kernel(uint8_t* codes, int64_t code_stride, float* scales, const T* x, int64_t x_stride, int cols) {
  enter();
  const int64_t row = blockIdx.x;
  const T* from = x + row * x_stride;
  uint8_t* to = codes + row * code_stride;
  float largest = 0;
  bool has_nan = false;
  for (int at = static_cast<int>(threadIdx.x) * V; at < cols; at += kThreads * V) {
    const Floats<V> f = load<V>(from + at);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      largest = fmaxf(largest, fabsf(f.at[i]));
      if (Code::kHidesNan) has_nan |= isnan(f.at[i]);
    }
  }
  float scale = Code::scale(block_max(largest));
  if (Code::kHidesNan && __syncthreads_or(has_nan) != 0) scale = NAN;  // then all of the row's results are NaN
  const float inverse = 1.0F / scale;
  if (threadIdx.x == 0) scales[row] = scale;
  for (int at = static_cast<int>(threadIdx.x) * V; at < code_stride; at += kThreads * V) {
    alignas(8) uint8_t piece[V] = {};
    if (at < cols) {
      const Floats<V> f = load<V>(from + at);
#pragma unroll
      for (int i = 0; i < V; ++i) piece[V == 8 ? place_of(i) : i] = Code::encode(f.at[i] * inverse);
    }
    if constexpr (V == 8) {
      *reinterpret_cast<uint2*>(to + at) = *reinterpret_cast<const uint2*>(piece);
    } else {
      to[place_of(at)] = piece[0];
    }
  }
}

// A warp has a group of a row, a lane four elements of it. First_row: of the matrix, where the first row of x goes.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    quantize_int4_kernel(std::byte* codes, int64_t first_row, const T* x, int64_t x_stride, int cols) {
  enter();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = static_cast<int>(blockIdx.y) * (kThreads / kWarp) + static_cast<int>(threadIdx.x) / kWarp;
  const int num_groups = static_cast<int>((cols + kInt4Group - 1) / kInt4Group);
  if (group >= num_groups) return;
  const int64_t row = blockIdx.x;
  const int first = group * static_cast<int>(kInt4Group) + lane * 4;
  float w[4], least = 0, largest = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    w[i] = first + i < cols ? to_float(x[row * x_stride + first + i]) : 0.0F;
    least = fminf(least, w[i]);
    largest = fmaxf(largest, w[i]);
  }
  const Int4Scale scale = int4_scale(-warp_max(-least), warp_max(largest));
  uint32_t word =
      to_int4(w[0], scale) | to_int4(w[1], scale) << 16 | to_int4(w[2], scale) << 4 | to_int4(w[3], scale) << 20;
  word |= __shfl_down_sync(0xffffffffU, word, 1) << 8;
  if (lane % 2 == 0) int4_codes(codes, first_row + row, group, num_groups)[lane / 2] = word;
  if (lane == 0) *int4_scale_of(codes, first_row + row, group, num_groups) = scale.word();
}

// A thread has eight elements of a row, a half-warp a group. from: BlockInt4<128> (tensor/block_formats.h).
__global__ void __launch_bounds__(kThreads)
    take_int4_kernel(std::byte* codes, int64_t first_row, const std::byte* from, int64_t groups) {
  enter();
  const int64_t at = int64_t{blockIdx.y} * kThreads + threadIdx.x, group = at / kWordsOfGroup;
  if (group >= groups) return;
  const int word = static_cast<int>(at % kWordsOfGroup);
  const auto* block = reinterpret_cast<const uint8_t*>(from) + (blockIdx.x * groups + group) * kBlockBytes;
  const uint8_t* bytes = block + 3 + word / 4 * 16 + word % 2 * 8;
  const int shift = word / 2 % 2 * 4;
  uint32_t packed = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) packed |= (bytes[i] >> shift & 0xfU) << (i / 2 * 4 + i % 2 * 16);
  int4_codes(codes, first_row + blockIdx.x, group, groups)[word] = packed;
  if (word == 0) {
    const Int4Scale scale{static_cast<uint16_t>(block[0] | block[1] << 8), block[2]};
    *int4_scale_of(codes, first_row + blockIdx.x, group, groups) = scale.word();
  }
}

// A thread has eight elements of a row.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(T* to, int64_t stride, QuantizedMatrix w, int64_t first_row, int64_t words) {
  enter();
  const int64_t at = int64_t{blockIdx.y} * kThreads + threadIdx.x, row = first_row + blockIdx.x;
  if (at >= words) return;
  const int64_t row_bytes = num_chunks(w.format, w.in) * kCodeChunk;
  Floats<8> f;
  if (w.format == Quantization::Int4) {
    const int64_t of = at / kWordsOfGroup, groups = num_chunks(w.format, w.in);
    const uint32_t word = int4_codes(w.codes, row, of, groups)[at % kWordsOfGroup];
    const uint32_t group = *int4_scale_of(w.codes, row, of, groups);
    const float scale = __half2float(__ushort_as_half(static_cast<uint16_t>(group & 0xffffU)));
    const int zero = static_cast<int>(group >> 16);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      f.at[2 * i] = static_cast<float>(static_cast<int>(word >> (4 * i) & 0xfU) - zero) * scale;
      f.at[2 * i + 1] = static_cast<float>(static_cast<int>(word >> (16 + 4 * i) & 0xfU) - zero) * scale;
    }
  } else {
    const float scale = reinterpret_cast<const float*>(w.scales)[row];
    const uint2 both = *reinterpret_cast<const uint2*>(w.codes + row * row_bytes + at * 8);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t code = (i < 4 ? both.x : both.y) >> (8 * place_of(i % 4)) & 0xffU;
      f.at[i] = (w.format == Quantization::Fp8 ? to_float(E4m3{static_cast<uint8_t>(code)})
                                               : static_cast<float>(static_cast<int8_t>(code))) *
                scale;
    }
  }
  store<8>(to + blockIdx.x * stride + at * 8, f);
}

// Sums of products of int8 codes, times the scales of their rows. A thread has four outputs of a row.
template <typename T, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    scale_sums_kernel(T* y, int64_t stride, const int4* sums, const float* x_scales, const float4* w_scales,
                      int fours) {
  enter();
  const int at = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (at >= fours) return;
  const int64_t row = blockIdx.x;
  const int4 sum = sums[row * fours + at];
  const float4 w = w_scales[at];
  const float x = x_scales[row];
  const float of[4] = {static_cast<float>(sum.x) * w.x * x, static_cast<float>(sum.y) * w.y * x,
                       static_cast<float>(sum.z) * w.z * x, static_cast<float>(sum.w) * w.w * x};
  T* to = y + row * stride + 4 * at;
  alignas(4 * sizeof(T)) T four[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] = from_float<T>(kAdd ? to_float(to[i]) + of[i] : of[i]);
  if constexpr (sizeof(T) == 4) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(four);
  } else {
    *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(four);
  }
}

template <typename T>
void quantize_rows(cudaStream_t stream, Quantization q, uint8_t* codes, int64_t code_stride, float* scales, Tensor x) {
  with_width(in_eights(x), [&](auto width) {
    constexpr int kWidth = decltype(width)::value;
    launch(
        stream, static_cast<unsigned>(x.rows()), kThreads, 0,
        q == Quantization::Fp8 ? quantize_rows_kernel<Fp8Codes, T, kWidth> : quantize_rows_kernel<Int8Codes, T, kWidth>,
        codes, code_stride, scales, pointer<T>(x), x.row_stride, static_cast<int>(x.cols()));
  });
}

}  // namespace

void quantize(cudaStream_t stream, const QuantizedMatrix& w, int64_t first_row, Tensor rows) {
  const int64_t row_bytes = num_chunks(w.format, w.in) * kCodeChunk;
  with_type(rows.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (w.format != Quantization::Int4) {
      quantize_rows<T>(stream, w.format, reinterpret_cast<uint8_t*>(w.codes + first_row * row_bytes), row_bytes,
                       reinterpret_cast<float*>(w.scales) + first_row, rows);
    } else {
      constexpr int kGroups = kThreads / kWarp;
      const dim3 grid(static_cast<unsigned>(rows.rows()),
                      static_cast<unsigned>((num_chunks(w.format, w.in) + kGroups - 1) / kGroups));
      launch(stream, grid, kThreads, 0, quantize_int4_kernel<T>, w.codes, first_row, pointer<T>(rows), rows.row_stride,
             static_cast<int>(rows.cols()));
    }
  });
}

void take_int4(cudaStream_t stream, const QuantizedMatrix& w, int64_t first_row, Tensor rows) {
  const int64_t groups = num_chunks(w.format, w.in);
  const dim3 grid(static_cast<unsigned>(rows.rows()),
                  static_cast<unsigned>((groups * kWordsOfGroup + kThreads - 1) / kThreads));
  launch(stream, grid, kThreads, 0, take_int4_kernel, w.codes, first_row, rows.data, groups);
}

void quantize_activations(cudaStream_t stream, Quantization q, std::byte* codes, int64_t code_stride, float* scales,
                          Tensor x) {
  with_type(x.dtype, [&](auto type) {
    quantize_rows<typename decltype(type)::type>(stream, q, reinterpret_cast<uint8_t*>(codes), code_stride, scales, x);
  });
}

void scale_sums(cudaStream_t stream, Tensor y, const int32_t* sums, const float* x_scales, const float* w_scales,
                bool add) {
  const int fours = static_cast<int>(y.cols() / 4);
  const dim3 grid(static_cast<unsigned>(y.rows()), static_cast<unsigned>((fours + kThreads - 1) / kThreads));
  auto run = [&](auto* kernel, auto* to) {
    launch(stream, grid, kThreads, 0, kernel, to, y.row_stride, reinterpret_cast<const int4*>(sums), x_scales,
           reinterpret_cast<const float4*>(w_scales), fours);
  };
  if (add) return run(scale_sums_kernel<float, true>, pointer<float>(y));
  with_type(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(scale_sums_kernel<T, false>, pointer<T>(y));
  });
}

void dequantize(cudaStream_t stream, Tensor rows, const QuantizedMatrix& w, int64_t first_row) {
  const int64_t words = (w.in + 7) / 8;
  const dim3 grid(static_cast<unsigned>(rows.rows()), static_cast<unsigned>((words + kThreads - 1) / kThreads));
  with_type(rows.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch(stream, grid, kThreads, 0, dequantize_kernel<T>, pointer<T>(rows), rows.row_stride, w, first_row, words);
  });
}

}  // namespace sgl::cuda
