// Prefill attention by Hopper's own instructions, as FlashAttention-3 does it (Shah et al. 2024).
//
// A block computes 128 rows of a sequence for one KV head (attention_cuda.cu says what a row is), and then others,
// until all are done. Of its three warpgroups one fetches: a warp each keys and values, as boxes of 16 positions of a
// page by tensor copies, and two warps the rows of q. The other two multiply, 64 rows each, over tiles of 128
// positions, from the last one that a row sees to the first. The scores of the next tile and the results of this one
// are multiplied at the same time, while a warpgroup takes the exponents of scores that are there. The two need no
// turns: where one takes exponents, the tensor cores work for the other by themselves.
//
// Scores, exponents and sums are as in attention_tiles_cuda.h.

#include <algorithm>
#include <cstdint>
#include <cuda.h>

#include "ops/attention_tiles_cuda.h"
#include "ops/device_cuda.h"
#include "ops/hopper_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

constexpr int kRows = kPrefillRows, kTile = 128;  // positions in a tile
constexpr int kBox = 16;                          // positions that a copy brings
constexpr int kStages = 2;                        // of q, of tiles of keys and of values, in shared memory
constexpr int kThreads = 3 * kWarpgroup;
constexpr int kColumnBytes = kTile * kSwizzledRowBytes;  // of a tile's column of 64
static_assert(kRows == kTile);                           // so q and keys lie alike

// What a block computes in a turn: rows from `row` on for one KV head, and the tiles that they see.
struct Work {
  BatchSeq seq;
  int head, row;
  int first, end;
};

template <int D>
struct Shared {
  static constexpr int kTileBytes = D / kSwizzledColumns * kColumnBytes;
  unsigned char q[kStages][kTileBytes], k[kStages][kTileBytes], v[kStages][kTileBytes];
  Work work[kStages];  // that q is of
  Barrier q_full[kStages], q_empty[kStages], k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int kMultiplying = 2 * kWarpgroup, kQLoaders = kWarpgroup - 2 * kWarp;  // threads
constexpr int kBoxBytes = kBox * kSwizzledRowBytes;
constexpr int kBoth = 1;  // the barrier of the warpgroups that multiply

// The work of a block in its n-th turn: item and KV head. The longest come first, and every other round goes backwards,
// so that all blocks get about as much. −1: none.
__device__ inline int work_of(int n, int num_works) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  const int work = n * blocks + (n % 2 == 0 ? block : blocks - 1 - block);
  return work < num_works ? work : -1;
}

template <typename T>
__device__ Work describe_work(const AttentionParams<T>& p, int work) {
  const AttentionItem& item = p.items[work / p.kv_heads];
  Work w{item.seq, work % p.kv_heads, item.row, 0, 0};
  const int last_row = min(w.row + kRows, w.seq.q_len * p.group) - 1;
  const int end = p.causal ? row_of(p, w.seq, w.head, last_row).position + 1 : w.seq.kv_len;
  const int begin = p.window > 0 ? max(row_of(p, w.seq, w.head, w.row).position + 1 - p.window, 0) : 0;
  w.first = begin / kTile;
  w.end = (end + kTile - 1) / kTile;
  return w;
}

// By one warp: all tiles of keys, or of values, of all works, the last of each first. A tile's pages are looked up
// before the warp waits for room for the tile before it.
template <typename T, int D>
__device__ void fetch_tiles(unsigned char (&tiles)[kStages][Shared<D>::kTileBytes], Barrier (&full)[kStages],
                            Barrier (&empty)[kStages], const CUtensorMap& from, const AttentionParams<T>& p,
                            int num_works) {
  constexpr int kColumns = D / kSwizzledColumns, kBoxes = kTile / kBox;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int box = lane / kColumns,
            column = lane % kColumns;  // of this lane; values that no box brings are zeroed later
  int n = 0, work = work_of(0, num_works);
  if (work < 0) return;
  Work w = describe_work(p, work);
  int tile = w.end - 1;
  auto position = [&] { return tile * kTile + box * kBox; };
  auto is_there = [&] { return box < kBoxes && position() < w.seq.kv_len; };
  auto look_up = [&] { return is_there() ? p.pages[w.seq.page_begin + (position() >> p.page_shift)] : 0; };
  int page = look_up();
  for (int count = 0; work >= 0; ++count) {
    const int head = w.head, offset = position() & ((1 << p.page_shift) - 1), of_page = page;
    const int boxes = min(kBoxes, (w.seq.kv_len - tile * kTile + kBox - 1) / kBox);
    const bool mine = is_there();
    if (--tile < w.first && (work = work_of(++n, num_works)) >= 0) {
      w = describe_work(p, work);
      tile = w.end - 1;
    }
    if (work >= 0) page = look_up();

    const int stage = count % kStages;
    empty[stage].wait(count / kStages % 2 ^ 1);
    if (lane == 0) full[stage].arrive_and_expect(boxes * kColumns * kBoxBytes);
    __syncwarp();
    if (!mine) continue;
    copy_box(tiles[stage] + column * kColumnBytes + box * kBoxBytes, from, column * kSwizzledColumns,
             ((of_page * p.kv_heads + head) << p.page_shift) + offset, full[stage]);
  }
}

