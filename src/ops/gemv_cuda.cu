// Products of few rows: a matrix is read once from memory, and that is all the time it takes. On tensor cores, with
// weights in 16 bits or quantized (quantize.h).
//
// A block computes 16 outputs (of a gated product: 8 gates and their ups) for all rows of x, or 32, where x would be
// read as much as w otherwise: every block reads it. Its warps take chunks of the columns in turn, two at a time. A
// lane expands the codes it has loaded to numbers of x's type, exactly, and these are the first operand of mma.sync: 16
// outputs × 16 columns. The second one is x, transposed: 16 columns × 8 rows. Which columns are multiplied together is
// free as long as both operands agree, so a lane's part of a row of w and of x are neighbours in memory: for each
// chunk, 16 bytes of codes and the elements of x for them.
//
//   lane 4·g + t, chunk c:   rows g and g + 8 of the tile, bytes [64·c + 16·t, + 16);   row g of x, the same columns
//
// Codes go through shared memory, some chunks ahead of the products, and the first ones start before the kernel before
// this one is done: weights do not depend on it. Reading goes at full speed only if a chunk, 1,024 bytes for a warp,
// takes few instructions: products_cuda.h.
//
// A norm between two such products needs no kernel: the first leaves the normed rows but for their factors, and the
// sums of squares that these come from (NormToCome); the second multiplies its sums by the factors (RowFactors).
//
// Sums are float32; of int4 weights by group, times the group's scale. x is not quantized. What a row of up to eight
// comes to does not depend on the others, but for the factor of its norm: of an only row it is summed in another order.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/products_cuda.h"

