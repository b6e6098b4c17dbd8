#pragma once
// How much memory goes where, decided before anything is loaded.

#include <cstdint>
#include <optional>
#include <string>

#include "cache/kv_pool.h"
#include "checkpoint/checkpoint.h"
#include "ops/quantize.h"
#include "sgl/engine.h"

namespace sgl {

struct MemoryPlan {
  int64_t available = 0;     ///< what the machine has free, in bytes; 0: unknown
  int64_t weight_bytes = 0;  ///< estimated
  int64_t pool_bytes = 0;
  int64_t scratch_bytes = 0;  ///< estimated: activations and logits of the largest step, and the program itself
  int64_t num_pages = 0;
  std::string describe() const;
};

/// Element type of the KV cache; `automatic` for "auto". Throws InvalidArgument naming the choices.
DType parse_kv_dtype(const std::string& name, DType automatic);

/// What weights become when they are loaded; "": nothing. Throws InvalidArgument on other names than fp8, int8 and
/// int4, and on a device that does not quantize.
Quantization parse_quantization(const std::string& name, const std::string& device);

/// Decides the pool's size: --max-total-tokens, or the share --mem-fraction-static of the memory less the weights, or a
/// quarter of the free memory up to 8 GiB (nearly all of it on the cuda device). `available`: the device's memory;
/// `converted`: the type that the device converts all weights to, if it does, but for those that it quantizes. With
/// --tp-size all of it, and `geometry`, is one rank's. Throws ResourceExhausted, with the numbers, when weights, what a
/// step computes and the smallest useful pool do not fit. Requires: options.max_running_requests is resolved.
MemoryPlan plan_memory(const EngineOptions& options, const Checkpoint& checkpoint, const KvGeometry& geometry,
                       int context_length, int64_t available, std::optional<DType> converted = {},
                       Quantization quantization = Quantization::None);

}  // namespace sgl
