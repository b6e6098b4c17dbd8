// Attention over pages.
//
// A sequence's rows for one KV head are its tokens times the heads of the group that reads it: row r is token r /
// group, head r % group. So the keys of a tile serve all of them, and a single token of a model with grouped heads is
// still several rows for the tensor cores.
//
// Prefill: warps with 16 or 32 rows each walk over the positions in tiles that they share, two in shared memory.
// Decode: 4 warps have the same 16 rows, and every fourth 16 positions each; they need no barrier before the end. Parts
// of a long sequence are computed by several blocks, cut at fixed positions, and combined afterwards by the sums of
// their exponents.

#include <cstdint>

#include "ops/attention_tiles_cuda.h"
#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

template <typename T>
struct Params {
  T* out;
  const T* q;
  const T* k;
  const T* v;
  int64_t out_stride, q_stride;
  const BatchSeq* seqs;
  const int32_t* pages;
  const AttentionItem* items;
  float* partial;
  float* partial_sums;
  unsigned* counters;
  int partial_rows;
  int kv_heads, group, page_shift, window;
  Scores scores;
};

template <typename T>
Params<T> params_of(const AttentionCall& c) {
  Params<T> p;
  p.out = pointer<T>(c.out);
  p.q = pointer<T>(c.q);
  p.k = reinterpret_cast<const T*>(c.kv.k);
  p.v = reinterpret_cast<const T*>(c.kv.v);
  p.out_stride = c.out.row_stride;
  p.q_stride = c.q.row_stride;
  p.seqs = c.seqs;
  p.pages = c.pages;
  p.items = c.items;
  p.partial = c.partial;
  p.partial_sums = c.partial + int64_t{c.num_slots} * c.kv.num_kv_heads * c.partial_rows * c.kv.head_dim;
  p.counters = c.counters;
  p.partial_rows = c.partial_rows;
  p.kv_heads = c.kv.num_kv_heads;
  p.group = c.options.num_heads / c.kv.num_kv_heads;
  p.page_shift = 0;
  while (1 << p.page_shift < c.kv.page_size) ++p.page_shift;
  p.window = c.options.window;
  const float cap = c.options.softcap;
  p.scores = {.scale = cap > 0 ? c.options.scale / cap : c.options.scale * kLog2E, .softcap = cap * kLog2E};
  return p;
}

// Row r of a sequence: its token, in the batch and by position, and the column of its head.
struct Row {
  int token, position, head;
};
template <typename T>
__device__ Row row_of(const Params<T>& p, const BatchSeq& seq, int r) {
  const int token = r / p.group;
  return {seq.q_begin + token, seq.kv_len - seq.q_len + token, static_cast<int>(blockIdx.y) * p.group + r % p.group};
}

// What rows first + lane/4 + 8 · i see.
template <int kTiles, typename T>
__device__ Visible<kTiles> visible_of(const Params<T>& p, const BatchSeq& seq, int first) {
  Visible<kTiles> see;
  const int rows = seq.q_len * p.group;
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    const int r = first + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * i;
    const int end = r < rows ? row_of(p, seq, r).position + 1 : 0;
    see.hi[i] = end;
    see.lo[i] = p.window > 0 ? max(end - p.window, 0) : 0;
  }
  see.summarize();
  return see;
}

// Begins copies of kRows rows of q, from row `first` of the sequence on, by `threads` threads.
template <typename T, int D, int kRows>
__device__ void fetch_q(T* to, const Params<T>& p, const BatchSeq& seq, int first, int thread, int threads) {
  constexpr int kPieces = D / 8;
  const int rows = seq.q_len * p.group;
  for (int i = thread; i < kRows * kPieces; i += threads) {
    const int r = i / kPieces, piece = i % kPieces;
    const bool valid = first + r < rows;
    const Row row = row_of(p, seq, valid ? first + r : 0);
    copy_16_bytes(to + r * kTileStride<D> + piece * 8, p.q + row.token * p.q_stride + int64_t{row.head} * D + piece * 8,
                  valid);
  }
}