namespace sgl::cuda {
namespace {

constexpr int kOutputs = 16;       // of a tile
constexpr int kFewOutputs = 4224;  // a block gets twice the warps: there are two for each of an H100's processors

static_assert(kSquares == 16 && kSquares == kOutputs);
// Over 16 lanes.
__device__ inline float sum_of_16(float x) {
#pragma unroll
  for (int i = 1; i < 16; i *= 2) x += __shfl_xor_sync(0xffffffffU, x, i);
  return x;
}

// Chunks of a warp on their way to shared memory: of a block always as many.
template <int kWarps>
constexpr int kStagesOf = 32 / kWarps;
// Of an SM at once. More of them would keep the next kernel from fetching its first weights.
template <int kTiles, int kWarps>
constexpr int kBlocksOf = kTiles > 2 || (kTiles == 2 && kWarps > 8) ? 1
                          : kTiles == 2 || kWarps > 8               ? 2
                                                                    : 3;

// What rows of x are still to be multiplied by: 1 / sqrt(sum of squares / columns + eps). squares: `count` sums of each
// row; null: nothing.
struct RowFactors {
  const float* squares = nullptr;
  int64_t stride = 0;
  int count = 0;
  float eps = 0;
};

// kTiles: of eight rows of x, that the sums have room for; n rows are there. kOutTiles: of 16 outputs. kWhole: the
// columns are whole chunks.
template <typename T, Quantization kFormat, int kTiles, int kOutTiles, bool kWhole, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp, (kBlocksOf<kTiles, kWarps>))
    gemv_kernel(Output to, const T* x, int64_t x_stride, RowFactors factors, QuantizedMatrix w, int n) {
  let_next_start();
  constexpr bool kInt4 = kFormat == Quantization::Int4, kFp8 = kFormat == Quantization::Fp8;
  constexpr bool kBytes8 = kFp8 || kFormat == Quantization::Int8;  // a byte a weight, and a scale for each row
  constexpr int kThreads = kWarps * kWarp, kStages = kStagesOf<kWarps>;
  constexpr int kChunk = static_cast<int>(chunk_elements(kFormat)), kLaneElements = kChunk / 4;
  constexpr int kVectors = kLaneElements / 8;   // of x: eight elements are two products
  constexpr bool kFetchesX = kTiles <= 2;       // a chunk ahead; else it would take too many registers
  constexpr int kChains = kTiles == 1 ? 2 : 1;  // of sums that do not wait for each other
  constexpr int kBlockOutputs = kOutTiles * kOutputs, kPartStride = kBlockOutputs + 4;  // no two lanes on one bank
  constexpr int kPasses = (8 * kTiles * kBlockOutputs + kThreads - 1) / kThreads;
  constexpr int kSlot = kOutTiles * 2 * kWarp;  // of a warp's chunk in shared memory: a piece for each lane and row
  constexpr int kTurn = 2 * kWarps;             // a warp takes two chunks, then the next warp the next two
  constexpr int kBytes = static_cast<int>(kInt4 ? kInt4Piece : kCodeChunk);  // from a chunk to the next
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int in = static_cast<int>(w.in), out = static_cast<int>(w.out);
  const int chunks = (in + kChunk - 1) / kChunk;
  const int64_t row_bytes = kBytes8 ? int64_t{chunks} * kBytes : int64_t{in} * int64_t{sizeof(T)};  // but of int4
  const bool gated = to.result == Result::Gated;
  const int outputs = gated ? out / 2 : out;
  const int slot_bits = (kOutTiles == 1 ? 4 : 5) - (gated ? 1 : 0), slots = 1 << slot_bits;
  const int tile = static_cast<int>(blockIdx.x) << slot_bits;

  // This lane's rows of w, two of each tile, and x, from the warp's first chunk on.
  const std::byte *code_at[kOutTiles][2], *scale_at[kOutTiles][2];
#pragma unroll
  for (int m = 0; m < kOutTiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if constexpr (kInt4) {
        const int eight = min((gated ? tile + 8 * m + r * outputs : tile + 16 * m + 8 * r) / 8, (out - 1) / 8);
        const std::byte* piece = w.codes + (int64_t{eight} * chunks + 2 * warp) * kBytes;
        code_at[m][r] = piece + lane * 16;
        scale_at[m][r] = piece + 8 * kCodeChunk + g * 4;
      } else {
        const int row =
            gated ? min(tile + 8 * m + g, outputs - 1) + r * outputs : min(tile + 16 * m + 8 * r + g, outputs - 1);
        code_at[m][r] = w.codes + row * row_bytes + 2 * warp * kBytes + t * 16;
      }
    }
  }
  const T* x_at[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {  // of rows that are not there nothing is kept
    x_at[i] = x + min(8 * i + g, n - 1) * x_stride + 2 * warp * kChunk + t * kLaneElements;
  }

  // A lane reads back what it has copied itself, so no lane waits for another.
  extern __shared__ uint4 shared[];
  uint4* my_codes = shared + warp * kStages * kSlot + lane;
  uint32_t* my_scales = reinterpret_cast<uint32_t*>(shared + kWarps * kStages * kSlot) + warp * kStages * kSlot + lane;
  // That chunk, which lies so many behind the pointers.
  auto fetch = [&](int chunk, int slot, int behind) {
    if (chunk < chunks) {
#pragma unroll
      for (int i = 0; i < 2 * kOutTiles; ++i) {
        // Rows of numbers end where they end, those of codes are padded.
        const bool there = kWhole || kInt4 || kBytes8 || chunk * kChunk + t * kLaneElements < in;
        copy_16(my_codes + slot + i * kWarp, there ? code_at[i / 2][i % 2] + behind * kBytes : w.codes, there);
        if constexpr (kInt4) copy_4(my_scales + slot + i * kWarp, scale_at[i / 2][i % 2] + behind * kBytes);
      }
    }
    commit_copies();
  };
  auto load_x = [&](int i, int v, int chunk) {
    const auto* from = reinterpret_cast<const uint4*>(x_at[i] + 8 * v);
    return kWhole || chunk * kChunk + t * kLaneElements + 8 * v < in ? *from : uint4{0, 0, 0, 0};
  };
  using PieceOfX = uint4[kTiles][kVectors];
  PieceOfX xs[2];  // of a chunk and of the next one
#pragma unroll
  for (int i = 0; i < kStages; ++i) {
    const int behind = i / 2 * kTurn + i % 2;
    fetch(2 * warp + behind, i * kSlot, behind);
  }
  wait_for_previous();
  if (kFetchesX && 2 * warp < chunks) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) xs[0][i][v] = load_x(i, v, 2 * warp);
    }
  }

  // The rows' factors. Of an only row each thread asks for a sum now, and needs it in the end (int4 has no register
  // left for it); of several rows a warp sums up some, all asked for at once.
  __shared__ float row_factors[8 * kTiles], warp_squares[kWarps];
  const bool by_threads = !kInt4 && n == 1;
  auto factor_of = [&](float squares) { return rsqrtf(squares / static_cast<float>(in) + factors.eps); };
  float square = 0;
  if (factors.squares != nullptr && by_threads) {
    const int thread = static_cast<int>(threadIdx.x);
    square = thread < factors.count ? factors.squares[thread] : 0.0F;
    for (int i = thread + kThreads; i < factors.count; i += kThreads) square += factors.squares[i];
  } else if (factors.squares != nullptr) {
    constexpr int kRows = (8 * kTiles + kWarps - 1) / kWarps, kAtOnce = 8;
    float sum[kRows] = {};
    for (int first = lane; first < factors.count; first += kAtOnce * kWarp) {
      float some[kRows][kAtOnce];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const bool is_there = warp + r * kWarps < n && first + i * kWarp < factors.count;
          some[r][i] = is_there ? factors.squares[(warp + r * kWarps) * factors.stride + first + i * kWarp] : 0.0F;
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) sum[r] += some[r][i];
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sum[r] = warp_sum(sum[r]);
      if (lane == 0 && warp + r * kWarps < n) row_factors[warp + r * kWarps] = factor_of(sum[r]);
    }
  }

  // What this thread's results need besides the sums.
  float old[kPasses] = {}, factor[kPasses][2], bias[kPasses][2] = {}, norm_weight[kPasses] = {};
