// Gated products of many rows by Hopper's own instructions: act(x · gatesᵀ) · (x · upsᵀ), so that the sums of
// both never go to memory.
//
// A block computes tiles of 128 rows by 128 outputs, one after the other. One thread copies 64 columns at a time of x,
// of the gates and of the ups to shared memory, in swizzled tiles (hopper_cuda.h); two warpgroups multiply them, 64
// rows each, so that a thread has an output's gate and its up. The two blocks of a cluster compute the same outputs of
// neighbouring rows: each copies half of the weights, for both. Tiles are in such an order that those that are computed
// at a time need few rows of x and of w, which stay in the second-level cache.
//
// What a row comes to does not depend on the others.

#include <algorithm>
#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/hopper_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/products_cuda.h"
#include "sgl/error.h"

namespace sgl::cuda {
namespace {

constexpr int kTile = 128;        // rows of x, and outputs, of a block
constexpr int kPair = 2 * kTile;  // rows of x of a cluster
constexpr int kMultiplying = 2 * kWarpgroup, kThreads = kMultiplying + kWarpgroup;
constexpr int kStages = 4;
constexpr int kBoxBytes = kTile * kSwizzledRowBytes;
// One row in so many of the tiles' may be beyond the last one: of one pair of tiles more, since reading the weights is
// most of the time there.
constexpr int kMostIdle = 8, kMostIdleOfOnePair = 5;

struct Shared {
  unsigned char x[kStages][kBoxBytes], w[kStages][2][kBoxBytes];
  unsigned char out[2][2][kBoxBytes / 2];  // of each warpgroup, columns of 64
  Barrier full[kStages], empty[kStages];
};
static_assert(sizeof(Shared) <= 227 << 10);

/// Which tiles there are, by number.
struct Tiles {
  int pairs, columns;  ///< of rows, of outputs
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int kTogether = 8;  // pairs of tiles whose rows of x stay in the cache while w is read
constexpr int kStageBytes = 3 * kBoxBytes;
constexpr int kGates = kTile / 2, kSums = 2 * kGates;  // of a thread: its share of 64 rows of gates, and the ups

// Where a tile is: kTogether pairs of rows, then the next outputs with the same rows, and so on.
__device__ inline void place_of(const Tiles& tiles, int number, int& pair, int& column) {
  const int band = number / (kTogether * tiles.columns), first = band * kTogether;
  const int height = min(kTogether, tiles.pairs - first), within = number - band * kTogether * tiles.columns;
  pair = first + within % height;
  column = within / height;
}

// By one thread. The weights of the first columns do not depend on the kernel before this one: they are fetched while
// it still runs.
__device__ inline void fetch_tiles(Shared& shared, const CUtensorMap& x, const CUtensorMap& w, Tiles tiles, int steps,
                                   int outputs) {
  const int block = static_cast<int>(blockIdx.z), early = min(steps, kStages);
  int step = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles.pairs * tiles.columns;
       tile += static_cast<int>(gridDim.x)) {
    int pair, column;
    place_of(tiles, tile, pair, column);
    const int row = pair * kPair + block * kTile, output = column * kTile + (block == 0 ? 0 : outputs);
    auto fetch_w = [&](int i, int stage) {
      shared.full[stage].arrive_and_expect(kStageBytes);
      copy_box_to_pair(shared.w[stage][block], w, i * kSwizzledColumns, output, shared.full[stage]);
    };
    if (step == 0) {
      for (int i = 0; i < early; ++i) fetch_w(i, i);
      wait_for_previous();
    }
    for (int i = 0; i < steps; ++i, ++step) {
      const int stage = step % kStages;
      if (step >= early) {
        shared.empty[stage].wait(step / kStages % 2 ^ 1);
        fetch_w(i, stage);
      }
      copy_box(shared.x[stage], x, i * kSwizzledColumns, row, shared.full[stage]);
    }
  }
}

// By a warpgroup: 64 rows of gates, then of ups.
template <typename T>
__device__ void multiply_tile(float (&sums)[kSums], Shared& shared, int steps, int& step, int group) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int i = 0; i < steps; ++i, ++step) {
    const int stage = step % kStages;
    shared.full[stage].wait(step / kStages % 2);
    const uint64_t x = describe_tile(shared.x[stage] + group * kBoxBytes / 2), w = describe_tile(shared.w[stage]);
    begin_products();
#pragma unroll
    for (int k = 0; k < kSwizzledColumns / 16; ++k) multiply_tiles(sums, x + k * 2, w + k * 2, i + k > 0, T{});
    commit_products();
    wait_for_products<1>();
    if (i > 0 && lane < 2) shared.empty[(step - 1) % kStages].arrive_at_block(lane);
  }
  wait_for_products<0>();
  if (lane < 2) shared.empty[(step - 1) % kStages].arrive_at_block(lane);
  touch(sums);
}

