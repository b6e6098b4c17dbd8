// Sums over the ranks of a tensor-parallel group, and what else they read of each other: over NVLink or PCIe, by plain
// loads from the other GPUs' memory.
//
//   each rank:  publish: "my part of meeting n is there", to all        (block 0, once its part is written)
//               wait for the same of all others                          (every block, in its own GPU's memory)
//               read all parts of a row, add them up in the ranks' order, go on with the sum
//
// The hosts meet before they launch it and after (RankGroup::meet, leave): no kernel waits for one whose rank has
// failed before it, and no host waits for a device while one that this one waits for is not launched. All ranks add up
// the same numbers in the same order: their residual streams stay equal to the bit.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

constexpr uint64_t kPatience = 60'000'000'000;  // nanoseconds that a rank waits before it takes the others for dead

__device__ uint64_t nanoseconds() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

// What this GPU has written before is seen by who reads the flag.
__device__ void publish(uint32_t* flag, uint32_t number) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(number) : "memory");
}
__device__ bool is_published(const uint32_t* flag, uint32_t number) {
  uint32_t seen;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
  return static_cast<int32_t>(seen - number) >= 0;
}

// Both by all threads of a block, of which thread i has to do with rank i. After await_parts() the parts of all are
// there.
__device__ void publish_part(const Peers& peers) {
  const int other = static_cast<int>(threadIdx.x);
  if (blockIdx.x == 0 && other < peers.size && other != peers.rank) {
    publish(peers.flags[other] + peers.rank, peers.number);
  }
}
__device__ void await_parts(const Peers& peers) {
  const int other = static_cast<int>(threadIdx.x);
  if (other < peers.size && other != peers.rank) {
    const uint32_t* flag = peers.flags[peers.rank] + other;
    const uint64_t start = nanoseconds();
    while (!is_published(flag, peers.number)) {
      if (nanoseconds() - start > kPatience) __trap();
    }
  }
  __syncthreads();
}

// V numbers from `at` on of a rank's part.
template <typename T, int V>
__device__ Floats<V> load_part(const Peers& peers, int rank, int64_t at) {
  return load<V>(static_cast<const T*>(peers.parts[rank]) + at);
}

// The sum of all parts there, in the ranks' order. own: this rank's.
template <typename T, int V>
__device__ Floats<V> sum_of_parts(const Peers& peers, int64_t at, const Floats<V>& own) {
  Floats<V> sum{};
  for (int rank = 0; rank < peers.size; ++rank) {
    const Floats<V> f = rank == peers.rank ? own : load_part<T, V>(peers, rank, at);
#pragma unroll
    for (int i = 0; i < V; ++i) sum.at[i] += f.at[i];
  }
  return sum;
}

template <typename T, int V>
__global__ void all_reduce_kernel(T* out, int64_t out_stride, Peers peers, int d) {
  enter();
  publish_part(peers);
  await_parts(peers);
  for_own_vectors<V>(d, [&](int at) {
    const int64_t place = int64_t{blockIdx.x} * d + at;
    const Floats<V> own = load_part<T, V>(peers, peers.rank, place);
    store<V>(out + blockIdx.x * out_stride + at, sum_of_parts<T, V>(peers, place, own));
  });
}

