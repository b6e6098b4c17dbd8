#pragma once
// Hopper's own instructions (sm_90a), as the PTX manual has them: barriers in shared memory that count bytes, tensor
// copies to swizzled tiles, and products of a warpgroup (128 threads) from shared memory (wgmma). For .cu files.
//
// A tile lies in shared memory as columns of 64 16-bit numbers: its rows are 128 bytes, one after the other, and their
// eight pieces of 16 bytes change places by the row's number (the 128-byte swizzle), so that eight rows of a column are
// on different banks. Tiles begin at multiples of 1,024 bytes.

#include <cstdint>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/device_cuda.h"

namespace sgl::cuda {

constexpr int kWarpgroup = 128;
constexpr int kSwizzledColumns = 64;    ///< elements in a row of a tile's column
constexpr int kSwizzledRowBytes = 128;  ///< the same in bytes

/// A barrier that threads and copies arrive at. Phase n is over when `count` threads and all bytes that they announced
/// have arrived.
struct Barrier {
  uint64_t state;

  __device__ void init(int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&state)), "r"(count) : "memory");
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&state)) : "memory");
  }
  /// At the barrier that lies at the same place in the shared memory of the cluster's block of that number.
  __device__ void arrive_at_block(int block) {
    asm volatile(
        "{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [at];\n}" ::"r"(shared_address(&state)),
        "r"(block)
        : "memory");
  }
  __device__ void arrive_and_expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&state)), "r"(bytes)
                 : "memory");
  }
  /// Until the phase with this parity, of its number from 0 on, is over. One before the first counts as over.
  __device__ void wait(int parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(shared_address(&state)),
        "r"(parity)
        : "memory");
  }
};

/// After init() of barriers: copies see them, too.
__device__ inline void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
/// What this thread wrote to shared memory is there for wgmma and for copies that follow.
__device__ inline void fence_shared_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Begins the copy of a box of a matrix, from column x and row y on; its bytes arrive at the barrier.
__device__ inline void copy_box(void* to, const CUtensorMap& matrix, int x, int y, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(to)),
      "l"(&matrix), "r"(x), "r"(y), "r"(shared_address(&barrier.state))
      : "memory");
}

/// The same to the same place in the shared memory of both blocks of a cluster, and to the barrier of each.
__device__ inline void copy_box_to_pair(void* to, const CUtensorMap& matrix, int x, int y, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, "
      "%3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(&matrix), "r"(x), "r"(y), "r"(shared_address(&barrier.state)), "h"(static_cast<uint16_t>(3))
      : "memory");
}

/// Begins the copy of a box from shared memory to a matrix; what lies beyond its ends is left out.
__device__ inline void store_box(const CUtensorMap& matrix, const void* from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&matrix), "r"(x),
               "r"(y), "r"(shared_address(from))
               : "memory");
}
/// The boxes stored since the last commit are a group.
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until this thread's stores have read their shared memory, or are done.
__device__ inline void wait_for_stores_to_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ inline void wait_for_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

/// Begins the copy of bytes, a multiple of 16 of them from and to multiples of 16; they arrive at the barrier.
__device__ inline void copy_bytes(void* to, const void* from, int bytes, Barrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(&barrier.state))
               : "memory");
}

/// A barrier of some threads of a block, by number; 0 is __syncthreads().
template <int kThreads>
__device__ inline void sync_some(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

/// All threads of a cluster's blocks wait for each other, and see what the others wrote to shared memory.
__device__ inline void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
/// What lies at the same place in the shared memory of the cluster's block of that number.
__device__ inline float load_from_block(const float* p, int block) {
  float x;
  asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %1, %2;\nld.shared::cluster.f32 %0, [at];\n}"
               : "=f"(x)
               : "r"(shared_address(p)), "r"(block)
               : "memory");
  return x;
}

/// The same of four, which lie at a multiple of 16 bytes.
__device__ inline float4 load_four_from_block(const float* p, int block) {
  float4 x;
  asm volatile(
      "{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %4, %5;\nld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [at];\n}"
      : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
      : "r"(shared_address(p)), "r"(block)
      : "memory");
  return x;
}

