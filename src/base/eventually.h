#pragma once
// For tests: waiting for what another thread does.

#include <chrono>
#include <thread>

namespace sgl {

/// How long a test waits for what is bound to happen. Only a bug takes so long, on whatever machine.
constexpr std::chrono::seconds kPatience{60};

/// Polls until `done()` holds; false when patience is at its end.
template <class F>
bool eventually(F&& done) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace sgl
