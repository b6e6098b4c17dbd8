#include <vector>

#include <fmt/format.h>

#include "ops/ref_backend.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {

Weight describe_weight(std::span<const Tensor> parts) {
  Weight w;
  w.in = parts.empty() ? 0 : parts[0].cols();
  for (const Tensor& t : parts) {
    if (t.shape.rank() != 2 || t.cols() != w.in) {
      throw Error(ErrorKind::Internal,
                  fmt::format("a weight's part has shape {}; expected [rows, {}]", to_string(t.shape), w.in));
    }
    Weight::Part part;
    part.format = t.dtype;
    part.rows = t.shape[0];
    part.source = t;
    w.out += part.rows;
    w.parts.push_back(std::move(part));
  }
  return w;
}

int64_t Weight::bytes() const {
  int64_t bytes = 0;
  for (const Part& p : parts) {
    const int64_t source = p.source.data == nullptr ? 0 : row_bytes(p.format, p.rows * in);
    bytes += p.packed.bytes() > 0 ? static_cast<int64_t>(p.packed.bytes()) : source;
  }
  return bytes;
}

Work Weight::work(int64_t n) const {
  Work w{.weight_bytes = bytes()};
  for (const Part& p : parts) {
    const int64_t ops = 2 * n * in * p.rows;
    const bool blocks = block_layout(p.format).elements > 1;
    (blocks ? w.quantized_ops : p.format == DType::BF16 ? w.bfloat16_ops : w.float_ops) += ops;
  }
  return w;
}

void check_linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_shapes("linear", {{"y", y, "n o"}, {"x", x, "n i"}});
  if (x.cols() != w.in || y.cols() != w.out || (!bias.empty() && bias.cols() != w.out)) {
    throw Error(ErrorKind::Internal,
                fmt::format("linear: x is {}, y is {}, bias is {}; the weight is [{}, {}]", to_string(x.shape),
                            to_string(y.shape), to_string(bias.shape), w.out, w.in));
  }
}

Weight RefBackend::prepare(std::span<const Tensor> parts) { return describe_weight(parts); }

// y[i, o] = Σ_k x[i, k] · w[o, k] + bias[o]
void RefBackend::linear(Tensor y, Tensor x, const Weight& w, Tensor bias) {
  check_linear(y, x, w, bias);
  std::vector<float> row(static_cast<size_t>(w.in));
  int64_t column = 0;
  for (const Weight::Part& part : w.parts) {
    for (int64_t o = 0; o < part.rows; ++o, ++column) {
      dequantize_row(part.format, part.source.data + o * row_bytes(part.format, w.in), row.data(), w.in);
      for (int64_t i = 0; i < x.rows(); ++i) {
        double sum = 0;
        for (int64_t k = 0; k < w.in; ++k) sum += double{x.f32(i)[k]} * row[static_cast<size_t>(k)];
        if (!bias.empty()) sum += bias.f32()[column];
        y.f32(i)[column] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace sgl
