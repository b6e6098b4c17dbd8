// Kernels of norms, rope, activations and sums: see vector_kernels.h.

#include "ops/simd_math.inl"
#include "ops/vector_kernels.h"

namespace sgl::SGL_ISA {
namespace {

// Σ f(i, x_i) for i in [0, n), in the order that vector_kernels.h gives; f gets zeros past the end.
template <typename F>
SGL_INLINE float sum_of(const float* x, int64_t n, F f) {
  constexpr int kVectors = 4 * kPer16;
  VecF acc[kVectors];
  for (VecF& a : acc) a = zero();
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int j = 0; j < kVectors; ++j) acc[j] = f(load(x + i + j * kLanes), acc[j], kLanes);
  }
  for (int j = 0; i < n; ++j, i += kLanes) {
    const int left = static_cast<int>(min_of(n - i, int64_t{kLanes}));
    acc[j] = f(load_first(x + i, left), acc[j], left);
  }
  for (int j = 0; j < kPer16; ++j) {
    acc[j] = (acc[j] + acc[kPer16 + j]) + (acc[2 * kPer16 + j] + acc[3 * kPer16 + j]);
  }
  return sum_of_16(acc);
}

// f(i, n): the elements [i, i + n), n ≤ kLanes.
template <typename F>
SGL_INLINE void for_each_vector(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, static_cast<int>(n - i));
}

SGL_INLINE VecF load_n(const float* p, int n) { return n == kLanes ? load(p) : load_first(p, n); }
SGL_INLINE void store_n(float* p, VecF x, int n) {
  if (n == kLanes) {
    store(p, x);
  } else {
    store_first(p, x, n);
  }
}

void rms_norm(float* out, const float* x, const float* w, int64_t d, float eps) {
  const float sum = sum_of(x, d, [](VecF v, VecF acc, int) { return fma(v, v, acc); });
  const VecF inverse = splat(1.0F / __builtin_sqrtf(sum / static_cast<float>(d) + eps));
  for_each_vector(d, [&](int64_t i, int n) { store_n(out + i, load_n(x + i, n) * inverse * load_n(w + i, n), n); });
}

void layer_norm(float* out, const float* x, const float* w, const float* b, int64_t d, float eps) {
  const float size = static_cast<float>(d);
  const VecF mean = splat(sum_of(x, d, [](VecF v, VecF acc, int) { return acc + v; }) / size);
  const float sum = sum_of(x, d, [&](VecF v, VecF acc, int n) {
    VecF difference = v - mean;
    if (n < kLanes) difference = keep_range(difference, 0, n, zero());
    return fma(difference, difference, acc);
  });
  const VecF inverse = splat(1.0F / __builtin_sqrtf(sum / size + eps));
  for_each_vector(d, [&](int64_t i, int n) {
    store_n(out + i, fma((load_n(x + i, n) - mean) * inverse, load_n(w + i, n), load_n(b + i, n)), n);
  });
}

void rope(float* x, const float* cos_sin, int64_t half) {
  for_each_vector(half, [&](int64_t i, int n) {
    VecF a = load_n(x + i, n), b = load_n(x + half + i, n);
    VecF c = load_n(cos_sin + i, n), s = load_n(cos_sin + half + i, n);
    store_n(x + i, fnma(b, s, a * c), n);
    store_n(x + half + i, fma(b, c, a * s), n);
  });
}

void rope_interleaved(float* x, const float* cos_sin, int64_t half) {
  // Pairs are taken apart in a small buffer, turned as above, and put back.
  for_each_vector(half, [&](int64_t i, int n) {
    float even[kLanes] = {}, odd[kLanes] = {};
    for (int j = 0; j < n; ++j) {
      even[j] = x[2 * (i + j)];
      odd[j] = x[2 * (i + j) + 1];
    }
    VecF a = load(even), b = load(odd), c = load_n(cos_sin + i, n), s = load_n(cos_sin + half + i, n);
    store(even, fnma(b, s, a * c));
    store(odd, fma(b, c, a * s));
    for (int j = 0; j < n; ++j) {
      x[2 * (i + j)] = even[j];
      x[2 * (i + j) + 1] = odd[j];
    }
  });
}

template <Act act>
SGL_INLINE VecF activate(VecF x) {
  const VecF one = splat(1.0F), half = splat(0.5F);
  if constexpr (act == Act::Silu) return x / (one + exp(zero() - x));
  if constexpr (act == Act::Gelu) return half * x * (one + erf(x * splat(0.70710678F)));
  if constexpr (act == Act::GeluTanh) {
    return half * x * (one + tanh(splat(0.79788456F) * fma(splat(0.044715F) * x * x, x, x)));
  }
  return max(zero(), x);  // NaN stays
}

// Calls f with the activation as a compile-time constant.
template <typename F>
SGL_INLINE void with_act(Act act, F f) {
  switch (act) {
    case Act::Silu:
      return f(std::integral_constant<Act, Act::Silu>{});
    case Act::Gelu:
      return f(std::integral_constant<Act, Act::Gelu>{});
    case Act::GeluTanh:
      return f(std::integral_constant<Act, Act::GeluTanh>{});
    case Act::Relu:
      return f(std::integral_constant<Act, Act::Relu>{});
  }
}

void gated_act(float* out, const float* gate, const float* up, int64_t n, Act act) {
  with_act(act, [&](auto a) {
    for_each_vector(n, [&](int64_t i, int m) {
      store_n(out + i, activate<decltype(a)::value>(load_n(gate + i, m)) * load_n(up + i, m), m);
    });
  });
}

