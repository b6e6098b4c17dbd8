#pragma once
// Attention of 16 rows over tiles of keys and values, by one warp on tensor cores (mma.sync, sm_80 and newer): the part
// that prefill and decode share. For .cu files.
//
// The online softmax of FlashAttention-2 (Dao 2023, algorithm 1): scores of a tile are products in 16-bit numbers with
// float32 sums; exponents are of base 2, with log2(e) in the scale.
//
// A thread's part of a 16 × 8 tile of scores or results, as mma gives it: [0], [1] are row lane/4, columns 2·(lane % 4)
// and the next; [2], [3] the same of row lane/4 + 8.

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace sgl::cuda {

constexpr float kLog2E = 1.4426950408889634F;

/// Elements from one row of a tile in shared memory to the next: eight rows lie on different banks.
template <int D>
constexpr int kTileStride = D + 8;

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

/// 16 bytes from device memory to shared memory, behind the thread's back; zeros if not `valid`.
__device__ inline void copy_16_bytes(void* to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n"); }
/// Waits until at most kOpen of this thread's groups of copies are on their way.
template <int kOpen>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kOpen) : "memory");
}

/// Four 8 × 8 matrices of 16-bit numbers; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// c += a · b, 16 × 16 by 16 × 8.
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

__device__ inline uint32_t pack(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
}
__device__ inline uint32_t pack(float low, float high, __half) {
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
}

/// The reduction over the four threads that share a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}

/// How scores become exponents of base 2.
struct Scores {
  float scale;    ///< without a cap: on q·k, with log2(e); with one: to cap's argument
  float softcap;  ///< times log2(e); 0: none

  __device__ float operator()(float dot) const {
    if (softcap == 0.0F) return dot * scale;
    return softcap * (1.0F - 2.0F / (__expf(2.0F * dot * scale) + 1.0F));  // cap · tanh(x)
  }
};

/// Which positions a thread's two rows see: [lo, hi) each; and for the whole warp, where all rows see all, and where
/// none sees any.
struct Visible {
  int lo[2], hi[2];
  int all_from, all_to;
  int any_from, any_to;

  __device__ void summarize() {
    all_from = max(lo[0], lo[1]);
    all_to = min(hi[0], hi[1]);
    // Rows beyond the last see nothing; they ask for no mask of others.
    any_from = min(hi[0] > 0 ? lo[0] : INT32_MAX, hi[1] > 0 ? lo[1] : INT32_MAX);
    any_to = max(hi[0], hi[1]);
#pragma unroll
    for (int lane = 16; lane > 2; lane /= 2) {
      all_from = max(all_from, __shfl_xor_sync(0xffffffffU, all_from, lane));
      all_to = min(all_to, __shfl_xor_sync(0xffffffffU, all_to, lane));
      any_from = min(any_from, __shfl_xor_sync(0xffffffffU, any_from, lane));
      any_to = max(any_to, __shfl_xor_sync(0xffffffffU, any_to, lane));
    }
  }
};

/// The softmax of 16 rows so far, in one warp's registers.
template <typename T, int D>
struct RowState {
  float out[D / 8][4];
  float largest[2];  ///< of the scores; −∞: none yet
  float sum[2];      ///< of this thread's columns

  __device__ RowState() {
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[i][j] = 0.0F;
    }
    largest[0] = largest[1] = -INFINITY;
    sum[0] = sum[1] = 0.0F;
  }

  /// Takes N positions from `first` on. q: 16 rows, k and v: N rows in shared memory, of kTileStride<D>.
  template <int N>
  __device__ void add(const T* q, const T* k, const T* v, int first, const Visible& visible, const Scores& scores) {
    constexpr int kStride = kTileStride<D>;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float s[N / 8][4] = {};
    const T* q_row = q + ((lane & 7) + (lane >> 3 & 1) * 8) * kStride + (lane >> 4) * 8;
    const T* k_row = k + ((lane & 7) + (lane >> 4) * 8) * kStride + (lane >> 3 & 1) * 8;
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t a[4];
      load_matrices(a, q_row + d);
#pragma unroll
      for (int n = 0; n < N; n += 16) {
        uint32_t b[4];
        load_matrices(b, k_row + n * kStride + d);
        multiply(s[n / 8], a, b[0], b[1], T{});
        multiply(s[n / 8 + 1], a, b[2], b[3], T{});
      }
    }

    const bool mask = first < visible.all_from || first + N > visible.all_to;
    float top[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float x = scores(s[n][j]);
        if (mask) {
          const int position = first + n * 8 + (lane & 3) * 2 + (j & 1);
          if (position < visible.lo[j / 2] || position >= visible.hi[j / 2]) x = -INFINITY;
        }
        s[n][j] = x;
        top[j / 2] = fmaxf(top[j / 2], x);
      }
    }
    float base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      top[r] = quad_max(top[r]);
      base[r] = top[r] == -INFINITY ? 0.0F : top[r];  // a row that sees nothing yet: all its exponents are −∞
      const float shrink = exp2f(largest[r] - base[r]);
      largest[r] = top[r];
      sum[r] *= shrink;
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
        out[i][2 * r] *= shrink;
        out[i][2 * r + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[n][j] = exp2f(s[n][j] - base[j / 2]);
        sum[j / 2] += s[n][j];
      }
    }

    const T* v_row = v + ((lane & 7) + (lane >> 3 & 1) * 8) * kStride + (lane >> 4) * 8;
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      const float(&left)[4] = s[n / 8];
      const float(&right)[4] = s[n / 8 + 1];
      const uint32_t a[4] = {pack(left[0], left[1], T{}), pack(left[2], left[3], T{}), pack(right[0], right[1], T{}),
                             pack(right[2], right[3], T{})};
#pragma unroll
      for (int d = 0; d < D; d += 16) {
        uint32_t b[4];
        load_matrices_transposed(b, v_row + n * kStride + d);
        multiply(out[d / 8], a, b[0], b[1], T{});
        multiply(out[d / 8 + 1], a, b[2], b[3], T{});
      }
    }
  }

  /// After the last tile.
  __device__ void finish() {
    sum[0] = quad_sum(sum[0]);
    sum[1] = quad_sum(sum[1]);
  }
};

}  // namespace sgl::cuda
