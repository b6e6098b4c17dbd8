// Products of some rows with int4 weights by Hopper's own instructions: more rows than gemv_cuda.cu, which reads x
// again for every 16 outputs, and fewer than pay for expanding the weights in memory.
//
// A block computes 64 outputs (of a gated product: 32 gates and their ups) for 64 or 128 rows of x. One warp copies
// groups of 128 columns of both to shared memory. Two or three warpgroups multiply them in turn: each expands the codes
// of a group exactly to numbers of x's type in registers, which are the first operand of wgmma; x, in a swizzled tile
// (hopper_cuda.h), is the second. The group's sums, of integers times x, get its scale and are added in float32.
//
//   lane 4·g + t of warp m:   outputs 16·m + g and 8 more;   of every eight columns, 2·t and the next
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

constexpr int kGroup = static_cast<int>(kInt4Group), kPiece = static_cast<int>(kInt4Piece);
constexpr int kOutputs = 64, kEights = kOutputs / 8;
constexpr int kSumStride = kOutputs + 4;  // of a row's sums in shared memory

// So many warpgroups as have registers.
template <int kRows>
constexpr int kTakers = kRows > 64 ? 2 : 3;
template <int kRows>
constexpr int kThreads = kTakers<kRows>* kWarpgroup + kWarp;
// A stage always goes to the same warpgroup. Else one could come to a stage's second round without having waited for
// its first: while that is on its way, the second one's parity, which is that of the round before the first, counts as
// over.
template <int kRows>
constexpr int kStages = kRows > 64 ? 6 : 9;
static_assert(kStages<64> % kTakers<64> == 0 && kStages<128> % kTakers<128> == 0);

template <int kRows>
struct Shared {
  static constexpr int kColumnBytes = kRows * kSwizzledRowBytes;  // of a tile's column of 64
  static constexpr int kXBytes = kGroup / kSwizzledColumns * kColumnBytes, kCodeBytes = kEights * kPiece;
  unsigned char x[kStages<kRows>][kXBytes], codes[kStages<kRows>][kCodeBytes];
  Barrier full[kStages<kRows>], empty[kStages<kRows>];
};
static_assert(sizeof(Shared<64>) <= 227 << 10 && sizeof(Shared<128>) <= 227 << 10);
static_assert(kTakers<64> * 64 * kSumStride * sizeof(float) <= sizeof(Shared<64>::x));
static_assert(kTakers<128> * 128 * kSumStride * sizeof(float) <= sizeof(Shared<128>::x));

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// By one warp: the groups of the block. outputs: of the product, or its gates.
template <int kRows>
__device__ void fetch_groups(Shared<kRows>& shared, const CUtensorMap& x, const QuantizedMatrix& w, int first_group,
                             int groups, int first_row, int tile, bool gated, int outputs) {
  constexpr int kBytes = Shared<kRows>::kXBytes + Shared<kRows>::kCodeBytes;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // Eights 2m and 2m + 1 are those of warp m: gates and ups, or neighbours.
  const int row = gated ? tile + lane / 2 * 8 + lane % 2 * outputs : tile + lane * 8;
  const int64_t eight = min(row, static_cast<int>(w.out) - 1) / 8;
  const std::byte* codes = w.codes + (eight * num_chunks(Quantization::Int4, w.in) + first_group) * kPiece;
  for (int i = 0; i < groups; ++i) {
    const int stage = i % kStages<kRows>;
    Barrier& full = shared.full[stage];
    if (i >= kStages<kRows>) shared.empty[stage].wait(i / kStages<kRows> % 2 ^ 1);
    if (lane == 0) full.arrive_and_expect(kBytes);
    __syncwarp();
    if (lane < kEights) copy_bytes(shared.codes[stage] + lane * kPiece, codes + int64_t{i} * kPiece, kPiece, full);
    if (lane < 2) {
      copy_box(shared.x[stage] + lane * Shared<kRows>::kColumnBytes, x,
               (first_group + i) * kGroup + lane * kSwizzledColumns, first_row, full);
    }
  }
}