// By kQLoaders threads: the rows of q of each work; zeros beyond the last. A thread copies a piece of 16 bytes of every
// kStep-th row.
template <typename T, int D>
__device__ void fetch_q(Shared<D>& shared, const AttentionParams<T>& p, int num_works) {
  constexpr int kPieces = D / 8, kStep = kQLoaders / kPieces;
  const int thread = static_cast<int>(threadIdx.x) - 2 * kWarp, first = thread / kPieces, piece = thread % kPieces;
  const int step_tokens = kStep / p.group, step_heads = kStep % p.group;
  for (int n = 0, work = 0; (work = work_of(n, num_works)) >= 0; ++n) {
    const Work w = describe_work(p, work);
    const int rows = w.seq.q_len * p.group - w.row, stage = n % kStages;
    int token = (w.row + first) / p.group, head = (w.row + first) % p.group;
    const T* q = p.q + w.seq.q_begin * p.q_stride + int64_t{w.head} * p.group * D + piece * 8;
    shared.q_empty[stage].wait(n / kStages % 2 ^ 1);
    if (thread == 0) shared.work[stage] = w;
#pragma unroll 4
    for (int r = first; r < kRows; r += kStep) {
      unsigned char* to = shared.q[stage] + piece / 8 * kColumnBytes + r * kSwizzledRowBytes + ((piece ^ r) % 8) * 16;
      copy_16_bytes(to, r < rows ? q + token * p.q_stride + head * D : q, r < rows);
      token += step_tokens;
      head += step_heads;
      if (head >= p.group) {
        head -= p.group;
        ++token;
      }
    }
    commit_copies();
    wait_for_copies<0>();
    fence_shared_writes();
    shared.q_full[stage].arrive();
  }
}

// The softmax of a thread's two rows so far.
struct Softmax {
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0F, 0.0F};

  // Scores of the tile that begins at position `first` become exponents; shrink: what results so far are multiplied
  // with.
  __device__ void take(float (&s)[64], float (&shrink)[2], int first, const Visible<1>& see, const Scores& scores) {
    const int column = static_cast<int>(threadIdx.x) % 4 * 2;
    if (scores.softcap != 0.0F) {
#pragma unroll
      for (float& x : s) x = scores.capped(x);
    }
    if (first < see.all_from || first + kTile > see.all_to) {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int position = first + i / 4 * 8 + column + i % 2, row = i / 2 % 2;
        if (position < see.lo[row] || position >= see.hi[row]) s[i] = -INFINITY;
      }
    }
    const float factor = scores.softcap != 0.0F ? 1.0F : scores.scale;
    float base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = s[2 * r];
#pragma unroll
      for (int i = 2 * r; i < 64; i += 4) top = fmaxf(top, fmaxf(s[i], s[i + 1]));
      top = fmaxf(largest[r], quad_max(top) * factor);
      base[r] = top == -INFINITY ? 0.0F : top;  // a row that sees nothing yet: all its exponents are −∞
      shrink[r] = exp2_fast(largest[r] - base[r]);
      largest[r] = top;
      sum[r] *= shrink[r];
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      s[i] = exp2_fast(fmaf(s[i], factor, -base[i / 2 % 2]));
      sum[i / 2 % 2] += s[i];
    }
  }

  // The exponents are taken before what follows: else the compiler starts with a wait that comes after them. Sums are
  // never below 0.
  __device__ void settle() const {
    if (sum[0] + sum[1] < 0.0F) asm volatile("nanosleep.u32 0;");
  }
};

template <int N>
__device__ inline void scale_rows(float (&out)[N], const float (&by)[2]) {
#pragma unroll
  for (int i = 0; i < N; ++i) out[i] *= by[i / 2 % 2];
}