#pragma unroll
  for (int p = 0; p < kPasses; ++p) {
    factor[p][0] = factor[p][1] = 1.0F;
    const int i = static_cast<int>(threadIdx.x) + p * kThreads, row = i >> slot_bits;
    if (row >= n) continue;
    const int output = min(tile + (i & (slots - 1)), outputs - 1);
    if (to.result == Result::Add) old[p] = static_cast<const float*>(to.y)[row * to.stride + output];
    if (to.norm.rows != nullptr) norm_weight[p] = to.norm.weight[output];
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      if (side == 1 && !gated) continue;
      const int of = output + side * outputs;
      if constexpr (kBytes8) {
        factor[p][side] = reinterpret_cast<const float*>(w.scales)[of] * (kFp8 ? Expand<T>::kFp8Unit : 1.0F);
      }
      if (to.bias != nullptr) bias[p][side] = to.bias[of];
    }
  }

  float sums[kOutTiles][kTiles][kChains][4] = {};
  int slot = 0;
  auto multiply_chunk = [&](int chunk, int step, const PieceOfX& of_x, PieceOfX& of_next) {
    wait_for_copies<kStages - 1>();
    if constexpr (kFetchesX) {
      const int next = chunk + step < chunks ? chunk + step : chunk;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        x_at[i] += (next - chunk) * kChunk;
#pragma unroll
        for (int v = 0; v < kVectors; ++v) of_next[i][v] = load_x(i, v, next);
      }
    }
