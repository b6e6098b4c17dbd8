#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "ops/linear_bf16.h"
#include "ops/linear_layout.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

// The 32 codes of one row's block, four to a word in their order.
struct Codes {
  uint32_t w[8];
};

uint32_t word(const uint8_t* p) {
  uint32_t w;
  std::memcpy(&w, p, 4);
  return w;
}

constexpr uint32_t each_byte(uint32_t b) { return b * 0x01010101U; }

// The low four bits, one to the lowest bit of each byte.
uint32_t spread(uint32_t bits) { return ((bits & 15U) * 0x00204081U) & each_byte(1); }

Codes nibbles(const uint8_t* qs) {
  Codes c;
  for (int j = 0; j < 4; ++j) {
    uint32_t w = word(qs + 4 * j);
    c.w[j] = w & each_byte(15);
    c.w[j + 4] = (w >> 4) & each_byte(15);
  }
  return c;
}

Codes with_fifth_bits(Codes c, const uint8_t* qh) {
  uint32_t high = word(qh);
  for (int j = 0; j < 8; ++j) c.w[j] |= spread(high >> (4 * j)) << 4;
  return c;
}

// 32 consecutive bytes, of which `bits` bits from `shift` on count.
Codes bits_of_bytes(const uint8_t* bytes, int shift, uint32_t mask) {
  Codes c;
  for (int j = 0; j < 8; ++j) c.w[j] = (word(bytes + 4 * j) >> shift) & each_byte(mask);
  return c;
}

Codes operator|(Codes a, Codes b) {
  for (int j = 0; j < 8; ++j) a.w[j] |= b.w[j];
  return a;
}

Codes shifted(Codes a, int left) {
  for (uint32_t& w : a.w) w <<= left;
  return a;
}

// Codes of block i of a unit that starts at file block `b`, for each format.
Codes codes(const BlockQ4_0* b, int i) { return nibbles(b[i].qs); }
Codes codes(const BlockIQ4_NL* b, int i) { return nibbles(b[i].qs); }
Codes codes(const BlockQ4_1* b, int) { return nibbles(b->qs); }
Codes codes(const BlockQ5_0* b, int i) { return with_fifth_bits(nibbles(b[i].qs), b[i].qh); }
Codes codes(const BlockQ5_1* b, int) { return with_fifth_bits(nibbles(b->qs), b->qh); }
Codes codes(const BlockQ8_0* b, int i) {
  Codes c = bits_of_bytes(reinterpret_cast<const uint8_t*>(b[i].qs), 0, 255);
  for (uint32_t& w : c.w) w ^= each_byte(0x80);  // q + 128
  return c;
}
Codes codes(const BlockQ4_K* b, int i) { return bits_of_bytes(b->qs + 32 * (i / 2), 4 * (i % 2), 15); }
Codes codes(const BlockQ5_K* b, int i) {
  return bits_of_bytes(b->qs + 32 * (i / 2), 4 * (i % 2), 15) | shifted(bits_of_bytes(b->qh, i, 1), 4);
}
Codes codes(const BlockQ6_K* b, int i) {
  int half = i / 4, s = i % 4;
  return bits_of_bytes(b->ql + 64 * half + 32 * (s % 2), 4 * (s / 2), 15) |
         shifted(bits_of_bytes(b->qh + 32 * half, 2 * s, 3), 4);
}
Codes codes(const BlockQ2_K* b, int i) { return bits_of_bytes(b->qs + 32 * (i / 4), 2 * (i % 4), 3); }
Codes codes(const BlockQ3_K* b, int i) {
  return bits_of_bytes(b->qs + 32 * (i / 4), 2 * (i % 4), 3) | shifted(bits_of_bytes(b->hmask, i, 1), 2);
}

template <int kGroup>
Codes codes(const BlockInt4<kGroup>* b, int i) {
  return nibbles(b[i * kBlock / kGroup].qs + i * kBlock % kGroup / 2);
}

