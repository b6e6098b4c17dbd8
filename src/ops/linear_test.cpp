// linear(): every path and instruction set against the reference, and the exact equalities.

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "base/half.h"
#include "ops/cpu_backend.h"
#include "ops/linear_layout.h"
#include "ops/op_cases.h"
#include "ops/test_data.h"
#include "sgl/error.h"
#include "tensor/block_formats.h"

namespace sgl {
namespace {

using test::Matrix;
using test::random_matrix;
using test::random_weights;
using test::same_bits;
using test::WeightMatrix;

constexpr unsigned kSeed = 20260101;

CpuBackend cpu(CpuIsa isa, int threads = 1, bool quantize = true) {
  return CpuBackend({.device = "cpu", .threads = threads, .quantize_activations = quantize}, isa);
}

// What a case needs, made from its place in the table.
struct Inputs {
  explicit Inputs(const LinearCase& c)
      : random(kSeed + static_cast<unsigned>(c.n * 31 + c.in)),
        out(std::accumulate(c.outs.begin(), c.outs.end(), int64_t{0})),
        x(random_matrix(random, c.n, c.in, c.x_pad)),
        bias(random_matrix(random, 1, out)) {
    for (size_t i = 0; i < c.outs.size(); ++i) {
      parts.push_back(random_weights(random, c.formats[std::min(i, c.formats.size() - 1)], c.outs[i], c.in));
      tensors.push_back(parts.back().tensor);
    }
    if (c.bias) bias_tensor = Tensor(bias.memory.data(), DType::F32, Shape{out});
  }
  std::mt19937 random;
  int64_t out;
  Matrix x, bias;
  std::vector<WeightMatrix> parts;
  std::vector<Tensor> tensors;
  Tensor bias_tensor;
};

// x as the int8 path sees it: each block of 32 rounded to 127ths of its largest magnitude.
Matrix rounded(const Matrix& x) {
  Matrix y = x;
  for (int64_t i = 0; i < x.tensor.rows(); ++i) {
    float* row = y.tensor.f32(i);
    for (int64_t k = 0; k < x.tensor.cols(); k += 32) {
      float top = 0;
      for (int64_t j = k; j < k + 32; ++j) top = std::max(top, std::fabs(row[j]));
      for (int64_t j = k; j < k + 32; ++j) row[j] = std::nearbyint(row[j] * (127.0F / top)) * (top * (1.0F / 127.0F));
    }
  }
  return y;
}

// Σ_k |x[k]| · (largest magnitude of w's row): float32 sums of in / 32 terms err by a small part of it.
float magnitude(const float* x, int64_t in) {
  float sum = 0;
  for (int64_t k = 0; k < in; ++k) sum += std::fabs(x[k]);
  return sum * 0.25F;  // test_data's weights, and their d · q and m apart, are below 0.25
}

class LinearOnEachIsa : public ::testing::TestWithParam<CpuIsa> {};

TEST_P(LinearOnEachIsa, Int8PathEqualsReferenceOnRoundedActivations) {
  RefBackend ref;
  CpuBackend backend = cpu(GetParam(), 2);
  for (const LinearCase& c : linear_cases()) {
    if (!std::all_of(c.formats.begin(), c.formats.end(), [](DType t) { return is_block_format(t); })) continue;
    SCOPED_TRACE(to_string(c));
    Inputs in(c);
    Matrix got(c.n, in.out, c.y_pad), want(c.n, in.out);
    Weight w = backend.prepare(in.tensors);
    backend.linear(got.tensor, in.x.tensor, w, in.bias_tensor);
    Matrix x = rounded(in.x);
    ref.linear(want.tensor, x.tensor, ref.prepare(in.tensors), in.bias_tensor);
    EXPECT_TRUE(got.padding_untouched());
    for (int64_t i = 0; i < c.n; ++i) {
      float tolerance = 1e-6F * magnitude(x.tensor.f32(i), c.in) + 1e-6F;
      for (int64_t o = 0; o < in.out; ++o) {
        ASSERT_NEAR(got.tensor.f32(i)[o], want.tensor.f32(i)[o], tolerance) << "row " << i << " output " << o;
      }
    }
  }
}

TEST_P(LinearOnEachIsa, Bf16PathEqualsReferenceOnRoundedActivations) {
  if (GetParam() < CpuIsa::Avx512Bf16) return;  // the others do not round them
  RefBackend ref;
  CpuBackend backend = cpu(GetParam(), 2);
  for (const LinearCase& c : linear_cases()) {
    if (!std::all_of(c.formats.begin(), c.formats.end(), [](DType t) { return t == DType::BF16; })) continue;
    SCOPED_TRACE(to_string(c));
    Inputs in(c);
    Matrix got(c.n, in.out, c.y_pad), want(c.n, in.out), x = in.x;
    backend.linear(got.tensor, in.x.tensor, backend.prepare(in.tensors), in.bias_tensor);
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t k = 0; k < c.in; ++k) x.tensor.f32(i)[k] = to_float(to_bf16(x.tensor.f32(i)[k]));
    }
    ref.linear(want.tensor, x.tensor, ref.prepare(in.tensors), in.bias_tensor);
    EXPECT_TRUE(got.padding_untouched());
    for (int64_t i = 0; i < c.n; ++i) {
      const float tolerance = 1e-6F * magnitude(x.tensor.f32(i), c.in) + 1e-6F;
      for (int64_t o = 0; o < in.out; ++o) {
        ASSERT_NEAR(got.tensor.f32(i)[o], want.tensor.f32(i)[o], tolerance) << "row " << i << " output " << o;
      }
    }
  }
}

