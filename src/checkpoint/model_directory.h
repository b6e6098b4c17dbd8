#pragma once
// What the formats share that read a directory in the hub's layout.

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace sgl {

/// JSON files beside the weights are read up to this size.
inline constexpr size_t kMaxConfigBytes = size_t{64} << 20;

/// config.json with `overrides` (a JSON object; may be empty) merged over it, and generation_config.json if there is
/// one. Throws NotFound without config.json; InvalidArgument when `overrides` is not a JSON object; as
/// config_from_json().
ModelConfig read_config(const std::string& directory, const std::string& overrides);

/// Adds generation_config.json of `directory` to `c`, if there is one.
void add_generation_config(const std::string& directory, ModelConfig& c);

/// Names (without the directory) of its files that end in `extension`, sorted. Throws NotFound if it cannot be read.
std::vector<std::string> files_with_extension(const std::string& directory, const std::string& extension);

/// The format "dummy": config.json of `directory` and random weights. They depend on the config and the tensors' names
/// only: normal numbers of standard deviation 0.02, norms that do nothing, biases of 0, in the config's dtype.
std::unique_ptr<Checkpoint> open_dummy(const std::string& directory, const std::string& config_overrides);

}  // namespace sgl
