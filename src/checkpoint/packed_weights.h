#pragma once
// Checkpoints whose linear layers are quantized: to 4 bits by AWQ (Lin et al. 2023), GPTQ (Frantar et al. 2022) and
// compressed-tensors' "pack-quantized", or to 8-bit floating point numbers.
//
// Instead of NAME.weight [out, in] such a file has several tensors. They are joined to one whose rows are put together
// when they are asked for. 4 bits become groups of codes (BlockInt4 in tensor/block_formats.h): what they say is kept
// exactly, but that a scale in bfloat16 or float32 becomes float16. FP8 becomes bfloat16, each number rounded once.
//
// FP8: NAME.weight [out, in] in e4m3 (base/e4m3.h), weight_scale or weight_scale_inv, which both multiply: one number,
// [out] or [out, 1], or one for each block of rows and columns. Scales of activations are not used: these are not
// quantized, or each row by its own.
//
// 8 bits: GPTQ and compressed-tensors as below, with four codes in a word and zero points of 128 only; they become
// Q8_0, exactly.
//
// 4 bits: codes in words of 32, the first in the lowest bits; G = in / group size;  w = scale · (code − zero).
//
//   AWQ     NAME.qweight [in, out / 8], qzeros [G, out / 8]: of eight outputs in the order 0, 2, 4, 6, 1, 3, 5, 7
//           NAME.scales [G, out]
//   GPTQ    NAME.qweight [in / 8, out]; qzeros [G, out / 8], in the older form words less 0x11111111; scales [G, out];
//           g_idx [in]: the group of each column; −1 for all: in order. Where columns are out of order ("desc_act")
//           they become float16.
//   compressed-tensors
//           NAME.weight_packed [out, in / 8]; weight_zero_point [out / 8, G], if not all are 8; weight_scale [out, G];
//           weight_shape; weight_g_idx [in] as above

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace sgl {

/// The tensors of one matrix. Those that a method lacks are empty.
struct PackedMatrix {
  PackedWeights how;
  int64_t group_size;  ///< columns
  FileTensor codes, scales, zeros, group_of_column;
};

/// Replaces, in the tensors of a checkpoint, those of each packed matrix by NAME.weight: its type, its shape, `packed`,
/// and no data. A bias of such a matrix that is all zero goes: some writers add it to every layer. Throws CorruptFile
/// for shapes and types that do not fit together, and Unsupported, naming the tensor and what would.
void join_packed(std::vector<FileTensor>& tensors, const PackedWeights& how);

/// The end of a name that only a packed matrix's codes have; empty for other names.
std::string_view packed_suffix(std::string_view name);

/// The rows of a tensor that has `packed`, in its type. Time: that of reading it.
Buffer unpack(const FileTensor& t);

}  // namespace sgl
