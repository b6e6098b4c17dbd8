#pragma once
// Which architectures exist: one row a brand.

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "nn/model.h"
#include "ops/backend.h"

namespace sgl {

/// Builds the model that the checkpoint's config names, with its weights on `backend`. Both must outlive it.
/// `context_length`: the longest sequence that will be served. `result`: what forward() is to give; an encoder gives
/// states whatever is asked. Throws Unsupported for an unknown architecture, naming it and those there are; CorruptFile
/// for missing, misshapen or extra tensors.
std::unique_ptr<Model> build_model(const Checkpoint& checkpoint, Backend& backend, int context_length,
                                   ModelResult result = ModelResult::Logits);

/// Throws Unsupported, naming the architecture and those there are, before anything is loaded.
void check_architecture(const std::string& architecture);

/// Names of all rows, sorted.
std::vector<std::string> supported_architectures();

}  // namespace sgl
