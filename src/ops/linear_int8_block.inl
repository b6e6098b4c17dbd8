// What the int8 kernels of all instruction sets share: a block's scales and activations, and how the integer products
// of a block become float32. linear_kernels.h defines the arithmetic; any kernel that gets the integers right and then
// comes here gives the same bits.

#include "ops/linear_kernels.h"
#include "ops/linear_unpack.inl"

namespace sgl::SGL_ISA {
namespace {

// A block's activations of a tile, see linear_kernels.h.
struct BlockRows {
  const int8_t* codes;
  const float* scale;
  const float* sum;
  const int32_t* minus_codes;
  const int32_t* minus_low;
};
SGL_INLINE BlockRows block_rows(const int8_t* block, int rows) {
  const auto* scale = reinterpret_cast<const float*>(block + 32 * rows);
  const auto* minus_codes = reinterpret_cast<const int32_t*>(scale + 2 * rows);
  return {block, scale, scale + rows, minus_codes, minus_codes + rows};
}

// Formats with a minimum for each block of 32, and those with scales for each 16 weights.
template <DType T>
constexpr bool kHasMin = panel_format(T).scales == PanelScales::HalfMin ||
                         panel_format(T).scales == PanelScales::HalfZero ||
                         panel_format(T).scales == PanelScales::K32Min;
template <DType T>
constexpr bool kHasHalves = panel_format(T).scales == PanelScales::K16 || panel_format(T).scales == PanelScales::K16Min;

// The scales of one block for the lanes of one group. Integers of 16 weights (s, mins) are held as float32: each
// product of two of them is an integer below 2^24, and their sum is rounded once, as an integer's conversion would be.
struct Scales {
  VecF d;       // w = d · code …
  VecF m;       // … + m                                  (kHasMin)
  VecF d_min;   // the factor of min                      (K16Min)
  VecF s[2];    // of the first and the last 16 weights   (kHasHalves)
  VecF min[2];  //                                        (K16Min)
};

// Of block i of a unit whose scales are at `scales`.
template <DType T>
SGL_INLINE Scales load_scales(const uint8_t* scales, int i, int g) {
  constexpr PanelFormat f = panel_format(T);
  const int n = g * kLanes;
  Scales k;
  if constexpr (f.scales == PanelScales::Half) {
    k.d = load_f16(halves(scales + 32 * i) + n);
  } else if constexpr (f.scales == PanelScales::HalfZero) {
    const int group = f.group_of(i);
    k.d = load_f16(halves(scales + 32 * group) + n);
    k.m = zero() - k.d * to_float(load_u8(scales + 32 * f.groups + 16 * group + n));  // exact
  } else {
    k.d = load_f16(halves(scales) + n);
  }
  if constexpr (f.scales == PanelScales::HalfMin) k.m = load_f16(halves(scales + 32) + n);
  if constexpr (f.scales == PanelScales::K32Min) {
    k.d = k.d * to_float(load_u8(scales + 64 + 16 * i + n));
    k.m = zero() - load_f16(halves(scales + 32) + n) * to_float(load_u8(scales + 192 + 16 * i + n));
  }
  if constexpr (f.scales == PanelScales::K16) {
    for (int h = 0; h < 2; ++h) k.s[h] = to_float(load_i8(scales + 32 + 32 * i + 16 * h + n));
  }
  if constexpr (f.scales == PanelScales::K16Min) {
    k.d_min = load_f16(halves(scales + 32) + n);
    for (int h = 0; h < 2; ++h) {
      const VecI sm = load_u8(scales + 64 + 32 * i + 16 * h + n);
      k.s[h] = to_float(sm & splat(15));
      k.min[h] = to_float(shift_right<4>(sm));
    }
  }
  return k;
}

// acc ← acc + a block's products for row r, of which `dot` has the integers: over all 32 weights, or with kHasHalves
// over the first and the last 16. Codes are taken relative to the format's zero.
template <DType T>
SGL_INLINE VecF add_block(VecF acc, const VecI* dot, const Scales& k, const BlockRows& x, int r) {
  const VecF scale = k.d * splat(x.scale[r]);
  if constexpr (!kHasHalves<T>) {
    acc = fma(to_float(dot[0]), scale, acc);
    if constexpr (kHasMin<T>) acc = fma(k.m, splat(x.sum[r]), acc);
    return acc;
  }
  acc = fma(fma(to_float(dot[0]), k.s[0], to_float(dot[1]) * k.s[1]), scale, acc);
  if constexpr (panel_format(T).scales == PanelScales::K16Min) {
    const auto low = static_cast<float>(x.minus_low[r]), high = static_cast<float>(x.minus_codes[r] - x.minus_low[r]);
    acc = fma(fma(splat(low), k.min[0], splat(high) * k.min[1]), k.d_min * splat(x.scale[r]), acc);
  }
  return acc;
}

// Writes the columns of group g that exist, with their bias.
template <int R>
SGL_INLINE void store_columns(const LinearTile& t, int g, VecF* acc) {
  const int columns = min_of(t.columns - g * kLanes, kLanes);
  if (columns <= 0) return;
  if (t.bias != nullptr) {
    const VecF bias = load_first(t.bias + g * kLanes, columns);
    SGL_UNROLL for (int r = 0; r < R; ++r) acc[r] = acc[r] + bias;
  }
  SGL_UNROLL for (int r = 0; r < R; ++r) {
    float* y = t.y + r * t.y_stride + g * kLanes;
    if (columns == kLanes) {
      store(y, acc[r]);
    } else {
      store_first(y, acc[r], columns);
    }
  }
}

}  // namespace
}  // namespace sgl::SGL_ISA
