#pragma once
// Rotary embedding settings of config.json, in both of their forms.

#include "checkpoint/json.h"
#include "checkpoint/model_config.h"

namespace sgl {

/// Sets c.rope from rope_parameters (transformers 5), or rope_theta, rope_scaling and partial_rotary_factor (4).
/// Requires: c.head_dim and c.context_length are set. Throws CorruptFile or Unsupported, naming the field.
void read_rope(const ConfigFields& f, double default_theta, ModelConfig& c);

/// Sets c.rope_local, Gemma 3's table for layers with a sliding window: rope_parameters.sliding_attention (5) or
/// rope_local_base_freq (4). Requires: read_rope() has run.
void read_local_rope(const ConfigFields& f, ModelConfig& c);

}  // namespace sgl
