#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {

void check_rope(Tensor x, Tensor cos_sin, int head_dim) {
  check_shapes("rope", {{"x", x, "n c"}, {"cos_sin", cos_sin, "n r"}});
  if (head_dim <= 0 || x.cols() % head_dim != 0 || cos_sin.cols() % 2 != 0 || cos_sin.cols() > head_dim) {
    throw Error(ErrorKind::Internal, fmt::format("rope: x is {} in heads of {}, of which {} shall turn",
                                                 to_string(x.shape), head_dim, cos_sin.cols()));
  }
}

// (a, b) ← (a·cos − b·sin, a·sin + b·cos) for each pair          (Su et al. 2021, eq. 34)
void RefBackend::rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) {
  check_rope(x, cos_sin, head_dim);
  const int64_t half = cos_sin.cols() / 2;
  for (int64_t i = 0; i < x.rows(); ++i) {
    const float* cs = cos_sin.f32(i);
    for (int64_t head = 0; head < x.cols(); head += head_dim) {
      float* p = x.f32(i) + head;
      for (int64_t j = 0; j < half; ++j) {
        float& a = interleaved ? p[2 * j] : p[j];
        float& b = interleaved ? p[2 * j + 1] : p[j + half];
        double c = cs[j], s = cs[half + j], a0 = a, b0 = b;
        a = static_cast<float>(a0 * c - b0 * s);
        b = static_cast<float>(a0 * s + b0 * c);
      }
    }
  }
}

}  // namespace sgl