TEST_P(LinearOnEachIsa, FloatPathEqualsReference) {
  RefBackend ref;
  CpuBackend backend = cpu(GetParam(), 2, false);
  for (const LinearCase& c : linear_cases()) {
    SCOPED_TRACE(to_string(c));
    Inputs in(c);
    Matrix got(c.n, in.out, c.y_pad), want(c.n, in.out);
    Weight w = backend.prepare(in.tensors);
    for (const Weight::Part& part : w.parts) EXPECT_TRUE(part.source.empty());
    backend.linear(got.tensor, in.x.tensor, w, in.bias_tensor);
    ref.linear(want.tensor, in.x.tensor, ref.prepare(in.tensors), in.bias_tensor);
    EXPECT_TRUE(got.padding_untouched());
    for (int64_t i = 0; i < c.n; ++i) {
      // A chain of `in` float32 additions: at worst in · 2^-24, typically its root, of the magnitude.
      float tolerance = 1e-6F * magnitude(in.x.tensor.f32(i), c.in) + 1e-6F;
      for (int64_t o = 0; o < in.out; ++o) {
        ASSERT_NEAR(got.tensor.f32(i)[o], want.tensor.f32(i)[o], tolerance) << "row " << i << " output " << o;
      }
    }
  }
}

TEST_P(LinearOnEachIsa, FloatPathIsBitEqualToMultiplyingDequantizedWeights) {
  CpuBackend backend = cpu(GetParam(), 1, false);
  std::mt19937 random(kSeed);
  for (DType t : kWeightFormats) {
    SCOPED_TRACE(name(t));
    WeightMatrix packed = random_weights(random, t, 35, 512);
    WeightMatrix plain{std::vector<std::byte>(35 * 512 * sizeof(float)), {}};
    plain.tensor = Tensor(plain.bytes.data(), DType::F32, Shape{35, 512});
    dequantize_row(t, packed.bytes.data(), plain.tensor.f32(), 35 * 512);
    Matrix x = random_matrix(random, 9, 512), a(9, 35), b(9, 35);
    backend.linear(a.tensor, x.tensor, backend.prepare({&packed.tensor, 1}), {});
    backend.linear(b.tensor, x.tensor, backend.prepare({&plain.tensor, 1}), {});
    EXPECT_TRUE(same_bits(a.values(), b.values()));
  }
}

TEST_P(LinearOnEachIsa, RowsDoNotDependOnTheBatchOrTheThreads) {
  for (bool quantize : {true, false}) {
    CpuBackend one = cpu(GetParam(), 1, quantize), three = cpu(GetParam(), 3, quantize);
    std::mt19937 random(kSeed);
    for (DType t : kWeightFormats) {
      SCOPED_TRACE(name(t));
      const int64_t n = 41, in = 512;
      WeightMatrix m = random_weights(random, t, 120, in);
      Matrix x = random_matrix(random, n, in), whole(n, 120), threaded(n, 120), bias = random_matrix(random, 1, 120);
      Tensor b(bias.memory.data(), DType::F32, Shape{120});
      Weight w1 = one.prepare({&m.tensor, 1}), w3 = three.prepare({&m.tensor, 1});
      one.linear(whole.tensor, x.tensor, w1, b);
      three.linear(threaded.tensor, x.tensor, w3, b);
      EXPECT_TRUE(same_bits(whole.values(), threaded.values()));
      for (int64_t step : {1, 2, 3, 5, 7, 8, 13, 16, 20}) {
        Matrix parts(n, 120);
        for (int64_t at = 0; at < n; at += step) {
          int64_t rows = std::min(step, n - at);
          three.linear(parts.tensor.slice_rows(at, rows), x.tensor.slice_rows(at, rows), w3, b);
        }
        EXPECT_TRUE(same_bits(whole.values(), parts.values())) << "in steps of " << step;
      }
    }
  }
}