void activation(float* out, const float* x, int64_t n, Act act) {
  with_act(act, [&](auto a) {
    for_each_vector(n, [&](int64_t i, int m) { store_n(out + i, activate<decltype(a)::value>(load_n(x + i, m)), m); });
  });
}

void add(float* h, const float* x, int64_t n) {
  for_each_vector(n, [&](int64_t i, int m) { store_n(h + i, load_n(h + i, m) + load_n(x + i, m), m); });
}

void softcap(float* x, int64_t n, float cap) {
  for_each_vector(n, [&](int64_t i, int m) { store_n(x + i, splat(cap) * tanh(load_n(x + i, m) / splat(cap)), m); });
}

// The largest of n ≤ kScan elements, from `floor` on; `magnitude` collects the largest magnitude's bits: a NaN's are
// above infinity's.
constexpr int64_t kScan = 2048;
SGL_INLINE float largest_of(const float* x, int64_t n, float floor, VecI* magnitude) {
  constexpr int kVectors = 2 * kPer16;
  VecF top[kVectors];
  VecI size[kVectors];
  for (int j = 0; j < kVectors; ++j) {
    top[j] = splat(floor);
    size[j] = splat(0);
  }
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int j = 0; j < kVectors; ++j) {
      VecF v = load(x + i + j * kLanes);
      top[j] = max(v, top[j]);
      size[j] = max(size[j], bits(v) & splat(0x7fffffff));
    }
  }
  for (int j = 0; i < n; ++j, i += kLanes) {
    const int left = static_cast<int>(min_of(n - i, int64_t{kLanes}));
    VecF v = keep_range(load_n(x + i, left), 0, left, splat(floor));
    top[j] = max(v, top[j]);
    size[j] = max(size[j], bits(v) & splat(0x7fffffff));
  }
  for (int j = 0; j < kPer16; ++j) top[j] = max(top[j], top[kPer16 + j]);
  for (int j = 0; j < kVectors; ++j) *magnitude = max(*magnitude, size[j]);
  return max_of_16(top);
}

int32_t argmax(const float* x, int64_t n) {
  float best = -__builtin_inff();
  int64_t at = -1;  // the piece where it stands first
  VecI magnitude = splat(0);
  for (int64_t i = 0; i < n; i += kScan) {
    const float top = largest_of(x + i, min_of(kScan, n - i), best, &magnitude);
    if (top > best) {
      best = top;
      at = i;
    }
  }
  int32_t sizes[kLanes];
  store(sizes, magnitude);
  for (int32_t size : sizes) {
    if (size > 0x7f800000) return -1;
  }
  if (at < 0) return -1;
  while (x[at] != best) ++at;
  return static_cast<int32_t>(at);
}

double exp_all(float* p, const float* x, int64_t n, float largest) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kScan) {  // float32 sums of pieces, then double
    const int64_t size = min_of(kScan, n - begin);
    VecF sum[kPer16];
    for (VecF& s : sum) s = zero();
    for_each_vector(size, [&](int64_t i, int m) {
      VecF e = exp(load_n(x + begin + i, m) - splat(largest));
      if (m < kLanes) e = keep_range(e, 0, m, zero());
      store_n(p + begin + i, e, m);
      const int j = static_cast<int>(i / kLanes % kPer16);
      sum[j] = sum[j] + e;
    });
    total += static_cast<double>(sum_of_16(sum));
  }
  return total;
}

// Bit i of a word shifted to lane i.
VecI lane_bits() {
  int32_t bit[kLanes];
  for (int i = 0; i < kLanes; ++i) bit[i] = 1 << i;
  return load(bit);
}

void forbid(float* x, int64_t n, const uint32_t* allowed) {
  const VecF never = splat(-__builtin_inff());
  const VecI bit = lane_bits();
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const uint32_t word = allowed[i / 32];
    if (word == ~0U) continue;
    for (int j = 0; j < 32; j += kLanes) {
      const VecI lanes = splat(static_cast<int32_t>(word >> j & ((1U << kLanes) - 1U))) & bit;
      store(x + i + j, if_less(zero(), to_float(lanes), load(x + i + j), never));
    }
  }
  for (; i < n; ++i) {
    if ((allowed[i / 32] >> (i % 32) & 1U) == 0) x[i] = -__builtin_inff();
  }
}

double weigh(const float* p, int64_t n, float bound, int64_t* count) {
  double total = 0;
  VecI counts = splat(0);
  for (int64_t begin = 0; begin < n; begin += kScan) {
    const int64_t size = min_of(kScan, n - begin);
    VecF sum[4 * kPer16];
    for (VecF& s : sum) s = zero();
    for_each_vector(size, [&](int64_t i, int m) {
      VecF x = load_n(p + begin + i, m);
      if (m < kLanes) x = keep_range(x, 0, m, splat(bound));
      const int j = static_cast<int>(i / kLanes % (4 * kPer16));
      sum[j] = sum[j] + if_less(splat(bound), x, x, zero());
      counts = counts + bits(if_less(splat(bound), x, from_bits(splat(1)), zero()));
    });
    for (int j = 0; j < kPer16; ++j) {
      sum[j] = (sum[j] + sum[kPer16 + j]) + (sum[2 * kPer16 + j] + sum[3 * kPer16 + j]);
    }
    total += static_cast<double>(sum_of_16(sum));
  }
  int32_t lanes[kLanes];
  store(lanes, counts);
  *count = 0;
  for (int32_t l : lanes) *count += l;
  return total;
}

}  // namespace

VectorKernels vector_kernels() {
  return {rms_norm, layer_norm, rope,   rope_interleaved, gated_act, activation,
          add,      softcap,    argmax, exp_all,          weigh,     forbid};
}

}  // namespace sgl::SGL_ISA