// Begins copies of keys and values at positions [first, first + N); beyond kv_len they become zero, since 0 · NaN is
// not.
template <typename T, int D, int N>
__device__ void fetch_kv(T* k, T* v, const Params<T>& p, const BatchSeq& seq, int first, int thread, int threads) {
  constexpr int kPieces = D / 8;
  const int page_mask = (1 << p.page_shift) - 1;
  for (int i = thread; i < N * kPieces; i += threads) {
    const int t = i / kPieces, piece = i % kPieces, position = first + t;
    const bool valid = position < seq.kv_len;
    const int64_t page = valid ? p.pages[seq.page_begin + (position >> p.page_shift)] : 0;
    const int64_t from =
        (((page * p.kv_heads + blockIdx.y) << p.page_shift) + (valid ? position & page_mask : 0)) * D + piece * 8;
    const int to = t * kTileStride<D> + piece * 8;
    copy_16_bytes(k + to, p.k + from, valid);
    copy_16_bytes(v + to, p.v + from, valid);
  }
}

// Tiles of 16 rows a warp: two, where their results fit into registers.
template <int D>
constexpr int kPrefillTiles = D > 128 ? 1 : 2;
template <int D>
constexpr int kPrefillThreads = kPrefillRows / (16 * kPrefillTiles<D>)*32;
template <int D>
constexpr int kPrefillTile = D > 128 ? 32 : 64;  // positions
template <int D>
constexpr int kPrefillBytes = (kPrefillRows + 4 * kPrefillTile<D>)*kTileStride<D> * 2;

template <typename T, int D>
__global__ void __launch_bounds__(kPrefillThreads<D>, D > 128 ? 1 : 2) prefill_kernel(const Params<T> p) {
  enter();
  constexpr int N = kPrefillTile<D>, kStride = kTileStride<D>, kTiles = kPrefillTiles<D>, kThreads = kPrefillThreads<D>;
  extern __shared__ __align__(16) unsigned char memory[];
  T* q = reinterpret_cast<T*>(memory);
  T* k = q + kPrefillRows * kStride;  // [2][N] rows
  T* v = k + 2 * N * kStride;
  const AttentionItem item = p.items[blockIdx.x];
  const BatchSeq seq = p.seqs[item.seq];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int first_row = item.row + thread / 32 * (16 * kTiles);
  const Visible<kTiles> see = visible_of<kTiles>(p, seq, first_row);

  const int last_row = min(item.row + kPrefillRows, seq.q_len * p.group) - 1;
  const int end = row_of(p, seq, last_row).position + 1;
  int begin = 0;
  if (p.window > 0) begin = max(row_of(p, seq, item.row).position + 1 - p.window, 0) / N * N;

  fetch_q<T, D, kPrefillRows>(q, p, seq, item.row, thread, kThreads);
  fetch_kv<T, D, N>(k, v, p, seq, begin, thread, kThreads);
  commit_copies();
  RowState<T, D, kTiles> state;
  int stage = 0;
  for (int first = begin; first < end; first += N, stage ^= 1) {
    if (first + N < end) {
      fetch_kv<T, D, N>(k + (stage ^ 1) * N * kStride, v + (stage ^ 1) * N * kStride, p, seq, first + N, thread,
                        kThreads);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (first < see.any_to && first + N > see.any_from) {
      state.template add<N>(q + thread / 32 * (16 * kTiles) * kStride, k + stage * N * kStride, v + stage * N * kStride,
                            first, see, p.scores);
    }
    __syncthreads();
  }
  state.finish();

#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    const int r = first_row + lane / 4 + 8 * i;
    if (r > last_row) continue;
    const Row row = row_of(p, seq, r);
    T* to = p.out + row.token * p.out_stride + int64_t{row.head} * D + lane % 4 * 2;
    const float inv = 1.0F / state.sum[i];
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      *reinterpret_cast<uint32_t*>(to + d * 8) =
          pack(state.out[i / 2][d][i % 2 * 2] * inv, state.out[i / 2][d][i % 2 * 2 + 1] * inv, T{});
    }
  }
}