// What a lane has of a group of codes, 16 outputs by 128 columns: for each 16 columns, the first operand.
template <typename T>
__device__ inline void expand_group(uint32_t (&a)[8][4], float (&scales)[2], const unsigned char* codes, int g, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const unsigned char* piece = codes + r * kPiece;
    const uint32_t both = *reinterpret_cast<const uint32_t*>(piece + 8 * kCodeChunk + g * 4);
    scales[r] = __half2float(__ushort_as_half(static_cast<uint16_t>(both & 0xffffU)));
    const uint32_t zero = (both >> 16) * 0x10001U | Expand<T>::kInt4Above;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4 words = *reinterpret_cast<const uint4*>(piece + g * kCodeChunk + i * 16);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        a[2 * i + k / 2][r + k % 2 * 2] =
            Expand<T>::difference(and_or(word(words, k) >> (4 * t), 0x000f000fU, Expand<T>::kInt4Above), zero);
      }
    }
  }
}

// By a warpgroup: the products of the groups whose turn it is, added up.
template <typename T, int kRows>
__device__ void multiply_groups(float (&sums)[kRows / 2], Shared<kRows>& shared, int groups, int first) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, m = static_cast<int>(threadIdx.x) % kWarpgroup / kWarp;
#pragma unroll
  for (float& sum : sums) sum = 0.0F;
  for (int i = first; i < groups; i += kTakers<kRows>) {
    const int stage = i % kStages<kRows>;
    shared.full[stage].wait(i / kStages<kRows> % 2);
    uint32_t a[8][4];
    float scales[2], parts[kRows / 2];
    expand_group<T>(a, scales, shared.codes[stage] + 2 * m * kPiece, lane / 4, lane % 4);
    const uint64_t x = describe_tile(shared.x[stage]);
    begin_products();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      multiply_weights(parts, a[k], x + (k / 4 * Shared<kRows>::kColumnBytes + k % 4 * 32) / 16, k > 0, T{});
    }
    commit_products();
    wait_for_products<0>();
    touch(parts);
    __syncwarp();  // all lanes have read the codes
    if (lane == 0) shared.empty[stage].arrive();
#pragma unroll
    for (int k = 0; k < kRows / 2; ++k) sums[k] += parts[k] * scales[k / 2 % 2];
  }
}

#endif