TEST_P(LinearOnEachIsa, ZeroRowsGiveTheBias) {
  CpuBackend backend = cpu(GetParam());
  std::mt19937 random(kSeed);
  for (DType t : kWeightFormats) {
    WeightMatrix m = random_weights(random, t, 16, 256);
    Matrix x(2, 256), y(2, 16), bias = random_matrix(random, 1, 16);
    std::fill(x.memory.begin(), x.memory.end(), 0.0F);
    backend.linear(y.tensor, x.tensor, backend.prepare({&m.tensor, 1}), Tensor(bias.memory.data(), DType::F32, {16}));
    for (int i = 0; i < 2; ++i) {
      for (int o = 0; o < 16; ++o) EXPECT_EQ(y.tensor.f32(i)[o], bias.memory[static_cast<size_t>(o)]) << name(t);
    }
  }
}

TEST_P(LinearOnEachIsa, NanAndInfinityShowInTheirRowOnly) {
  CpuBackend backend = cpu(GetParam());
  std::mt19937 random(kSeed);
  for (DType t : kWeightFormats) {
    SCOPED_TRACE(name(t));
    WeightMatrix m = random_weights(random, t, 16, 256);
    Weight w = backend.prepare({&m.tensor, 1});
    Matrix x = random_matrix(random, 3, 256), clean(3, 16), bad(3, 16);
    backend.linear(clean.tensor, x.tensor, w, {});
    x.tensor.f32(1)[77] = std::numeric_limits<float>::quiet_NaN();
    x.tensor.f32(2)[78] = -std::numeric_limits<float>::infinity();
    backend.linear(bad.tensor, x.tensor, w, {});
    for (int o = 0; o < 16; ++o) {
      EXPECT_EQ(clean.tensor.f32(0)[o], bad.tensor.f32(0)[o]);
      EXPECT_FALSE(std::isfinite(bad.tensor.f32(1)[o]));
      EXPECT_FALSE(std::isfinite(bad.tensor.f32(2)[o]));
    }
  }
}

TEST_P(LinearOnEachIsa, LargestCodesAndActivationsDoNotOverflow) {
  CpuBackend backend = cpu(GetParam());
  RefBackend ref;
  for (DType t : kWeightFormats) {
    if (!is_block_format(t)) continue;
    for (uint8_t fill : {uint8_t{0xff}, uint8_t{0x80}, uint8_t{0x7f}, uint8_t{0x00}}) {
      SCOPED_TRACE(std::string(name(t)) + " " + std::to_string(fill));
      std::mt19937 random(kSeed);
      WeightMatrix m = random_weights(random, t, 16, 256), filled = m;
      std::fill(filled.bytes.begin(), filled.bytes.end(), static_cast<std::byte>(fill));
      // Random scales, extreme codes: take the halves from the random matrix.
      const auto bytes = static_cast<size_t>(block_layout(t).bytes);
      for (size_t at = 0; at + bytes <= filled.bytes.size(); at += bytes) {
        size_t first = t == DType::Q2_K ? 80 : t == DType::Q3_K ? 108 : t == DType::Q6_K ? 208 : 0;
        size_t n =
            t == DType::Q4_1 || t == DType::Q5_1 || t == DType::Q4_K || t == DType::Q5_K || t == DType::Q2_K ? 4 : 2;
        if (t == DType::Int4G32 || t == DType::Int4G128) n = 3;
        std::copy_n(m.bytes.begin() + static_cast<std::ptrdiff_t>(at + first), n,
                    filled.bytes.begin() + static_cast<std::ptrdiff_t>(at + first));
      }
      filled.tensor.data = filled.bytes.data();
      Matrix x(2, 256), got(2, 16), want(2, 16);
      for (int64_t k = 0; k < 256; ++k) {
        x.tensor.f32(0)[k] = 1.0F;
        x.tensor.f32(1)[k] = k % 2 == 0 ? 1.0F : -1.0F;
      }
      backend.linear(got.tensor, x.tensor, backend.prepare({&filled.tensor, 1}), {});
      ref.linear(want.tensor, x.tensor, ref.prepare({&filled.tensor, 1}), {});
      for (int i = 0; i < 2; ++i) {
        for (int o = 0; o < 16; ++o) ASSERT_NEAR(got.tensor.f32(i)[o], want.tensor.f32(i)[o], 1e-4) << i << " " << o;
      }
    }
  }
}

