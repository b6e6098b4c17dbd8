#pragma once
// A model on disk, whatever its format: a config, named tensors, and what else the files say.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "tensor/tensor.h"

namespace sgl {

class GgufFile;
struct PackedMatrix;

/// A tensor in a file. `data` points into the mapping, which lives as long as its Checkpoint; it is aligned to the size
/// of a plain number, to at least 8 bytes for block formats.
struct FileTensor {
  /// The hub's name as transformers saves the causal language model, also for GGUF files and for files of variants:
  /// "model.layers.0.self_attn.q_proj.weight"; GPT-2: "transformer.h.0.attn.c_attn.weight".
  std::string name;
  DType dtype = DType::F32;
  Shape shape;  ///< outermost first: [out, in] for a linear layer
  std::span<const std::byte> data;
  /// Of a matrix whose numbers are spread over several tensors of the file; `data` is empty then, and unpack()
  /// (checkpoint/packed_weights.h) gives the rows.
  std::shared_ptr<const PackedMatrix> packed = nullptr;

  int64_t bytes() const { return row_bytes(dtype, shape.elements()); }
};

/// An opened checkpoint. Immutable; every const function may be called from any thread.
///
/// All sizes and offsets of the file have been checked against its length when open() returns: reading `data` of any
/// tensor is safe, however hostile the file was.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// Opens a directory (config.json + *.safetensors, one file or sharded with an index; or with one .gguf inside), or
  /// a .gguf file; of a split one, the first part. `load_format`: auto, safetensors, gguf, dummy (random weights from
  /// config.json alone). `config_overrides`: JSON object merged over config.json, empty for none. An architecture that
  /// is not known opens without tensors: the registry refuses it by name. Throws NotFound, CorruptFile, Unsupported (a
  /// tensor type, activation, …, named), InvalidArgument.
  static std::unique_ptr<Checkpoint> open(const std::string& path, const std::string& load_format = "auto",
                                          const std::string& config_overrides = "");

  virtual const ModelConfig& config() const = 0;
  /// Null if there is no such tensor.
  virtual const FileTensor* find(std::string_view name) const = 0;
  /// The tensor `name`. Throws CorruptFile if there is none or its shape is not `expected`, naming both.
  const FileTensor& require(std::string_view name, const Shape& expected) const;
  /// Sorted.
  virtual std::vector<std::string_view> names() const = 0;
  /// "safetensors", "gguf" or "dummy".
  virtual std::string format() const = 0;
  /// The folder that holds tokenizer.json and friends; empty for a lone .gguf file.
  virtual std::string directory() const = 0;
  /// The GGUF file itself, for its key-values (tokenizer, chat template); null for other formats.
  virtual const GgufFile* gguf() const { return nullptr; }
  /// Tells the system that the mapped pages of `t` are not needed any more (they can be read again).
  virtual void release(const FileTensor& t) const = 0;
};

}  // namespace sgl
