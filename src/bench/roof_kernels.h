#pragma once
// What the machine could do at best: loops that only read, or only multiply. Benchmarks put every op's figure beside
// these, measured in the same run (roofs.h).

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sgl {

/// The loops that are compiled for each instruction set.
struct RoofKernels {
  /// Reads all bytes once. Requires: a multiple of 1024.
  uint32_t (*read)(const std::byte* data, size_t bytes);
  /// Dot products of bytes: `rounds` times int8_ops operations (a multiplication and an addition are two).
  uint32_t (*int8_dots)(int64_t rounds);
  /// float32 fused multiply-adds: `rounds` times float_ops operations.
  uint32_t (*float_fmas)(int64_t rounds);
  int64_t int8_ops, float_ops;
};

namespace generic {
RoofKernels roof_kernels();
}
namespace avx2 {
RoofKernels roof_kernels();
}
namespace avx512 {
RoofKernels roof_kernels();
}

/// A loop for a unit that not every machine of an instruction set has.
struct UnitLoop {
  uint32_t (*run)(int64_t rounds);
  int64_t ops;  ///< of a round
};
UnitLoop avx_vnni_int8_loop();
UnitLoop avx512_bf16_loop();
UnitLoop amx_int8_loop();
UnitLoop amx_bf16_loop();

}  // namespace sgl