// By kMultiplying threads: values at positions beyond the last are zeros, since 0 · NaN is not.
template <int D>
__device__ void zero_rows(unsigned char* v, int from) {
  constexpr int kPieces = D / 8;
  for (int i = static_cast<int>(threadIdx.x) - kWarpgroup; i < (kTile - from) * kPieces; i += kMultiplying) {
    const int row = from + i / kPieces, piece = i % kPieces;
    *reinterpret_cast<uint4*>(v + piece / 8 * kColumnBytes + row * kSwizzledRowBytes + piece % 8 * 16) = {0, 0, 0, 0};
  }
  fence_shared_writes();
  sync_some<kMultiplying>(kBoth);
}

// By a warp: its 16 rows of results, divided by their sums, to `out`. They become whole rows in shared memory, where
// the warp's rows of q were.
template <typename T, int D>
__device__ void store_rows(unsigned char* staged, const float (&out)[D / 2], const float (&sum)[2],
                           const AttentionParams<T>& p, const Work& w, int first_row) {
  constexpr int kPieces = D / 8, kRowsAtOnce = kWarp / kPieces;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  auto piece_of = [&](int row, int piece) {
    return staged + piece / 8 * kColumnBytes + row * kSwizzledRowBytes + ((piece ^ row) % 8) * 16;
  };
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float inv = 1.0F / quad_sum(sum[i]);
#pragma unroll
    for (int d = 0; d < kPieces; ++d) {
      *reinterpret_cast<uint32_t*>(piece_of(lane / 4 + 8 * i, d) + lane % 4 * 4) =
          pack(out[4 * d + 2 * i] * inv, out[4 * d + 2 * i + 1] * inv, T{});
    }
  }
  __syncwarp();
  const AttentionRow mine = row_of(p, w.seq, w.head, first_row + lane % 16);
  const int64_t place = mine.token * p.out_stride + int64_t{mine.head} * D;
  const int rows = w.seq.q_len * p.group - first_row;
#pragma unroll
  for (int i = 0; i < 16; i += kRowsAtOnce) {
    const int row = i + lane / kPieces, piece = lane % kPieces;
    const int64_t to = __shfl_sync(0xffffffffU, place, row) + piece * 8;
    if (row < rows) *reinterpret_cast<uint4*>(p.out + to) = *reinterpret_cast<const uint4*>(piece_of(row, piece));
  }
  __syncwarp();
}

template <typename T, int D>
__device__ void multiply_works(Shared<D>& shared, const AttentionParams<T>& p, int num_works) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, lane = thread % kWarp;
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup - 1;  // which of the two
  auto release = [&](Barrier& empty) {
    if (lane == 0) empty.arrive();
  };

  int count = 0;  // tiles so far
  for (int n = 0; work_of(n, num_works) >= 0; ++n) {
    const int turn = n % kStages;
    shared.q_full[turn].wait(n / kStages % 2);
    const Work w = shared.work[turn];
    const uint64_t q = describe_tile(shared.q[turn] + group * kWarpgroup / 2 * kSwizzledRowBytes);
    const int first_row = w.row + group * kWarpgroup / 2 + thread / kWarp * 16;
    const Visible<1> see = visible_of<1>(p, w.seq, first_row, p.causal);
    Softmax softmax;
    float s[kTile / 2], out[D / 2], shrink[2];
    uint32_t weights[kTile / 4];
#pragma unroll
    for (float& x : out) x = 0.0F;

    auto begin_scores = [&](int of) {
      const int stage = of % kStages;
      shared.k_full[stage].wait(of / kStages % 2);
      const uint64_t k = describe_tile(shared.k[stage]);
      begin_products();
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        const int at = (d / 4 * kColumnBytes + d % 4 * 32) / 16;
        multiply_tiles(s, q + at, k + at, d > 0, T{});
      }
      commit_products();
    };
    auto begin_results = [&](int of) {
      const int stage = of % kStages;
      shared.v_full[stage].wait(of / kStages % 2);
      const uint64_t v = describe_tile(shared.v[stage], kColumnBytes);
      begin_products();
#pragma unroll
      for (int i = 0; i < kTile / 16; ++i) {
        multiply_rows(out, weights + 4 * i, v + i * 16 * kSwizzledRowBytes / 16, T{});
      }
      commit_products();
    };
    auto round_weights = [&] {
#pragma unroll
      for (int i = 0; i < kTile / 4; ++i) weights[i] = pack(s[2 * i], s[2 * i + 1], T{});
    };

    begin_scores(count);
    wait_for_products<0>();
    touch(s);
    release(shared.k_empty[count % kStages]);
    softmax.take(s, shrink, (w.end - 1) * kTile, see, p.scores);
    round_weights();
    if (w.end * kTile > w.seq.kv_len) {
      shared.v_full[count % kStages].wait(count / kStages % 2);
      zero_rows<D>(shared.v[count % kStages], w.seq.kv_len - (w.end - 1) * kTile);
    }
    for (int tile = w.end - 2; tile >= w.first; --tile) {
      begin_scores(count + 1);
      scale_rows(out, shrink);
      begin_results(count);
      wait_for_products<1>();
      touch(s);
      release(shared.k_empty[(count + 1) % kStages]);
      softmax.take(s, shrink, tile * kTile, see, p.scores);
      softmax.settle();
      wait_for_products<0>();
      touch(out);
      release(shared.v_empty[count % kStages]);
      ++count;
      round_weights();
    }
    scale_rows(out, shrink);
    begin_results(count);
    wait_for_products<0>();
    touch(out);
    release(shared.v_empty[count % kStages]);
    ++count;

    store_rows<T, D>(shared.q[turn] + (group * kWarpgroup / 2 + thread / kWarp * 16) * kSwizzledRowBytes, out,
                     softmax.sum, p, w, first_row);
    release(shared.q_empty[turn]);
  }
}