TEST_P(LinearOnEachIsa, QuantizedWhileLoadedIsQuantizedBefore) {
  std::mt19937 random(kSeed);
  for (const Quantization q : {Quantization::Int8, Quantization::Int4}) {
    CpuBackend quantizing({.device = "cpu", .threads = 2, .quantization = q}, GetParam());
    CpuBackend plain = cpu(GetParam(), 2);
    for (const DType of_file : kWeightFormats) {
      for (const int64_t in : {256, 160}) {
        if (in % block_layout(of_file).elements != 0) continue;
        SCOPED_TRACE(std::string(name(of_file)) + ", " + std::to_string(in));
        const WeightMatrix parts[] = {random_weights(random, of_file, 40, in), random_weights(random, of_file, 16, in)};
        const Tensor tensors[] = {parts[0].tensor, parts[1].tensor};
        const Matrix x = random_matrix(random, 5, in);
        Matrix got(5, 56), want(5, 56);
        auto expect_type = [&](const Weight& w, DType type) {
          std::vector<std::vector<std::byte>> blocks;
          std::vector<Tensor> quantized;
          for (const Tensor& t : tensors) {
            std::vector<float> numbers(static_cast<size_t>(t.shape.elements()));
            dequantize_row(t.dtype, t.data, numbers.data(), t.shape.elements());
            blocks.emplace_back(static_cast<size_t>(row_bytes(type, t.shape.elements())));
            quantize_row(type, numbers.data(), blocks.back().data(), t.shape.elements());
            quantized.emplace_back(blocks.back().data(), type, t.shape);
          }
          quantizing.linear(got.tensor, x.tensor, w, {});
          plain.linear(
              want.tensor, x.tensor,
              plain.prepare(is_block_format(of_file) ? std::span(tensors) : std::span<const Tensor>(quantized)), {});
          EXPECT_TRUE(same_bits(got.memory, want.memory));
        };
        const DType int4 = in % 128 == 0 ? DType::Int4G128 : DType::Int4G32;
        expect_type(quantizing.prepare(tensors), q == Quantization::Int8 ? DType::Q8_0 : int4);
        expect_type(quantizing.prepare_head(tensors), DType::Q8_0);
      }
    }
  }
}

TEST_P(LinearOnEachIsa, OnlyFiniteNumbersAreQuantized) {
  CpuBackend backend({.device = "cpu", .threads = 2, .quantization = Quantization::Int4}, GetParam());
  Matrix m(20, 256), x(1, 256), y(1, 20);
  std::fill(m.memory.begin(), m.memory.end(), 0.0F);
  std::fill(x.memory.begin(), x.memory.end(), 0.0F);
  for (int64_t k = 0; k < 256; ++k) m.tensor.f32(3)[k] = k % 2 == 0 ? 1e38F : -1e38F;
  m.tensor.f32(5)[0] = 1e-38F;
  x.tensor.f32(0)[0] = x.tensor.f32(0)[1] = 1.0F;
  backend.linear(y.tensor, x.tensor, backend.prepare({&m.tensor, 1}), {});
  for (int64_t o = 0; o < 20; ++o) EXPECT_TRUE(std::isfinite(y.tensor.f32(0)[o])) << o;
  m.tensor.f32(7)[9] = INFINITY;
  try {
    backend.prepare({&m.tensor, 1});
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a matrix of 20 by 256 has numbers that are infinite"), std::string::npos);
  }
}

