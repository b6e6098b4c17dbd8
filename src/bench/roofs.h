#pragma once
// The machine's limits, measured: how fast it reads, by how much there is to read, and how fast each unit multiplies.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

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
  bool copied = false;  ///< they were copied: bytes are those read and those written

  /// The unit that does most, if there is one; float32 always has one.
  const Unit* best(Arithmetic kind) const;
  /// The same, or float32's where there is none of this kind.
  const Unit* best_or_float(Arithmetic kind) const;
  /// Bytes a second for a working set of so many bytes: between two sizes, by the logarithm of the size.
  double read_bytes_s(int64_t working_set) const;
};

/// With all threads of `pool` at work; takes a few seconds. Reads working sets of up to `largest` bytes, or as much as
/// half of the free memory holds.
Roofs measure_roofs(ThreadPool& pool, int64_t largest = int64_t{1} << 30);

/// Measures what bounds a model again and again, between its steps: machines that are shared change by the minute.
class RoofProbe {
 public:
  /// With all threads of `pool` at work. Holds memory of `working_set` bytes, which is read.
  RoofProbe(ThreadPool& pool, int64_t working_set);
  int64_t bytes() const;  ///< that it holds
  /// The machine's best units, and how fast it reads the working set; takes about half a second. Reading is the median
  /// of many times, as steps are many, and not the best.
  Roofs measure();

 private:
  ThreadPool& pool_;
  Buffer memory_;
};

nlohmann::ordered_json to_json(const Roofs& roofs);
std::string table(const Roofs& roofs);

}  // namespace sgl::bench
