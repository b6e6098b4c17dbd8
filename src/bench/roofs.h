#pragma once
// The machine's limits, measured: how fast it reads, by how much there is to read, and how fast each unit multiplies.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"

namespace sgl::bench {

enum class Arithmetic { Float32, Bfloat16, Int8 };

struct Roofs {
  struct Unit {
    std::string name;  ///< "amx", "avx512-vnni", …
    Arithmetic kind = Arithmetic::Float32;
    double ops_s = 0;
  };
  std::vector<Unit> units;
  /// (bytes read again and again, bytes a second), by rising size: from the caches to the memory.
  std::vector<std::pair<int64_t, double>> read;

  /// The unit that does most, if there is one; float32 always has one.
  const Unit* best(Arithmetic kind) const;
  /// Bytes a second for a working set of so many bytes: between two sizes, by the logarithm of the size.
  double read_bytes_s(int64_t working_set) const;
};

/// With all threads of `pool` at work; takes a few seconds. Reads working sets of up to `largest` bytes, or as much as
/// half of the free memory holds.
Roofs measure_roofs(ThreadPool& pool, int64_t largest = int64_t{1} << 30);

nlohmann::ordered_json to_json(const Roofs& roofs);
std::string table(const Roofs& roofs);

}  // namespace sgl::bench
