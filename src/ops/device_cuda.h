#pragma once
// What kernels share: numbers of all types as float32, eight elements at a time where rows are aligned, sums over
// blocks, and the choice of a template by a tensor's type. For .cu files.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <mutex>
#include <type_traits>

#include "base/e4m3.h"
#include "ops/act.h"
#include "tensor/tensor.h"

namespace sgl::cuda {

constexpr int kWarp = 32;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
/// The code of a number (base/e4m3.h).
struct E4m3 {
  uint8_t code;
};
__device__ inline float to_float(E4m3 x) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(x.code), __NV_E4M3)));
}

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline E4m3 from_float<E4m3>(float x) {
#if __CUDA_ARCH__ >= 890
  return {__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3)};  // to_e4m3() in one instruction
#else
  return {to_e4m3(x)};
#endif
}

/// On Hopper and newer a kernel is launched while the one before it still runs (programmatic dependent launch). Each
/// waits for that one before it reads or writes what other kernels do, in every thread that does so; and it may let the
/// next one start, which starts else when it has ended. What it reads before that, such as weights, is older than any
/// kernel that can be running still (CudaBackend::send_rows). Elsewhere these do nothing.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
/// First in most kernels.
__device__ inline void enter() {
  let_next_start();
  wait_for_previous();
}

/// find(), called once for each device that is a thread's present one; each lambda has its own results. What a kernel
/// may use is told to each device, too.
template <typename Find>
auto once_per_device(Find find) {
  constexpr size_t kMost = 64;
  static std::once_flag found[kMost];
  static decltype(find()) results[kMost];
  int device = 0;
  cudaGetDevice(&device);
  const auto i = static_cast<size_t>(device) % kMost;
  std::call_once(found[i], [&] { results[i] = find(); });
  return results[i];
}

inline bool has_dependent_launch() {
  return once_per_device([] {
    int device = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    return major >= 9;
  });
}

/// launch() and launch_clusters(); cluster: blocks of one, along z.
template <typename... Parameters, typename... Arguments>
void launch_in(unsigned cluster, cudaStream_t stream, dim3 grid, dim3 threads, size_t shared_bytes,
               void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {1, 1, cluster};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = !has_dependent_launch() ? 0 : cluster == 1 ? 1 : 2;
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

/// Launches a kernel that calls enter(), or wait_for_previous().
template <typename... Parameters, typename... Arguments>
void launch(cudaStream_t stream, dim3 grid, dim3 threads, size_t shared_bytes, void (*kernel)(Parameters...),
            Arguments... arguments) {
  launch_in(1, stream, grid, threads, shared_bytes, kernel, arguments...);
}

/// The same; the kernel's blocks with the same x and y run in clusters. Requires: Hopper or newer.
template <typename... Parameters, typename... Arguments>
void launch_clusters(cudaStream_t stream, dim3 grid, dim3 threads, size_t shared_bytes, void (*kernel)(Parameters...),
                     Arguments... arguments) {
  launch_in(grid.z, stream, grid, threads, shared_bytes, kernel, arguments...);
}

template <int V>
struct Floats {
  float at[V];
};

// What is loaded at once of elements of so many bytes.
template <size_t kBytes>
using VectorOf = std::conditional_t<kBytes == 1, uint2, uint4>;

/// V elements from p on. V is 1, or 8 with p aligned to 16 bytes, of E4m3 to 8.
template <int V, typename T>
__device__ inline Floats<V> load(const T* p) {
  Floats<V> f;
  if constexpr (V == 1) {
    f.at[0] = to_float(*p);
  } else {
    using Vector = VectorOf<sizeof(T)>;
    constexpr int kVectors = V * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(Vector));
    Vector raw[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) raw[i] = reinterpret_cast<const Vector*>(p)[i];
    const T* elements = reinterpret_cast<const T*>(raw);
#pragma unroll
    for (int i = 0; i < V; ++i) f.at[i] = to_float(elements[i]);
  }
  return f;
}

template <int V, typename T>
__device__ inline void store(T* p, const Floats<V>& f) {
  if constexpr (V == 1) {
    *p = from_float<T>(f.at[0]);
  } else {
    using Vector = VectorOf<sizeof(T)>;
    constexpr int kVectors = V * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(Vector));
    Vector raw[kVectors];
    T* elements = reinterpret_cast<T*>(raw);
#pragma unroll
    for (int i = 0; i < V; ++i) elements[i] = from_float<T>(f.at[i]);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) reinterpret_cast<Vector*>(p)[i] = raw[i];
  }
}

/// body(at) for the vectors of V of a row of d elements that are this thread's.
template <int V, typename F>
__device__ inline void for_own_vectors(int d, F body) {
  for (int at = static_cast<int>(threadIdx.x) * V; at < d; at += static_cast<int>(blockDim.x) * V) body(at);
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffU, x, lane);
  return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, lane));
  return x;
}

/// The sum over all threads of a block, for all of them. Requires: whole warps, at most 32.
__device__ inline float block_sum(float x) {
  __shared__ float sums[kWarp];
  x = warp_sum(x);
  __syncthreads();  // a sum before this one has been read
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = x;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  return warp_sum(static_cast<int>(threadIdx.x) % kWarp < warps ? sums[threadIdx.x % kWarp] : 0.0F);
}

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

/// Copies to shared memory that run behind the thread's back: those since the last commit_copies() are a group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n"); }
/// Waits until at most kOpen of this thread's groups of copies are on their way.
template <int kOpen>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kOpen) : "memory");
}

/// c += a · b on tensor cores, 16 × 16 by 16 × 8, with float32 sums (mma.sync, sm_80 and newer).
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, __half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline float activate(float x, Act act) {
  switch (act) {
    case Act::Silu:
      return __fdividef(x, 1.0F + __expf(-x));  // to some units in the last place; 0 where exp() overflows
    case Act::Gelu:
      return 0.5F * x * (1.0F + erff(x * 0.70710678118654752440F));
    case Act::GeluTanh:
      return 0.5F * x * (1.0F + tanhf(0.79788456080286535588F * (x + 0.044715F * x * x * x)));
    case Act::Relu:
      return x > 0 ? x : 0;
  }
  return x;
}

template <typename T>
T* pointer(const Tensor& t) {
  return reinterpret_cast<T*>(t.data);
}

template <typename T>
struct Type {
  using type = T;
};

/// f(Type<T>) for the tensor's T; nothing for other types, which the callers exclude.
template <typename F>
void with_type(DType t, F&& f) {
  if (t == DType::F32) f(Type<float>{});
  if (t == DType::F16) f(Type<__half>{});
  if (t == DType::BF16) f(Type<__nv_bfloat16>{});
}

/// The same for a KV cache's.
template <typename F>
void with_cache_type(DType t, F&& f) {
  with_type(t, f);
  if (t == DType::F8E4M3) f(Type<E4m3>{});
}

template <int V>
struct Width {
  static constexpr int value = V;
};

/// Rows that can be taken eight elements at a time.
inline bool in_eights(const Tensor& t) {
  return t.cols() % 8 == 0 && t.row_stride % 8 == 0 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
}
template <typename F>
void with_width(bool eights, F&& f) {
  if (eights) {
    f(Width<8>{});
  } else {
    f(Width<1>{});
  }
}

/// Threads for a row of n pieces: whole warps, at most `most`.
inline unsigned threads_for(int64_t n, int64_t most = 1024) {
  const int64_t whole = (n + kWarp - 1) / kWarp * kWarp;
  return static_cast<unsigned>(whole < kWarp ? kWarp : whole < most ? whole : most);
}

}  // namespace sgl::cuda
