#pragma once
// Names for the requests of programs.

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

#include <fmt/format.h>

namespace sgl::lang {

/// Unique to this process's runs, and of fixed width: engines abort by prefix.
inline std::string make_request_id() {
  static const unsigned process = std::random_device{}();
  static std::atomic<uint64_t> counter{0};
  return fmt::format("program-{:08x}{:012x}", process, counter++);
}

}  // namespace sgl::lang