constexpr int kDecodeWarps = 4, kDecodeThreads = 32 * kDecodeWarps, kDecodeTile = 16, kDecodeStages = 2;
template <int D>
constexpr int kDecodeBytes = (kDecodeRows + 2 * kDecodeWarps * kDecodeStages * kDecodeTile) * kTileStride<D> * 2;

template <typename T, int D>
__global__ void __launch_bounds__(kDecodeThreads) decode_kernel(const Params<T> p) {
  enter();
  constexpr int N = kDecodeTile, kStride = kTileStride<D>, kStage = 2 * N * kStride;
  extern __shared__ __align__(16) unsigned char memory[];
  T* q = reinterpret_cast<T*>(memory);
  const AttentionItem item = p.items[blockIdx.x];
  const BatchSeq seq = p.seqs[item.seq];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  T* tiles = q + kDecodeRows * kStride + warp * kDecodeStages * kStage;  // of this warp: [stage][k, v][N] rows
  const Visible<1> see = visible_of<1>(p, seq, item.row);
  const int end = min(item.kv_end, see.any_to);
  const int begin = max(item.kv_begin, see.any_from / N * N);

  auto fetch = [&](int first, int stage) {
    if (first < end)
      fetch_kv<T, D, N>(tiles + stage * kStage, tiles + stage * kStage + N * kStride, p, seq, first, lane, 32);
    commit_copies();
  };
  fetch_q<T, D, kDecodeRows>(q, p, seq, item.row, thread, kDecodeThreads);
  commit_copies();
  constexpr int kStep = kDecodeWarps * N;
#pragma unroll
  for (int i = 0; i < kDecodeStages - 1; ++i) fetch(begin + warp * N + i * kStep, i);
  wait_for_copies<kDecodeStages - 1>();  // q
  __syncthreads();

  RowState<T, D, 1> state;
  int stage = 0;
  for (int first = begin + warp * N; first < end; first += kStep) {
    fetch(first + (kDecodeStages - 1) * kStep, (stage + kDecodeStages - 1) % kDecodeStages);
    wait_for_copies<kDecodeStages - 1>();
    __syncwarp();
    state.template add<N>(q, tiles + stage * kStage, tiles + stage * kStage + N * kStride, first, see, p.scores);
    __syncwarp();
    stage = (stage + 1) % kDecodeStages;
  }
  state.finish();
  wait_for_copies<0>();
  __syncthreads();

  // The warps' states meet in shared memory: [warp][row] results, then largest scores and sums.
  float* results = reinterpret_cast<float*>(memory);
  __shared__ float largest[kDecodeWarps][kDecodeRows], sums[kDecodeWarps][kDecodeRows];
  const int rows = min(kDecodeRows, seq.q_len * p.group - item.row);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = lane / 4 + 8 * i;
    if (r >= rows) continue;
    if (lane % 4 == 0) {
      largest[warp][r] = state.largest[i];
      sums[warp][r] = state.sum[i];
    }
    float* to = results + (warp * kDecodeRows + r) * D + lane % 4 * 2;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      to[d * 8] = state.out[0][d][2 * i];
      to[d * 8 + 1] = state.out[0][d][2 * i + 1];
    }
  }
  __syncthreads();
  for (int i = thread; i < rows * D; i += kDecodeThreads) {
    const int r = i / D, d = i % D;
    float top = largest[0][r];
#pragma unroll
    for (int w = 1; w < kDecodeWarps; ++w) top = fmaxf(top, largest[w][r]);
    const float base = top == -INFINITY ? 0.0F : top;
    float total = 0, x = 0;
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = exp2f(largest[w][r] - base);
      total += weight * sums[w][r];
      x += weight * results[(w * kDecodeRows + r) * D + d];
    }
    x = total > 0 ? x / total : 0.0F;
    if (item.slot < 0) {
      const Row row = row_of(p, seq, item.row + r);
      p.out[row.token * p.out_stride + int64_t{row.head} * D + d] = from_float<T>(x);
    } else {
      const int64_t at = (int64_t{item.slot} * p.kv_heads + blockIdx.y) * p.partial_rows + r;
      p.partial[at * D + d] = x;
      if (d == 0) p.partial_sums[at] = total > 0 ? base + log2f(total) : -INFINITY;
    }
  }
  if (item.slot < 0) return;

  // The last block of a sequence's parts combines them: their mean, weighted by the sums of their exponents, in the
  // order of the positions.
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    // Goes back to 0 when the last one has counted.
    const auto others = static_cast<unsigned>(item.splits - 1);
    last = atomicInc(p.counters + int64_t{item.first_slot} * p.kv_heads + blockIdx.y, others) == others;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  for (int i = thread; i < rows * D; i += kDecodeThreads) {
    const int r = i / D, d = i % D;
    auto at = [&](int split) {
      return (int64_t{item.first_slot + split} * p.kv_heads + blockIdx.y) * p.partial_rows + r;
    };
    float top = -INFINITY;
    for (int split = 0; split < item.splits; ++split) top = fmaxf(top, __ldcg(p.partial_sums + at(split)));
    float total = 0, x = 0;
    for (int split = 0; split < item.splits; ++split) {
      const float weight = exp2f(__ldcg(p.partial_sums + at(split)) - top);
      total += weight;
      x += weight * __ldcg(p.partial + at(split) * D + d);
    }
    const Row row = row_of(p, seq, item.row + r);
    p.out[row.token * p.out_stride + int64_t{row.head} * D + d] = from_float<T>(x / total);
  }
}