#endif

template <typename T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_prefill_kernel(const __grid_constant__ CUtensorMap keys, const __grid_constant__ CUtensorMap values,
                          const AttentionParams<T> p, int num_works) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared<D>& shared = *reinterpret_cast<Shared<D>*>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      shared.q_full[i].init(kQLoaders);
      shared.q_empty[i].init(kMultiplying / kWarp);
      shared.k_full[i].init(1);
      shared.v_full[i].init(1);
      shared.k_empty[i].init(kMultiplying / kWarp);
      shared.v_empty[i].init(kMultiplying / kWarp);
    }
    fence_barriers();
  }
  __syncthreads();
  wait_for_previous();
  if (threadIdx.x < kWarpgroup) {
    give_registers<40>();
    if (threadIdx.x < kWarp) {
      fetch_tiles<T, D>(shared.k, shared.k_full, shared.k_empty, keys, p, num_works);
    } else if (threadIdx.x < 2 * kWarp) {
      fetch_tiles<T, D>(shared.v, shared.v_full, shared.v_empty, values, p, num_works);
    } else {
      fetch_q(shared, p, num_works);
    }
  } else {
    take_registers<232>();
    multiply_works(shared, p, num_works);
  }
#endif
}

// All pages of keys or values as rows of a head's elements, to be copied in boxes. False: the driver does not want to.
bool describe_pages(CUtensorMap& map, const KvView& kv, std::byte* pages) {
  return describe_matrix(map, kv.dtype, pages, kv.num_pages * kv.num_kv_heads * kv.page_size, kv.head_dim, kv.head_dim,
                         kBox);
}

// How many blocks the device runs of it; 0 where it cannot run.
template <typename T, int D>
int hopper_blocks() {
  return once_per_device(
      [] { return can_run_on_hopper(hopper_prefill_kernel<T, D>, sizeof(Shared<D>)) ? num_processors() : 0; });
}

template <typename T, int D>
bool prefill_on_hopper(cudaStream_t stream, const AttentionCall& call) {
  const int blocks = hopper_blocks<T, D>(), works = call.num_items * call.kv.num_kv_heads;
  CUtensorMap keys, values;
  if (blocks == 0 || !describe_pages(keys, call.kv, call.kv.k) || !describe_pages(values, call.kv, call.kv.v)) {
    return false;
  }
  launch(stream, static_cast<unsigned>(std::min(blocks, works)), kThreads, sizeof(Shared<D>),
         hopper_prefill_kernel<T, D>, keys, values, params_of<T>(call), works);
  return true;
}

}  // namespace

bool attention_prefill_on_hopper(cudaStream_t stream, const AttentionCall& call) {
  if (call.kv.page_size < kBox) return false;
  if (call.kv.dtype == DType::F16) {
    if (call.kv.head_dim == 64) return prefill_on_hopper<__half, 64>(stream, call);
    if (call.kv.head_dim == 128) return prefill_on_hopper<__half, 128>(stream, call);
  }
  if (call.kv.dtype == DType::BF16) {
    if (call.kv.head_dim == 64) return prefill_on_hopper<__nv_bfloat16, 64>(stream, call);
    if (call.kv.head_dim == 128) return prefill_on_hopper<__nv_bfloat16, 128>(stream, call);
  }
  return false;
}

}  // namespace sgl::cuda
