#pragma once
// What a layer needs to run one step. No globals: everything comes in here.

#include <cstdint>
#include <span>

#include "cache/kv_pool.h"
#include "ops/backend.h"
#include "tensor/tensor.h"

namespace sgl {

/// Which rotary table a layer uses. Most models have one; Gemma 3 turns its window layers by another.
enum class RopeTable { Global = 0, Local = 1 };

struct Ctx {
  Backend& ops;
  Arena& arena;  ///< temporaries: of this block, or around the blocks of this step
  const KvPool& kv;
  const PagedBatch& batch;
  DType activations;  ///< of what layers pass to each other; the residual stream is float32
  Tensor cos_sin[2];  ///< [n, rotary_dim] for each RopeTable; empty if the model has none
  /// Of the last block: the rows that go on once their keys and values are stored. Empty: all of them.
  std::span<const int32_t> rows = {};
};

}  // namespace sgl
