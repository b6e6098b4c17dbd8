#pragma once
// What the kernels share that multiply with weights in 16 bits or quantized (quantize.h): how codes become numbers, and
// what becomes of a sum. For .cu files.
//
//   int4   A code below a constant is a number, 128 or 1,024 more than the code; less the zero point, with the same
//          constant, it is an integer.
//   int8   The same in two halves: the last seven bits above the constant, less the constant or, where the sign is set,
//          128 more.
//   fp8    Sign and fraction of e4m3 stay, exponents have another bias, so that a code becomes a number 2^-8 (float16)
//          or 2^-120 (bfloat16) of its own. In float16 the scale takes that back; in bfloat16 x is multiplied by 2^100
//          before, so that sums keep to float32's range, and the scale has the rest. All of it is exact, for x below
//          2^27.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {

enum class Result { Plain, Add, Gated };  ///< Gated: the first half of the outputs are gates

/// Of an Add, for a norm without a kernel of its own (Normed, backend.h): rows of T get sums · weight, and squares[row]
/// the sum of squares of each kSquares outputs. rows null: nothing.
struct NormToCome {
  void* rows = nullptr;
  int64_t stride = 0;
  const float* weight = nullptr;
  float* squares = nullptr;
  int64_t squares_stride = 0;
};

/// Where sums go, and what is done with them before. y: rows of T, or of float32 if `is_float`.
struct Output {
  void* y;
  int64_t stride;
  bool is_float;
  Result result;
  Act act;
  const float* bias;
  NormToCome norm = {};
};

// What the expansion of codes to T needs.
template <typename T>
struct Expand;

template <>
struct Expand<__nv_bfloat16> {
  static constexpr uint32_t kInt4Above = 0x43004300U;  // 128, and a code in its last bits
  static constexpr int kFp8Shift = 4;
  static constexpr float kFp8Unit = 0x1p20F;
  static __device__ uint32_t difference(uint32_t a, uint32_t b) {
    const __nv_bfloat162 d =
        __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&a), *reinterpret_cast<const __nv_bfloat162*>(&b));
    return *reinterpret_cast<const uint32_t*>(&d);
  }
  static __device__ uint32_t scaled_x(uint32_t x) {
    const uint32_t factor = 0x71807180U;  // 2^100
    const __nv_bfloat162 y =
        __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&x), *reinterpret_cast<const __nv_bfloat162*>(&factor));
    return *reinterpret_cast<const uint32_t*>(&y);
  }
};
template <>
struct Expand<__half> {
  static constexpr uint32_t kInt4Above = 0x64006400U;  // 1,024
  static constexpr int kFp8Shift = 1;
  static constexpr float kFp8Unit = 256.0F;
  static __device__ uint32_t difference(uint32_t a, uint32_t b) {
    const __half2 d = __hsub2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
    return *reinterpret_cast<const uint32_t*>(&d);
  }
  static __device__ uint32_t scaled_x(uint32_t x) { return x; }
};

// (a & b) | c in one instruction, which the compiler does not find where b and c are constants.
__device__ inline uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Eight int4 codes as pairs of integers. zero: the zero point in the last bits of kInt4Above, twice.
template <typename T>
__device__ inline void expand_int4(uint32_t (&pairs)[4], uint32_t codes, uint32_t zero) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = Expand<T>::difference(and_or(codes >> (4 * i), 0x000f000fU, Expand<T>::kInt4Above), zero);
  }
}

// Four int8 codes as two pairs of integers: bytes 0 and 2, bytes 1 and 3.
template <typename T>
__device__ inline void expand_int8(uint32_t (&pairs)[2], uint32_t codes) {
  constexpr uint32_t kAbove = Expand<T>::kInt4Above;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t some = codes >> (8 * i);
    pairs[i] = Expand<T>::difference(and_or(some, 0x007f007fU, kAbove), and_or(some, 0x00800080U, kAbove));
  }
}

// Four e4m3 codes as two pairs: bytes 0 and 2, bytes 1 and 3.
template <typename T>
__device__ inline void expand_fp8(uint32_t (&pairs)[2], uint32_t codes) {
  constexpr int kShift = Expand<T>::kFp8Shift;
  constexpr uint32_t kRest = 0x7f007f00U >> kShift;
  pairs[0] = and_or(codes << 8, 0x80008000U, codes << (8 - kShift) & kRest);
  pairs[1] = and_or(codes, 0x80008000U, codes >> kShift & kRest);
}

__device__ inline uint32_t word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// 16 or 4 bytes of weights to shared memory, or zeros; the second-level cache fetches their neighbours, too.
__device__ inline void copy_16(uint4* to, const std::byte* from, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void copy_4(uint32_t* to, const std::byte* from) {
  asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

/// Products of some rows with int4 weights by Hopper's own instructions (int4_hopper_cuda.cu), and whether there are
/// any.
bool has_int4_tiles();
template <typename T>
void multiply_int4_tiles(cudaStream_t stream, const Output& to, Tensor x, const QuantizedMatrix& w);

/// The same with weights in 16 bits (dense_hopper_cuda.cu). Requires: fours of outputs, and of gates.
bool has_dense_tiles();
template <typename T>
void multiply_dense_tiles(cudaStream_t stream, const Output& to, Tensor x, const QuantizedMatrix& w);

}  // namespace sgl::cuda
