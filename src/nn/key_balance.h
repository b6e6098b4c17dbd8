#pragma once
// Keys for a cache in int8.

#include <span>
#include <vector>

namespace sgl {

/// How a model's heads lie and turn.
struct HeadShape {
  int num_heads, num_kv_heads, head_dim;
  int rotary_dim;    ///< 0: heads do not turn
  bool interleaved;  ///< pairs that turn are (2i, 2i+1), else (i, i + rotary_dim/2)
};

/// Factors of q's and then k's columns, [(num_heads + num_kv_heads) · head_dim], that leave every q·k as it is. A bias
/// on keys (Qwen2) makes some channels a hundred times the others, and a block of int8 has one scale: such a channel of
/// k is divided by about the root of its bias, and that of q multiplied (SmoothQuant, Xiao et al. 2022, eq. 4). The
/// root, since the factor on q multiplies how k was rounded as well: a whole bias would move all the error into that
/// channel. Powers of two, so that nothing is rounded; the two channels of a pair that turns have the larger bias'
/// factor. Empty where all would be 1. key_bias: [num_kv_heads · head_dim].
std::vector<float> balance_keys(std::span<const float> key_bias, const HeadShape& shape);

}  // namespace sgl
