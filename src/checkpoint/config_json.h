#pragma once
// config.json and generation_config.json → ModelConfig.
//
// Both forms that the hub holds are read: transformers 4 (rope_theta, rope_scaling, torch_dtype) and transformers 5
// (rope_parameters, for Gemma 3 one for each layer type; dtype). What a file leaves out has the default of the
// transformers class of that model, since files are saved without the values that equal it.

#include <string_view>

#include <nlohmann/json.hpp>

#include "checkpoint/model_config.h"

namespace sgl {

/// Gemma3ForConditionalGeneration gives the config of its language model (architecture Gemma3ForCausalLM).
/// A class without a head (MistralModel) gives the config of that with one, and has_lm_head false; of BERT's classes
/// the heads that embeddings do not need are left out likewise. For an architecture that is not known, only
/// architecture, model_type, dtype and the token ids are set. Throws CorruptFile (a field of a wrong type, out of
/// range, or contradicting another) or Unsupported (an activation, rope scaling, layer type or quantization that this
/// program lacks), naming the field.
ModelConfig config_from_json(const nlohmann::json& config);

/// Whether config_from_json() and the tensor names of checkpoints know the architecture.
bool is_known_architecture(std::string_view architecture);

/// Adds the token ids and sampling defaults of generation_config.json to `c`. Throws CorruptFile.
void add_generation(const nlohmann::json& generation, ModelConfig& c);

}  // namespace sgl
