// Products of few rows: a matrix is read once from memory, and that is all the time it takes.
//
// A warp computes two outputs (of a gated product: a gate and its up), for all rows of x. Where there are few outputs,
// the four warps of a block share two and take a quarter of the columns each, so that enough loads are on their way.
// Lanes take 16 bytes each of both rows of w, and of x, which stays in the L1 cache. Loads run ahead of the sums by a
// group, and the first group is on its way before the kernel before this one is done: weights do not depend on it.
//
// An output is the sum over warps and lanes of float32 sums along the lane's own columns, whatever the number of rows.

#include <cstdint>

#include "ops/device_cuda.h"
#include "ops/kernels_cuda.h"

namespace sgl::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kFewPairs = 8192;        // of outputs: with a warp for each, too little is on its way
constexpr int kGroup = 4;              // loads of 16 bytes of each row of w on their way
constexpr int kStep = kWarp * 8;       // elements that a warp loads at once
constexpr int kSpan = kGroup * kStep;  // and in a group

enum class Result { Plain, Add, Gated };

// N: rows that the sums have room for; n of them are there.
template <typename T, typename Y, int N, Result kResult, bool kShared>
__global__ void __launch_bounds__(kThreads)
    gemv_kernel(Y* y, int64_t y_stride, const T* x, int64_t x_stride, const T* w, int64_t w_stride, const float* bias,
                int in, int out, int n, Act act) {
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int pair = kShared ? static_cast<int>(blockIdx.x) : static_cast<int>(blockIdx.x) * kWarps + warp;
  const int pairs = kResult == Result::Gated ? out / 2 : (out + 1) / 2;
  if (pair >= pairs) return;
  // This warp's columns: [begin, end).
  const int share = kShared ? (in + kWarps * kStep - 1) / (kWarps * kStep) * kStep : in;
  const int begin = kShared ? warp * share : 0, end = min(begin + share, in);
  const int first = kResult == Result::Gated ? pair : 2 * pair;
  const int second = kResult == Result::Gated ? pair + pairs : min(2 * pair + 1, out - 1);
  const T* rows[2] = {w + first * w_stride, w + second * w_stride};

  uint4 next[kGroup][2];
  auto fetch = [&](int from) {
#pragma unroll
    for (int g = 0; g < kGroup; ++g) {
      const int at = from + g * kStep + lane * 8;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        next[g][r] = at < end ? __ldcs(reinterpret_cast<const uint4*>(rows[r] + at)) : uint4{0, 0, 0, 0};
      }
    }
  };
  fetch(begin);
  wait_for_previous();

  float sums[N][2] = {};
  for (int from = begin; from < end; from += kSpan) {
    uint4 now[kGroup][2];
#pragma unroll
    for (int g = 0; g < kGroup; ++g) {
      now[g][0] = next[g][0];
      now[g][1] = next[g][1];
    }
    if (from + kSpan < end) fetch(from + kSpan);
#pragma unroll
    for (int g = 0; g < kGroup; ++g) {
      const int at = from + g * kStep + lane * 8;
      if (at >= end) continue;
      const T* a = reinterpret_cast<const T*>(&now[g][0]);
      const T* b = reinterpret_cast<const T*>(&now[g][1]);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (i >= n) break;
        const Floats<8> f = load<8>(x + i * x_stride + at);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          sums[i][0] += to_float(a[j]) * f.at[j];
          sums[i][1] += to_float(b[j]) * f.at[j];
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < N; ++i) {
    sums[i][0] = warp_sum(sums[i][0]);
    sums[i][1] = warp_sum(sums[i][1]);
  }
  if constexpr (kShared) {
    __shared__ float parts[kWarps][N][2];
    if (lane == 0) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        parts[warp][i][0] = sums[i][0];
        parts[warp][i][1] = sums[i][1];
      }
    }
    __syncthreads();
    if (warp != 0) return;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      for (int p = 1; p < kWarps; ++p) {
        sums[i][0] += parts[p][i][0];
        sums[i][1] += parts[p][i][1];
      }
    }
  }
  if (lane != 0) return;

#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i >= n) break;
    float left = sums[i][0], right = sums[i][1];
    if (bias != nullptr) {
      left += bias[first];
      right += bias[second];
    }
    Y* to = y + i * y_stride;
    if constexpr (kResult == Result::Gated) {
      to[pair] = from_float<Y>(activate(left, act) * right);
    } else {
      if constexpr (kResult == Result::Add) {
        left += to_float(to[first]);
        right += to_float(to[second]);
      }
      to[first] = from_float<Y>(left);
      if (second != first) to[second] = from_float<Y>(right);
    }
  }
}

template <typename T, typename Y, Result kResult, bool kShared>
void run(cudaStream_t stream, Tensor y, Tensor x, Tensor w, Tensor bias, Act act) {
  const auto out = static_cast<int>(w.rows());
  const int pairs = (out + 1) / 2;
  const int blocks = kShared ? pairs : (pairs + kWarps - 1) / kWarps;
  auto* kernel = x.rows() == 1 ? gemv_kernel<T, Y, 1, kResult, kShared>
                               : gemv_kernel<T, Y, static_cast<int>(kGemvRows), kResult, kShared>;
  launch(stream, static_cast<unsigned>(blocks), kThreads, 0, kernel, pointer<Y>(y), y.row_stride, pointer<T>(x),
         x.row_stride, pointer<T>(w), w.row_stride, bias.empty() ? nullptr : pointer<float>(bias),
         static_cast<int>(w.cols()), out, static_cast<int>(x.rows()), act);
}

template <typename T, typename Y, Result kResult>
void run(cudaStream_t stream, Tensor y, Tensor x, Tensor w, Tensor bias, Act act) {
  if ((w.rows() + 1) / 2 < kFewPairs) {
    run<T, Y, kResult, true>(stream, y, x, w, bias, act);
  } else {
    run<T, Y, kResult, false>(stream, y, x, w, bias, act);
  }
}

template <typename F>
void with_half_type(DType t, F&& f) {
  if (t == DType::F16) f(Type<__half>{});
  if (t == DType::BF16) f(Type<__nv_bfloat16>{});
}

}  // namespace

bool can_gemv(const Tensor& x, const Tensor& w) {
  return (w.dtype == DType::F16 || w.dtype == DType::BF16) && x.dtype == w.dtype && in_eights(x) && in_eights(w) &&
         x.rows() <= kGemvRows;
}

void gemv(cudaStream_t stream, Tensor y, Tensor x, Tensor w, Tensor bias, bool add) {
  with_half_type(w.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (add) {
      run<T, float, Result::Add>(stream, y, x, w, bias, Act::Silu);
    } else if (y.dtype == DType::F32) {
      run<T, float, Result::Plain>(stream, y, x, w, bias, Act::Silu);
    } else {
      run<T, T, Result::Plain>(stream, y, x, w, bias, Act::Silu);
    }
  });
}

void gemv_gated(cudaStream_t stream, Tensor out, Tensor x, Tensor w, Tensor bias, Act act) {
  with_half_type(w.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run<T, T, Result::Gated>(stream, out, x, w, bias, act);
  });
}

}  // namespace sgl::cuda
