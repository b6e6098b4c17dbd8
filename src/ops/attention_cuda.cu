// Attention over pages.
//
// A sequence's rows for one KV head are its tokens times the heads of the group that reads it: row r is token r /
// group, head r % group. So the keys of a tile serve all of them, and a single token of a model with grouped heads is
// still several rows for the tensor cores.
//
// Prefill: warps with 16 or 32 rows each walk over the positions in tiles that they share, two in shared memory.
// Shared prefixes (cascade attention): of sequences with one token each that begin alike, the rows of all are prefilled
// over parts of what they share; the results are parts of each sequence.
// Decode: 4 warps have the same 16 rows, and every fourth tile of 16 positions (of e4m3 codes: 32) each; they need no
// barrier before the end. Parts of a long sequence are computed by several blocks; the last one that is done combines
// them by the sums of their exponents. Blocks are many and short, not one for each processor: some processors read
// faster than others.

#include <cstdint>
#include <type_traits>

#include "ops/attention_tiles_cuda.h"
#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

// Begins copies of kRows rows of q, from row `first` of the sequence on, by `threads` threads; if `shared`, of all
// sequences that it stands for.
template <typename T, int D, int kRows>
__device__ void fetch_q(T* to, const AttentionParams<T>& p, const BatchSeq& seq, int kv_head, int first, int thread,
                        int threads, bool shared) {
  constexpr int kPieces = D / 8;
  const int rows = seq.q_len * p.group;
  for (int i = thread; i < kRows * kPieces; i += threads) {
    const int r = i / kPieces, piece = i % kPieces;
    const bool valid = first + r < rows;
    AttentionRow row = row_of(p, seq, kv_head, valid ? first + r : 0);
    if (shared) row.token = p.tokens[row.token];
    copy_16_bytes(to + r * kTileStride<D> + piece * 8, p.q + row.token * p.q_stride + int64_t{row.head} * D + piece * 8,
                  valid);
  }
}

// Elements from one row of a tile in shared memory to the next, of numbers or of codes.
template <typename C, int D>
constexpr int kRowStride = sizeof(C) == 1 ? kCodeStride<D> : kTileStride<D>;

