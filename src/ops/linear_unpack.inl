// Codes of a quantized panel (linear_layout.h) from bit planes to bytes.

#include "ops/linear_layout.h"
#include "ops/simd.h"

namespace sgl::SGL_ISA {
namespace {

constexpr int kGroups = kPanelRows / kLanes;  // vectors across a panel

SGL_INLINE VecI load_codes(const uint8_t* p) {
  VecI v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

SGL_INLINE VecI bytes_of(int b) { return splat(static_cast<int32_t>(0x01010101U * static_cast<uint32_t>(b))); }

// Bits [from, from + n) of each byte moved to [to, to + n), n given by the mask at `to`; or-ed into w.
template <int from, int to>
SGL_INLINE VecI add_bits(VecI w, VecI plane, VecI mask) {
  if constexpr (from > to) return or_masked(w, shift_right<from - to>(plane), mask);
  if constexpr (from < to) return or_masked(w, shift_left<to - from>(plane), mask);
  return or_masked(w, plane, mask);
}

template <int low, int s>
SGL_INLINE void add_one_bit(VecI* w, VecI plane) {
  w[s] = add_bits<s, low>(w[s], plane, bytes_of(1 << low));
  if constexpr (s < 7) add_one_bit<low, s + 1>(w, plane);
}

#if SGL_ISA_LEVEL == 3
SGL_INLINE VecI table_codes(VecI indices) {
  const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Codes)));
  return {_mm512_shuffle_epi8(table, indices.v)};
}
#elif SGL_ISA_LEVEL == 2
SGL_INLINE VecI table_codes(VecI indices) {
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Codes)));
  return {_mm256_shuffle_epi8(table, indices.v)};
}
#else
SGL_INLINE VecI table_codes(VecI indices) {
  uint8_t b[16];
  std::memcpy(b, &indices, 16);
  for (uint8_t& x : b) x = kIq4Codes[x];
  std::memcpy(&indices, b, 16);
  return indices;
}
#endif

// The codes of one block for lanes of group g.
template <DType T>
SGL_INLINE void unpack(const uint8_t* block, int g, VecI* w) {
  constexpr PanelFormat f = panel_format(T);
  const uint8_t* p = block + g * 4 * kLanes;
  if constexpr (f.bits == 8) {
    for (int j = 0; j < 8; ++j) w[j] = load_codes(p + 64 * j);
    return;
  }
  if constexpr (f.bits >= 4) {
    for (int i = 0; i < 4; ++i) {
      VecI v = load_codes(p + 64 * i);
      w[i] = v & bytes_of(15);
      w[i + 4] = shift_right<4>(v) & bytes_of(15);
    }
    p += 4 * 64;
  }
  if constexpr (f.bits == 6) {
    for (int i = 0; i < 2; ++i) {
      VecI v = load_codes(p + 64 * i);
      w[i] = add_bits<0, 4>(w[i], v, bytes_of(0x30));
      w[i + 2] = add_bits<2, 4>(w[i + 2], v, bytes_of(0x30));
      w[i + 4] = add_bits<4, 4>(w[i + 4], v, bytes_of(0x30));
      w[i + 6] = add_bits<6, 4>(w[i + 6], v, bytes_of(0x30));
    }
    p += 2 * 64;
  }
  if constexpr (f.bits == 2 || f.bits == 3) {
    for (int i = 0; i < 2; ++i) {
      VecI v = load_codes(p + 64 * i);
      w[i] = v & bytes_of(3);
      w[i + 2] = shift_right<2>(v) & bytes_of(3);
      w[i + 4] = shift_right<4>(v) & bytes_of(3);
      w[i + 6] = shift_right<6>(v) & bytes_of(3);
    }
    p += 2 * 64;
  }
  if constexpr (f.bits == 5) add_one_bit<4, 0>(w, load_codes(p));
  if constexpr (f.bits == 3) add_one_bit<2, 0>(w, load_codes(p));
  if constexpr (f.table) {
    for (int j = 0; j < 8; ++j) w[j] = table_codes(w[j]);
  }
}

SGL_INLINE const uint16_t* halves(const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); }

}  // namespace
}  // namespace sgl::SGL_ISA