// n rows, from kRows · blockIdx.x on; outputs from kOutputs · blockIdx.y on; of the groups the blockIdx.z-th part,
// which the blocks of a cluster share.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads<kRows>, 1)
    int4_tiles_kernel(Output to, const __grid_constant__ CUtensorMap x, QuantizedMatrix w, int n) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared<kRows>& shared = *reinterpret_cast<Shared<kRows>*>(memory);
  const int thread = static_cast<int>(threadIdx.x), taker = thread / kWarpgroup;
  const bool gated = to.result == Result::Gated;
  const int outputs = static_cast<int>(gated ? w.out / 2 : w.out), slot_bits = gated ? 5 : 6;
  const int tile = static_cast<int>(blockIdx.y) << slot_bits, first_row = static_cast<int>(blockIdx.x) * kRows;
  const int all_groups = (static_cast<int>(w.in) + kGroup - 1) / kGroup, parts = static_cast<int>(gridDim.z);
  const int part = static_cast<int>(blockIdx.z), part_groups = (all_groups + parts - 1) / parts;
  const int groups = min(part_groups, all_groups - part * part_groups);
  if (thread == 0) {
    for (int i = 0; i < kStages<kRows>; ++i) {
      shared.full[i].init(1);
      shared.empty[i].init(kWarpgroup / kWarp);
    }
    fence_barriers();
  }
  __syncthreads();
  wait_for_previous();  // let_next_start() is left out: it gains nothing
  float sums[kRows / 2];
  if (taker < kTakers<kRows>) {
    multiply_groups<T, kRows>(sums, shared, groups, taker);
  } else {
    fetch_groups<kRows>(shared, x, w, part * part_groups, groups, first_row, tile, gated, outputs);
  }

  // The sums meet in shared memory: [warpgroup][row][output].
  __syncthreads();
  float* all = reinterpret_cast<float*>(memory);
  if (taker < kTakers<kRows>) {
    const int lane = thread % kWarp, m = thread % kWarpgroup / kWarp;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
      const int row = i / 4 * 8 + lane % 4 * 2 + i % 2, place = 16 * m + lane / 4 + i / 2 % 2 * 8;
      all[(taker * kRows + row) * kSumStride + place] = sums[i];
    }
  }
  parts > 1 ? sync_cluster() : __syncthreads();
  for (int i = part * kThreads<kRows> + thread; i < kRows << slot_bits; i += parts * kThreads<kRows>) {
    const int row = i >> slot_bits, place = i & ((1 << slot_bits) - 1), output = tile + place;
    if (first_row + row >= n || output >= outputs) continue;
    auto total = [&](int side) {
      const float* sum = all + row * kSumStride + (gated ? place / 8 * 16 + place % 8 + 8 * side : place);
      float x = to.bias != nullptr ? to.bias[output + side * outputs] : 0.0F;
      for (int of = 0; of < parts; ++of) {
#pragma unroll
        for (int k = 0; k < kTakers<kRows>; ++k) {
          const float* at = sum + k * kRows * kSumStride;
          x += parts > 1 ? load_from_block(at, of) : *at;
        }
      }
      return x;
    };
    float value = total(0);
    if (gated) value = activate(value, to.act) * total(1);
    const int64_t where = (first_row + row) * to.stride + output;
    if (to.is_float) {
      float* y = static_cast<float*>(to.y) + where;
      *y = to.result == Result::Add ? *y + value : value;
    } else {
      static_cast<T*>(to.y)[where] = from_float<T>(value);
    }
  }
  if (parts > 1) sync_cluster();  // what others read stays until they have
#endif
}

template <typename T, int kRows>
bool can_run() {
  return once_per_device([] { return can_run_on_hopper(int4_tiles_kernel<T, kRows>, sizeof(Shared<kRows>)); });
}

template <typename T, int kRows>
void run(cudaStream_t stream, const Output& to, const Tensor& x, const QuantizedMatrix& w) {
  CUtensorMap map;
  if (!describe_matrix(map, x.dtype, x.data, x.rows(), x.cols(), x.row_stride, kRows)) {
    throw Error(ErrorKind::Internal, "cuda: the driver does not describe rows of x for a product with int4 weights");
  }
  const int64_t outputs = to.result == Result::Gated ? w.out / 2 : w.out,
                each = to.result == Result::Gated ? kOutputs / 2 : kOutputs;
  // Blocks with the same weights run at the same time. Where all of them leave half of the device idle, there are two
  // for each tile.
  const int64_t row_tiles = (x.rows() + kRows - 1) / kRows, tiles = (outputs + each - 1) / each;
  const unsigned parts = 2 * row_tiles * tiles <= num_processors() && w.in > kGroup ? 2 : 1;
  launch_clusters(stream, dim3(static_cast<unsigned>(row_tiles), static_cast<unsigned>(tiles), parts), kThreads<kRows>,
                  sizeof(Shared<kRows>), int4_tiles_kernel<T, kRows>, to, map, w, static_cast<int>(x.rows()));
}

}  // namespace

bool has_int4_tiles() {
  return can_run<__half, 64>() && can_run<__half, 128>() && can_run<__nv_bfloat16, 64>() &&
         can_run<__nv_bfloat16, 128>();
}

template <typename T>
void multiply_int4_tiles(cudaStream_t stream, const Output& to, Tensor x, const QuantizedMatrix& w) {
  x.rows() > 64 ? run<T, 128>(stream, to, x, w) : run<T, 64>(stream, to, x, w);
}
template void multiply_int4_tiles<__half>(cudaStream_t, const Output&, Tensor, const QuantizedMatrix&);
template void multiply_int4_tiles<__nv_bfloat16>(cudaStream_t, const Output&, Tensor, const QuantizedMatrix&);

}  // namespace sgl::cuda
