#pragma once
// The kernels of the ops that work on one row at a time: plain pointers and sizes.
//
// Sums along a row have one order: element i goes to lane i % 16 of accumulator i / 16 % 4, and lanes are added last.

#include <cstdint>

#include "ops/act.h"

namespace sgl {

struct VectorKernels {
  /// out = x / sqrt(mean(x²) + eps) · w over d elements. out may be x.
  void (*rms_norm)(float* out, const float* x, const float* w, int64_t d, float eps);
  /// out = (x − mean) / sqrt(var + eps) · w + b over d elements. out may be x.
  void (*layer_norm)(float* out, const float* x, const float* w, const float* b, int64_t d, float eps);
  /// Turns the pairs (i, i + half) of a head; cos_sin: [half] cosines, [half] sines.
  void (*rope)(float* x, const float* cos_sin, int64_t half);
  /// Turns the pairs (2i, 2i + 1).
  void (*rope_interleaved)(float* x, const float* cos_sin, int64_t half);
  /// out = act(gate) · up.
  void (*gated_act)(float* out, const float* gate, const float* up, int64_t n, Act act);
  /// out = act(x). out may be x.
  void (*activation)(float* out, const float* x, int64_t n, Act act);
  /// h += x.
  void (*add)(float* h, const float* x, int64_t n);
  /// x = cap · tanh(x / cap).
  void (*softcap)(float* x, int64_t n, float cap);
  /// As SampleMath has them.
  int32_t (*argmax)(const float* x, int64_t n);
  double (*exp_all)(float* p, const float* x, int64_t n, float largest);
  double (*weigh)(const float* p, int64_t n, float bound, int64_t* count);
  void (*forbid)(float* x, int64_t n, const uint32_t* allowed);
};

namespace generic {
VectorKernels vector_kernels();
}
namespace avx2 {
VectorKernels vector_kernels();
}
namespace avx512 {
VectorKernels vector_kernels();
}

}  // namespace sgl