#pragma unroll
    for (int m = 0; m < kOutTiles; ++m) {
      const uint4 codes[2] = {my_codes[slot + 2 * m * kWarp], my_codes[slot + (2 * m + 1) * kWarp]};
      float parts[kTiles][kChains][4] = {}, group_scales[2];
      uint32_t zeros[2];
      if constexpr (kInt4) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const uint32_t both = my_scales[slot + (2 * m + r) * kWarp];
          group_scales[r] = __half2float(__ushort_as_half(static_cast<uint16_t>(both & 0xffffU)));
          zeros[r] = (both >> 16) * 0x10001U | Expand<T>::kInt4Above;
        }
      }
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        uint32_t a[2][4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          uint32_t pairs[4];
          if constexpr (kInt4) {
            expand_int4<T>(pairs, word(codes[r], v), zeros[r]);
          } else if constexpr (!kBytes8) {
#pragma unroll
            for (int i = 0; i < 4; ++i) pairs[i] = word(codes[r], i);
          } else {
            uint32_t some[2][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              if constexpr (kFp8) {
                expand_fp8<T>(some[i], word(codes[r], 2 * v + i));
              } else {
                expand_int8<T>(some[i], word(codes[r], 2 * v + i));
              }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) pairs[i] = some[i / 2][i % 2];
          }
#pragma unroll
          for (int i = 0; i < 4; ++i) a[i / 2][r + i % 2 * 2] = pairs[i];
        }
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          uint4 b = kFetchesX ? of_x[i][v] : load_x(i, v, chunk);
          if constexpr (kFp8) {
            b = {Expand<T>::scaled_x(b.x), Expand<T>::scaled_x(b.y), Expand<T>::scaled_x(b.z),
                 Expand<T>::scaled_x(b.w)};
          }
          auto& c = kInt4 ? parts[i] : sums[m][i];
          multiply(c[0], a[0], b.x, b.y, T{});
          multiply(c[kChains - 1], a[1], b.z, b.w, T{});
        }
      }
      if constexpr (kInt4) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            float part = parts[i][0][k];
            if constexpr (kChains == 2) part += parts[i][1][k];
            sums[m][i][0][k] += part * group_scales[k / 2];
          }
        }
      }
    }
    fetch(chunk + kStages / 2 * kTurn, slot, kStages / 2 * kTurn);
#pragma unroll
    for (int i = 0; i < 2 * kOutTiles; ++i) {
      code_at[i / 2][i % 2] += step * kBytes;
      if constexpr (kInt4) scale_at[i / 2][i % 2] += step * kBytes;
    }
    slot = (slot + kSlot) % (kStages * kSlot);
    if constexpr (!kFetchesX) {
#pragma unroll
      for (int i = 0; i < kTiles; ++i) x_at[i] += step * kChunk;
    }
  };
  for (int chunk = 2 * warp; chunk < chunks; chunk += kTurn) {
    multiply_chunk(chunk, 1, xs[0], xs[1]);
    if (chunk + 1 < chunks) multiply_chunk(chunk + 1, kTurn - 1, xs[1], xs[0]);
  }

  // What mma leaves in a lane: [0], [1] are output g for rows 2t and 2t + 1 of x, [2], [3] the same of output g + 8.
  // It goes where the warp's codes were.
  constexpr int kPartOfWarp = kStages * kSlot * 4;
  static_assert(8 * kTiles * kPartStride <= kPartOfWarp);
  float* parts_of_block = reinterpret_cast<float*>(shared);
  __syncwarp();
  if (factors.squares != nullptr && by_threads) {
    square = warp_sum(square);
    if (lane == 0) warp_squares[warp] = square;
  }
#pragma unroll
  for (int m = 0; m < kOutTiles; ++m) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float sum = sums[m][i][0][k];
        if constexpr (kChains == 2 && !kInt4) sum += sums[m][i][1][k];
        parts_of_block[warp * kPartOfWarp + (8 * i + 2 * t + k % 2) * kPartStride + m * kOutputs + g + k / 2 * 8] = sum;
      }
    }
  }
  __syncthreads();
  auto row_factor = [&](int row) {
    if (!by_threads) return row_factors[row];
    float all = 0;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) all += warp_squares[i];
    return factor_of(all);
  };
