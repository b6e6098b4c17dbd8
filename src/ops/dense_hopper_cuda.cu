// Products of some rows with weights in 16 bits by Hopper's own instructions: more rows than gemv_cuda.cu, and so few
// that reading the weights is most of the time still.
//
// A block computes 128 outputs (of a gated product: 64 gates and their ups) for all rows of x. One thread copies 64
// columns at a time of both to shared memory, in swizzled tiles (hopper_cuda.h); two warpgroups multiply them, 64
// outputs each. Weights do not depend on the kernel before this one, so the first ones are fetched while it still runs.
// Where there are few outputs the blocks of a cluster share the columns, and add up their sums in the end.
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

constexpr int kHalf = 64, kOutputs = 2 * kHalf;  // of a warpgroup, of a block
constexpr int kMultiplying = 2 * kWarpgroup, kThreads = kMultiplying + kWarp;
constexpr int kBlocks = 2;                // on a processor at once: one's end and the other's start overlap
constexpr int kMostParts = 4;             // of the columns; eight take longer to add up than they save
constexpr int kSumStride = kOutputs + 4;  // of a row's sums in shared memory
constexpr int kStageBytes = 100 << 10;    // of all stages, at most

template <int kRows>
struct Shared {
  static constexpr int kXBytes = kRows * kSwizzledRowBytes, kWBytes = kHalf * kSwizzledRowBytes;
  static constexpr int kStages = kStageBytes / (kXBytes + 2 * kWBytes);
  unsigned char x[kStages][kXBytes], w[kStages][2][kWBytes];
  Barrier full[kStages], empty[kStages];
};
static_assert(kBlocks * (sizeof(Shared<32>) + 1024) <= 228 << 10 && kBlocks * (sizeof(Shared<64>) + 1024) <= 228 << 10);
static_assert(64 * kSumStride * sizeof(float) <= sizeof(Shared<64>));  // the sums take their place

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// By one thread: the block's columns. rows: of w, of each half.
template <int kRows>
__device__ void fetch_columns(Shared<kRows>& shared, const CUtensorMap& x, const CUtensorMap& w, int first, int steps,
                              const int (&rows)[2]) {
  using S = Shared<kRows>;
  auto fetch_w = [&](int i) {
    const int stage = i % S::kStages;
    shared.full[stage].arrive_and_expect(S::kXBytes + 2 * S::kWBytes);
    for (int half = 0; half < 2; ++half) {
      copy_box(shared.w[stage][half], w, (first + i) * kSwizzledColumns, rows[half], shared.full[stage]);
    }
  };
  auto fetch_x = [&](int i) {
    const int stage = i % S::kStages;
    copy_box(shared.x[stage], x, (first + i) * kSwizzledColumns, 0, shared.full[stage]);
  };
  const int early = min(steps, S::kStages);
  for (int i = 0; i < early; ++i) fetch_w(i);
  wait_for_previous();
  for (int i = 0; i < early; ++i) fetch_x(i);
  for (int i = early; i < steps; ++i) {
    shared.empty[i % S::kStages].wait(i / S::kStages % 2 ^ 1);
    fetch_w(i);
    fetch_x(i);
  }
}

// By a warpgroup: the sums of its outputs.
template <typename T, int kRows>
__device__ void multiply_columns(float (&sums)[kRows / 2], Shared<kRows>& shared, int steps, int half) {
  using S = Shared<kRows>;
  const bool says = threadIdx.x % kWarp == 0;
#pragma unroll
  for (float& sum : sums) sum = 0.0F;
  for (int i = 0; i < steps; ++i) {
    const int stage = i % S::kStages;
    shared.full[stage].wait(i / S::kStages % 2);
    const uint64_t w = describe_tile(shared.w[stage][half]), x = describe_tile(shared.x[stage]);
    begin_products();
#pragma unroll
    for (int k = 0; k < kSwizzledColumns / 16; ++k) multiply_tiles(sums, w + k * 2, x + k * 2, true, T{});
    commit_products();
    wait_for_products<1>();
    if (i > 0 && says) shared.empty[(i - 1) % S::kStages].arrive();
  }
  wait_for_products<0>();
  touch(sums);
}

#endif