// Writes lane n of a block's planes.
template <int kBits>
void put_codes(const Codes& c, uint8_t* block, int n) {
  auto put = [&](int vector, uint32_t w) { std::memcpy(block + 64 * vector + 4 * n, &w, 4); };
  if constexpr (kBits == 8) {
    for (int j = 0; j < 8; ++j) put(j, c.w[j]);
    return;
  }
  int next = 0;
  int low = 0;  // bits below the next plane
  if constexpr (kBits >= 4) {
    for (int i = 0; i < 4; ++i) put(next++, (c.w[i] & each_byte(15)) | (c.w[i + 4] & each_byte(15)) << 4);
    low = 4;
  }
  if constexpr (kBits == 6 || kBits == 2 || kBits == 3) {
    for (int i = 0; i < 2; ++i) {
      uint32_t w = 0;
      for (int s = 0; s < 4; ++s) w |= ((c.w[i + 2 * s] >> low) & each_byte(3)) << (2 * s);
      put(next++, w);
    }
    low += 2;
  }
  if constexpr (kBits == 5 || kBits == 3) {
    uint32_t w = 0;
    for (int s = 0; s < 8; ++s) w |= ((c.w[s] >> low) & each_byte(1)) << s;
    put(next++, w);
  }
}

void put_half(uint8_t* p, int n, HalfBytes h) {
  p[2 * n] = h.low;
  p[2 * n + 1] = h.high;
}

// Writes lane n of a unit's scales; `count` file blocks of 32 are there (K formats: one of 256).
template <typename Block>
requires(sizeof(Block) < 40 && !requires(Block b) { b.m; }) void put_scales(const Block* b, int count, uint8_t* s,
                                                                            int n) {
  for (int i = 0; i < count; ++i) put_half(s + 32 * i, n, b[i].d);
}
template <typename Block>
requires requires(Block b) { b.m; }
void put_scales(const Block* b, int, uint8_t* s, int n) {
  put_half(s, n, b->d);
  put_half(s + 32, n, b->m);
}
template <typename Block>
requires(sizeof(Block) == sizeof(BlockQ4_K) || sizeof(Block) == sizeof(BlockQ5_K)) void put_scales(const Block* b, int,
                                                                                                   uint8_t* s, int n) {
  put_half(s, n, b->d);
  put_half(s + 32, n, b->dmin);
  ScalesQ4_K k = unpack_scales_q4_k(b->scales);
  for (int i = 0; i < 8; ++i) {
    s[64 + 16 * i + n] = k.scale[i];
    s[192 + 16 * i + n] = k.min[i];
  }
}
void put_scales(const BlockQ6_K* b, int, uint8_t* s, int n) {
  put_half(s, n, b->d);
  for (int i = 0; i < 16; ++i) s[32 + 16 * i + n] = static_cast<uint8_t>(b->scales[i]);
}
void put_scales(const BlockQ3_K* b, int, uint8_t* s, int n) {
  put_half(s, n, b->d);
  auto k = unpack_scales_q3_k(b->scales);
  for (int i = 0; i < 16; ++i) s[32 + 16 * i + n] = static_cast<uint8_t>(k[static_cast<size_t>(i)]);
}
void put_scales(const BlockQ2_K* b, int, uint8_t* s, int n) {
  put_half(s, n, b->d);
  put_half(s + 32, n, b->dmin);
  for (int i = 0; i < 16; ++i) s[64 + 16 * i + n] = b->scales[i];
}

template <int kGroup>
void put_scales(const BlockInt4<kGroup>* b, int count, uint8_t* s, int n) {
  constexpr int kGroups = 4 * kBlock / kGroup;
  for (int i = 0; i < count; ++i) {
    put_half(s + 32 * i, n, b[i].d);
    s[32 * kGroups + 16 * i + n] = b[i].zero;
  }
}

template <DType T, typename Block>
void pack(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed) {
  constexpr PanelFormat f = panel_format(T);
  constexpr int kFileBlocks = f.unit_blocks() * kBlock / block_layout(T).elements;  // in a unit
  static_assert(sizeof(Block) == block_layout(T).bytes);
  const int64_t file_blocks = in / block_layout(T).elements;
  const int64_t present = std::min<int64_t>(kPanelRows, rows - panel * kPanelRows);
  const auto* first = reinterpret_cast<const Block*>(matrix) + panel * kPanelRows * file_blocks;
  auto* unit = reinterpret_cast<uint8_t*>(packed);
  for (int64_t at = 0; at < file_blocks; at += kFileBlocks, unit += f.unit_bytes()) {
    const int count = static_cast<int>(std::min<int64_t>(kFileBlocks, file_blocks - at));
    const int blocks = count * block_layout(T).elements / kBlock;
    if (present < kPanelRows || count < kFileBlocks) std::memset(unit, 0, static_cast<size_t>(f.unit_bytes()));
    for (int n = 0; n < present; ++n) {
      const Block* b = first + n * file_blocks + at;
      for (int i = 0; i < blocks; ++i) put_codes<f.bits>(codes(b, i), unit + i * f.code_bytes(), n);
      put_scales(b, count, unit + f.unit_blocks() * f.code_bytes(), n);
    }
  }
}