#pragma unroll
  for (int p = 0; p < kPasses; ++p) {
    const int i = static_cast<int>(threadIdx.x) + p * kThreads, row = i >> slot_bits, place = i & (slots - 1);
    const bool is_there = row < n && tile + place < outputs;
    if (!is_there && to.norm.rows == nullptr) continue;
    auto total = [&](int side) {
      const int column = gated ? place / 8 * kOutputs + place % 8 + 8 * side : place;
      float sum = 0;
#pragma unroll
      for (int part = 0; part < kWarps; ++part) {
        sum += parts_of_block[part * kPartOfWarp + row * kPartStride + column];
      }
      if (factors.squares != nullptr) sum *= row_factor(row);
      return sum * factor[p][side] + bias[p][side];
    };
    if (to.norm.rows != nullptr) {
      float value = 0;
      if (is_there) {
        value = old[p] + total(0);
        static_cast<float*>(to.y)[row * to.stride + tile + place] = value;
        static_cast<T*>(to.norm.rows)[row * to.norm.stride + tile + place] = from_float<T>(value * norm_weight[p]);
      }
      const float squares = sum_of_16(value * value);
      if (is_there && place % kSquares == 0) {
        to.norm.squares[row * to.norm.squares_stride + (tile + place) / kSquares] = squares;
      }
      continue;
    }
    float value = total(0);
    if (gated) value = activate(value, to.act) * total(1);
    const int64_t where = row * to.stride + tile + place;
    if (to.is_float) {
      static_cast<float*>(to.y)[where] = old[p] + value;
    } else {
      static_cast<T*>(to.y)[where] = from_float<T>(value);
    }
  }
}

template <typename T, Quantization kFormat, bool kWhole, int kTiles, int kOutTiles, int kWarps>
void launch_gemv(cudaStream_t stream, const Output& to, Tensor x, const RowFactors& factors, const QuantizedMatrix& w) {
  const bool gated = to.result == Result::Gated;
  const int64_t outputs = gated ? w.out / 2 : w.out, each = kOutTiles * (gated ? kOutputs / 2 : kOutputs);
  constexpr size_t kShared =
      size_t{32} * kOutTiles * 2 * kWarp * (sizeof(uint4) + (kFormat == Quantization::Int4 ? sizeof(uint32_t) : 0));
  auto* kernel = gemv_kernel<T, kFormat, kTiles, kOutTiles, kWhole, kWarps>;
  if constexpr (kShared > 48 << 10) {
    once_per_device([kernel] {  // the launch says if not
      return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
    });
  }
  launch(stream, static_cast<unsigned>((outputs + each - 1) / each), kWarps * kWarp, kShared, kernel, to, pointer<T>(x),
         x.row_stride, factors, w, static_cast<int>(x.rows()));
}

template <typename T, Quantization kFormat, bool kWhole>
void run(cudaStream_t stream, const Output& to, Tensor x, const RowFactors& factors, const QuantizedMatrix& w) {
  const int64_t n = x.rows();
  if constexpr (kFormat == Quantization::Int4) {
    if (n > 16 && has_int4_tiles()) return multiply_int4_tiles<T>(stream, to, x, w);
    if (n > 16) return launch_gemv<T, kFormat, kWhole, 4, 1, 8>(stream, to, x, factors, w);
    if (n > 8) return launch_gemv<T, kFormat, kWhole, 2, 1, 8>(stream, to, x, factors, w);
    // A warp needs more registers than half of a block of 16 leaves it.
    launch_gemv<T, kFormat, kWhole, 1, 1, 8>(stream, to, x, factors, w);
  } else {
    if constexpr (kFormat == Quantization::None) {
      if (n > kGemvRows) return multiply_dense_tiles<T>(stream, to, x, w);
    }
    const bool few = w.out <= kFewOutputs;
    if (n > 8) {
      few ? launch_gemv<T, kFormat, kWhole, 2, 2, 16>(stream, to, x, factors, w)
          : launch_gemv<T, kFormat, kWhole, 2, 2, 8>(stream, to, x, factors, w);
    } else {
      few ? launch_gemv<T, kFormat, kWhole, 1, 1, 16>(stream, to, x, factors, w)
          : launch_gemv<T, kFormat, kWhole, 1, 1, 8>(stream, to, x, factors, w);
    }
  }
}

