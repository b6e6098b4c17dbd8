#pragma once
// Attention of some rows over tiles of keys and values, by one warp on tensor cores (mma.sync, sm_80 and newer): the
// part that prefill and decode share. For .cu files.
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

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/products_cuda.h"

namespace sgl::cuda {

constexpr float kLog2E = 1.4426950408889634F;

/// Elements from one row of a tile in shared memory to the next: eight rows lie on different banks.
template <int D>
constexpr int kTileStride = D + 8;
/// Bytes of a row of codes.
template <int D>
constexpr int kCodeStride = D + 16;

/// 16 bytes from device memory to shared memory, behind the thread's back; zeros if not `valid`.
__device__ inline void copy_16_bytes(void* to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
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

/// How products of q and k become exponents of 2.
struct Scores {
  float scale;    ///< on q·k: without a cap to the exponent, with one to the argument of tanh
  float softcap;  ///< times log2(e); 0: none

  /// cap · tanh(x)
  __device__ float capped(float dot) const {
    return softcap * (1.0F - __fdividef(2.0F, __expf(2.0F * dot * scale) + 1.0F));
  }
};

/// 2 to the x, to two units in the last place; 0 for −∞.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

/// Which positions a thread's rows see, those of lane/4 + 8 · i: [lo, hi) each; and for the whole warp, where all rows
/// see all, and where none sees any.
template <int kTiles>
struct Visible {
  static constexpr int kRows = 2 * kTiles;
  int lo[kRows], hi[kRows];
  int all_from, all_to;
  int any_from, any_to;

  __device__ void summarize() {
    all_from = any_to = 0;
    all_to = any_from = INT32_MAX;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      all_from = max(all_from, lo[i]);
      all_to = min(all_to, hi[i]);
      if (hi[i] > 0) any_from = min(any_from, lo[i]);  // rows beyond the last see nothing
      any_to = max(any_to, hi[i]);
    }
#pragma unroll
    for (int lane = 16; lane > 2; lane /= 2) {
      all_from = max(all_from, __shfl_xor_sync(0xffffffffU, all_from, lane));
      all_to = min(all_to, __shfl_xor_sync(0xffffffffU, all_to, lane));
      any_from = min(any_from, __shfl_xor_sync(0xffffffffU, any_from, lane));
      any_to = max(any_to, __shfl_xor_sync(0xffffffffU, any_to, lane));
    }
  }
};

/// The softmax of kTiles · 16 rows so far, in one warp's registers. More tiles: a key that was fetched from shared
/// memory serves more rows.
template <typename T, int D, int kTiles>
struct RowState {
  static constexpr int kRows = 2 * kTiles;  ///< of a thread: lane/4 + 8 · i
  float out[kTiles][D / 8][4];
  float largest[kRows];  ///< of the scores, as exponents of 2; −∞: none yet
  float sum[kRows];      ///< of this thread's columns