// Block i: h[i] += Σ part[i]; y[i] = norm(h[i]).
template <typename T, int V>
__global__ void all_reduce_norm_kernel(T* y, int64_t y_stride, float* h, int64_t h_stride, Peers peers, const float* w,
                                       int d, float eps) {
  enter();
  publish_part(peers);
  h += blockIdx.x * h_stride;
  y += blockIdx.x * y_stride;
  const int64_t row = int64_t{blockIdx.x} * d;
  const int first = static_cast<int>(threadIdx.x) * V, step = static_cast<int>(blockDim.x) * V;
  // What this GPU has comes while the others' parts are awaited: all that a thread needs, of rows of up to 512 times V.
  Floats<V> stream{}, own{}, weight{};
  if (first < d) {
    stream = load<V>(h + first);
    own = load_part<T, V>(peers, peers.rank, row + first);
    weight = load<V>(w + first);
  }
  await_parts(peers);
  float sum = 0;
  for (int at = first; at < d; at += step) {
    if (at != first) {
      stream = load<V>(h + at);
      own = load_part<T, V>(peers, peers.rank, row + at);
    }
    const Floats<V> add = sum_of_parts<T, V>(peers, row + at, own);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      stream.at[i] += add.at[i];
      sum += stream.at[i] * stream.at[i];
    }
    store<V>(h + at, stream);
  }
  const float inv = rsqrtf(block_sum(sum) / static_cast<float>(d) + eps);
  for (int at = first; at < d; at += step) {  // what the thread wrote itself
    if (d > step) stream = load<V>(h + at);
    if (at != first) weight = load<V>(w + at);
#pragma unroll
    for (int i = 0; i < V; ++i) stream.at[i] = stream.at[i] * inv * weight.at[i];
    store<V>(y + at, stream);
  }
}

// Row blockIdx.x of all parts. Ranks other than 0 have no rows, and meet.
template <int V>
__global__ void gather_parts_kernel(float* out, int64_t out_stride, Peers peers, int d) {
  enter();
  publish_part(peers);
  await_parts(peers);
  if (peers.rank != 0) return;
  for (int rank = 0; rank < peers.size; ++rank) {
    const float* from = static_cast<const float*>(peers.parts[rank]) + int64_t{blockIdx.x} * d;
    float* to = out + blockIdx.x * out_stride + int64_t{rank} * d;
    for_own_vectors<V>(d, [&](int at) { store<V>(to + at, load<V>(from + at)); });
  }
}

constexpr int64_t kThreads = 512;

}  // namespace

void load_exchange_kernels() {
  cudaFuncAttributes unused{};
  for (const bool eights : {false, true}) {
    with_width(eights, [&](auto width) {
      for (const DType t : {DType::F32, DType::F16, DType::BF16}) {
        with_type(t, [&](auto type) {
          using T = typename decltype(type)::type;
          cudaFuncGetAttributes(&unused, all_reduce_kernel<T, width.value>);
          cudaFuncGetAttributes(&unused, all_reduce_norm_kernel<T, width.value>);
        });
      }
      cudaFuncGetAttributes(&unused, gather_parts_kernel<width.value>);
    });
  }
}

void all_reduce(cudaStream_t stream, Tensor out, const Peers& peers) {
  with_type(out.dtype, [&](auto type) {
    with_width(in_eights(out), [&](auto width) {
      using T = typename decltype(type)::type;
      launch(stream, static_cast<unsigned>(out.rows()), threads_for(out.cols() / width.value, kThreads), 0,
             all_reduce_kernel<T, width.value>, pointer<T>(out), out.row_stride, peers, static_cast<int>(out.cols()));
    });
  });
}

void all_reduce_norm(cudaStream_t stream, Tensor y, Tensor h, const Peers& peers, const NormWeight& norm) {
  with_type(y.dtype, [&](auto type) {
    with_width(in_eights(y) && in_eights(h) && in_eights(norm.w), [&](auto width) {
      using T = typename decltype(type)::type;
      launch(stream, static_cast<unsigned>(h.rows()), threads_for(h.cols() / width.value, kThreads), 0,
             all_reduce_norm_kernel<T, width.value>, pointer<T>(y), y.row_stride, pointer<float>(h), h.row_stride,
             peers, pointer<float>(norm.w), static_cast<int>(h.cols()), norm.eps);
    });
  });
}

void gather_parts(cudaStream_t stream, Tensor out, int64_t part_cols, const Peers& peers) {
  const unsigned blocks = peers.rank == 0 ? static_cast<unsigned>(out.rows()) : 1;
  with_width(in_eights(out) && part_cols % 8 == 0, [&](auto width) {
    launch(stream, blocks, threads_for(part_cols / width.value), 0, gather_parts_kernel<width.value>,
           pointer<float>(out), out.row_stride, peers, static_cast<int>(part_cols));
  });
}

}  // namespace sgl::cuda