/// Registers of a thread go from warpgroup to warpgroup: all of a warpgroup's threads call one of these.
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// A tile in shared memory as wgmma takes it. For an operand whose rows are summed over (values), `column_bytes` lie
/// from one column of 64 to the next.
__device__ inline uint64_t describe_tile(const void* tile, int column_bytes = 16) {
  return (uint64_t{1} << 62) | (uint64_t{8 * kSwizzledRowBytes / 16} << 32) |
         (static_cast<uint64_t>(column_bytes / 16) << 16) | ((shared_address(tile) & 0x3ffffU) >> 4);
}

/// The driver's function that describes a matrix for tensor copies; null where there is none.
inline decltype(&::cuTensorMapEncodeTiled) tensor_map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
    const bool found = status == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return reinterpret_cast<decltype(&::cuTensorMapEncodeTiled)>(found ? function : nullptr);
  }();
  return encoder;
}

/// For copy_box(): a matrix of 16-bit numbers, to be copied in boxes of kSwizzledColumns columns and `box_rows` rows;
/// zeros come from beyond its ends. False: the driver does not want to. Requires: rows aligned to 16 bytes.
inline bool describe_matrix(CUtensorMap& map, DType type, void* data, int64_t rows, int64_t cols, int64_t row_stride,
                            int box_rows) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(2 * row_stride)};
  const cuuint32_t box[] = {kSwizzledColumns, static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
  return tensor_map_encoder()(
             &map, type == DType::F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, data,
             sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/// Whether a kernel of such instructions was compiled for this device, and gets its shared memory and its matrices
/// described. Code for 8.0 that the driver has translated is empty.
template <typename Kernel>
bool can_run_on_hopper(Kernel* kernel, int shared_bytes) {
  cudaFuncAttributes made{};
  const bool can =
      tensor_map_encoder() != nullptr && cudaFuncGetAttributes(&made, kernel) == cudaSuccess && made.ptxVersion == 90 &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes) == cudaSuccess;
  cudaGetLastError();
  return can;
}

/// Of the present device.
inline int num_processors() {
  return once_per_device([] {
    int device = 0, processors = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    return processors;
  });
}

/// Parts of b that hold a, the last one perhaps not whole.
inline int rounded_up(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

/// Before the first product, and when registers that products read or add to were written.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The products since the last commit are a group.
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until at most kOpen groups are computed still. Results are touched afterwards: the compiler does not know that they
/// come late.
template <int kOpen>
__device__ inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kOpen) : "memory");
}
template <int N>
__device__ inline void touch(float (&x)[N]) {
#pragma unroll
  for (float& each : x) asm volatile("" : "+f"(each)::"memory");
}

// The registers of 64 rows by some columns of float32 in a warpgroup: a thread has two of every eight columns, in
// two rows, as mma.sync gives them.
#define SGL_EIGHT(c, i)                                                                                       \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), \
      "+f"(c[i + 7])
#define SGL_32(c, i) SGL_EIGHT(c, i), SGL_EIGHT(c, i + 8), SGL_EIGHT(c, i + 16), SGL_EIGHT(c, i + 24)
#define SGL_FIRST_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define SGL_FIRST_32                                                                                               \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define SGL_NEXT_32                                                                                                \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, " \
  "%54, "                                                                                                          \
  "%55, %56, %57, %58, %59, %60, %61, %62, %63"

#define SGL_NEXT_48                                                                                                \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, " \
  "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, "     \
  "%106, %107, %108, %109, %110, %111"
