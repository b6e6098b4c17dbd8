#pragma once
// Which tensors a model must have, from its config alone: for random weights and for planning memory before loading.

#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "tensor/tensor.h"

namespace sgl {

struct ExpectedTensor {
  enum class Role { Matrix, Norm, Bias };
  std::string name;  ///< the hub's
  Shape shape;
  Role role;
};

/// All tensors of the model, under the names and in the shapes that transformers saves them.
/// Throws Unsupported for an architecture whose list is not known.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& c);

}  // namespace sgl
