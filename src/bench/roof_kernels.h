#pragma once
// What the machine could do at best: loops that only read, only multiply bytes, or only multiply floats. Benchmarks put
// every op's figure beside these, measured in the same run.

#include <cstddef>
#include <cstdint>

namespace sgl {

struct RoofKernels {
  /// Reads all bytes once. Requires: a multiple of 1024.
  uint32_t (*read)(const std::byte* data, size_t bytes);
  /// Dot products of bytes as linear() does them: `rounds` times int8_ops operations (a multiplication and an addition
  /// are two).
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

}  // namespace sgl
