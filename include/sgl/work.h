#pragma once
// What steps take of the machine, counted: time is measured against it (`sgl bench latency --roofs`).

#include <cstdint>

namespace sgl {

/// Of products with weights; attention and the rest are not in. Of a model on several devices, the first one's share.
struct Work {
  /// Read, in the device's own layout: each matrix once a step, though long steps read it more often.
  int64_t weight_bytes = 0;
  /// Multiplications and additions, by the weights' type in the checkpoint: blocks of 8 bits and fewer, bfloat16,
  /// others.
  int64_t quantized_ops = 0, bfloat16_ops = 0, float_ops = 0;

  Work& operator+=(const Work& w) {
    weight_bytes += w.weight_bytes;
    quantized_ops += w.quantized_ops;
    bfloat16_ops += w.bfloat16_ops;
    float_ops += w.float_ops;
    return *this;
  }
  Work operator-(const Work& w) const {
    return {weight_bytes - w.weight_bytes, quantized_ops - w.quantized_ops, bfloat16_ops - w.bfloat16_ops,
            float_ops - w.float_ops};
  }
};

}  // namespace sgl