// Begins copies of keys and values at positions [first, first + N); beyond kv_len they become zero, since 0 · NaN is
// not. The page numbers are all on their way before the first is needed. C: T, or uint8_t, of a cache of codes.
template <typename C, int D, int N, int kThreads, typename T>
__device__ void fetch_kv(C* k, C* v, const AttentionParams<T>& p, const BatchSeq& seq, int kv_head, int first,
                         int thread) {
  constexpr int kPiece = 16 / static_cast<int>(sizeof(C)), kPieces = D / kPiece, kOwn = N * kPieces / kThreads;
  static_assert(N * kPieces % kThreads == 0);
  const int page_mask = (1 << p.page_shift) - 1, last = seq.kv_len - 1;
  const auto *all_k = reinterpret_cast<const C*>(p.k), *all_v = reinterpret_cast<const C*>(p.v);
  int32_t pages[kOwn];
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    const int position = first + (thread + j * kThreads) / kPieces;
    pages[j] = p.pages[seq.page_begin + (min(position, last) >> p.page_shift)];
  }
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    const int t = (thread + j * kThreads) / kPieces, piece = (thread + j * kThreads) % kPieces, position = first + t;
    const int64_t row =
        ((int64_t{pages[j]} * p.kv_heads + kv_head) << p.page_shift) + (min(position, last) & page_mask);
    const int64_t from = row * D + piece * kPiece;
    const int to = t * kRowStride<C, D> + piece * kPiece;
    copy_16_bytes(k + to, all_k + from, position <= last);
    copy_16_bytes(v + to, all_v + from, position <= last);
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
__global__ void __launch_bounds__(kPrefillThreads<D>, D > 128 ? 1 : 2) prefill_kernel(const AttentionParams<T> p) {
  enter();
  constexpr int N = kPrefillTile<D>, kStride = kTileStride<D>, kTiles = kPrefillTiles<D>, kThreads = kPrefillThreads<D>;
  extern __shared__ __align__(16) unsigned char memory[];
  T* q = reinterpret_cast<T*>(memory);
  T* k = q + kPrefillRows * kStride;  // [2][N] rows
  T* v = k + 2 * N * kStride;
  const AttentionItem item = p.items[blockIdx.x];
  const BatchSeq seq = item.seq;
  const int head = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int first_row = item.row + thread / 32 * (16 * kTiles);
  const bool shared = item.slot >= 0, causal = p.causal && !shared;
  const Visible<kTiles> see = visible_of<kTiles>(p, seq, first_row, causal);

  const int last_row = min(item.row + kPrefillRows, seq.q_len * p.group) - 1;
  const int end = causal ? row_of(p, seq, head, last_row).position + 1 : item.kv_end;
  int begin = item.kv_begin;
  if (p.window > 0) begin = max(row_of(p, seq, head, item.row).position + 1 - p.window, 0) / N * N;

  fetch_q<T, D, kPrefillRows>(q, p, seq, head, item.row, thread, kThreads, shared);
  fetch_kv<T, D, N, kThreads>(k, v, p, seq, head, begin, thread);
  commit_copies();
  // Of this warp's rows, as a lane gives their addresses to load_matrices().
  const T* q_row = q + (thread / 32 * (16 * kTiles) + (lane & 7) + (lane >> 3 & 1) * 8) * kStride + (lane >> 4) * 8;
  auto q_at = [&](uint32_t(&a)[4], int m, int d) { load_matrices(a, q_row + m * 16 * kStride + d); };
  RowState<T, D, kTiles> state;
  int stage = 0;
  for (int first = begin; first < end; first += N, stage ^= 1) {
    if (first + N < end) {
      const int other = (stage ^ 1) * N * kStride;
      fetch_kv<T, D, N, kThreads>(k + other, v + other, p, seq, head, first + N, thread);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (first < see.any_to && first + N > see.any_from) {
      state.template add<N>(q_at, k + stage * N * kStride, v + stage * N * kStride, first, see, p.scores);
    }
    __syncthreads();
  }
  state.finish();

#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    const int r = first_row + lane / 4 + 8 * i;
    if (r > last_row) continue;
    const AttentionRow row = row_of(p, seq, head, r);
    T* to = p.out + row.token * p.out_stride + int64_t{row.head} * D + lane % 4 * 2;
    const float inv = 1.0F / state.sum[i];
    if (shared) {
      const int64_t slot = item.slot + int64_t{r / p.group} * item.splits;
      const int64_t at = (slot * p.kv_heads + head) * p.partial_rows + r % p.group;
      if (lane % 4 == 0) p.partial_sums[at] = state.largest[i] + log2f(state.sum[i]);
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        *reinterpret_cast<float2*>(p.partial + at * D + d * 8 + lane % 4 * 2) =
            make_float2(state.out[i / 2][d][i % 2 * 2] * inv, state.out[i / 2][d][i % 2 * 2 + 1] * inv);
      }
      continue;
    }
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      *reinterpret_cast<uint32_t*>(to + d * 8) =
          pack(state.out[i / 2][d][i % 2 * 2] * inv, state.out[i / 2][d][i % 2 * 2 + 1] * inv, T{});
    }
  }
}

constexpr int kDecodeWarps = 4, kDecodeThreads = kWarp * kDecodeWarps, kDecodeStages = 2;
// C: of the cache, T or E4m3.
template <typename C>
constexpr int kDecodeTile = sizeof(C) == 1 ? 32 : 16;  // positions: about as many bytes
template <typename C, int D>
constexpr int kDecodeStage = 2 * kDecodeTile<C>* kRowStride<C, D>* static_cast<int>(sizeof(C));  // bytes: keys, values
template <typename C, int D>
constexpr int kDecodeBytes = kDecodeWarps* kDecodeStages* kDecodeStage<C, D>;