#define SGL_LAST_16 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// For one type: tiles a · bᵀ, added to if `add`, for 256, 224, 128, 64 and 32 rows of b; results += p · v of attention
// with p in registers, for heads of 128 and of 64; and w · xᵀ with w in registers, for 128 and for 64 rows of x.
#define SGL_PRODUCTS(T, NAME)                                                                                      \
  __device__ inline void multiply_tiles(float(&c)[128], uint64_t a, uint64_t b, bool add, T) {                     \
    asm volatile(                                                                                                  \
        "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"                                                          \
        "wgmma.mma_async.sync.aligned.m64n256k16.f32." NAME "." NAME " {" SGL_FIRST_32 ", " SGL_NEXT_32            \
        ", " SGL_NEXT_48 ", " SGL_LAST_16 "}, %128, %129, add, 1, 1, 0, 0;\n}\n"                                   \
        : SGL_32(c, 0), SGL_32(c, 32), SGL_32(c, 64), SGL_32(c, 96)                                                \
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                             \
  }                                                                                                                \
  __device__ inline void multiply_tiles(float(&c)[112], uint64_t a, uint64_t b, bool add, T) {                     \
    asm volatile(                                                                                                  \
        "{\n.reg .pred add;\nsetp.ne.b32 add, %114, 0;\n"                                                          \
        "wgmma.mma_async.sync.aligned.m64n224k16.f32." NAME "." NAME " {" SGL_FIRST_32 ", " SGL_NEXT_32            \
        ", " SGL_NEXT_48 "}, %112, %113, add, 1, 1, 0, 0;\n}\n"                                                    \
        : SGL_32(c, 0), SGL_32(c, 32), SGL_32(c, 64), SGL_EIGHT(c, 96), SGL_EIGHT(c, 104)                          \
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                             \
  }                                                                                                                \
  __device__ inline void multiply_tiles(float(&c)[64], uint64_t a, uint64_t b, bool add, T) {                      \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." NAME \
                 "." NAME " {" SGL_FIRST_32 ", " SGL_NEXT_32 "}, %64, %65, add, 1, 1, 0, 0;\n}\n"                  \
                 : SGL_32(c, 0), SGL_32(c, 32)                                                                     \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                    \
  }                                                                                                                \
  __device__ inline void multiply_tiles(float(&c)[32], uint64_t a, uint64_t b, bool add, T) {                      \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32." NAME  \
                 "." NAME " {" SGL_FIRST_32 "}, %32, %33, add, 1, 1, 0, 0;\n}\n"                                   \
                 : SGL_32(c, 0)                                                                                    \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                    \
  }                                                                                                                \
  __device__ inline void multiply_tiles(float(&c)[16], uint64_t a, uint64_t b, bool add, T) {                      \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %18, 0;\nwgmma.mma_async.sync.aligned.m64n32k16.f32." NAME  \
                 "." NAME " {" SGL_FIRST_16 "}, %16, %17, add, 1, 1, 0, 0;\n}\n"                                   \
                 : SGL_EIGHT(c, 0), SGL_EIGHT(c, 8)                                                                \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                    \
  }                                                                                                                \
  __device__ inline void multiply_rows(float(&c)[64], const uint32_t* a, uint64_t b, T) {                          \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." NAME "." NAME " {" SGL_FIRST_32 ", " SGL_NEXT_32   \
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"                                                     \
                 : SGL_32(c, 0), SGL_32(c, 32)                                                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                            \
  }                                                                                                                \
  __device__ inline void multiply_rows(float(&c)[32], const uint32_t* a, uint64_t b, T) {                          \
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." NAME "." NAME " {" SGL_FIRST_32                     \
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"                                                     \
                 : SGL_32(c, 0)                                                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                            \
  }                                                                                                                \
  __device__ inline void multiply_weights(float(&c)[64], const uint32_t(&a)[4], uint64_t x, bool add, T) {         \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." NAME \
                 "." NAME " {" SGL_FIRST_32 ", " SGL_NEXT_32 "}, {%64, %65, %66, %67}, %68, add, 1, 1, 0;\n}\n"    \
                 : SGL_32(c, 0), SGL_32(c, 32)                                                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(x), "r"(static_cast<int>(add)));                \
  }                                                                                                                \
  __device__ inline void multiply_weights(float(&c)[32], const uint32_t(&a)[4], uint64_t x, bool add, T) {         \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32." NAME  \
                 "." NAME " {" SGL_FIRST_32 "}, {%32, %33, %34, %35}, %36, add, 1, 1, 0;\n}\n"                     \
                 : SGL_32(c, 0)                                                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(x), "r"(static_cast<int>(add)));                \
  }
SGL_PRODUCTS(__nv_bfloat16, "bf16")
SGL_PRODUCTS(__half, "f16")
#undef SGL_PRODUCTS
#undef SGL_LAST_16
#undef SGL_NEXT_48
#undef SGL_NEXT_32
#undef SGL_FIRST_32
#undef SGL_FIRST_16
#undef SGL_32
#undef SGL_EIGHT

}  // namespace sgl::cuda
