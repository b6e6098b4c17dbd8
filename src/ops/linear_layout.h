#pragma once
// How the cpu backend keeps a quantized matrix [out, in]: panels of 16 output rows, for kernels whose vector lanes are
// outputs.
//
// Along `in` a panel is cut into blocks of 32. A block holds the codes of 16 × 32 weights, unsigned, as the instruction
// for a dot product of four bytes in each 32-bit lane wants them: vector W_j (j in 0…7; 64 bytes) has in bytes
// 4n … 4n + 3 the codes of output n at k = 4j … 4j + 3. The vectors are stored in bit planes:
//   8 bits: W_0 … W_7 as they are.
//   4 bits: V_0 … V_3; the low nibbles of V_i are those of W_i, the high nibbles those of W_{i+4}.
//   2 bits: V_0, V_1;  bits 2s, 2s + 1 of V_i belong to W_{i+2s}.
//   1 bit:  V;         bit s belongs to W_s.
// 5 bits are a 4-bit plane and above it a 1-bit plane; 6 = 4 + 2; 3 = 2 + 1.
//
// Blocks stand in units: first the codes of the unit's blocks, then their scales, as exact as in the file:
//   Half:    d of each of 2 blocks, binary16 [2][16]                     w = d · (code − zero)
//   HalfMin: d, m, binary16 [16] each; one block                         w = d · code + m
//   HalfZero: d binary16 [16] of each group, then zero uint8 [16] of each; 4 blocks, in one group or four;
//                                                                        w = d · (code − zero)
//   K32Min:  d, dmin binary16 [16] each; sc, mn uint8 [8][16] each       w = d · sc · code − dmin · mn;  8 blocks
//   K16:     d binary16 [16]; sc int8 [8][2][16], one for 16 weights     w = d · sc · (code − zero);     8 blocks
//   K16Min:  d, dmin binary16 [16] each; sc | mn << 4, uint8 [8][2][16]  w = d · sc · code − dmin · mn;  8 blocks
// A unit is a multiple of 64 bytes, so that no vector crosses a cache line. Rows missing in the last panel are zero.

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace sgl {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlock = 32;  ///< weights along `in` that share an activation's scale

enum class PanelScales { Half, HalfMin, HalfZero, K32Min, K16, K16Min };

struct PanelFormat {
  int bits = 0;  ///< of a code; 0: not a format of panels
  PanelScales scales = PanelScales::Half;
  int zero_shift = 0;  ///< the code of 0 is 1 << zero_shift (Half and K16)
  bool table = false;  ///< the 4-bit codes are indices of kIq4Codes, which are of 8 bits
  int groups = 1;      ///< of a unit's blocks, with scales of their own (HalfZero)

  constexpr int unit_blocks() const {
    switch (scales) {
      case PanelScales::Half:
        return 2;
      case PanelScales::HalfMin:
        return 1;
      case PanelScales::HalfZero:
        return 4;
      default:
        return 8;
    }
  }
  constexpr int group_of(int block) const { return block * groups / unit_blocks(); }  ///< of a unit's blocks
  constexpr int code_bytes() const { return bits * kPanelRows * kBlock / 8; }         ///< of a block
  constexpr int unit_bytes() const {
    int b = unit_blocks() * code_bytes();
    switch (scales) {
      case PanelScales::Half:
      case PanelScales::HalfMin:
        return b + 64;
      case PanelScales::HalfZero:
        return b + (48 * groups + 63) / 64 * 64;
      case PanelScales::K32Min:
      case PanelScales::K16:
      case PanelScales::K16Min:
        return b + 320;
    }
    return b;
  }
  constexpr int64_t panel_bytes(int64_t in) const {
    int64_t blocks = in / kBlock;
    return (blocks + unit_blocks() - 1) / unit_blocks() * unit_bytes();
  }
};

constexpr PanelFormat panel_format(DType t) {
  switch (t) {
    case DType::Q4_0:
      return {4, PanelScales::Half, 3, false};
    case DType::Q5_0:
      return {5, PanelScales::Half, 4, false};
    case DType::Q8_0:
      return {8, PanelScales::Half, 7, false};
    case DType::IQ4_NL:
      return {4, PanelScales::Half, 7, true};
    case DType::Q4_1:
      return {4, PanelScales::HalfMin, 0, false};
    case DType::Q5_1:
      return {5, PanelScales::HalfMin, 0, false};
    case DType::Q4_K:
      return {4, PanelScales::K32Min, 0, false};
    case DType::Q5_K:
      return {5, PanelScales::K32Min, 0, false};
    case DType::Q3_K:
      return {3, PanelScales::K16, 2, false};
    case DType::Q6_K:
      return {6, PanelScales::K16, 5, false};
    case DType::Q2_K:
      return {2, PanelScales::K16Min, 0, false};
    case DType::Int4G32:
      return {4, PanelScales::HalfZero, 0, false, 4};
    case DType::Int4G128:
      return {4, PanelScales::HalfZero, 0, false, 1};
    default:
      return {};
  }
}

/// kIq4Values + 128.
inline constexpr uint8_t kIq4Codes[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/// Packs rows [16·panel, 16·panel + 16) of a matrix that has `rows` rows of `in` weights each. Requires: a format of
/// panels, `in` a multiple of its blocks.
void pack_panel(DType format, const std::byte* matrix, int64_t rows, int64_t in, int64_t panel, std::byte* packed);

/// The same for F32, F16, BF16 weights, which stay as they are: F32 and F16 as [in][16], BF16 in pairs
/// [(in + 1) / 2][16][2]. Rows missing in the last panel are zero.
void pack_float_panel(DType format, const std::byte* matrix, int64_t rows, int64_t in, int64_t panel,
                      std::byte* packed);
constexpr int64_t float_panel_bytes(DType format, int64_t in) {
  int64_t bytes = format == DType::F32 ? in * 64 : format == DType::F16 ? in * 32 : (in + 1) / 2 * 64;
  return (bytes + 63) / 64 * 64;
}

}  // namespace sgl