  __device__ RowState() {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < D / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) out[m][i][j] = 0.0F;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      largest[r] = -INFINITY;
      sum[r] = 0.0F;
    }
  }

  /// Takes N positions from `first` on. q(a, m, d): columns [d, d + 16) of tile m's rows, as mma takes them; k and v: N
  /// rows in shared memory, of kTileStride<D>.
  template <int N, typename Q>
  __device__ void add(Q q, const T* k, const T* v, int first, const Visible<kTiles>& visible, const Scores& scores) {
    constexpr int kStride = kTileStride<D>;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float s[kTiles][N / 8][4] = {};
    const T* k_row = k + ((lane & 7) + (lane >> 4) * 8) * kStride + (lane >> 3 & 1) * 8;
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t a[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) q(a[m], m, d);
#pragma unroll
      for (int n = 0; n < N; n += 16) {
        uint32_t b[4];
        load_matrices(b, k_row + n * kStride + d);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply(s[m][n / 8], a[m], b[0], b[1], T{});
          multiply(s[m][n / 8 + 1], a[m], b[2], b[3], T{});
        }
      }
    }

    soften<N>(s, first, visible, scores);

    const T* v_row = v + ((lane & 7) + (lane >> 3 & 1) * 8) * kStride + (lane >> 4) * 8;
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t a[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) weights_of<N>(a[m], s[m], n);
#pragma unroll
      for (int d = 0; d < D; d += 16) {
        uint32_t b[4];
        load_matrices_transposed(b, v_row + n * kStride + d);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply(out[m][d / 8], a[m], b[0], b[1], T{});
          multiply(out[m][d / 8 + 1], a[m], b[2], b[3], T{});
        }
      }
    }
  }

  /// The same with k and v in e4m3 codes, rows of kCodeStride<D> bytes, of one tile of rows. A matrix of 8 × 8 pairs of
  /// codes is one of 8 × 16 numbers; expand_fp8() splits it by even and odd columns. Those of q are split the same way:
  /// of every 16, [0] and [1] are columns 4t and 4t + 2 of rows g and g + 8, [2] and [3] columns 4t + 1 and 4t + 3, and
  /// it has gone through scaled_x(). So do results: of columns [16j, 16j + 16), out[2j] has the even ones, out[2j + 1]
  /// the odd ones. scores.scale has Expand<T>::kFp8Unit in it, and results lack it.
  template <int N, typename Q>
  __device__ void add_codes(Q q, const uint8_t* k, const uint8_t* v, int first, const Visible<kTiles>& visible,
                            const Scores& scores) {
    static_assert(kTiles == 1 && D % 32 == 0);
    constexpr int kStride = kCodeStride<D>;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float s[1][N / 8][4] = {};
    const uint8_t* k_row = k + ((lane & 7) + (lane >> 4) * 8) * kStride + (lane >> 3 & 1) * 16;
#pragma unroll
    for (int d = 0; d < D; d += 32) {
#pragma unroll
      for (int n = 0; n < N; n += 16) {
        uint32_t codes[4];
        load_matrices(codes, k_row + n * kStride + d);
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // eight positions, and which half of the columns
          uint32_t a[4], b[2];
          q(a, 0, d + i % 2 * 16);
          expand_fp8<T>(b, codes[i]);
          multiply(s[0][n / 8 + i / 2], a, b[0], b[1], T{});
        }
      }
    }
    soften<N>(s, first, visible, scores);
    const uint8_t* v_row = v + ((lane & 7) + (lane >> 3 & 1) * 8) * kStride + (lane >> 4) * 16;
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t a[4];
      weights_of<N>(a, s[0], n);
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = Expand<T>::scaled_x(a[i]);
#pragma unroll
      for (int d = 0; d < D; d += 32) {
        uint32_t codes[4];
        load_matrices_transposed(codes, v_row + n * kStride + d);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t low[2], high[2];
          expand_fp8<T>(low, codes[2 * half]);
          expand_fp8<T>(high, codes[2 * half + 1]);
          multiply(out[0][d / 8 + 2 * half], a, low[0], high[0], T{});
          multiply(out[0][d / 8 + 2 * half + 1], a, low[1], high[1], T{});
        }
      }
    }
  }

  /// After the last tile.
  __device__ void finish() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) sum[r] = quad_sum(sum[r]);
  }

 private:
  /// Scores to exponents of 2 less the largest so far, which results and sums follow.
  template <int N>
  __device__ void soften(float (&s)[kTiles][N / 8][4], int first, const Visible<kTiles>& visible,
                         const Scores& scores) {
    if (scores.softcap != 0.0F) {
      each<N>(s, [&](float& x, int, int) { x = scores.capped(x); });
    }
    if (first < visible.all_from || first + N > visible.all_to) {
      each<N>(s, [&](float& x, int row, int column) {
        const int position = first + column;
        if (position < visible.lo[row] || position >= visible.hi[row]) x = -INFINITY;
      });
    }
    const float factor = scores.softcap != 0.0F ? 1.0F : scores.scale;
    float top[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) top[r] = -INFINITY;
    each<N>(s, [&](float& x, int row, int) { top[row] = fmaxf(top[row], x); });
    float base[kRows], shrink[kRows];
    bool grows = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      top[r] = fmaxf(largest[r], quad_max(top[r]) * factor);
      base[r] = top[r] == -INFINITY ? 0.0F : top[r];  // a row that sees nothing yet: all its exponents are −∞
      shrink[r] = exp2_fast(largest[r] - base[r]);
      grows |= top[r] > largest[r];
      largest[r] = top[r];
    }
    if (__any_sync(0xffffffffU, grows)) {  // seldom after the first tiles
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sum[r] *= shrink[r];
#pragma unroll
        for (int i = 0; i < D / 8; ++i) {
          out[r / 2][i][r % 2 * 2] *= shrink[r];
          out[r / 2][i][r % 2 * 2 + 1] *= shrink[r];
        }
      }
    }
    each<N>(s, [&](float& x, int row, int) {
      x = exp2_fast(fmaf(x, factor, -base[row]));
      sum[row] += x;
    });
  }

  /// Of positions [n, n + 16), as the first operand of the product with values.
  template <int N>
  __device__ static void weights_of(uint32_t (&a)[4], const float (&s)[N / 8][4], int n) {
    const float(&left)[4] = s[n / 8];
    const float(&right)[4] = s[n / 8 + 1];
    a[0] = pack(left[0], left[1], T{});
    a[1] = pack(left[2], left[3], T{});
    a[2] = pack(right[0], right[1], T{});
    a[3] = pack(right[2], right[3], T{});
  }

  /// body(score, row, column) for all of the thread's scores.
  template <int N, typename F>
  __device__ static void each(float (&s)[kTiles][N / 8][4], F body) {
    const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < N / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) body(s[m][n][j], 2 * m + j / 2, n * 8 + column + (j & 1));
      }
    }
  }
};

