#include <cmath>

#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"

namespace sgl {
namespace {

double activate(double x, Act act) {
  switch (act) {
    case Act::Silu:
      return x / (1.0 + std::exp(-x));
    case Act::Gelu:
      return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752440));
    case Act::GeluTanh:
      return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case Act::Relu:
      return x > 0 ? x : 0;
  }
  return x;
}

}  // namespace

void check_gated_act(Tensor out, Tensor x) {
  check_shapes("gated_act", {{"out", out, "n d"}, {"x", x, "n e"}});
  if (x.cols() != 2 * out.cols()) {
    throw Error(ErrorKind::Internal,
                fmt::format("gated_act: x is {}; expected [{}, 2 · {}]", to_string(x.shape), out.rows(), out.cols()));
  }
}

void RefBackend::gated_act(Tensor out, Tensor x, Act act) {
  check_gated_act(out, x);
  const int64_t d = out.cols();
  for (int64_t i = 0; i < x.rows(); ++i) {
    const float* in = x.f32(i);
    for (int64_t j = 0; j < d; ++j) out.f32(i)[j] = static_cast<float>(activate(in[j], act) * in[d + j]);
  }
}

void RefBackend::activation(Tensor out, Tensor x, Act act) {
  check_shapes("activation", {{"out", out, "n d"}, {"x", x, "n d"}});
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t j = 0; j < x.cols(); ++j) out.f32(i)[j] = static_cast<float>(activate(x.f32(i)[j], act));
  }
}

void RefBackend::add(Tensor h, Tensor x) {
  check_shapes("add", {{"h", h, "n d"}, {"x", x, "n d"}});
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t j = 0; j < x.cols(); ++j) h.f32(i)[j] += x.f32(i)[j];
  }
}

void RefBackend::softcap(Tensor x, float cap) {
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t j = 0; j < x.cols(); ++j) {
      x.f32(i)[j] = static_cast<float>(double{cap} * std::tanh(double{x.f32(i)[j]} / double{cap}));
    }
  }
}

void check_scale_columns(Tensor x, std::span<const float> factors) {
  if (x.shape.rank() == 2 && x.cols() == static_cast<int64_t>(factors.size())) return;
  throw Error(ErrorKind::Internal,
              fmt::format("scale_columns: x is {} for {} factors", to_string(x.shape), factors.size()));
}

void RefBackend::scale_columns(Tensor x, std::span<const float> factors) {
  check_scale_columns(x, factors);
  for (int64_t i = 0; i < x.rows(); ++i) {
    for (int64_t j = 0; j < x.cols(); ++j) x.f32(i)[j] *= factors[static_cast<size_t>(j)];
  }
}

}  // namespace sgl
