#include <cmath>

#include "ops/ref_backend.h"

namespace sgl {

// out[i,:] = x[i,:] / sqrt(mean(x[i,:]²) + eps) · w          (Zhang & Sennrich 2019, eq. 4)
void RefBackend::rms_norm(Tensor out, Tensor x, Tensor w, float eps) {
  check_shapes("rms_norm", {{"out", out, "n c"}, {"x", x, "n c"}, {"w", w, "d"}});
  const int64_t d = w.cols();
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t g = 0; g < x.cols(); g += d) {
      const float* in = x.f32(i) + g;
      float* o = out.f32(i) + g;
      double sum = 0;
      for (int64_t j = 0; j < d; ++j) sum += double{in[j]} * in[j];
      double inv = 1.0 / std::sqrt(sum / static_cast<double>(d) + double{eps});
      for (int64_t j = 0; j < d; ++j) o[j] = static_cast<float>(in[j] * inv * w.f32()[j]);
    }
  }
}

void RefBackend::add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) {
  add(h, x);
  rms_norm(out, h, w, eps);
}

// out[i,:] = (x[i,:] − mean) / sqrt(var + eps) · w + b        (Ba et al. 2016)
void RefBackend::layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) {
  check_shapes("layer_norm", {{"out", out, "n d"}, {"x", x, "n d"}, {"w", w, "d"}, {"b", b, "d"}});
  const int64_t d = w.cols();
  for (int64_t i = 0; i < x.rows(); ++i) {
    const float* in = x.f32(i);
    float* o = out.f32(i);
    double mean = 0;
    for (int64_t j = 0; j < d; ++j) mean += in[j];
    mean /= static_cast<double>(d);
    double var = 0;
    for (int64_t j = 0; j < d; ++j) var += (in[j] - mean) * (in[j] - mean);
    double inv = 1.0 / std::sqrt(var / static_cast<double>(d) + double{eps});
    for (int64_t j = 0; j < d; ++j) o[j] = static_cast<float>((in[j] - mean) * inv * w.f32()[j] + b.f32()[j]);
  }
}

}  // namespace sgl
