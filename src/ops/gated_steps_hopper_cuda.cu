// Gated products of a decode step's rows by Hopper's own instructions: act(x · gatesᵀ) · (x · upsᵀ) of up to 256 rows,
// where reading the weights takes as long as the products.
//
// A block computes 112 outputs of all rows: each weight goes to one processor, and Llama-3's 14,336 outputs are 128
// blocks, so that nearly all processors have one and none has two. Tiles of 64 columns of x, of the gates and of the
// ups come to shared memory, swizzled (hopper_cuda.h); two warpgroups multiply, half of the rows each, so that a thread
// has an output's gate and its up. Their sums take 224 of a thread's 255 registers, which leaves none for a warp that
// only copies: a thread of the first one begins the copies. The two blocks of a cluster copy half of x each, for both.
// The first weights are fetched while the kernel before this one still runs.
//
// What a row comes to does not depend on the others.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/hopper_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/products_cuda.h"
#include "sgl/error.h"

namespace sgl::cuda {
namespace {

constexpr int kOutputs = 112;  // of a block; with their ups as many columns as fit into registers
constexpr int kTileRows = 64;  // of x, in one product
constexpr int kThreads = 2 * kWarpgroup;
constexpr int kWBytes = 2 * kOutputs * kSwizzledRowBytes;
constexpr int kStageBytes = 220 << 10;  // of all stages, at most

template <int kTiles>  // of rows, of a warpgroup
struct Shared {
  static constexpr int kXBytes = 2 * kTiles * kTileRows * kSwizzledRowBytes;
  static constexpr int kStages = kStageBytes / (kXBytes + kWBytes);
  unsigned char x[kStages][kXBytes], w[kStages][kWBytes];
  Barrier full[kStages], empty[kStages];
};
static_assert(sizeof(Shared<1>) <= 227 << 10 && sizeof(Shared<2>) <= 227 << 10);

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int kOutStride = 2 * kOutputs + 16;  // bytes of a row on its way out, so that eight are on different banks

// Which columns a block multiplies in its step i. Blocks begin at different ones: when all read the same columns at a
// time, a step takes 3 % longer.
struct Columns {
  int steps;

  __device__ int at(int i) const {
    constexpr int kApart = 7;  // the first steps of neighbouring clusters
    return (i + static_cast<int>(blockIdx.x) * kApart) % steps * kSwizzledColumns;
  }
};

// By one thread. tile: of the outputs.
template <int kTiles>
__device__ void fetch_w(Shared<kTiles>& shared, const CUtensorMap& w, Columns columns, int i, int tile, int outputs) {
  using S = Shared<kTiles>;
  const int stage = i % S::kStages;
  shared.full[stage].arrive_and_expect(S::kXBytes + kWBytes);
  for (int side = 0; side < 2; ++side) {
    copy_box(shared.w[stage] + side * kWBytes / 2, w, columns.at(i), side * outputs + tile * kOutputs,
             shared.full[stage]);
  }
}

template <int kTiles>
__device__ void fetch_x(Shared<kTiles>& shared, const CUtensorMap& x, Columns columns, int i) {
  using S = Shared<kTiles>;
  const int stage = i % S::kStages, block = static_cast<int>(blockIdx.z);
  copy_box_to_pair(shared.x[stage] + block * S::kXBytes / 2, x, columns.at(i), block * kTiles * kTileRows,
                   shared.full[stage]);
}

// By a warpgroup, for its rows: the gates, then the ups. refill(i): fetches step i.
template <typename T, int kTiles, typename Refill>
__device__ void multiply_columns(float (&sums)[kTiles][kOutputs], Shared<kTiles>& shared, int steps, int group,
                                 Refill refill) {
  using S = Shared<kTiles>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int i = 0; i < steps; ++i) {
    const int stage = i % S::kStages;
    shared.full[stage].wait(i / S::kStages % 2);
    const uint64_t x = describe_tile(shared.x[stage] + group * S::kXBytes / 2), w = describe_tile(shared.w[stage]);
    begin_products();
#pragma unroll
    for (int k = 0; k < kSwizzledColumns / 16; ++k) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        multiply_tiles(sums[tile], x + tile * (kTileRows * kSwizzledRowBytes / 16) + k * 2, w + k * 2, i + k > 0, T{});
      }
    }
    commit_products();
    wait_for_products<1>();
    if (i == 0) continue;
    const int before = i - 1, next = before + S::kStages;
    if (lane < 2) shared.empty[before % S::kStages].arrive_at_block(lane);
    if (threadIdx.x == 0 && next < steps) {
      shared.empty[before % S::kStages].wait(before / S::kStages % 2);
      refill(next);
    }
    __syncwarp();
  }
  wait_for_products<0>();
#pragma unroll
  for (auto& of : sums) touch(of);
}

