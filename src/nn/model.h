#pragma once
// A language model: what the runner calls. Implemented by Decoder<Block>.

#include <memory>
#include <span>

#include "cache/kv_pool.h"
#include "checkpoint/model_config.h"
#include "nn/ctx.h"

namespace sgl {

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;

  /// Runs one step: writes the batch's keys and values to the pool and returns the logits of the tokens `rows` (rising
  /// indices into the batch), [rows.size(), vocab], in the arena. Empty if `rows` is.
  virtual Tensor forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                         std::span<const int32_t> rows) const = 0;
};

}  // namespace sgl
