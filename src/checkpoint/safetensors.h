#pragma once
// The safetensors format: a number, a JSON header, and bytes.
//
//   u64 n │ n bytes: {"NAME": {"dtype": "BF16", "shape": [out, in], "data_offsets": [begin, end]}, …,
//         │           "__metadata__": {"KEY": "VALUE", …}}
//         │ bytes of all tensors, row-major, little-endian; offsets count from here

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace sgl {

/// The tensors of a file in memory; their data points into `file`. `path` names it in errors.
/// Throws CorruptFile or Unsupported (an element type that this program lacks; more than four dimensions), naming the
/// tensor. Memory: proportional to the header's length.
std::vector<FileTensor> parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// A directory with config.json and model.safetensors, or shards and model.safetensors.index.json, or one file of
/// another name that ends in .safetensors.
std::unique_ptr<Checkpoint> open_safetensors(const std::string& directory, const std::string& config_overrides);

}  // namespace sgl