// n rows; outputs from those of blockIdx.y on; of the columns the blockIdx.z-th part, which the blocks of a cluster
// share.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dense_tiles_kernel(Output to, const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w, int in,
                       int out, int n) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared<kRows>& shared = *reinterpret_cast<Shared<kRows>*>(memory);
  const int thread = static_cast<int>(threadIdx.x), group = thread / kWarpgroup;
  const bool gated = to.result == Result::Gated;
  const int outputs = gated ? out / 2 : out, quad_bits = gated ? 4 : 5;  // quads of outputs in a row of the tile
  const int tile = static_cast<int>(blockIdx.y) << (quad_bits + 2);
  const int all_steps = (in + kSwizzledColumns - 1) / kSwizzledColumns, parts = static_cast<int>(gridDim.z);
  const int part = static_cast<int>(blockIdx.z), part_steps = (all_steps + parts - 1) / parts;
  const int first = part * part_steps, steps = min(part_steps, all_steps - first);
  if (thread == 0) {
    for (int i = 0; i < Shared<kRows>::kStages; ++i) {
      shared.full[i].init(1);
      shared.empty[i].init(kMultiplying / kWarp);
    }
    fence_barriers();
  }
  __syncthreads();
  float sums[kRows / 2];
  if (group < 2) {
    multiply_columns<T, kRows>(sums, shared, steps, group);
  } else if (thread == kMultiplying) {
    const int rows[2] = {tile, gated ? tile + outputs : tile + kHalf};
    fetch_columns<kRows>(shared, x, w, first, steps, rows);
  }
  __syncwarp();

  // The sums meet in shared memory: [row][output].
  __syncthreads();
  float* all = reinterpret_cast<float*>(memory);
  if (group < 2) {
    const int lane = thread % kWarp, m = thread / kWarp;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
      const int row = i / 4 * 8 + lane % 4 * 2 + i % 2, place = 16 * m + lane / 4 + i / 2 % 2 * 8;
      all[row * kSumStride + place] = sums[i];
    }
  }
  wait_for_previous();  // it may have to do with y
  parts > 1 ? sync_cluster() : __syncthreads();
  for (int i = part * kThreads + thread; i < n << quad_bits; i += parts * kThreads) {
    const int row = i >> quad_bits, place = (i & ((1 << quad_bits) - 1)) * 4, output = tile + place;
    if (output >= outputs) continue;
    auto total = [&](int side, float(&x)[4]) {
#pragma unroll
      for (int k = 0; k < 4; ++k) x[k] = to.bias != nullptr ? to.bias[output + k + side * outputs] : 0.0F;
      for (int of = 0; of < parts; ++of) {
        const float* at = all + row * kSumStride + kHalf * side + place;
        const float4 some = parts > 1 ? load_four_from_block(at, of) : *reinterpret_cast<const float4*>(at);
        x[0] += some.x, x[1] += some.y, x[2] += some.z, x[3] += some.w;
      }
    };
    float values[4], ups[4];
    total(0, values);
    if (gated) {
      total(1, ups);
#pragma unroll
      for (int k = 0; k < 4; ++k) values[k] = activate(values[k], to.act) * ups[k];
    }
    const int64_t where = row * to.stride + output;
    if (to.is_float) {
      float4* y = reinterpret_cast<float4*>(static_cast<float*>(to.y) + where);
      const float4 old = to.result == Result::Add ? *y : float4{};
      *y = {old.x + values[0], old.y + values[1], old.z + values[2], old.w + values[3]};
    } else {
      alignas(8) T rounded[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) rounded[k] = from_float<T>(values[k]);
      *reinterpret_cast<uint2*>(static_cast<T*>(to.y) + where) = *reinterpret_cast<const uint2*>(rounded);
    }
  }
  if (parts > 1) sync_cluster();  // what others read stays until they have
#endif
}

template <typename T, int kRows>
bool can_run() {
  return once_per_device([] { return can_run_on_hopper(dense_tiles_kernel<T, kRows>, sizeof(Shared<kRows>)); });
}

template <typename T, int kRows>
void run(cudaStream_t stream, const Output& to, const Tensor& x, const QuantizedMatrix& w) {
  CUtensorMap x_map, w_map;
  if (!describe_matrix(x_map, x.dtype, x.data, x.rows(), x.cols(), x.row_stride, kRows) ||
      !describe_matrix(w_map, x.dtype, w.codes, w.out, w.in, w.in, kHalf)) {
    throw Error(ErrorKind::Internal, "cuda: the driver does not describe x and w for a product of some rows");
  }
  const int64_t outputs = to.result == Result::Gated ? w.out / 2 : w.out,
                each = to.result == Result::Gated ? kHalf : kOutputs, tiles = (outputs + each - 1) / each;
  // Blocks that all run at the same time, as many as there is room for.
  const int64_t steps = (w.in + kSwizzledColumns - 1) / kSwizzledColumns;
  int64_t parts = 1;
  while (parts < kMostParts && 2 * parts * tiles <= kBlocks * num_processors() && 2 * parts <= steps) parts *= 2;
  while ((parts - 1) * ((steps + parts - 1) / parts) >= steps) parts /= 2;  // none without columns
  launch_clusters(stream, dim3(1, static_cast<unsigned>(tiles), static_cast<unsigned>(parts)), kThreads,
                  sizeof(Shared<kRows>), dense_tiles_kernel<T, kRows>, to, x_map, w_map, static_cast<int>(w.in),
                  static_cast<int>(w.out), static_cast<int>(x.rows()));
}

}  // namespace

bool has_dense_tiles() {
  return can_run<__half, 32>() && can_run<__half, 64>() && can_run<__nv_bfloat16, 32>() && can_run<__nv_bfloat16, 64>();
}

template <typename T>
void multiply_dense_tiles(cudaStream_t stream, const Output& to, Tensor x, const QuantizedMatrix& w) {
  x.rows() > 32 ? run<T, 64>(stream, to, x, w) : run<T, 32>(stream, to, x, w);
}
template void multiply_dense_tiles<__half>(cudaStream_t, const Output&, Tensor, const QuantizedMatrix&);
template void multiply_dense_tiles<__nv_bfloat16>(cudaStream_t, const Output&, Tensor, const QuantizedMatrix&);

}  // namespace sgl::cuda
