#include <cmath>

#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {

void check_rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq) {
  check_shapes("rope_table", {{"cos_sin", cos_sin, "n r"}});
  if (cos_sin.rows() != static_cast<int64_t>(positions.size()) ||
      cos_sin.cols() != 2 * static_cast<int64_t>(inv_freq.size())) {
    throw Error(ErrorKind::Internal, fmt::format("rope_table: cos_sin is {}; expected [{}, 2 · {}]",
                                                 to_string(cos_sin.shape), positions.size(), inv_freq.size()));
  }
}

void RefBackend::rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                            float factor) {
  check_rope_table(cos_sin, positions, inv_freq);
  const size_t pairs = inv_freq.size();
  for (size_t i = 0; i < positions.size(); ++i) {
    float* row = cos_sin.f32(static_cast<int64_t>(i));
    for (size_t j = 0; j < pairs; ++j) {
      const float angle = static_cast<float>(positions[i]) * inv_freq[j];
      row[j] = std::cos(angle) * factor;
      row[pairs + j] = std::sin(angle) * factor;
    }
  }
}

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
