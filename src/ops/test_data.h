#pragma once
// Random inputs for tests and benchmarks of ops: seeded, with NaN wherever nobody may look.

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "base/half.h"
#include "ops/backend.h"
#include "tensor/block_formats.h"

namespace sgl::test {

/// A [rows, cols] matrix of floats with `pad` NaN after each row, and the memory.
struct Matrix {
  Matrix(int64_t rows, int64_t cols, int64_t pad = 0)
      : memory(static_cast<size_t>(rows * (cols + pad) + 1), std::numeric_limits<float>::quiet_NaN()),
        tensor(memory.data(), DType::F32, Shape{rows, cols}) {
    tensor.row_stride = cols + pad;
  }
  Matrix(const Matrix& o) : memory(o.memory), tensor(o.tensor) {
    tensor.data = reinterpret_cast<std::byte*>(memory.data());
  }
  Matrix(Matrix&& o) noexcept = default;
  Matrix& operator=(const Matrix&) = delete;

  std::vector<float> values() const {
    std::vector<float> v;
    for (int64_t i = 0; i < tensor.rows(); ++i) v.insert(v.end(), tensor.f32(i), tensor.f32(i) + tensor.cols());
    return v;
  }
  /// The memory outside of the rows still holds what it held.
  bool padding_untouched() const {
    for (size_t i = 0; i < memory.size(); ++i) {
      bool inside = static_cast<int64_t>(i) < tensor.rows() * tensor.row_stride &&
                    static_cast<int64_t>(i) % tensor.row_stride < tensor.cols();
      if (!inside && !std::isnan(memory[i])) return false;
    }
    return true;
  }

  std::vector<float> memory;
  Tensor tensor;
};

inline Matrix random_matrix(std::mt19937& random, int64_t rows, int64_t cols, int64_t pad = 0, float size = 1.0F) {
  Matrix m(rows, cols, pad);
  std::normal_distribution<float> normal(0.0F, size);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) m.tensor.f32(i)[j] = normal(random);
  }
  return m;
}

/// A matrix of weights in any format: random codes, and scales that make weights of about 0.05.
struct WeightMatrix {
  std::vector<std::byte> bytes;
  Tensor tensor;
};

inline WeightMatrix random_weights(std::mt19937& random, DType format, int64_t rows, int64_t in) {
  WeightMatrix w;
  const auto size = static_cast<size_t>(row_bytes(format, rows * in));
  w.bytes.resize(size + 1);
  std::normal_distribution<float> normal(0.0F, 0.05F);
  auto* p = w.bytes.data();
  if (!is_block_format(format)) {
    std::vector<float> values(static_cast<size_t>(rows * in));
    for (float& v : values) v = normal(random);
    quantize_row(format, values.data(), p, rows * in);
  } else {
    for (std::byte& b : w.bytes) b = static_cast<std::byte>(random() & 0xffU);
    std::uniform_real_distribution<float> uniform(0.5F, 1.0F);
    auto put = [&](std::byte* at, float x) {
      uint16_t h = to_f16(x * uniform(random)).bits;
      std::memcpy(at, &h, 2);
    };
    for (size_t at = 0; at < size; at += static_cast<size_t>(block_layout(format).bytes)) {
      std::byte* b = p + at;
      switch (format) {
        case DType::Q4_0:
          put(b, 0.01F);
          break;
        case DType::Int4G32:
        case DType::Int4G128:
          put(b, 0.01F);
          b[2] &= std::byte{15};
          break;
        case DType::Q5_0:
          put(b, 0.005F);
          break;
        case DType::Q8_0:
        case DType::IQ4_NL:
          put(b, 0.0007F);
          break;
        case DType::Q4_1:
          put(b, 0.01F);
          put(b + 2, -0.08F);
          break;
        case DType::Q5_1:
          put(b, 0.005F);
          put(b + 2, -0.08F);
          break;
        case DType::Q4_K:
          put(b, 3e-4F);
          put(b + 2, 0.002F);
          break;
        case DType::Q5_K:
          put(b, 1.5e-4F);
          put(b + 2, 0.002F);
          break;
        case DType::Q2_K:
          put(b + 80, 0.004F);
          put(b + 82, 0.01F);
          break;
        case DType::Q3_K:
          put(b + 108, 1e-3F);
          break;
        case DType::Q6_K:
          put(b + 208, 3e-5F);
          break;
        default:
          break;
      }
    }
  }
  w.tensor = Tensor(p, format, Shape{rows, in});
  return w;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace sgl::test