// By a warp: its 16 rows of a tile, from row on, by way of shared memory.
template <typename T>
__device__ void store_rows(const float (&sums)[kOutputs], unsigned char* shared, T* y, int64_t stride, int row,
                           int rows, int output, int outputs, Act act) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto put = [&](auto activated) {
#pragma unroll
    for (int i = 0; i < kOutputs / 2; i += 2) {
      alignas(4) T pair[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) pair[k] = from_float<T>(activated(sums[i + k]) * sums[kOutputs / 2 + i + k]);
      *reinterpret_cast<uint32_t*>(shared + (lane / 4 + i / 2 % 2 * 8) * kOutStride + i / 4 * 16 + lane % 4 * 4) =
          *reinterpret_cast<const uint32_t*>(pair);
    }
  };
  if (act == Act::Silu) {
    put([](float x) { return activate(x, Act::Silu); });
  } else {
    put([act](float x) { return activate(x, act); });
  }
  __syncwarp();
  constexpr int kPieces = kOutputs / 8;  // of 16 bytes, of a row
  for (int i = lane; i < 16 * kPieces; i += kWarp) {
    const int r = i / kPieces, column = i % kPieces * 8;
    if (row + r >= rows || output + column >= outputs) continue;
    *reinterpret_cast<uint4*>(y + (row + r) * stride + output + column) =
        *reinterpret_cast<const uint4*>(shared + r * kOutStride + column * 2);
  }
}

#endif

// Clusters of two blocks along z, which have neighbouring outputs.
template <typename T, int kTiles>
__global__ void __launch_bounds__(kThreads, 1)
    gated_step_kernel(T* y, int64_t stride, const __grid_constant__ CUtensorMap x,
                      const __grid_constant__ CUtensorMap w, int rows, int steps, int outputs, Act act) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  using S = Shared<kTiles>;
  S& shared = *reinterpret_cast<S*>(memory);
  const int thread = static_cast<int>(threadIdx.x), group = thread / kWarpgroup;
  const int tile = static_cast<int>(blockIdx.x * 2 + blockIdx.z);
  if (thread == 0) {
    for (int i = 0; i < S::kStages; ++i) {
      shared.full[i].init(1);
      shared.empty[i].init(2 * kThreads / kWarp);
    }
    fence_barriers();
  }
  sync_cluster();
  const Columns columns{steps};
  if (thread == 0) {
    const int early = min(steps, S::kStages);
    for (int i = 0; i < early; ++i) fetch_w<kTiles>(shared, w, columns, i, tile, outputs);
    wait_for_previous();
    for (int i = 0; i < early; ++i) fetch_x<kTiles>(shared, x, columns, i);
  }
  __syncwarp();
  float sums[kTiles][kOutputs];
  multiply_columns<T, kTiles>(sums, shared, steps, group, [&](int i) {
    fetch_w<kTiles>(shared, w, columns, i, tile, outputs);
    fetch_x<kTiles>(shared, x, columns, i);
  });
  wait_for_previous();  // it may have to do with y
  __syncthreads();      // the outputs take the place of x and w
  const int warp = thread / kWarp;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    store_rows(sums[i], memory + (warp * kTiles + i) * 16 * kOutStride, y, stride,
               (group * kTiles + i) * kTileRows + warp % 4 * 16, rows, tile * kOutputs, outputs, act);
  }
  sync_cluster();  // the other block may have to say that a stage is empty
#endif
}

template <typename T>
bool can_run() {
  return once_per_device([] {
    return can_run_on_hopper(gated_step_kernel<T, 1>, sizeof(Shared<1>)) &&
           can_run_on_hopper(gated_step_kernel<T, 2>, sizeof(Shared<2>));
  });
}

}  // namespace

bool can_multiply_gated_step(const Tensor& out, const Tensor& x, const QuantizedMatrix& w) {
  const int64_t outputs = w.out / 2;
  if (w.format != Quantization::None || out.dtype != x.dtype || outputs % 8 != 0 || w.in % 8 != 0) return false;
  if (x.rows() <= kDenseTilesRows || x.rows() > 4 * kTileRows) return false;
  // In the last round some processors have nothing to do; where that is more than a fifth of them, cuBLASLt is as fast.
  const int tiles = rounded_up(outputs, kOutputs), at_once = num_processors(), rounds = rounded_up(tiles, at_once);
  if (5 * tiles < 4 * rounds * at_once) return false;
  return x.dtype == DType::BF16 ? can_run<__nv_bfloat16>() : x.dtype == DType::F16 && can_run<__half>();
}

void multiply_gated_step(cudaStream_t stream, Tensor out, Tensor x, const QuantizedMatrix& w, Act act) {
  const auto run = [&]<typename T, int kTiles>(T* y) {
    CUtensorMap x_map, w_map;
    if (!describe_matrix(x_map, x.dtype, x.data, x.rows(), x.cols(), x.row_stride, kTiles * kTileRows) ||
        !describe_matrix(w_map, x.dtype, w.codes, w.out, w.in, w.in, kOutputs)) {
      throw Error(ErrorKind::Internal, "cuda: the driver does not describe x and w for a step's gated product");
    }
    const int pairs = rounded_up(w.out / 2, 2 * kOutputs), steps = rounded_up(w.in, kSwizzledColumns);
    launch_clusters(stream, dim3(static_cast<unsigned>(pairs), 1, 2), kThreads, sizeof(Shared<kTiles>),
                    gated_step_kernel<T, kTiles>, y, out.row_stride, x_map, w_map, static_cast<int>(x.rows()), steps,
                    static_cast<int>(w.out / 2), act);
  };
  const auto choose = [&]<typename T>(T* y) {
    x.rows() <= 2 * kTileRows ? run.template operator()<T, 1>(y) : run.template operator()<T, 2>(y);
  };
  x.dtype == DType::BF16 ? choose(reinterpret_cast<__nv_bfloat16*>(out.data))
                         : choose(reinterpret_cast<__half*>(out.data));
}

}  // namespace sgl::cuda
