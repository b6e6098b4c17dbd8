// Kernels of the float path of linear(): see linear_kernels.h for the arithmetic, linear_layout.h for the panels.
//
// A quantized panel becomes float32 piece by piece, [kPiece][16] floats that stay in the L1 cache, with the values that
// dequantize_row() gives; F16 and BF16 are widened as they are loaded. Each k adds one rank-1 update to the tile's
// accumulators.

#include "ops/linear_kernels.h"
#include "ops/linear_unpack.inl"

namespace sgl::SGL_ISA {
namespace {

constexpr int kPiece = 256;  // a multiple of every block
constexpr int kTileRows = SGL_SMALL_TILES ? 2 : SGL_ISA_LEVEL == 3 ? 16 : 8;

// Block i of a unit as float32: to[32][16].
template <DType T>
SGL_INLINE void expand_block(const uint8_t* unit, int i, float* to) {
  constexpr PanelFormat f = panel_format(T);
  const uint8_t* scales = unit + f.unit_blocks() * f.code_bytes();
  for (int g = 0; g < kGroups; ++g) {
    VecI w[8];
    unpack<T>(unit + i * f.code_bytes(), g, w);
    VecF d[2], m[2];  // of the first and the last 16 weights
    const int n = g * kLanes;
    if constexpr (f.scales == PanelScales::Half) {
      d[0] = d[1] = load_f16(halves(scales + 32 * i) + n);
    } else if constexpr (f.scales == PanelScales::HalfZero) {
      d[0] = d[1] = load_f16(halves(scales + 32 * f.group_of(i)) + n);
    } else {
      d[0] = load_f16(halves(scales) + n);
      d[1] = d[0];
    }
    m[0] = m[1] = zero();
    if constexpr (f.scales == PanelScales::HalfMin) m[0] = m[1] = load_f16(halves(scales + 32) + n);
    if constexpr (f.scales == PanelScales::K32Min) {
      d[0] = d[1] = d[0] * to_float(load_u8(scales + 64 + 16 * i + n));
      m[0] = m[1] = zero() - load_f16(halves(scales + 32) + n) * to_float(load_u8(scales + 192 + 16 * i + n));
    }
    if constexpr (f.scales == PanelScales::K16) {
      for (int h = 0; h < 2; ++h) d[h] = d[h] * to_float(load_i8(scales + 32 + 32 * i + 16 * h + n));
    }
    if constexpr (f.scales == PanelScales::K16Min) {
      for (int h = 0; h < 2; ++h) {
        VecI sm = load_u8(scales + 64 + 32 * i + 16 * h + n);
        d[h] = d[h] * to_float(sm & splat(15));
        m[h] = zero() - load_f16(halves(scales + 32) + n) * to_float(shift_right<4>(sm));
      }
    }
    constexpr bool kHasZero =
        f.scales == PanelScales::Half || f.scales == PanelScales::K16 || f.scales == PanelScales::HalfZero;
    VecI code_of_zero = splat(kHasZero ? 1 << f.zero_shift : 0);
    if constexpr (f.scales == PanelScales::HalfZero) {
      code_of_zero = load_u8(scales + 32 * f.groups + 16 * f.group_of(i) + n);
    }
    auto put = [&](int k, VecI code) __attribute__((always_inline)) {
      VecF x = d[k / 16] * to_float((code & splat(255)) - code_of_zero);
      if constexpr (!kHasZero) x = x + m[k / 16];
      store(to + k * kPanelRows + n, x);
    };
    for (int j = 0; j < 8; ++j) {
      put(4 * j, w[j]);
      put(4 * j + 1, shift_right<8>(w[j]));
      put(4 * j + 2, shift_right<16>(w[j]));
      put(4 * j + 3, shift_right<24>(w[j]));
    }
  }
}

// w[begin, begin + n) of a panel, as float32 [n][16]. begin is a multiple of kPiece.
template <DType T>
void expand(const std::byte* panel, int64_t begin, int64_t n, float* to) {
  constexpr PanelFormat f = panel_format(T);
  static_assert(kPiece % (kBlock * f.unit_blocks()) == 0);
  const auto* unit = reinterpret_cast<const uint8_t*>(panel) + begin / kBlock / f.unit_blocks() * f.unit_bytes();
  for (int64_t b = 0; b < n / kBlock; ++b) {
    expand_block<T>(unit + b / f.unit_blocks() * f.unit_bytes(), static_cast<int>(b % f.unit_blocks()),
                    to + b * kBlock * kPanelRows);
  }
}

void expand_panel(DType format, const std::byte* panel, int64_t begin, int64_t n, float* to) {
  switch (format) {
    case DType::Q4_0:
      return expand<DType::Q4_0>(panel, begin, n, to);
    case DType::Q4_1:
      return expand<DType::Q4_1>(panel, begin, n, to);
    case DType::Q5_0:
      return expand<DType::Q5_0>(panel, begin, n, to);
    case DType::Q5_1:
      return expand<DType::Q5_1>(panel, begin, n, to);
    case DType::Q8_0:
      return expand<DType::Q8_0>(panel, begin, n, to);
    case DType::Q2_K:
      return expand<DType::Q2_K>(panel, begin, n, to);
    case DType::Q3_K:
      return expand<DType::Q3_K>(panel, begin, n, to);
    case DType::Q4_K:
      return expand<DType::Q4_K>(panel, begin, n, to);
    case DType::Q5_K:
      return expand<DType::Q5_K>(panel, begin, n, to);
    case DType::Q6_K:
      return expand<DType::Q6_K>(panel, begin, n, to);
    case DType::IQ4_NL:
      return expand<DType::IQ4_NL>(panel, begin, n, to);
    case DType::Int4G32:
      return expand<DType::Int4G32>(panel, begin, n, to);
    case DType::Int4G128:
      return expand<DType::Int4G128>(panel, begin, n, to);
    default:
      return;
  }
}

constexpr int kAhead = 8 << 10;  // bytes, see LinearTile::ahead

// w[k][·] and w[k + 1][·] of lanes of group g, k even. `panel` begins at k = 0.
template <DType T>
SGL_INLINE void load_two(const uint8_t* panel, int64_t k, int g, VecF* w) {
  const int n = g * kLanes;
  if constexpr (T == DType::BF16) {  // a pair in each 32 bits
    const VecI pair = load(reinterpret_cast<const int32_t*>(panel) + k / 2 * kPanelRows + n);
    w[0] = from_bits(shift_left<16>(pair));
    w[1] = from_bits(pair & splat(static_cast<int32_t>(0xffff0000)));
  } else if constexpr (T == DType::F16) {
    w[0] = load_f16(halves(panel) + k * kPanelRows + n);
    w[1] = load_f16(halves(panel) + (k + 1) * kPanelRows + n);
  } else {
    w[0] = load(reinterpret_cast<const float*>(panel) + k * kPanelRows + n);
    w[1] = load(reinterpret_cast<const float*>(panel) + (k + 1) * kPanelRows + n);
  }
}

template <DType T>
SGL_INLINE VecF load_one(const uint8_t* panel, int64_t k, int g) {
  if constexpr (T == DType::BF16) {
    VecF w[2];
    load_two<T>(panel, k, g, w);
    return w[0];
  } else if constexpr (T == DType::F16) {
    return load_f16(halves(panel) + k * kPanelRows + g * kLanes);
  } else {
    return load(reinterpret_cast<const float*>(panel) + k * kPanelRows + g * kLanes);
  }
}

// acc[r][·] += Σ_k x[k][r] · w[k][·], k ascending, for weights of type T: F32, F16 or BF16.
template <DType T, int R>
SGL_INLINE void add_products(const void* w, const float* x, int64_t n, float* acc) {
  const auto* panel = static_cast<const uint8_t*>(w);
  for (int g = 0; g < kGroups; ++g) {
    VecF a[R];
    SGL_UNROLL for (int r = 0; r < R; ++r) a[r] = load(acc + r * kPanelRows + g * kLanes);
    const float* xk = x;
    int64_t k = 0;
    for (; k + 2 <= n; k += 2, xk += 2 * R) {
      constexpr int kBytes = 2 * kPanelRows * (T == DType::F32 ? 4 : 2);
      if (g == 0) prefetch_lines<kBytes>(panel + k / 2 * kBytes + kAhead);
      VecF two[2];
      load_two<T>(panel, k, g, two);
      SGL_UNROLL for (int r = 0; r < R; ++r) a[r] = fma(splat(xk[r]), two[0], a[r]);
      SGL_UNROLL for (int r = 0; r < R; ++r) a[r] = fma(splat(xk[R + r]), two[1], a[r]);
    }
    if (k < n) {
      VecF one = load_one<T>(panel, k, g);
      SGL_UNROLL for (int r = 0; r < R; ++r) a[r] = fma(splat(xk[r]), one, a[r]);
    }
    SGL_UNROLL for (int r = 0; r < R; ++r) store(acc + r * kPanelRows + g * kLanes, a[r]);
  }
}

template <int R>
void float_tile(const LinearTile& t, DType format) {
  alignas(64) float acc[R * kPanelRows] = {};
  alignas(64) float piece[kPiece * kPanelRows];
  const auto* x = reinterpret_cast<const float*>(t.x);
  if (format == DType::F32) {
    add_products<DType::F32, R>(t.panel, x, t.in, acc);
  } else if (format == DType::F16) {
    add_products<DType::F16, R>(t.panel, x, t.in, acc);
  } else if (format == DType::BF16) {
    add_products<DType::BF16, R>(t.panel, x, t.in, acc);
  } else {
    for (int64_t k = 0; k < t.in; k += kPiece) {
      const int64_t n = min_of(int64_t{kPiece}, t.in - k);
      expand_panel(format, t.panel, k, n, piece);
      add_products<DType::F32, R>(piece, x + k * R, n, acc);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < t.columns; ++c) {
      float v = acc[r * kPanelRows + c];
      t.y[r * t.y_stride + c] = t.bias != nullptr ? v + t.bias[c] : v;
    }
  }
}

template <int R>
void set_rows(FloatKernels& k) {
  k.tile[R - 1] = float_tile<R>;
  if constexpr (R < kTileRows) set_rows<R + 1>(k);
}

}  // namespace

FloatKernels float_kernels() {
  FloatKernels k{};
  set_rows<1>(k);
  k.max_rows = kTileRows;
  return k;
}

}  // namespace sgl::SGL_ISA