static_assert(kMostParts * kDecodeRows * sizeof(float) <= kDecodeBytes<__half, 64>);
static_assert(kMostParts * kDecodeRows * sizeof(float) <= kDecodeBytes<E4m3, 64>);

__device__ inline void add_weighted(float4& sum, float weight, const float4& x) {
  sum.x += weight * x.x;
  sum.y += weight * x.y;
  sum.z += weight * x.z;
  sum.w += weight * x.w;
}

template <typename T>
__device__ void store_four(T* to, const float4& x, float factor) {
  *reinterpret_cast<uint2*>(to) = {pack(x.x * factor, x.y * factor, T{}), pack(x.z * factor, x.w * factor, T{})};
}

// The parts of a sequence's rows become one: their mean, weighted by the sums of their exponents, in the order of the
// positions. The parts that a thread needs first are on their way while the weights, [splits, rows] in shared memory,
// are found.
template <typename T, int D>
__device__ void combine(const AttentionParams<T>& p, const AttentionItem& item, int head, int rows, float* weights) {
  constexpr int kEarly = 8;
  __shared__ float factor[kDecodeRows];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  auto at = [&](int split, int r) {
    return (int64_t{item.first_slot + split} * p.kv_heads + head) * p.partial_rows + r;
  };
  auto load = [&](int split, int i) {
    return __ldcg(reinterpret_cast<const float4*>(p.partial + at(split, i / (D / 4)) * D) + i % (D / 4));
  };
  float4 early[kEarly];
#pragma unroll
  for (int split = 0; split < kEarly; ++split) {
    if (split < item.splits && thread < rows * D / 4) early[split] = load(split, thread);
  }
  for (int r = thread / kWarp; r < rows; r += kDecodeWarps) {
    float top = -INFINITY, sum = 0;
    for (int split = lane; split < item.splits; split += kWarp) {
      const float s = __ldcg(p.partial_sums + at(split, r));
      weights[split * rows + r] = s;
      top = fmaxf(top, s);
    }
    top = warp_max(top);
    for (int split = lane; split < item.splits; split += kWarp) {
      const float weight = exp2f(weights[split * rows + r] - top);
      weights[split * rows + r] = weight;
      sum += weight;
    }
    sum = warp_sum(sum);
    if (lane == 0) factor[r] = 1.0F / sum;
  }
  __syncthreads();
  for (int i = thread; i < rows * D / 4; i += kDecodeThreads) {
    const int r = i / (D / 4);
    float4 x = {0, 0, 0, 0};
    int split = 0;
    if (i == thread) {
#pragma unroll
      for (; split < kEarly; ++split) {
        if (split < item.splits) add_weighted(x, weights[split * rows + r], early[split]);
      }
    }
#pragma unroll 8
    for (; split < item.splits; ++split) add_weighted(x, weights[split * rows + r], load(split, i));
    const AttentionRow row = row_of(p, item.seq, head, item.row + r);
    store_four(p.out + row.token * p.out_stride + int64_t{row.head} * D + i % (D / 4) * 4, x, factor[r]);
  }
}