// A warp for each (token, head): lanes hold every 32nd element of q and of the result, up to 32 · kRegisters.
template <typename C, int kRegisters>
__global__ void plain_kernel(Tensor out, Tensor q, const C* k, const C* v, const BatchSeq* seqs, const int32_t* pages,
                             const int32_t* tokens, int kv_heads, int page_size, int d, AttentionOptions o) {
  enter();
  const int lane = static_cast<int>(threadIdx.x), head = static_cast<int>(blockIdx.y);
  const int64_t token = blockIdx.x;
  const BatchSeq seq = seqs[tokens[2 * token]];
  const int position = tokens[2 * token + 1], kv_head = head / (o.num_heads / kv_heads);
  auto element = [&](const Tensor& t, int j) -> int64_t { return token * t.row_stride + int64_t{head} * d + j; };
  float query[kRegisters], result[kRegisters];
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) {
    const int j = lane + 32 * i;
    query[i] = result[i] = 0.0F;
    if (j >= d) continue;
    const int64_t at = element(q, j);
    query[i] = q.dtype == DType::F32   ? reinterpret_cast<const float*>(q.data)[at]
               : q.dtype == DType::F16 ? to_float(reinterpret_cast<const __half*>(q.data)[at])
                                       : to_float(reinterpret_cast<const __nv_bfloat16*>(q.data)[at]);
  }
  float largest = -INFINITY, sum = 0;
  for (int j = o.window > 0 ? max(position - o.window + 1, 0) : 0; j <= position; ++j) {
    const int64_t page = pages[seq.page_begin + j / page_size];
    const int64_t at = ((page * kv_heads + kv_head) * page_size + j % page_size) * d;
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) {
      if (lane + 32 * i < d) dot += query[i] * to_float(k[at + lane + 32 * i]);
    }
    dot = warp_sum(dot) * o.scale;
    if (o.softcap > 0) dot = o.softcap * tanhf(dot / o.softcap);
    const float top = fmaxf(largest, dot), shrink = expf(largest - top), weight = expf(dot - top);
    largest = top;
    sum = sum * shrink + weight;
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) {
      if (lane + 32 * i < d) result[i] = result[i] * shrink + weight * to_float(v[at + lane + 32 * i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) {
    const int j = lane + 32 * i;
    if (j >= d) continue;
    const int64_t at = element(out, j);
    const float x = result[i] / sum;
    if (out.dtype == DType::F32) reinterpret_cast<float*>(out.data)[at] = x;
    if (out.dtype == DType::F16) reinterpret_cast<__half*>(out.data)[at] = __float2half_rn(x);
    if (out.dtype == DType::BF16) reinterpret_cast<__nv_bfloat16*>(out.data)[at] = __float2bfloat16_rn(x);
  }
}

// The one list of what is compiled: f(Type<T>, Width<D>).
template <typename F>
void with_kernel(const KvView& kv, F&& f) {
  auto with_head = [&](auto type) {
    switch (kv.head_dim) {
      case 64:
        return f(type, Width<64>{});
      case 80:
        return f(type, Width<80>{});
      case 96:
        return f(type, Width<96>{});
      case 128:
        return f(type, Width<128>{});
      case 256:
        return f(type, Width<256>{});
    }
  };
  if (kv.dtype == DType::F16) with_head(Type<__half>{});
  if (kv.dtype == DType::BF16) with_head(Type<__nv_bfloat16>{});
}

dim3 grid_of(const AttentionCall& call) {
  return dim3(static_cast<unsigned>(call.num_items), static_cast<unsigned>(call.kv.num_kv_heads));
}

}  // namespace

