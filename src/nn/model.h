#pragma once
// A language model: what the runner calls. Implemented by Decoder<Block> and Encoder<Block>.

#include <memory>
#include <span>

#include "cache/kv_pool.h"
#include "checkpoint/model_config.h"
#include "nn/ctx.h"

namespace sgl {

/// What a model gives for a token: logits over the vocabulary, for who generates; or its state behind the last norm,
/// for who embeds (of a cross-encoder, the scores that its classifier makes of it).
enum class ModelResult { Logits, State };

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;

  /// Runs one step: writes the batch's keys and values to the pool and returns what the model was built for of the
  /// tokens `rows` (rising indices into the batch): logits [rows.size(), vocab], states [rows.size(), hidden] or scores
  /// [rows.size(), num_labels], float32, in the arena. Empty if `rows` is.
  virtual Tensor forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                         std::span<const int32_t> rows) const = 0;
};

}  // namespace sgl