template <typename T, typename C, int D>
__global__ void __launch_bounds__(kDecodeThreads, D > 128 ? 1 : 3) decode_kernel(const AttentionParams<T> p) {
  let_next_start();
  constexpr bool kCodes = sizeof(C) == 1;
  constexpr int N = kDecodeTile<C>, kStride = kTileStride<D>, kStage = kDecodeStage<C, D>;
  static_assert(kDecodeRows * kStride * sizeof(float) <= kDecodeStages * kStage);
  extern __shared__ __align__(16) unsigned char memory[];
  const int head = static_cast<int>(blockIdx.x) % p.kv_heads, thread = static_cast<int>(threadIdx.x);
  const AttentionItem item = p.items[static_cast<int>(blockIdx.x) / p.kv_heads];
  const BatchSeq seq = item.seq;
  const int warp = thread / kWarp, lane = thread % kWarp;
  unsigned char* tiles = memory + warp * kDecodeStages * kStage;  // of this warp: [stage][k, v][N] rows
  const Visible<1> see = visible_of<1>(p, seq, item.row, p.causal);
  const int end = min(item.kv_end, see.any_to), begin = max(item.kv_begin, see.any_from / N * N) + warp * N;
  constexpr int kStep = kDecodeWarps * N;
  auto fetch = [&](int first, int stage) {
    unsigned char *k = tiles + stage * kStage, *v = k + kStage / 2;
    using Element = std::conditional_t<kCodes, uint8_t, T>;
    fetch_kv<Element, D, N, kWarp>(reinterpret_cast<Element*>(k), reinterpret_cast<Element*>(v), p, seq, head, first,
                                   lane);
  };

  // What earlier steps stored need not wait for this step's kernels.
  const int stored = seq.kv_len - seq.q_len;
#pragma unroll
  for (int i = 0; i < kDecodeStages; ++i) {
    const int first = begin + i * kStep;
    if (first < end && first + N <= stored) fetch(first, i);
  }
  wait_for_previous();
#pragma unroll
  for (int i = 0; i < kDecodeStages; ++i) {
    const int first = begin + i * kStep;
    if (first < end && first + N > stored) fetch(first, i);
    commit_copies();
  }
  // q, as mma takes it: rows lane/4 and lane/4 + 8, columns 2·(lane % 4) and 8 more of every 16; or as add_codes() has
  // them.
  const int rows = min(kDecodeRows, seq.q_len * p.group - item.row);
  uint32_t q[D / 16][4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = lane / 4 + 8 * i;
    const AttentionRow row = row_of(p, seq, head, item.row + min(r, rows - 1));
    const T* from = p.q + row.token * p.q_stride + int64_t{row.head} * D + lane % 4 * (kCodes ? 4 : 2);
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
      if constexpr (kCodes) {
        const uint2 four = r < rows ? *reinterpret_cast<const uint2*>(from + d * 16) : uint2{0, 0};
        q[d][i] = Expand<T>::scaled_x(__byte_perm(four.x, four.y, 0x5410));
        q[d][2 + i] = Expand<T>::scaled_x(__byte_perm(four.x, four.y, 0x7632));
      } else {
        q[d][i] = r < rows ? *reinterpret_cast<const uint32_t*>(from + d * 16) : 0;
        q[d][2 + i] = r < rows ? *reinterpret_cast<const uint32_t*>(from + d * 16 + 8) : 0;
      }
    }
  }
  auto q_at = [&](uint32_t(&a)[4], int, int d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = q[d / 16][i];
  };

  RowState<T, D, 1> state;
  Scores scores = p.scores;
  if constexpr (kCodes) scores.scale *= Expand<T>::kFp8Unit;
  int stage = 0;
  for (int first = begin; first < end; first += kStep) {
    wait_for_copies<kDecodeStages - 1>();
    __syncwarp();
    const unsigned char *k = tiles + stage * kStage, *v = k + kStage / 2;
    if constexpr (kCodes) {
      state.template add_codes<N>(q_at, k, v, first, see, scores);
    } else {
      state.template add<N>(q_at, reinterpret_cast<const T*>(k), reinterpret_cast<const T*>(v), first, see, scores);
    }
    __syncwarp();
    if (first + kDecodeStages * kStep < end) fetch(first + kDecodeStages * kStep, stage);
    commit_copies();
    stage = (stage + 1) % kDecodeStages;
  }
  state.finish();
  wait_for_copies<0>();

  // The warps' states meet in shared memory: results in each one's first tile, then largest scores and sums.
  auto results = [&](int w) { return reinterpret_cast<float*>(memory + w * kDecodeStages * kStage); };
  __shared__ float largest[kDecodeWarps][kDecodeRows], sums[kDecodeWarps][kDecodeRows];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = lane / 4 + 8 * i;
    if (r >= rows) continue;
    if (lane % 4 == 0) {
      largest[warp][r] = state.largest[i];
      sums[warp][r] = state.sum[i];
    }
    float* to = results(warp) + r * kStride + lane % 4 * (kCodes ? 4 : 2);
    if constexpr (kCodes) {
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        const float *even = state.out[0][2 * d] + 2 * i, *odd = state.out[0][2 * d + 1] + 2 * i;
        constexpr float kUnit = Expand<T>::kFp8Unit;
        *reinterpret_cast<float4*>(to + d * 16) =
            make_float4(even[0] * kUnit, odd[0] * kUnit, even[1] * kUnit, odd[1] * kUnit);
      }
    } else {
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        *reinterpret_cast<float2*>(to + d * 8) = make_float2(state.out[0][d][2 * i], state.out[0][d][2 * i + 1]);
      }
    }
  }
  __syncthreads();
  for (int i = thread; i < rows * D / 4; i += kDecodeThreads) {
    const int r = i / (D / 4), d = i % (D / 4) * 4;
    float top = largest[0][r];
#pragma unroll
    for (int w = 1; w < kDecodeWarps; ++w) top = fmaxf(top, largest[w][r]);
    const float base = top == -INFINITY ? 0.0F : top;
    float total = 0;
    float4 x = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = exp2f(largest[w][r] - base);
      total += weight * sums[w][r];
      add_weighted(x, weight, *reinterpret_cast<const float4*>(results(w) + r * kStride + d));
    }
    const float factor = total > 0 ? 1.0F / total : 0.0F;
    if (item.slot < 0) {
      const AttentionRow row = row_of(p, seq, head, item.row + r);
      store_four(p.out + row.token * p.out_stride + int64_t{row.head} * D + d, x, factor);
    } else {
      const int64_t at = (int64_t{item.slot} * p.kv_heads + head) * p.partial_rows + r;
      *reinterpret_cast<float4*>(p.partial + at * D + d) =
          make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
      if (d == 0) p.partial_sums[at] = total > 0 ? base + log2f(total) : -INFINITY;
    }
  }
  if (item.slot < 0) return;

  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    // Goes back to 0 when the last one has counted.
    const auto others = static_cast<unsigned>(item.splits - item.shared_splits - 1);
    last = atomicInc(p.counters + int64_t{item.first_slot} * p.kv_heads + head, others) == others;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  combine<T, D>(p, item, head, rows, reinterpret_cast<float*>(memory));
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
  const int last = o.causal ? position : seq.kv_len - 1;
  for (int j = o.window > 0 ? max(position - o.window + 1, 0) : 0; j <= last; ++j) {
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

// Heads of codes are taken 32 columns at a time; 80 has no kernel for them, and stands for one that has.
constexpr int head_of_codes(int head_dim) { return head_dim == 80 ? 64 : head_dim; }

// The one list of what is compiled: f(Type<T>, Width<D>).
template <typename F>
void with_kernel(int head_dim, DType dtype, F&& f) {
  auto with_head = [&](auto type) {
    switch (head_dim) {
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
  if (dtype == DType::F16) with_head(Type<__half>{});
  if (dtype == DType::BF16) with_head(Type<__nv_bfloat16>{});
}

dim3 grid_of(const AttentionCall& call) {
  return dim3(static_cast<unsigned>(call.num_items), static_cast<unsigned>(call.kv.num_kv_heads));
}

}  // namespace

bool attention_on_tensor_cores(const Tensor& out, const Tensor& q, const KvView& kv) {
  const bool codes = kv.dtype == DType::F8E4M3;
  const bool head = kv.head_dim == 64 || (kv.head_dim == 80 && !codes) || kv.head_dim == 96 || kv.head_dim == 128 ||
                    kv.head_dim == 256;
  const bool type = (q.dtype == DType::F16 || q.dtype == DType::BF16) && (codes || q.dtype == kv.dtype);
  return head && type && out.dtype == q.dtype && in_eights(q) && in_eights(out) &&
         (kv.page_size & (kv.page_size - 1)) == 0;
}

namespace {

// How many blocks of a kernel the device runs at once, with so much shared memory, which it gets.
template <typename T>
int blocks_at_once(void (*kernel)(AttentionParams<T>), int threads, int bytes) {
  int device = 0, processors = 0, each = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);  // the launch says if not
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, static_cast<size_t>(bytes));
  return processors * (each > 0 ? each : 1);
}

template <typename T, int D>
int prefill_blocks_of() {
  return once_per_device([] { return blocks_at_once<T>(prefill_kernel<T, D>, kPrefillThreads<D>, kPrefillBytes<D>); });
}

template <typename T, typename C, int D>
int decode_blocks_of() {
  return once_per_device([] { return blocks_at_once<T>(decode_kernel<T, C, D>, kDecodeThreads, kDecodeBytes<C, D>); });
}

template <typename T, typename C, int D>
void launch_decode(cudaStream_t stream, const AttentionCall& call) {
  decode_blocks_of<T, C, D>();  // lets it have its shared memory
  launch(stream, static_cast<unsigned>(call.num_items * call.kv.num_kv_heads), kDecodeThreads, kDecodeBytes<C, D>,
         decode_kernel<T, C, D>, params_of<T>(call));
}

void launch_prefill(cudaStream_t stream, const AttentionCall& call) {
  with_kernel(call.kv.head_dim, call.kv.dtype, [&](auto type, auto head) {
    using T = typename decltype(type)::type;
    prefill_blocks_of<T, head.value>();  // lets it have its shared memory
    launch(stream, grid_of(call), kPrefillThreads<head.value>, kPrefillBytes<head.value>, prefill_kernel<T, head.value>,
           params_of<T>(call));
  });
}

}  // namespace