// Element i of an array that may stand at any address.
template <typename T>
T element(const std::byte* array, int64_t i) {
  T x;
  std::memcpy(&x, array + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return x;
}

template <typename T>
void pack_columns(const std::byte* first, int64_t present, int64_t in, std::byte* packed) {
  auto* to = reinterpret_cast<T*>(packed);
  for (int64_t k = 0; k < in; ++k) {
    for (int64_t n = 0; n < kPanelRows; ++n) to[k * kPanelRows + n] = n < present ? element<T>(first, n * in + k) : T{};
  }
}

}  // namespace

void pack_panel(DType format, const std::byte* m, int64_t rows, int64_t in, int64_t panel, std::byte* packed) {
  switch (format) {
    case DType::Q4_0:
      return pack<DType::Q4_0, BlockQ4_0>(m, rows, in, panel, packed);
    case DType::Q4_1:
      return pack<DType::Q4_1, BlockQ4_1>(m, rows, in, panel, packed);
    case DType::Q5_0:
      return pack<DType::Q5_0, BlockQ5_0>(m, rows, in, panel, packed);
    case DType::Q5_1:
      return pack<DType::Q5_1, BlockQ5_1>(m, rows, in, panel, packed);
    case DType::Q8_0:
      return pack<DType::Q8_0, BlockQ8_0>(m, rows, in, panel, packed);
    case DType::Q2_K:
      return pack<DType::Q2_K, BlockQ2_K>(m, rows, in, panel, packed);
    case DType::Q3_K:
      return pack<DType::Q3_K, BlockQ3_K>(m, rows, in, panel, packed);
    case DType::Q4_K:
      return pack<DType::Q4_K, BlockQ4_K>(m, rows, in, panel, packed);
    case DType::Q5_K:
      return pack<DType::Q5_K, BlockQ5_K>(m, rows, in, panel, packed);
    case DType::Q6_K:
      return pack<DType::Q6_K, BlockQ6_K>(m, rows, in, panel, packed);
    case DType::IQ4_NL:
      return pack<DType::IQ4_NL, BlockIQ4_NL>(m, rows, in, panel, packed);
    case DType::Int4G32:
      return pack<DType::Int4G32, BlockInt4<32>>(m, rows, in, panel, packed);
    case DType::Int4G128:
      return pack<DType::Int4G128, BlockInt4<128>>(m, rows, in, panel, packed);
    default:
      return;
  }
}

void pack_float_panel(DType format, const std::byte* m, int64_t rows, int64_t in, int64_t panel, std::byte* packed) {
  const int64_t present = std::min<int64_t>(kPanelRows, rows - panel * kPanelRows);
  const std::byte* first = m + panel * kPanelRows * row_bytes(format, in);
  if (format == DType::F32) {
    pack_columns<uint32_t>(first, present, in, packed);
  } else if (format == DType::F16) {
    pack_columns<uint16_t>(first, present, in, packed);
  } else {  // pairs: an odd `in` ends with a zero
    auto* to = reinterpret_cast<uint16_t*>(packed);
    for (int64_t k = 0; k < (in + 1) / 2 * 2; ++k) {
      for (int64_t n = 0; n < kPanelRows; ++n) {
        const bool there = n < present && k < in;
        to[(k / 2 * kPanelRows + n) * 2 + k % 2] = there ? element<uint16_t>(first, n * in + k) : uint16_t{0};
      }
    }
  }
}

void pack_tile_panel(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed) {
  const int64_t present = std::min<int64_t>(kTileOutputs, rows - panel * kTileOutputs);
  const std::byte* first = matrix + panel * kTileOutputs * in * 2;
  for (int64_t k = 0; k < in; k += kTileDepth) {
    for (int64_t n = 0; n < kTileOutputs; ++n, packed += kTileDepth * 2) {
      const auto bytes = static_cast<size_t>(n < present ? 2 * std::min<int64_t>(kTileDepth, in - k) : 0);
      if (bytes > 0) std::memcpy(packed, first + (n * in + k) * 2, bytes);
      std::memset(packed + bytes, 0, kTileDepth * 2 - bytes);
    }
  }
}

void pack_pair_panel(const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed) {
  const int64_t bytes = float_panel_bytes(DType::BF16, in);
  pack_float_panel(DType::BF16, matrix, rows, in, panel, packed);
  // Up to whole blocks, as a panel of tiles.
  std::memset(packed + bytes, 0, static_cast<size_t>(tile_panel_bytes(in) - bytes));
}

}  // namespace sgl