// Gate and up as one matrix or two, of one format or of different ones, and of rows that are no multiple of a panel's.
TEST_P(LinearOnEachIsa, AGatedProductIsTheProductAndThenTheGate) {
  for (bool quantize : {true, false}) {
    CpuBackend backend = cpu(GetParam(), 2, quantize);
    for (DType t : kWeightFormats) {
      const std::vector<std::pair<std::vector<int64_t>, std::vector<DType>>> weights = {
          {{96}, {t}}, {{48, 48}, {t}}, {{40, 40}, {t}}, {{32, 32}, {t, DType::Q8_0}}, {{32, 16, 16}, {t}}};
      for (const auto& [outs, formats] : weights) {
        for (int64_t rows : {1, 5, 16, 37, 70}) {
          // The longest has rows for more than one chunk.
          const LinearCase c{rows, rows == 70 ? 4096 : 512, outs, formats, rows != 5, 3, 7};
          SCOPED_TRACE(to_string(c));
          Inputs in(c);
          const int64_t d = in.out / 2;
          Matrix got(rows, d, 7), want(rows, d), scratch(rows, in.out);
          const Weight w = backend.prepare(in.tensors);
          backend.linear(scratch.tensor, in.x.tensor, w, in.bias_tensor);
          backend.gated_act(want.tensor, scratch.tensor, Act::Silu);
          backend.gated_linear(got.tensor, in.x.tensor, w, in.bias_tensor, Act::Silu, scratch.tensor);
          EXPECT_TRUE(got.padding_untouched());
          EXPECT_TRUE(same_bits(got.values(), want.values()));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, LinearOnEachIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(name(isa.param)); });

TEST(Linear, Avx2AndAvx512GiveTheSameBits) {
  if (available_isas().back() < CpuIsa::Avx512) GTEST_SKIP() << "this machine has no AVX-512";
  for (bool quantize : {true, false}) {
    CpuBackend a = cpu(CpuIsa::Avx2, 1, quantize), b = cpu(CpuIsa::Avx512, 1, quantize);
    for (const LinearCase& c : linear_cases()) {
      SCOPED_TRACE(to_string(c));
      Inputs in(c);
      Matrix ya(c.n, in.out), yb(c.n, in.out);
      a.linear(ya.tensor, in.x.tensor, a.prepare(in.tensors), in.bias_tensor);
      b.linear(yb.tensor, in.x.tensor, b.prepare(in.tensors), in.bias_tensor);
      EXPECT_TRUE(same_bits(ya.values(), yb.values()));
    }
  }
}

TEST(Linear, PackedWeightsAreNotMuchLargerThanTheFile) {
  for (DType t : kWeightFormats) {
    if (!is_block_format(t)) continue;
    double file = 8.0 * block_layout(t).bytes / block_layout(t).elements;
    double packed = 8.0 * static_cast<double>(panel_format(t).panel_bytes(1024)) / (16.0 * 1024.0);
    EXPECT_LE(packed, file + 0.19) << name(t);
  }
}

TEST(Linear, ItsWorkIsCountedByTheWeightsType) {
  std::mt19937 random(kSeed);
  const WeightMatrix q = random_weights(random, DType::Q4_K, 16, 256), b = random_weights(random, DType::BF16, 8, 256),
                     f = random_weights(random, DType::F16, 4, 256);
  const std::vector<Tensor> parts = {q.tensor, b.tensor, f.tensor};
  const auto file_bytes =
      row_bytes(DType::Q4_K, 16 * 256) + row_bytes(DType::BF16, 8 * 256) + row_bytes(DType::F16, 4 * 256);
  RefBackend ref;
  const Weight w = ref.prepare(parts);
  ref.count(w.work(3));
  ref.count(w.work(1));
  const Work work = ref.take_work();
  EXPECT_EQ(work.weight_bytes, 2 * file_bytes);
  EXPECT_EQ(work.quantized_ops, 4 * 2 * 16 * 256);
  EXPECT_EQ(work.bfloat16_ops, 4 * 2 * 8 * 256);
  EXPECT_EQ(work.float_ops, 4 * 2 * 4 * 256);
  EXPECT_EQ(ref.take_work().weight_bytes, 0);
}

TEST(Linear, RefusesAnInputThatDoesNotFitTheWeight) {
  CpuBackend backend = cpu(available_isas().back());
  std::mt19937 random(kSeed);
  WeightMatrix m = random_weights(random, DType::Q8_0, 16, 64);
  Weight w = backend.prepare({&m.tensor, 1});
  Matrix x(1, 32), y(1, 16);
  EXPECT_THROW(backend.linear(y.tensor, x.tensor, w, {}), Error);
  Matrix right(1, 64), narrow(1, 15);
  EXPECT_THROW(backend.linear(narrow.tensor, right.tensor, w, {}), Error);
  std::vector<Tensor> two = {m.tensor, Tensor(m.bytes.data(), DType::Q8_0, Shape{16, 32})};
  EXPECT_THROW(backend.prepare(two), Error);
}

}  // namespace
}  // namespace sgl
