#pragma once
// Whether this machine has GPUs that can share a model, for tests.

#include <optional>
#include <string>

#include "models/ranks.h"
#include "sgl/error.h"

namespace sgl::testing {

/// Why there are no two of them; nothing if there are. Throws what else goes wrong.
inline std::optional<std::string> why_no_gpus() {
  try {
    Ranks({.device = "cuda"}, 2);
    return std::nullopt;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::Unsupported) throw;
    return e.what();
  }
}

}  // namespace sgl::testing