bool attention_on_tensor_cores(const Tensor& out, const Tensor& q, const KvView& kv) {
  const bool head =
      kv.head_dim == 64 || kv.head_dim == 80 || kv.head_dim == 96 || kv.head_dim == 128 || kv.head_dim == 256;
  const bool type = kv.dtype == DType::F16 || kv.dtype == DType::BF16;
  return head && type && q.dtype == kv.dtype && out.dtype == kv.dtype && in_eights(q) && in_eights(out) &&
         (kv.page_size & (kv.page_size - 1)) == 0;
}

void attention_prefill(cudaStream_t stream, const AttentionCall& call) {
  if (call.num_items == 0) return;
  with_kernel(call.kv, [&](auto type, auto head) {
    using T = typename decltype(type)::type;
    constexpr int kBytes = kPrefillBytes<head.value>;
    auto* kernel = prefill_kernel<T, head.value>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    launch(stream, grid_of(call), kPrefillThreads<head.value>, kBytes, kernel, params_of<T>(call));
  });
}

void attention_decode(cudaStream_t stream, const AttentionCall& call) {
  if (call.num_items == 0) return;
  with_kernel(call.kv, [&](auto type, auto head) {
    using T = typename decltype(type)::type;
    constexpr int kBytes = kDecodeBytes<head.value>;
    auto* kernel = decode_kernel<T, head.value>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    launch(stream, grid_of(call), kDecodeThreads, kBytes, kernel, params_of<T>(call));
  });
}

void attention_plain(cudaStream_t stream, const AttentionCall& call, const int32_t* tokens) {
  if (call.q.rows() == 0) return;
  const dim3 grid(static_cast<unsigned>(call.q.rows()), static_cast<unsigned>(call.options.num_heads));
  with_type(call.kv.dtype, [&](auto type) {
    using C = typename decltype(type)::type;
    auto* kernel = call.kv.head_dim <= 128 ? plain_kernel<C, 4> : plain_kernel<C, 20>;
    launch(stream, grid, kWarp, 0, kernel, call.out, call.q, reinterpret_cast<const C*>(call.kv.k),
           reinterpret_cast<const C*>(call.kv.v), call.seqs, call.pages, tokens, call.kv.num_kv_heads,
           call.kv.page_size, call.kv.head_dim, call.options);
  });
}

}  // namespace sgl::cuda