/// An AttentionCall for a kernel.
template <typename T>
struct AttentionParams {
  T* out;
  const T* q;
  const T* k;
  const T* v;
  int64_t out_stride, q_stride;
  const int32_t* pages;
  const int32_t* tokens;
  const AttentionItem* items;
  float* partial;
  float* partial_sums;
  unsigned* counters;
  int partial_rows;
  int kv_heads, group, page_shift, window;
  bool causal;
  Scores scores;
};

template <typename T>
AttentionParams<T> params_of(const AttentionCall& c) {
  AttentionParams<T> p;
  p.out = pointer<T>(c.out);
  p.q = pointer<T>(c.q);
  p.k = reinterpret_cast<const T*>(c.kv.k);
  p.v = reinterpret_cast<const T*>(c.kv.v);
  p.out_stride = c.out.row_stride;
  p.q_stride = c.q.row_stride;
  p.pages = c.pages;
  p.tokens = c.tokens;
  p.items = c.items;
  p.partial = c.partial;
  p.partial_sums = c.partial + int64_t{c.num_slots} * c.kv.num_kv_heads * c.partial_rows * c.kv.head_dim;
  p.counters = c.counters;
  p.partial_rows = c.partial_rows;
  p.kv_heads = c.kv.num_kv_heads;
  p.group = c.options.num_heads / c.kv.num_kv_heads;
  p.page_shift = 0;
  while (1 << p.page_shift < c.kv.page_size) ++p.page_shift;
  p.window = c.options.window;
  p.causal = c.options.causal;
  const float cap = c.options.softcap;
  p.scores = {.scale = cap > 0 ? c.options.scale / cap : c.options.scale * kLog2E, .softcap = cap * kLog2E};
  return p;
}

/// Row r of a sequence: its token, in the batch and by position, and the column of its head.
struct AttentionRow {
  int token, position, head;
};
template <typename T>
__device__ AttentionRow row_of(const AttentionParams<T>& p, const BatchSeq& seq, int kv_head, int r) {
  const int token = r / p.group;
  return {seq.q_begin + token, seq.kv_len - seq.q_len + token, kv_head * p.group + r % p.group};
}

/// What rows first + lane/4 + 8 · i see: tokens of sequences, or, if not `causal`, all.
template <int kTiles, typename T>
__device__ Visible<kTiles> visible_of(const AttentionParams<T>& p, const BatchSeq& seq, int first, bool causal) {
  Visible<kTiles> see;
  const int rows = seq.q_len * p.group;
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    const int r = first + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * i;
    const int end = r >= rows ? 0 : causal ? seq.kv_len - seq.q_len + r / p.group + 1 : seq.kv_len;
    see.hi[i] = end;
    see.lo[i] = p.window > 0 ? max(end - p.window, 0) : 0;
  }
  see.summarize();
  return see;
}

}  // namespace sgl::cuda
