#pragma once

#include <chrono>

namespace sgl {

/// Seconds of the steady clock: only differences mean something.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace sgl