template <typename T>
__device__ void store_tile(const float (&sums)[kSums], Shared& shared, const CUtensorMap& out, Act act, int row,
                           int output, int group) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, lane = thread % kWarp;
  if (thread == 0) wait_for_stores_to_read();
  sync_some<kWarpgroup>(1 + group);
  const auto put = [&](auto activated) {
#pragma unroll
    for (int i = 0; i < kGates; i += 2) {
      const int r = thread / kWarp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8;
      alignas(4) T pair[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) pair[k] = from_float<T>(activated(sums[i + k]) * sums[kGates + i + k]);
      unsigned char* box = shared.out[group][column / kSwizzledColumns];
      const int piece = column % kSwizzledColumns / 8 ^ r % 8;
      *reinterpret_cast<uint32_t*>(box + r * kSwizzledRowBytes + piece * 16 + lane % 4 * 4) =
          *reinterpret_cast<const uint32_t*>(pair);
    }
  };
  if (act == Act::Silu) {
    put([](float x) { return activate(x, Act::Silu); });
  } else {
    put([act](float x) { return activate(x, act); });
  }
  fence_shared_writes();
  sync_some<kWarpgroup>(1 + group);
  if (thread == 0) {
    for (int i = 0; i < 2; ++i) store_box(out, shared.out[group][i], output + i * kSwizzledColumns, row);
    commit_stores();
  }
}

#endif

// Clusters of two blocks along z.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1)
    gated_tiles_kernel(const __grid_constant__ CUtensorMap out, const __grid_constant__ CUtensorMap x,
                       const __grid_constant__ CUtensorMap w, Tiles tiles, int steps, int outputs, Act act) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int thread = static_cast<int>(threadIdx.x), group = thread / kWarpgroup;
  if (thread == 0) {
    for (int i = 0; i < kStages; ++i) {
      shared.full[i].init(1);
      shared.empty[i].init(2 * kMultiplying / kWarp);
    }
    fence_barriers();
  }
  sync_cluster();
  if (group == 2) {
    give_registers<24>();
    if (thread == kMultiplying) fetch_tiles(shared, x, w, tiles, steps, outputs);
  } else {
    take_registers<240>();
    wait_for_previous();  // it may have to do with y
    int step = 0;
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles.pairs * tiles.columns;
         tile += static_cast<int>(gridDim.x)) {
      float sums[kSums];
      multiply_tile<T>(sums, shared, steps, step, group);
      int pair, column;
      place_of(tiles, tile, pair, column);
      store_tile<T>(sums, shared, out, act, pair * kPair + static_cast<int>(blockIdx.z) * kTile + group * kTile / 2,
                    column * kTile, group);
    }
    if (thread % kWarpgroup == 0) wait_for_stores();
  }
  sync_cluster();  // the other block may have to say that a stage is empty
#endif
}

template <typename T>
bool can_run() {
  return once_per_device([] { return can_run_on_hopper(gated_tiles_kernel<T>, sizeof(Shared)); });
}

}  // namespace

bool can_multiply_gated(const Tensor& out, const Tensor& x, const QuantizedMatrix& w) {
  const int64_t outputs = w.out / 2;
  if (w.format != Quantization::None || out.dtype != x.dtype || outputs % 8 != 0 || w.in % 8 != 0) return false;
  const int pairs = rounded_up(x.rows(), kPair), tiles = pairs * rounded_up(outputs, kTile);
  const int most_idle = pairs == 1 ? kMostIdleOfOnePair : kMostIdle;
  if (most_idle * (pairs * kPair - x.rows()) > pairs * kPair) return false;
  // Tiles are computed in rounds, and in the last one some processors have none. Of few rows, where reading the weights
  // is most of the time, that matters less.
  const int at_once = num_processors() / 2, rounds = rounded_up(tiles, at_once);
  const bool pays =
      10 * tiles >= 9 * rounds * at_once || (pairs == 1 && rounds <= 2 && 5 * tiles >= 4 * rounds * at_once);
  return pays && (x.dtype == DType::BF16 ? can_run<__nv_bfloat16>() : x.dtype == DType::F16 && can_run<__half>());
}

void multiply_gated(cudaStream_t stream, Tensor out, Tensor x, const QuantizedMatrix& w, Act act) {
  const int64_t outputs = w.out / 2;
  CUtensorMap out_map, x_map, w_map;
  if (!describe_matrix(out_map, out.dtype, out.data, out.rows(), out.cols(), out.row_stride, kTile / 2) ||
      !describe_matrix(x_map, x.dtype, x.data, x.rows(), x.cols(), x.row_stride, kTile) ||
      !describe_matrix(w_map, x.dtype, w.codes, w.out, w.in, w.in, kTile)) {
    throw Error(ErrorKind::Internal, "cuda: the driver does not describe x, w and y for a gated product of many rows");
  }
  const Tiles tiles{rounded_up(x.rows(), kPair), rounded_up(outputs, kTile)};
  const int blocks = std::min(tiles.pairs * tiles.columns, num_processors() / 2);
  const auto launch = [&](auto* kernel) {
    launch_clusters(stream, dim3(static_cast<unsigned>(blocks), 1, 2), kThreads, sizeof(Shared), kernel, out_map, x_map,
                    w_map, tiles, rounded_up(w.in, kSwizzledColumns), static_cast<int>(outputs), act);
  };
  x.dtype == DType::BF16 ? launch(gated_tiles_kernel<__nv_bfloat16>) : launch(gated_tiles_kernel<__half>);
}

}  // namespace sgl::cuda