template <typename T, Quantization kFormat>
void run(cudaStream_t stream, const Output& to, Tensor x, const RowFactors& factors, const QuantizedMatrix& w) {
  w.in % chunk_elements(kFormat) == 0 ? run<T, kFormat, true>(stream, to, x, factors, w)
                                      : run<T, kFormat, false>(stream, to, x, factors, w);
}

template <typename T>
void run(cudaStream_t stream, const Output& to, Tensor x, const RowFactors& factors, const QuantizedMatrix& w) {
  if (w.format == Quantization::None) run<T, Quantization::None>(stream, to, x, factors, w);
  if (w.format == Quantization::Fp8) run<T, Quantization::Fp8>(stream, to, x, factors, w);
  if (w.format == Quantization::Int8) run<T, Quantization::Int8>(stream, to, x, factors, w);
  if (w.format == Quantization::Int4) run<T, Quantization::Int4>(stream, to, x, factors, w);
}

void run(cudaStream_t stream, const Output& to, Tensor x, const RowFactors& factors, const QuantizedMatrix& w) {
  x.dtype == DType::BF16 ? run<__nv_bfloat16>(stream, to, x, factors, w) : run<__half>(stream, to, x, factors, w);
}

RowFactors factors_of(const Normed& x) {
  if (x.whole) return {};
  return {pointer<float>(x.squares), x.squares.row_stride, static_cast<int>(x.squares.cols()), x.eps};
}

}  // namespace

bool can_gemv(const Tensor& x, const QuantizedMatrix& w) {
  int64_t most = kGemvRows;
  if (w.format == Quantization::None && w.out % 8 == 0 && has_dense_tiles()) most = kDenseTilesRows;
  if (w.format == Quantization::Fp8 || w.format == Quantization::Int8) most = kByteGemvRows;
  if (w.format == Quantization::Int4) most = has_int4_tiles() ? kInt4TilesRows : kInt4GemvRows;
  return x.dtype != DType::F32 && in_eights(x) && x.rows() <= most;
}

bool can_gemv_gated(const Tensor& out, const Tensor& x, const QuantizedMatrix& w) {
  const bool is_aligned =
      out.row_stride % 4 == 0 && reinterpret_cast<uintptr_t>(out.data) % 8 == 0;  // fours of outputs
  return can_gemv(x, w) && (w.format != Quantization::Int4 || w.out % 16 == 0) &&
         (w.format != Quantization::None || x.rows() <= kGemvRows || is_aligned);
}

void gemv(cudaStream_t stream, Tensor y, const Normed& x, const QuantizedMatrix& w, Tensor bias, bool add) {
  run(stream,
      {y.data, y.row_stride, y.dtype == DType::F32, add ? Result::Add : Result::Plain, Act::Silu,
       bias.empty() ? nullptr : pointer<float>(bias)},
      x.x, factors_of(x), w);
}

void gemv_add_norm(cudaStream_t stream, const Normed& y, Tensor h, Tensor x, const QuantizedMatrix& w, Tensor bias,
                   Tensor norm_weight) {
  run(stream,
      {h.data,
       h.row_stride,
       true,
       Result::Add,
       Act::Silu,
       bias.empty() ? nullptr : pointer<float>(bias),
       {y.x.data, y.x.row_stride, pointer<float>(norm_weight), pointer<float>(y.squares), y.squares.row_stride}},
      x, {}, w);
}

void gemv_gated(cudaStream_t stream, Tensor out, const Normed& x, const QuantizedMatrix& w, Tensor bias, Act act) {
  run(stream,
      {out.data, out.row_stride, out.dtype == DType::F32, Result::Gated, act,
       bias.empty() ? nullptr : pointer<float>(bias)},
      x.x, factors_of(x), w);
}

}  // namespace sgl::cuda
