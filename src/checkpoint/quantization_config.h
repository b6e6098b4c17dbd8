#pragma once
// config.json's quantization_config → how the matrices of linear layers are stored.

#include <optional>

#include "checkpoint/json.h"
#include "checkpoint/model_config.h"

namespace sgl {

/// Nothing where `f`, the config, has no quantization_config. Throws Unsupported for what checkpoint/packed_weights.h
/// cannot read, naming it and what it can.
std::optional<PackedWeights> read_quantization(const ConfigFields& f);

}  // namespace sgl
