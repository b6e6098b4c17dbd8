#include "ops/quantize.h"

#include <algorithm>

namespace sgl {

void quantized_values(Quantization q, const float* weights, float* values, int64_t n) {
  if (q == Quantization::None) {
    std::copy(weights, weights + n, values);
  } else if (q != Quantization::Int4) {
    const bool fp8 = q == Quantization::Fp8;
    float largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(weights[i]));
    const float scale = fp8 ? fp8_scale(largest) : int8_scale(largest);
    for (int64_t i = 0; i < n; ++i) {
      const float x = weights[i] * (1.0F / scale);
      values[i] = (fp8 ? from_e4m3(to_e4m3(x)) : static_cast<float>(to_int8(x))) * scale;
    }
  } else {
    for (int64_t begin = 0; begin < n; begin += kInt4Group) {
      const int64_t end = std::min(n, begin + kInt4Group);
      const auto [least, largest] = std::minmax_element(weights + begin, weights + end);
      const Int4Scale s = int4_scale(*least, *largest);
      for (int64_t i = begin; i < end; ++i) {
        values[i] = (static_cast<float>(to_int4(weights[i], s)) - static_cast<float>(s.zero)) * s.scale();
      }
    }
  }
}

}  // namespace sgl