void attention_prefill(cudaStream_t stream, const AttentionCall& call) {
  if (call.num_items > 0 && !attention_prefill_on_hopper(stream, call)) launch_prefill(stream, call);
}

void attention_shared(cudaStream_t stream, const AttentionCall& call) {
  if (call.num_items > 0) launch_prefill(stream, call);
}

int shared_blocks(const KvView& kv) {
  int blocks = 1;
  with_kernel(kv.head_dim, kv.dtype == DType::F8E4M3 ? DType::F16 : kv.dtype,
              [&](auto type, auto head) { blocks = prefill_blocks_of<typename decltype(type)::type, head.value>(); });
  return blocks;
}

int decode_blocks(const KvView& kv) {
  int blocks = 1;
  const bool codes = kv.dtype == DType::F8E4M3;  // of numbers of any type: their kernels are of one size
  with_kernel(kv.head_dim, codes ? DType::F16 : kv.dtype, [&](auto type, auto head) {
    using T = typename decltype(type)::type;
    blocks = codes ? decode_blocks_of<T, E4m3, head_of_codes(head.value)>() : decode_blocks_of<T, T, head.value>();
  });
  return blocks;
}

void attention_decode(cudaStream_t stream, const AttentionCall& call) {
  if (call.num_items == 0) return;
  const bool codes = call.kv.dtype == DType::F8E4M3;
  with_kernel(call.kv.head_dim, call.q.dtype, [&](auto type, auto head) {
    using T = typename decltype(type)::type;
    codes ? launch_decode<T, E4m3, head_of_codes(head.value)>(stream, call)
          : launch_decode<T, T, head.value>(stream, call);
  });
}

void attention_plain(cudaStream_t stream, const AttentionCall& call, const int32_t* tokens) {
  if (call.q.rows() == 0) return;
  const dim3 grid(static_cast<unsigned>(call.q.rows()), static_cast<unsigned>(call.options.num_heads));
  with_cache_type(call.kv.dtype, [&](auto type) {
    using C = typename decltype(type)::type;
    auto* kernel = call.kv.head_dim <= 128 ? plain_kernel<C, 4> : plain_kernel<C, 20>;
    launch(stream, grid, kWarp, 0, kernel, call.out, call.q, reinterpret_cast<const C*>(call.kv.k),
           reinterpret_cast<const C*>(call.kv.v), call.seqs, call.pages, tokens, call.kv.num_kv_heads,
           call.kv.page_size, call.kv.head_dim, call.options);
  });
}

}  // namespace sgl::cuda
