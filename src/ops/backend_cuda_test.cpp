// The cuda backend against the reference, over the common cases of every op; and what needs no GPU: its errors.
//
// Tensors go to the device in the type that is tested; the reference computes with the same rounded numbers in float32.
// So what differs is the order of sums, and the rounding of results to that type.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>

#include <gtest/gtest.h>

#include "ops/op_cases.h"
#include "ops/ref_backend.h"
#include "ops/test_data.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using test::Matrix;
using test::random_matrix;
using test::random_weights;
using test::same_bits;
using test::WeightMatrix;

constexpr unsigned kSeed = 20260301;

std::unique_ptr<Backend> cuda_or_reason(DType type, std::string& reason) {
  try {
    return Backend::create({.device = "cuda", .threads = 2, .activations = type});
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported) << e.what();
    reason = e.what();
    return nullptr;
  }
}

TEST(CudaBackend, WhereItCannotRunTheErrorSaysWhyAndWhatToDo) {
  std::string reason;
  if (cuda_or_reason(DType::BF16, reason) != nullptr) GTEST_SKIP() << "this machine can run it";
  EXPECT_NE(reason.find("--device cpu"), std::string::npos) << reason;
  EXPECT_TRUE(reason.find("built without CUDA") != std::string::npos ||
              reason.find("NVIDIA GPU") != std::string::npos || reason.find("cuBLASLt") != std::string::npos)
      << reason;
}

// Rows on the device in a type, with NaN between and after them.
class DeviceMatrix {
 public:
  DeviceMatrix(Backend& backend, const Matrix& host, DType type, int64_t pad = 0) : backend_(backend) {
    const Tensor& t = host.tensor;
    const int64_t stride = t.cols() + pad, elements = t.rows() * stride + 8;
    bytes_.assign(static_cast<size_t>(row_bytes(type, elements)), std::byte{0xff});  // NaN in every type
    for (int64_t i = 0; i < t.rows(); ++i) {
      quantize_row(type, t.f32(i), bytes_.data() + row_bytes(type, i * stride), t.cols());
    }
    memory_ = backend.allocate(bytes_.size());
    backend.upload(memory_.data(), bytes_.data(), bytes_.size());
    tensor = Tensor(memory_.data(), type, t.shape);
    tensor.row_stride = stride;
  }
  /// Room for a result: all NaN.
  DeviceMatrix(Backend& backend, int64_t rows, int64_t cols, DType type, int64_t pad = 0)
      : backend_(backend), bytes_(static_cast<size_t>(row_bytes(type, rows * (cols + pad) + 8)), std::byte{0xff}) {
    memory_ = backend.allocate(bytes_.size());
    backend.upload(memory_.data(), bytes_.data(), bytes_.size());
    tensor = Tensor(memory_.data(), type, {rows, cols});
    tensor.row_stride = cols + pad;
  }

  /// The rows as float32; fails the test where memory outside of them was written.
  std::vector<float> values() {
    std::vector<std::byte> now(bytes_.size());
    backend_.download(now.data(), memory_.data(), now.size());
    std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.cols()));
    int64_t at = 0;
    auto outside = [&](int64_t end) {
      for (; at < row_bytes(tensor.dtype, end); ++at) {
        if (now[static_cast<size_t>(at)] != std::byte{0xff}) return false;
      }
      return true;
    };
    bool clean = true;
    for (int64_t i = 0; i < tensor.rows(); ++i) {
      clean &= outside(i * tensor.row_stride);
      dequantize_row(tensor.dtype, now.data() + at, out.data() + i * tensor.cols(), tensor.cols());
      at += row_bytes(tensor.dtype, tensor.cols());
    }
    clean &= outside(static_cast<int64_t>(now.size()) / row_bytes(tensor.dtype, 1));
    EXPECT_TRUE(clean) << "memory outside of the rows was written";
    return out;
  }

  Tensor tensor;

 private:
  Backend& backend_;
  std::vector<std::byte> bytes_;
  Buffer memory_;
};

// Half a unit in the last place, relative.
float rounding(DType t) { return t == DType::F32 ? 0x1p-24F : t == DType::F16 ? 0x1p-11F : 0x1p-8F; }

// `host` with all numbers rounded to the type.
Matrix rounded(const Matrix& host, DType type) {
  Matrix m = host;
  std::vector<std::byte> row(static_cast<size_t>(row_bytes(type, host.tensor.cols())));
  for (int64_t i = 0; i < m.tensor.rows(); ++i) {
    quantize_row(type, m.tensor.f32(i), row.data(), m.tensor.cols());
    dequantize_row(type, row.data(), m.tensor.f32(i), m.tensor.cols());
  }
  return m;
}

class OpsOnCuda : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    std::string reason;
    cuda_ = cuda_or_reason(GetParam(), reason);
    if (cuda_ == nullptr) GTEST_SKIP() << reason;
  }
  // |got − want| ≤ bound · (1 + |want|), and the rounding of the result.
  void expect_near(const std::vector<float>& got, const std::vector<float>& want, float bound, DType type) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const float allowed = bound * (1.0F + std::fabs(want[i])) + rounding(type) * std::fabs(want[i]) * 1.01F;
      ASSERT_LE(std::fabs(got[i] - want[i]), allowed) << "element " << i << ": " << got[i] << " for " << want[i];
    }
  }
  std::unique_ptr<Backend> cuda_;
  RefBackend ref_;
};

TEST_P(OpsOnCuda, NormsAndActivationsEqualReference) {
  const DType t = GetParam();
  for (const RowsCase& c : kRowsCases) {
    for (int64_t pad : {int64_t{0}, c.x_pad, int64_t{8}}) {
      SCOPED_TRACE(fmt::format("{} x {}, pad {}", c.n, c.d, pad));
      std::mt19937 random(kSeed + static_cast<unsigned>(c.d));
      const Matrix x = rounded(random_matrix(random, c.n, c.d, 0, 3.0F), t), h = random_matrix(random, c.n, c.d),
                   pair = rounded(random_matrix(random, c.n, 2 * c.d, 0, 3.0F), t), w = random_matrix(random, 1, c.d),
                   b = random_matrix(random, 1, c.d);
      auto vector = [&](const Tensor& m) { return Tensor(m.data, DType::F32, {c.d}); };
      DeviceMatrix dx(*cuda_, x, t, pad), dpair(*cuda_, pair, t, pad), dw(*cuda_, w, DType::F32),
          db(*cuda_, b, DType::F32);
      // body(backend, out, h, x, pair, w, b); results in out's type, h changes in float32.
      auto compare = [&](const char* what, float bound, bool of_h, auto body) {
        SCOPED_TRACE(what);
        Matrix want(c.n, c.d), want_h = h;
        DeviceMatrix got(*cuda_, c.n, c.d, t, pad), got_h(*cuda_, h, DType::F32, pad);
        body(static_cast<Backend&>(ref_), want.tensor, want_h.tensor, x.tensor, pair.tensor, vector(w.tensor),
             vector(b.tensor));
        body(*cuda_, got.tensor, got_h.tensor, dx.tensor, dpair.tensor, vector(dw.tensor), vector(db.tensor));
        if (of_h) expect_near(got_h.values(), want_h.values(), bound, DType::F32);
        if (!std::isnan(want.memory[0])) expect_near(got.values(), want.values(), bound, t);
      };
      using T = Tensor;
      // Float32 sums of d terms in another order; d is up to 40,000.
      compare("rms_norm", 4e-6F, false, [](Backend& k, T out, T, T in, T, T g, T) { k.rms_norm(out, in, g, 1e-5F); });
      compare("rms_norm of float32", 4e-6F, false,
              [](Backend& k, T out, T r, T, T, T g, T) { k.rms_norm(out, r, g, 1e-5F); });
      compare("add_rms_norm", 4e-6F, true,
              [](Backend& k, T out, T r, T in, T, T g, T) { k.add_rms_norm(out, r, in, g, 1e-6F); });
      compare("layer_norm", 8e-6F, false,
              [](Backend& k, T out, T, T in, T, T g, T add) { k.layer_norm(out, in, g, add, 1e-5F); });
      compare("add", 0.0F, true, [](Backend& k, T, T r, T in, T, T, T) { k.add(r, in); });
      compare("softcap", 2e-6F, true, [](Backend& k, T, T r, T, T, T, T) { k.softcap(r, 1.5F); });
      for (auto [act, name] :
           {std::pair{Act::Silu, "silu"}, {Act::Gelu, "gelu"}, {Act::GeluTanh, "gelu_tanh"}, {Act::Relu, "relu"}}) {
        compare(name, 4e-6F, false, [act = act](Backend& k, T out, T, T in, T, T, T) { k.activation(out, in, act); });
        compare(name, 8e-6F, false,
                [act = act](Backend& k, T out, T, T, T both, T, T) { k.gated_act(out, both, act); });
      }
    }
  }
}

TEST_P(OpsOnCuda, NormsOfHeadsInPlaceEqualReference) {
  const DType t = GetParam();
  for (int64_t d : {16, 128, 20}) {
    std::mt19937 random(kSeed);
    Matrix x = rounded(random_matrix(random, 5, 6 * d), t);
    const Matrix w = random_matrix(random, 1, d);
    DeviceMatrix got(*cuda_, x, t, 8), dw(*cuda_, w, DType::F32);
    cuda_->rms_norm(got.tensor, got.tensor, Tensor(dw.tensor.data, DType::F32, {d}), 1e-6F);
    ref_.rms_norm(x.tensor, x.tensor, Tensor(w.tensor.data, DType::F32, {d}), 1e-6F);
    expect_near(got.values(), x.values(), 4e-6F, t);
  }
}

TEST_P(OpsOnCuda, RopeEqualsReference) {
  const DType t = GetParam();
  for (const RopeCase& c : kRopeCases) {
    SCOPED_TRACE(fmt::format("{} x {} heads of {}, {} turn{}", c.n, c.heads, c.head_dim, c.rotary_dim,
                             c.interleaved ? ", interleaved" : ""));
    std::mt19937 random(kSeed);
    Matrix x = rounded(random_matrix(random, c.n, int64_t{c.heads} * c.head_dim), t), table(c.n, c.rotary_dim);
    std::vector<int32_t> positions(static_cast<size_t>(c.n));
    for (int32_t& p : positions) p = static_cast<int32_t>(random() % 131072);
    std::vector<float> inv_freq(static_cast<size_t>(c.rotary_dim / 2));
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      inv_freq[i] = std::pow(10000.0F, -2.0F * static_cast<float>(i) / static_cast<float>(c.rotary_dim));
    }
    DeviceMatrix got(*cuda_, x, t, c.pad), got_table(*cuda_, c.n, c.rotary_dim, DType::F32);
    ref_.rope_table(table.tensor, positions, inv_freq, 1.25F);
    cuda_->rope_table(got_table.tensor, positions, inv_freq, 1.25F);
    expect_near(got_table.values(), table.values(), 1e-6F, DType::F32);
    ref_.rope(x.tensor, table.tensor, c.head_dim, c.interleaved);
    cuda_->rope(got.tensor, got_table.tensor, c.head_dim, c.interleaved);
    expect_near(got.values(), x.values(), 4e-6F, t);
  }
}

TEST_P(OpsOnCuda, LookUpsEqualReference) {
  const DType t = GetParam();
  for (DType format : kWeightFormats) {
    SCOPED_TRACE(name(format));
    std::mt19937 random(kSeed);
    const WeightMatrix source = random_weights(random, format, 50, 256);
    const std::vector<int32_t> ids = {3, 49, 0, 3};
    const Param table = cuda_->prepare_table(source.tensor);
    Matrix want = random_matrix(random, 4, 256), sum = want;
    DeviceMatrix got(*cuda_, want, DType::F32, 3), got_sum(*cuda_, sum, DType::F32, 8);
    ref_.embedding(want.tensor, ids, source.tensor, 16.0F);
    cuda_->embedding(got.tensor, ids, table.tensor, 16.0F);
    expect_near(got.values(), want.values(), 1e-6F, t);  // float16 has no finer steps near 0
    ref_.add_embedding(sum.tensor, ids, source.tensor);
    cuda_->add_embedding(got_sum.tensor, ids, table.tensor);
    expect_near(got_sum.values(), sum.values(), rounding(t), DType::F32);
    DeviceMatrix gathered(*cuda_, 2, 256, DType::F32);
    const std::vector<int32_t> rows = {2, 1};
    cuda_->gather_rows(gathered.tensor, got.tensor, rows);
    const std::vector<float> all = got.values();
    std::vector<float> expected(all.begin() + 512, all.begin() + 768);
    expected.insert(expected.end(), all.begin() + 256, all.begin() + 512);
    EXPECT_TRUE(same_bits(gathered.values(), expected));
    DeviceMatrix of_type(*cuda_, want, t), picked(*cuda_, 2, 256, t);
    cuda_->gather_rows(picked.tensor, of_type.tensor, rows);
    const std::vector<float> rounded = of_type.values(), got_rows = picked.values();
    EXPECT_TRUE(std::equal(got_rows.begin(), got_rows.begin() + 256, rounded.begin() + 512));
    EXPECT_TRUE(std::equal(got_rows.begin() + 256, got_rows.end(), rounded.begin() + 256));
  }
}

TEST_P(OpsOnCuda, LinearEqualsReference) {
  const DType t = GetParam();
  for (const LinearCase& c : linear_cases()) {
    SCOPED_TRACE(to_string(c));
    std::mt19937 random(kSeed + static_cast<unsigned>(c.n * 31 + c.in));
    const int64_t out = std::accumulate(c.outs.begin(), c.outs.end(), int64_t{0});
    const Matrix x = rounded(random_matrix(random, c.n, c.in), t), bias = random_matrix(random, 1, out);
    std::vector<WeightMatrix> parts, plain;
    std::vector<Tensor> tensors, plain_tensors;
    for (size_t i = 0; i < c.outs.size(); ++i) {
      const DType format = c.formats[std::min(i, c.formats.size() - 1)];
      parts.push_back(random_weights(random, format, c.outs[i], c.in));
      tensors.push_back(parts.back().tensor);
      Matrix w(c.outs[i], c.in);  // what the device has of it: rounded to its type, but for groups of its own size
      dequantize_row(format, parts.back().bytes.data(), w.tensor.f32(), c.outs[i] * c.in);
      const Matrix r = format == DType::Int4G128 ? w : rounded(w, t);
      plain.push_back({std::vector<std::byte>(r.memory.size() * sizeof(float)), {}});
      std::memcpy(plain.back().bytes.data(), r.memory.data(), plain.back().bytes.size());
      plain_tensors.emplace_back(plain.back().bytes.data(), DType::F32, Shape{c.outs[i], c.in});
    }
    const Weight w = cuda_->prepare(tensors);
    for (const Weight::Part& part : w.parts) EXPECT_TRUE(part.source.empty());
    DeviceMatrix dx(*cuda_, x, t, c.x_pad), db(*cuda_, bias, DType::F32);
    Matrix want(c.n, out);
    Tensor want_bias, got_bias;
    if (c.bias) {
      want_bias = Tensor(const_cast<float*>(bias.memory.data()), DType::F32, {out});
      got_bias = Tensor(db.tensor.data, DType::F32, {out});
    }
    ref_.linear(want.tensor, x.tensor, ref_.prepare(plain_tensors), want_bias);
    for (DType y : {t, DType::F32}) {
      DeviceMatrix got(*cuda_, c.n, out, y, c.y_pad);
      cuda_->linear(got.tensor, dx.tensor, w, got_bias);
      // Products of numbers of about 1 and 0.05, summed in float32; with a bias, a second rounding.
      float bound = 1e-6F * 0.05F * static_cast<float>(c.in) + 1e-6F + (c.bias ? 1.5F * rounding(y) : 0.0F);
      // Products of many rows round what codes of up to 0.15 stand for.
      if (c.formats[0] == DType::Int4G128) bound += 0.15F * rounding(t) * std::sqrt(static_cast<float>(c.in));
      expect_near(got.values(), want.values(), bound, y);
    }
  }
}

TEST_P(OpsOnCuda, ManyOutputsOfFewRowsEqualReference) {
  const DType t = GetParam();
  constexpr int64_t kOutputs = 16421;  // so many that a warp has two to itself
  std::mt19937 random(kSeed);
  for (const int64_t n : {1, 3}) {
    const Matrix x = rounded(random_matrix(random, n, 1096), t);
    const WeightMatrix source = random_weights(random, t, kOutputs, 1096);
    DeviceMatrix dx(*cuda_, x, t), got(*cuda_, n, kOutputs, DType::F32);
    Matrix want(n, kOutputs);
    cuda_->linear(got.tensor, dx.tensor, cuda_->prepare({&source.tensor, 1}), {});
    ref_.linear(want.tensor, x.tensor, ref_.prepare({&source.tensor, 1}), {});
    expect_near(got.values(), want.values(), 6e-5F, DType::F32);
  }
}

// 1,200 outputs: of 17 to 64 rows by tiles of 128, or of 64 gates and their ups, the last of them in part.
TEST_P(OpsOnCuda, FusedOpsEqualTheirParts) {
  const DType t = GetParam();
  struct Case {
    int64_t n, in, outs;
  };
  std::vector<Case> cases;
  for (const int64_t n : {1, 3, 4, 5, 40}) {
    for (const int64_t in : {64, 75, 256, 2048, 3000}) cases.push_back({n, in, 70});
  }
  for (const int64_t n : {17, 32, 33, 64, 65}) {
    for (const int64_t in : {40, 128, 448, 4096}) cases.push_back({n, in, 1200});
  }
  for (const auto& [n, in, outs] : cases) {
    SCOPED_TRACE(fmt::format("{} rows of {} to {}", n, in, outs));
    std::mt19937 random(kSeed + static_cast<unsigned>(n * in));
    const Matrix x = rounded(random_matrix(random, n, in), t), h = random_matrix(random, n, outs),
                 bias = random_matrix(random, 1, outs);
    const WeightMatrix source = random_weights(random, t, outs, in);
    const Weight w = cuda_->prepare({&source.tensor, 1}), ref_w = ref_.prepare({&source.tensor, 1});
    DeviceMatrix dx(*cuda_, x, t), dh(*cuda_, h, DType::F32, outs == 70 ? 2 : 0), out(*cuda_, n, outs / 2, t),
        db(*cuda_, bias, DType::F32), scratch(*cuda_, n, outs, t);
    Matrix want_h = h, want(n, outs / 2), ref_scratch(n, outs);
    const Tensor b(db.tensor.data, DType::F32, {outs}), ref_b(bias.tensor.data, DType::F32, {outs});
    cuda_->linear_add(dh.tensor, dx.tensor, w, b, scratch.tensor);
    ref_.linear_add(want_h.tensor, x.tensor, ref_w, ref_b, ref_scratch.tensor);
    const float sums = 1e-6F * 0.05F * static_cast<float>(in) + 2e-6F;
    expect_near(dh.values(), want_h.values(), sums, DType::F32);
    cuda_->gated_linear(out.tensor, dx.tensor, w, b, Act::Silu, scratch.tensor);
    ref_.gated_linear(want.tensor, x.tensor, ref_w, ref_b, Act::Silu, ref_scratch.tensor);
    // The gate and the other half may have been rounded before they met, to numbers of about 10 at most.
    expect_near(out.values(), want.values(), 10 * sums + 16 * rounding(t), t);
  }
}

// By tiles, the last of them in part, and with eight of the last columns: of many rows, and of a step's.
TEST_P(OpsOnCuda, GatedProductsOfManyRowsEqualTheirParts) {
  const DType t = GetParam();
  // These shapes are for the kernels that round nothing before gates and ups have met; elsewhere both may be rounded.
  const std::string device = cuda_->describe();
  const bool fused = device.find("H100 80GB") != std::string::npos || device.find("H200") != std::string::npos;
  struct Case {
    int64_t n, in, outs;
  };
  for (const auto& [n, in, outs] :
       {Case{7100, 72, 3344}, Case{250, 840, 23904}, Case{66, 1352, 23904}, Case{256, 72, 23904}, Case{129, 72, 23904},
        Case{128, 72, 23904}, Case{65, 72, 23904}, Case{205, 72, 16384}}) {
    SCOPED_TRACE(fmt::format("{} rows of {} to {}", n, in, outs));
    std::mt19937 random(kSeed);
    const Matrix x = rounded(random_matrix(random, n, in), t);
    const WeightMatrix source = random_weights(random, t, outs, in);
    const Weight w = cuda_->prepare({&source.tensor, 1}), ref_w = ref_.prepare({&source.tensor, 1});
    DeviceMatrix dx(*cuda_, x, t), out(*cuda_, n, outs / 2, t), scratch(*cuda_, n, outs, t);
    Matrix want(n, outs / 2), ref_scratch(n, outs);
    for (const Act act : {Act::Silu, Act::GeluTanh}) {
      cuda_->gated_linear(out.tensor, dx.tensor, w, {}, act, scratch.tensor);
      ref_.gated_linear(want.tensor, x.tensor, ref_w, {}, act, ref_scratch.tensor);
      expect_near(out.values(), want.values(), 1e-4F + (fused ? 0 : 16 * rounding(t)), t);
    }
  }
}

// `host` as a quantized matrix holds it.
Matrix quantized(const Matrix& host, Quantization format) {
  Matrix m = host;
  for (int64_t i = 0; i < m.tensor.rows(); ++i) {
    quantized_values(format, host.tensor.f32(i), m.tensor.f32(i), m.tensor.cols());
  }
  return m;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float most = a.size() == b.size() ? 0.0F : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float d = std::fabs(a[i] - b[i]);
    most = std::isnan(d) ? INFINITY : std::max(most, d);
  }
  return most;
}

class QuantizedOnCuda : public OpsOnCuda {
 protected:
  // A backend that quantizes; null with float32, where the error says why.
  std::unique_ptr<Backend> quantizing(Quantization format) {
    try {
      return Backend::create({.device = "cuda", .threads = 2, .activations = GetParam(), .quantization = format});
    } catch (const Error& e) {
      EXPECT_EQ(GetParam(), DType::F32) << e.what();
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      return nullptr;
    }
  }
  static Weight prepare(Backend& backend, const Matrix& w) { return backend.prepare({&w.tensor, 1}); }
};

TEST_P(QuantizedOnCuda, FewRowsAreMultipliedWithTheQuantizedNumbersThemselves) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    for (const int64_t n : {1, 2, 8, 9, 16, 30, 33, 150}) {
      if (n > 16 && format != Quantization::Int4) continue;
      for (const int64_t in : {8, 64, 136, 1000, 4096}) {
        for (const int64_t out : {1, 16, 70, 80}) {
          SCOPED_TRACE(fmt::format("{}: {} x {} by {}", name(format), n, in, out));
          std::mt19937 random(kSeed + static_cast<unsigned>(n * in));
          const Matrix x = rounded(random_matrix(random, n, in), t), source = random_matrix(random, out, in, 0, 0.05F),
                       bias = random_matrix(random, 1, out), h = random_matrix(random, n, out),
                       values = quantized(source, format);
          const Weight w = prepare(*backend, source), plain = prepare(ref_, values);
          EXPECT_TRUE(w.parts[0].source.empty());
          DeviceMatrix dx(*backend, x, t, 8), db(*backend, bias, DType::F32), y(*backend, n, out, t, 8 - out % 8),
              floats(*backend, n, out, DType::F32, 4 - out % 4), sum(*backend, h, DType::F32, 4 - out % 4),
              scratch(*backend, n, out, t);
          const Tensor b(db.tensor.data, DType::F32, {out}), ref_b(bias.tensor.data, DType::F32, {out});
          Matrix want(n, out), want_sum = h, ref_scratch(n, out);
          ref_.linear(want.tensor, x.tensor, plain, ref_b);
          ref_.linear_add(want_sum.tensor, x.tensor, plain, {}, ref_scratch.tensor);
          const float sums = 2e-6F * 0.05F * static_cast<float>(in) + 2e-6F;
          backend->linear(floats.tensor, dx.tensor, w, b);
          expect_near(floats.values(), want.values(), sums, DType::F32);
          backend->linear(y.tensor, dx.tensor, w, b);
          expect_near(y.values(), want.values(), sums, t);
          backend->linear_add(sum.tensor, dx.tensor, w, {}, scratch.tensor);
          expect_near(sum.values(), want_sum.values(), sums, DType::F32);
          if (out % 2 != 0) continue;
          DeviceMatrix gated(*backend, n, out / 2, t, 5);
          Matrix want_gated(n, out / 2);
          backend->gated_linear(gated.tensor, dx.tensor, w, b, Act::GeluTanh, scratch.tensor);
          ref_.gated_linear(want_gated.tensor, x.tensor, plain, ref_b, Act::GeluTanh, ref_scratch.tensor);
          // Where the halves are not whole eights they may have been rounded before they met.
          expect_near(gated.values(), want_gated.values(), 10 * sums + (out % 16 == 0 ? 0.0F : 16 * rounding(t)), t);
        }
      }
    }
  }
}

// Of Hopper's tiles, so many that a block has one to itself, whose groups come in more than one round of stages.
TEST_P(QuantizedOnCuda, ManyOutputsOfInt4EqualReference) {
  constexpr int64_t kIn = 1536, kOut = 4352;
  const DType t = GetParam();
  const auto backend = quantizing(Quantization::Int4);
  if (backend == nullptr) return;
  for (const int64_t n : {33, 150}) {
    SCOPED_TRACE(fmt::format("{} rows", n));
    std::mt19937 random(kSeed);
    const Matrix x = rounded(random_matrix(random, n, kIn), t), source = random_matrix(random, kOut, kIn, 0, 0.05F),
                 values = quantized(source, Quantization::Int4);
    const Weight w = prepare(*backend, source), plain = prepare(ref_, values);
    DeviceMatrix dx(*backend, x, t), floats(*backend, n, kOut, DType::F32), gated(*backend, n, kOut / 2, t),
        scratch(*backend, n, kOut, t);
    Matrix want(n, kOut), want_gated(n, kOut / 2), ref_scratch(n, kOut);
    const float sums = 2e-6F * 0.05F * static_cast<float>(kIn) + 2e-6F;
    backend->linear(floats.tensor, dx.tensor, w, {});
    ref_.linear(want.tensor, x.tensor, plain, {});
    expect_near(floats.values(), want.values(), sums, DType::F32);
    backend->gated_linear(gated.tensor, dx.tensor, w, {}, Act::Silu, scratch.tensor);
    ref_.gated_linear(want_gated.tensor, x.tensor, plain, {}, Act::Silu, ref_scratch.tensor);
    expect_near(gated.values(), want_gated.values(), 10 * sums, t);
  }
}

// Kernels start while those before them still run: what comes out is the same as with pauses between them.
TEST_P(QuantizedOnCuda, LayersAreTheSameWithoutPauses) {
  constexpr int64_t kHidden = 1536, kInter = 2176;
  constexpr int kLayers = 3, kTimes = 5;
  const DType t = GetParam();
  for (const Quantization format : {Quantization::None, Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    std::mt19937 random(kSeed);
    const Weight up = prepare(*backend, random_matrix(random, 2 * kInter, kHidden, 0, 0.05F)),
                 down = prepare(*backend, random_matrix(random, kHidden, kInter, 0, 0.05F));
    DeviceMatrix norm(*backend, random_matrix(random, 1, kHidden), DType::F32);
    for (const int64_t n : {1, 17, 64, 150}) {
      SCOPED_TRACE(fmt::format("{}: {} rows", name(format), n));
      const Matrix start = random_matrix(random, n, kHidden);
      auto run = [&](bool pauses) {
        DeviceMatrix h(*backend, start, DType::F32), y(*backend, n, kHidden, t), gated(*backend, n, kInter, t),
            scratch(*backend, n, 2 * kInter, t);
        auto then = [&] {
          if (pauses) backend->wait();
        };
        for (int layer = 0; layer < kLayers; ++layer) {
          backend->rms_norm(y.tensor, h.tensor, Tensor(norm.tensor.data, DType::F32, {kHidden}), 1e-5F);
          then();
          backend->gated_linear(gated.tensor, y.tensor, up, {}, Act::Silu, scratch.tensor);
          then();
          backend->linear_add(h.tensor, gated.tensor, down, {}, scratch.tensor.slice_cols(0, kHidden));
          then();
        }
        return h.values();
      };
      const std::vector<float> want = run(true);
      for (int i = 0; i < kTimes; ++i) EXPECT_EQ(largest_difference(run(false), want), 0.0F);
    }
  }
}

// h += x · uᵀ, and products of its norm: of few rows in bfloat16 the norm is left to them. Some cannot take it: of
// hidden sizes that are no multiple of eight, with rows of results that are not aligned, of halves of int4 that are no
// eights.
TEST_P(QuantizedOnCuda, ProductsOfNormsEqualReference) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::None, Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    for (const int64_t n : {1, 2, 8, 9, 16, 17}) {
      for (const int64_t hidden : {8, 12, 40, 75, 100, 1000, 4096}) {
        // Such activations are quantized.
        const bool by_cublas = n > 16 || hidden % 8 != 0;
        if (by_cublas && (format == Quantization::Fp8 || format == Quantization::Int8)) continue;
        for (const int64_t out : {12, 14, 80}) {
          SCOPED_TRACE(fmt::format("{}: {} x {} by {}", name(format), n, hidden, out));
          std::mt19937 random(kSeed + static_cast<unsigned>(n * hidden));
          const Matrix x = rounded(random_matrix(random, n, 136), t), h = random_matrix(random, n, hidden, 0, 3.0F),
                       up = random_matrix(random, hidden, 136, 0, 0.05F),
                       down = random_matrix(random, out, hidden, 0, 0.05F), norm = random_matrix(random, 1, hidden),
                       bias = random_matrix(random, 1, out);
          auto held = [&](const Matrix& w) {
            return format == Quantization::None ? rounded(w, t) : quantized(w, format);
          };
          const Matrix up_values = held(up), down_values = held(down);
          const Weight u = prepare(*backend, up), d = prepare(*backend, down);
          const Weight ref_u = prepare(ref_, up_values), ref_d = prepare(ref_, down_values);
          DeviceMatrix dx(*backend, x, t), dh(*backend, h, DType::F32), dn(*backend, norm, DType::F32),
              db(*backend, bias, DType::F32), rows(*backend, n, hidden, t),
              scratch(*backend, n, std::max(hidden, out), t), y(*backend, n, out, DType::F32),
              gated(*backend, n, out / 2, t);
          const Tensor b(db.tensor.data, DType::F32, {out}), ref_b(bias.tensor.data, DType::F32, {out});
          const int64_t sums = backend->num_square_sums(n, hidden);
          EXPECT_EQ(sums > 0, t == DType::BF16 && n <= 16);
          DeviceMatrix squares(*backend, n, std::max<int64_t>(sums, 1), DType::F32);
          Normed normed(rows.tensor), whole;
          if (sums > 0) normed.squares = squares.tensor;
          const NormWeight weight{Tensor(dn.tensor.data, DType::F32, {hidden}), 1e-5F};
          backend->linear_add_norm(normed, dh.tensor, dx.tensor, u, {}, weight, scratch.tensor.slice_cols(0, hidden));
          const bool few = n <= (format == Quantization::Int4 ? 8 : 16);
          EXPECT_EQ(normed.whole, sums == 0 || !few || hidden % 4 != 0);  // then rows of h are not aligned
          backend->normed_linear(y.tensor, normed, d, b);
          backend->normed_gated_linear(gated.tensor, normed, d, b, Act::Silu, scratch.tensor.slice_cols(0, out));

          Matrix want_h = h, want_rows(n, hidden), want(n, out), want_gated(n, out / 2), ref_scratch(n, hidden),
                 ref_gates(n, out);
          whole.x = want_rows.tensor;
          ref_.linear_add_norm(whole, want_h.tensor, x.tensor, ref_u, {},
                               {Tensor(norm.tensor.data, DType::F32, {hidden}), 1e-5F}, ref_scratch.tensor);
          ref_.normed_linear(want.tensor, whole, ref_d, ref_b);
          ref_.normed_gated_linear(want_gated.tensor, whole, ref_d, ref_b, Act::Silu, ref_gates.tensor);
          // What is added, and each normed number, may have been rounded once.
          expect_near(dh.values(), want_h.values(), 4e-5F + 2 * rounding(t), DType::F32);
          const float sum = 0.05F * 2.0F * rounding(t) * 4.0F * std::sqrt(static_cast<float>(hidden)) + 2e-5F;
          expect_near(y.values(), want.values(), sum, DType::F32);
          expect_near(gated.values(), want_gated.values(), 10 * sum + 16 * rounding(t), t);
        }
      }
    }
  }
}

TEST_P(QuantizedOnCuda, ManyRowsAreMultipliedWithRoundedWeightsOrQuantizedRows) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    struct Case {
      int64_t n, in, out;
    };
    std::vector<Case> cases = {
        {1, 75, 96}, {17, 64, 70}, {600, 64, 14400}};  // by dequantizing; in parts of the outputs
    for (const int64_t n : {17, 70, 600}) {
      for (const int64_t in : {64, 75, 1000, 4096}) cases.push_back({n, in, 96});
    }
    for (const auto& [n, in, out] : cases) {
      if (out > 96 && format != Quantization::Int8) continue;
      SCOPED_TRACE(fmt::format("{}: {} x {} by {}", name(format), n, in, out));
      std::mt19937 random(kSeed + static_cast<unsigned>(n * in));
      const Matrix x = rounded(random_matrix(random, n, in), t), source = random_matrix(random, out, in, 0, 0.05F),
                   h = random_matrix(random, n, out), bias = random_matrix(random, 1, out),
                   values = quantized(source, format),
                   x_values = quantized(x, format == Quantization::Int8 ? format : Quantization::Fp8);
      const Weight w = prepare(*backend, source);
      DeviceMatrix dx(*backend, x, t), db(*backend, bias, DType::F32), sum(*backend, h, DType::F32, out == 70 ? 2 : 0),
          y(*backend, n, out, t), scratch(*backend, n, out, t);
      Matrix exact = h, of_rounded = h, of_quantized = h, ref_scratch(n, out);
      const Tensor b(db.tensor.data, DType::F32, {out}), ref_b(bias.tensor.data, DType::F32, {out});
      ref_.linear_add(exact.tensor, x.tensor, prepare(ref_, values), ref_b, ref_scratch.tensor);
      ref_.linear_add(of_rounded.tensor, x.tensor, prepare(ref_, rounded(values, t)), ref_b, ref_scratch.tensor);
      ref_.linear_add(of_quantized.tensor, x_values.tensor, prepare(ref_, values), ref_b, ref_scratch.tensor);
      backend->linear_add(sum.tensor, dx.tensor, w, b, scratch.tensor);
      // Products of numbers of about 1 and 0.05. An e4m3 number is off by at most a 16th, a third of that on average;
      // one of int8 by at most half of a 127th of its row's largest, about 4.
      const float size = 0.05F * std::sqrt(static_cast<float>(in));
      const float to_exact = largest_difference(sum.values(), exact.values()),
                  to_rounded = largest_difference(sum.values(), of_rounded.values()),
                  to_quantized = largest_difference(sum.values(), of_quantized.values());
      const float off = format == Quantization::Fp8 ? 0.03F : format == Quantization::Int8 ? 0.01F : rounding(t);
      EXPECT_LE(to_exact, 6 * size * off + 1e-4F);
      // Tensor cores sum products of e4m3 numbers with fewer bits than float32 has, those of int8 exactly.
      EXPECT_TRUE(std::min(to_exact, to_rounded) < 1e-5F * size + 1e-5F ||
                  (format == Quantization::Fp8 && to_quantized < 2e-3F * size) ||
                  (format == Quantization::Int8 && to_quantized < 1e-5F * size + 1e-5F))
          << to_exact << " from exact, " << to_rounded << " with rounded weights, " << to_quantized
          << " with quantized rows";
      // A product in 16 bits has the same numbers, rounded.
      Matrix want(n, out);
      ref_.linear(want.tensor, x.tensor, prepare(ref_, values), ref_b);
      backend->linear(y.tensor, dx.tensor, w, b);
      EXPECT_LE(largest_difference(y.values(), want.values()), to_exact + 8 * size * rounding(t) + 2 * rounding(t) * 4);
    }
  }
}

TEST_P(QuantizedOnCuda, AllFormatsOfFilesAreQuantizedAndHeadsAndTablesAreNot) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    for (const DType of_file : kWeightFormats) {
      SCOPED_TRACE(name(of_file));
      std::mt19937 random(kSeed);
      const Matrix x = rounded(random_matrix(random, 2, 512), t);
      const WeightMatrix parts[] = {random_weights(random, of_file, 24, 512), random_weights(random, of_file, 9, 512)};
      Matrix source(33, 512), want(2, 33);
      dequantize_row(of_file, parts[0].bytes.data(), source.tensor.f32(), 24 * 512);
      dequantize_row(of_file, parts[1].bytes.data(), source.tensor.f32(24), 9 * 512);
      const Tensor tensors[] = {parts[0].tensor, parts[1].tensor};
      DeviceMatrix dx(*backend, x, t), y(*backend, 2, 33, DType::F32, 3), head(*backend, 2, 33, DType::F32, 3),
          row(*backend, 1, 512, DType::F32);
      backend->linear(y.tensor, dx.tensor, backend->prepare(tensors), {});
      const bool kept = of_file == DType::Int4G128;
      ref_.linear(want.tensor, x.tensor, prepare(ref_, kept ? source : quantized(source, format)), {});
      expect_near(y.values(), want.values(), 1e-4F, DType::F32);
      backend->linear(head.tensor, dx.tensor, backend->prepare_head(tensors), {});
      ref_.linear(want.tensor, x.tensor, prepare(ref_, rounded(source, t)), {});
      expect_near(head.values(), want.values(), 1e-4F, DType::F32);
      const std::vector<int32_t> ids = {3};
      backend->embedding(row.tensor, ids, backend->prepare_table(parts[0].tensor).tensor, 1.0F);
      Matrix table_row(1, 512);
      std::copy_n(rounded(source, t).tensor.f32(3), 512, table_row.tensor.f32());
      EXPECT_EQ(row.values(), table_row.values());
    }
  }
}

TEST_P(QuantizedOnCuda, EveryCodeIsMultipliedExactly) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    // Scales of 1: row 1 has all e4m3 numbers; or all integers up to 127; or those from −5 to 10, as int4 has them.
    Matrix source(3, 256), x(8, 256);
    for (int64_t i = 0; i < 256; ++i) {
      const float number = format == Quantization::Fp8    ? from_e4m3(static_cast<uint8_t>(i))
                           : format == Quantization::Int8 ? static_cast<float>(std::max<int64_t>(i - 128, -127))
                                                          : static_cast<float>(i % 16 - 5);
      for (int64_t row = 0; row < 3; ++row) source.tensor.f32(row)[i] = std::isnan(number) ? 448.0F : number;
    }
    const Weight w = prepare(*backend, source);
    for (int64_t first = 0; first < 256; first += 8) {
      for (int64_t row = 0; row < 8; ++row) {
        for (int64_t i = 0; i < 256; ++i) x.tensor.f32(row)[i] = i == first + row ? 0.5F : 0.0F;
      }
      DeviceMatrix dx(*backend, x, t), y(*backend, 8, 3, DType::F32, 1);
      backend->linear(y.tensor, dx.tensor, w, {});
      const std::vector<float> got = y.values();
      for (int64_t row = 0; row < 8; ++row) {
        EXPECT_EQ(got[static_cast<size_t>(row * 3 + 1)], 0.5F * source.tensor.f32(1)[first + row]);
      }
    }
  }
}

TEST_P(QuantizedOnCuda, NanShowsInItsRowOnly) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    for (const int64_t n : {3, 40, 300}) {
      SCOPED_TRACE(fmt::format("{}, {} rows", name(format), n));
      std::mt19937 random(kSeed);
      Matrix x = random_matrix(random, n, 512);
      x.tensor.f32(1)[77] = std::numeric_limits<float>::quiet_NaN();
      const Weight w = prepare(*backend, random_matrix(random, 64, 512, 0, 0.05F));
      DeviceMatrix dx(*backend, x, t), y(*backend, n, 64, DType::F32);
      backend->linear(y.tensor, dx.tensor, w, {});
      const std::vector<float> got = y.values();
      for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i / 64 == 1) << "element " << i;
    }
  }
}

TEST_P(QuantizedOnCuda, ARowOfFewDoesNotDependOnTheOthers) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    const auto backend = quantizing(format);
    if (backend == nullptr) continue;
    std::mt19937 random(kSeed);
    const Matrix x = random_matrix(random, 8, 1024), source = random_matrix(random, 40, 1024, 0, 0.05F);
    const Weight w = prepare(*backend, source);
    DeviceMatrix dx(*backend, x, t), all(*backend, 8, 40, DType::F32), one(*backend, 1, 40, DType::F32);
    backend->linear(all.tensor, dx.tensor, w, {});
    backend->linear(one.tensor, dx.tensor.slice_rows(5, 1), w, {});
    const std::vector<float> together = all.values();
    EXPECT_TRUE(same_bits(std::span(together).subspan(5 * 40, 40), one.values()));
  }
}

INSTANTIATE_TEST_SUITE_P(, QuantizedOnCuda, ::testing::Values(DType::F32, DType::F16, DType::BF16),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST_P(OpsOnCuda, RopeWithStoreEqualsRopeThenStore) {
  const DType t = GetParam();
  struct Case {
    int heads, kv_heads, head_dim, rotary_dim;
    bool interleaved;
  };
  for (const Case& c : {Case{4, 2, 64, 64, false},
                        {4, 2, 64, 64, true},
                        {8, 1, 128, 32, false},
                        {2, 2, 20, 20, false},
                        {3, 3, 80, 80, false},
                        {3, 1, 80, 32, false}}) {
    for (const DType cache_type : {t, DType::F8E4M3}) {
      SCOPED_TRACE(fmt::format("{}/{} heads of {}, {} turn, {}", c.heads, c.kv_heads, c.head_dim, c.rotary_dim,
                               name(cache_type)));
      std::mt19937 random(kSeed);
      const int64_t nq = int64_t{c.heads} * c.head_dim, nkv = int64_t{c.kv_heads} * c.head_dim;
      const Matrix qkv = rounded(random_matrix(random, 21, nq + 2 * nkv), t),
                   table = random_matrix(random, 21, c.rotary_dim);
      DeviceMatrix together(*cuda_, qkv, t), apart(*cuda_, qkv, t), dtable(*cuda_, table, DType::F32);
      PagedBatch batch;
      batch.seqs = {{0, 20, 20, 0}, {20, 1, 30, 2}};
      batch.pages = {1, 3, 2, 0};
      batch.token_ids.assign(21, 0);
      KvView kv{
          .dtype = cache_type, .num_pages = 4, .page_size = 16, .num_kv_heads = c.kv_heads, .head_dim = c.head_dim};
      const auto bytes = static_cast<size_t>(2 * kv.page_bytes() * kv.num_pages);
      std::vector<std::byte> caches[2] = {std::vector<std::byte>(bytes, std::byte{0xff}), {}};
      caches[1] = caches[0];
      Buffer memory = cuda_->allocate(bytes);
      kv.k = memory.data();
      kv.v = kv.k + bytes / 2;
      cuda_->begin(batch);
      for (const bool fused : {true, false}) {
        std::vector<std::byte>& cache = caches[fused ? 0 : 1];
        cuda_->upload(memory.data(), cache.data(), bytes);
        if (fused) {
          cuda_->rope_store_kv(kv, together.tensor, dtable.tensor, c.interleaved, batch);
        } else {
          cuda_->rope(apart.tensor.slice_cols(0, nq + nkv), dtable.tensor, c.head_dim, c.interleaved);
          cuda_->store_kv(kv, apart.tensor.slice_cols(nq, nkv), apart.tensor.slice_cols(nq + nkv, nkv), batch);
        }
        cuda_->download(cache.data(), memory.data(), bytes);
      }
      if (cache_type == t) {
        EXPECT_EQ(caches[0], caches[1]);
      } else {  // apart, numbers are rounded to t before they become codes: some to the next one
        std::vector<float> codes[2] = {std::vector<float>(bytes), std::vector<float>(bytes)};
        for (int i = 0; i < 2; ++i) {
          dequantize_row(cache_type, caches[i].data(), codes[i].data(), static_cast<int64_t>(bytes));
        }
        size_t different = 0;
        for (size_t i = 0; i < bytes; ++i) {
          ASSERT_EQ(std::isnan(codes[0][i]), std::isnan(codes[1][i])) << i;
          if (caches[0][i] == caches[1][i]) continue;
          ++different;
          ASSERT_LE(std::fabs(codes[0][i] - codes[1][i]), std::fabs(codes[1][i]) / 7 + 0x1p-8F) << i;
        }
        EXPECT_LE(different, t == DType::F32 ? 0 : bytes / 20);
      }
      const std::vector<float> a = together.values(), b = apart.values();
      for (int64_t i = 0; i < 21; ++i) {
        EXPECT_TRUE(
            same_bits(std::span(a).subspan(static_cast<size_t>(i * qkv.tensor.cols()), static_cast<size_t>(nq)),
                      std::span(b).subspan(static_cast<size_t>(i * qkv.tensor.cols()), static_cast<size_t>(nq))));
      }
    }
  }
}

// Sequences with all their keys and values, and a cache on random pages with NaN wherever nothing was stored.
class CudaAttention {
 public:
  /// The first `shared` positions of all are the same, on the same pages; whole pages.
  CudaAttention(const AttentionCase& c, DType q_type, int shared = 0) : c_(c), shared_(shared), random_(kSeed) {
    for (auto [n, all] : c.seqs) {
      q_.push_back(rounded(random_matrix(random_, all, int64_t{c.heads} * c.head_dim), q_type));
      k_.push_back(rounded(random_matrix(random_, all, int64_t{c.kv_heads} * c.head_dim), q_type));
      v_.push_back(rounded(random_matrix(random_, all, int64_t{c.kv_heads} * c.head_dim), q_type));
      for (auto* m : {&k_, &v_}) {
        std::copy_n(m->front().tensor.f32(), shared * m->front().tensor.cols(), m->back().tensor.f32());
      }
    }
  }

  /// The rows of the new tokens, computed in one step.
  std::vector<float> run(Backend& backend, DType type, unsigned page_seed) {
    KvView kv;
    kv.dtype = c_.dtype;
    kv.page_size = c_.page_size;
    kv.num_kv_heads = c_.kv_heads;
    kv.head_dim = c_.head_dim;
    std::vector<std::vector<int32_t>> pages(c_.seqs.size());
    for (auto [n, all] : c_.seqs) kv.num_pages += (all + c_.page_size - 1) / c_.page_size;
    kv.num_pages += 3;
    std::vector<int32_t> order(static_cast<size_t>(kv.num_pages));
    std::iota(order.begin(), order.end(), 0);
    std::mt19937 random(page_seed);
    std::shuffle(order.begin(), order.end(), random);
    size_t next = 0;
    for (size_t i = 0; i < pages.size(); ++i) {
      pages[i].assign(pages[0].begin(), pages[0].begin() + (i == 0 ? 0 : shared_ / c_.page_size));
      while (static_cast<int>(pages[i].size()) * c_.page_size < c_.seqs[i].second) pages[i].push_back(order[next++]);
    }
    const auto bytes = static_cast<size_t>(kv.page_bytes() * kv.num_pages);
    const std::vector<std::byte> nan(bytes, std::byte{0xff});
    Buffer k = backend.allocate(bytes), v = backend.allocate(bytes);
    kv.k = k.data();
    kv.v = v.data();
    backend.upload(kv.k, nan.data(), bytes);
    backend.upload(kv.v, nan.data(), bytes);

    std::vector<std::vector<float>> rows(c_.seqs.size());
    std::vector<int> stored(c_.seqs.size(), 0);
    for (const bool before : {true, false}) {
      PagedBatch batch;
      std::vector<size_t> ids;
      for (size_t i = 0; i < c_.seqs.size(); ++i) {
        const auto [n, all] = c_.seqs[i];
        // First the step that stores what was there before; then the new tokens.
        const int count = before ? all - n : all - stored[i];
        if (count == 0) continue;
        ids.push_back(i);
        batch.seqs.push_back({static_cast<int32_t>(batch.token_ids.size()), count, stored[i] + count,
                              static_cast<int32_t>(batch.pages.size())});
        batch.pages.insert(batch.pages.end(), pages[i].begin(),
                           pages[i].begin() + (stored[i] + count + c_.page_size - 1) / c_.page_size);
        for (int t = 0; t < count; ++t) {
          batch.token_ids.push_back(0);
          batch.positions.push_back(stored[i] + t);
        }
      }
      const int64_t n = batch.num_tokens();
      Matrix q(n, int64_t{c_.heads} * c_.head_dim), kk(n, int64_t{c_.kv_heads} * c_.head_dim), vv = kk;
      for (size_t b = 0; b < ids.size(); ++b) {
        for (int t = 0; t < batch.seqs[b].q_len; ++t) {
          auto copy = [&](Matrix& to, const Matrix& from) {
            std::copy_n(from.tensor.f32(stored[ids[b]] + t), from.tensor.cols(),
                        to.tensor.f32(batch.seqs[b].q_begin + t));
          };
          copy(q, q_[ids[b]]);
          copy(kk, k_[ids[b]]);
          copy(vv, v_[ids[b]]);
        }
      }
      DeviceMatrix dq(backend, q, type, 16), dk(backend, kk, type, 8), dv(backend, vv, type),
          out(backend, n, q.tensor.cols(), type, 8);
      backend.begin(batch);
      backend.store_kv(kv, dk.tensor, dv.tensor, batch);
      if (!before)
        backend.attention(out.tensor, dq.tensor, kv, batch,
                          {.num_heads = c_.heads,
                           .scale = 1.0F / std::sqrt(static_cast<float>(c_.head_dim)),
                           .softcap = c_.softcap,
                           .window = c_.window,
                           .causal = c_.causal});
      const std::vector<float> result = out.values();
      for (size_t b = 0; b < ids.size(); ++b) {
        const BatchSeq& s = batch.seqs[b];
        if (!before) {
          rows[ids[b]].insert(rows[ids[b]].end(), result.begin() + s.q_begin * q.tensor.cols(),
                              result.begin() + (s.q_begin + s.q_len) * q.tensor.cols());
        }
        stored[ids[b]] += s.q_len;
      }
    }
    std::vector<float> all;
    for (const std::vector<float>& r : rows) all.insert(all.end(), r.begin(), r.end());
    return all;
  }

 private:
  AttentionCase c_;
  int shared_;
  std::mt19937 random_;
  std::vector<Matrix> q_, k_, v_;
};

// The common cases, and what the tensor cores' kernels meet besides: many parts, rows for many blocks, every head size
// with a window and a cap.
std::vector<AttentionCase> cuda_attention_cases() {
  std::vector<AttentionCase> cases = attention_cases();
  std::erase_if(cases, [](const AttentionCase& c) { return c.dtype == DType::Q8_0; });  // not on this device
  for (int head_dim : {64, 80, 96, 128, 256}) {
    cases.push_back({8, 2, head_dim, {{1, 1}, {1, 255}, {1, 256}, {1, 257}, {3, 700}, {1, 1500}, {150, 400}}, 16});
    cases.push_back({4, 4, head_dim, {{1, 900}, {200, 333}, {5, 5}}, 64, DType::F16, 100, 20.0F});
  }
  return cases;
}

TEST_P(OpsOnCuda, AttentionEqualsReference) {
  const DType t = GetParam();
  for (AttentionCase c : cuda_attention_cases()) {
    // The cache in the type of q, as the engine has it, in codes, and in the case's own.
    for (DType kv : {t, DType::F8E4M3, c.dtype}) {
      c.dtype = kv;
      SCOPED_TRACE(to_string(c));
      CudaAttention sequences(c, t);
      const std::vector<float> got = sequences.run(*cuda_, t, 1), want = sequences.run(ref_, DType::F32, 2);
      // On tensor cores weights are rounded to the 16-bit type before they meet the values.
      const bool rounded = t != DType::F32 && (kv == t || kv == DType::F8E4M3);
      expect_near(got, want, rounded ? 1.5F * rounding(t) : 1e-5F, t);
      if (HasFatalFailure()) return;
    }
  }
}

// Ends of pages, tiles and blocks of rows; long contexts before few new tokens; windows that end at a tile's edge or
// skip tiles; odd groups; more blocks than the device runs at once.
TEST_P(OpsOnCuda, PrefillOfAwkwardSizesEqualsReference) {
  const DType t = GetParam();
  std::vector<AttentionCase> cases;
  for (int head_dim : {64, 128}) {
    cases.push_back({8, 2, head_dim, {{32, 32}, {33, 128}, {31, 129}, {64, 256}, {65, 255}, {5, 2049}}, 16, t});
    cases.push_back({4, 2, head_dim, {{19, 147}, {40, 4129}}, 32, t});
    cases.push_back({7, 1, head_dim, {{19, 147}, {100, 300}}, 16, t});
    cases.push_back({3, 3, head_dim, {{128, 128}, {129, 129}, {127, 600}, {17, 17}}, 16, t});
    cases.push_back({4, 2, head_dim, {{200, 900}, {64, 192}}, 16, t, 128});
    cases.push_back({4, 1, head_dim, {{256, 256}, {100, 711}}, 128, t, 129, 15.0F});
    cases.push_back({2, 2, head_dim, {{300, 300}}, 16, t, 1});
    cases.push_back({16, 16, head_dim, {{1160, 1160}}, 16, t, 40});
    cases.push_back({4, 2, head_dim, {{300, 300}, {257, 257}, {130, 130}, {16, 16}}, 16, t, 0, 0.0F, false});
  }
  cases.push_back({8, 8, 128, {{20, 9000}, {18, 8000}, {30, 900}}, 16, t});  // codes are widened in two rounds
  for (AttentionCase c : cases) {
    for (DType kv : {t, DType::F8E4M3}) {
      c.dtype = kv;
      SCOPED_TRACE(to_string(c));
      CudaAttention sequences(c, t);
      const float bound = t == DType::F32 ? 1e-5F : 1.5F * rounding(t);
      expect_near(sequences.run(*cuda_, t, 1), sequences.run(ref_, DType::F32, 2), bound, t);
      if (HasFatalFailure()) return;
    }
  }
}

// Many sequences, with one new token each or some more, whose keys and values are read once for all.
TEST_P(OpsOnCuda, AttentionOverSharedPrefixesEqualsReference) {
  const DType t = GetParam();
  struct Case {
    AttentionCase c;
    int seqs, shared;
  };
  for (Case x : {Case{{32, 8, 128, {}, 16, t}, 9, 272}, Case{{16, 4, 64, {}, 32, t}, 40, 224},
                 Case{{4, 2, 256, {}, 16, t, 0, 30.0F}, 12, 400}, Case{{8, 8, 128, {}, 64, t}, 5, 832},
                 Case{{32, 8, 128, {}, 16, t, 300}, 9, 272},
                 // Prompts whose prefix, widened, takes half of a round.
                 Case{{8, 8, 128, {{20, 8340}, {18, 8900}, {30, 8350}, {17, 9300}}, 16, t}, 0, 8320}}) {
    for (int i = 0; i < x.seqs; ++i) x.c.seqs.emplace_back(i % 4 == 3 ? 3 : 1, x.shared + 4 + i * 37 % 150);
    x.c.seqs.emplace_back(30, x.shared + 30);
    for (DType kv : {t, DType::F8E4M3}) {
      x.c.dtype = kv;
      SCOPED_TRACE(to_string(x.c));
      CudaAttention sequences(x.c, t, x.shared);
      expect_near(sequences.run(*cuda_, t, 1), sequences.run(ref_, DType::F32, 2),
                  t == DType::F32 ? 1e-5F : 1.5F * rounding(t), t);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(OpsOnCuda, AttentionDoesNotDependOnPages) {
  const DType t = GetParam();
  for (AttentionCase c : cuda_attention_cases()) {
    for (const DType kv : {t, DType::F8E4M3}) {
      c.dtype = kv;
      SCOPED_TRACE(to_string(c));
      CudaAttention together(c, t);
      const std::vector<float> expected = together.run(*cuda_, t, 1);
      EXPECT_TRUE(same_bits(expected, together.run(*cuda_, t, 7))) << "other pages";
    }
  }
}

class DeterministicOnCuda : public OpsOnCuda {
 protected:
  std::unique_ptr<Backend> deterministic(Quantization format = Quantization::None) {
    return Backend::create(
        {.device = "cuda", .threads = 2, .activations = GetParam(), .quantization = format, .deterministic = true});
  }
};

TEST_P(DeterministicOnCuda, AProductOfARowIsTheSameAloneAndAmongOthers) {
  const DType t = GetParam();
  for (const Quantization format : {Quantization::None, Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    if (t == DType::F32 && format != Quantization::None) continue;
    const auto backend = deterministic(format);
    EXPECT_EQ(backend->num_square_sums(1, 4096), 0) << "norms are always whole";
    for (const auto& size : {std::pair<int64_t, int64_t>{512, 192}, {4096, 4096}, {4096, 32}, {136, 24}}) {
      const int64_t in = size.first, out = size.second;
      SCOPED_TRACE(fmt::format("{} by {}, format {}", in, out, static_cast<int>(format)));
      std::mt19937 random(kSeed);
      const Matrix x = random_matrix(random, 700, in), h = random_matrix(random, 700, out),
                   source = random_matrix(random, out, in, 0, 0.05F);
      const Weight w = backend->prepare({&source.tensor, 1});
      DeviceMatrix dx(*backend, x, t);
      auto rows = [&](int64_t first, int64_t n) {
        Matrix some(n, out);
        std::copy_n(h.tensor.f32(first), n * out, some.tensor.f32());
        DeviceMatrix y(*backend, n, out, t), sum(*backend, some, DType::F32), gated(*backend, n, out / 2, t),
            scratch(*backend, n, out, t);
        const Tensor of = dx.tensor.slice_rows(first, n);
        backend->linear(y.tensor, of, w, {});
        backend->linear_add(sum.tensor, of, w, {}, scratch.tensor);
        backend->gated_linear(gated.tensor, of, w, {}, Act::Silu, scratch.tensor);
        return std::array{y.values(), sum.values(), gated.values()};
      };
      const auto all = rows(0, 700);
      for (const auto& [first, n] : {std::pair<int64_t, int64_t>{0, 1}, {699, 1}, {3, 7}, {100, 16}, {50, 200}}) {
        const auto some = rows(first, n);
        for (size_t i = 0; i < all.size(); ++i) {
          const size_t width = all[i].size() / 700, at = static_cast<size_t>(first) * width;
          EXPECT_TRUE(same_bits(some[i], std::span(all[i]).subspan(at, some[i].size())))
              << n << " rows from " << first << ", op " << i;
        }
      }
    }
  }
}

TEST_P(DeterministicOnCuda, AttentionOfATokenIsTheSameAloneAmongOthersAndInItsPrompt) {
  const DType t = GetParam();
  const auto backend = deterministic();
  for (const int head_dim : {64, 80, 128}) {
    for (const int window : {0, 100}) {
      for (const auto& [length, kv] : {std::pair{1, t}, {130, t}, {777, t}, {2100, t}, {777, DType::F8E4M3}}) {
        SCOPED_TRACE(fmt::format("heads of {}, window {}, {} tokens, {}", head_dim, window, length, name(kv)));
        const size_t row = static_cast<size_t>(8) * static_cast<size_t>(head_dim);
        // The last token's row of the first sequence, whose numbers are the same in all cases.
        auto last = [&, length = length, kv = kv](int count, std::vector<std::pair<int, int>> others) {
          AttentionCase c{8, 2, head_dim, {{count, length}}, 16, kv, window};
          c.seqs.insert(c.seqs.end(), others.begin(), others.end());
          const std::vector<float> rows = CudaAttention(c, t).run(*backend, t, 1);
          const size_t at = static_cast<size_t>(count - 1) * row;
          return std::vector<float>(rows.begin() + static_cast<std::ptrdiff_t>(at),
                                    rows.begin() + static_cast<std::ptrdiff_t>(at + row));
        };
        const std::vector<float> alone = last(1, {});
        EXPECT_TRUE(same_bits(alone, last(1, {{1, 900}, {40, 300}, {1, 16}})));
        EXPECT_TRUE(same_bits(alone, last(length, {})));
        EXPECT_TRUE(same_bits(alone, last(std::min(length, 60), {{200, 200}})));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, DeterministicOnCuda, ::testing::Values(DType::F32, DType::F16, DType::BF16),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST_P(OpsOnCuda, GreedyTokensAreTheLargestLogits) {
  std::mt19937 random(kSeed);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  for (int64_t vocab : {1, 31, 1000, 50000}) {
    Matrix logits = random_matrix(random, 7, vocab);
    logits.tensor.f32(1)[vocab - 1] = 50;
    logits.tensor.f32(2)[0] = logits.tensor.f32(2)[vocab / 2] = 60;  // a tie: the lower id
    logits.tensor.f32(3)[vocab / 3] = kNan;
    logits.tensor.f32(4)[vocab / 3] = kInf;
    std::fill_n(logits.tensor.f32(5), vocab, -kInf);
    std::vector<SampleRow> rows(7);
    for (SampleRow& r : rows) r.temperature = 0;
    rows[6].temperature = 0.7F;  // on the host, beside the others
    rows[6].top_p = 0.9F;
    rows[6].seed = 11;
    rows[6].want_logprob = true;
    DeviceMatrix device(*cuda_, logits, DType::F32);
    std::vector<SampleResult> got(7), want(7);
    cuda_->sample(got, device.tensor, rows);
    ref_.sample(want, logits.tensor, rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(got[i].bad, want[i].bad) << "row " << i << " of " << vocab;
      EXPECT_EQ(want[i].bad ? 0 : got[i].token, want[i].bad ? 0 : want[i].token) << "row " << i << " of " << vocab;
    }
    EXPECT_NEAR(got[6].logprob, want[6].logprob, 1e-5F);
  }
}

TEST_P(OpsOnCuda, SampledTokensAreTheReferences) {
  std::mt19937 random(kSeed);
  const std::vector<std::pair<int32_t, int32_t>> counts = {{3, 2}, {17, 1}, {30, 9}};
  const std::vector<std::pair<int32_t, float>> bias = {{5, 3.5F}, {17, -2.0F}};
  const std::vector<int32_t> banned = {0, 7};
  std::vector<SampleRow> kinds = {
      {.temperature = 0.0F, .want_logprob = true},
      {.temperature = 1.0F},
      {.temperature = 0.7F, .want_logprob = true},
      {.top_k = 1, .want_logprob = true},
      {.top_k = 5},
      {.top_p = 0.6F},
      {.top_p = 0.0F},
      {.min_p = 0.3F},
      {.temperature = 1.5F, .top_k = 40, .top_p = 0.9F},
      {.temperature = 0.9F, .top_k = 20, .top_p = 0.8F, .min_p = 0.05F, .want_logprob = true},
      {.top_p = 0.95F, .min_p = 0.02F},
      {.temperature = 0.8F, .frequency_penalty = 0.5F, .presence_penalty = 1.0F, .repetition_penalty = 1.3F},
      {.temperature = 0.0F, .repetition_penalty = 5.0F},
      {.temperature = 0.3F, .repetition_penalty = 1e-38F, .want_logprob = true},
      {.want_logprob = true, .forced = 9},
  };
  for (const int64_t vocab : {31, 1000, 50257, 128256}) {
    for (const float spread : {1.0F, 6.0F}) {
      std::vector<SampleRow> rows;
      for (int repeat = 0; repeat < 4; ++repeat) rows.insert(rows.end(), kinds.begin(), kinds.end());
      std::vector<uint32_t> mask(static_cast<size_t>((vocab + 31) / 32));
      for (uint32_t& word : mask) word = static_cast<uint32_t>(random()) | 1U << 9;
      Matrix logits = random_matrix(random, static_cast<int64_t>(rows.size()), vocab, 0, spread);
      for (size_t i = 0; i < rows.size(); ++i) {
        rows[i].seed = i;
        rows[i].position = static_cast<uint64_t>(vocab);
        if (rows[i].repetition_penalty != 1.0F) rows[i].counts = counts;
        if (i % 3 == 0) rows[i].bias = bias;
        if (i % 5 == 0) rows[i].banned = banned;
        if (i % 4 == 1) rows[i].allowed = mask.data();
        float* x = logits.tensor.f32(static_cast<int64_t>(i));
        if (i % 2 == 0) {  // few different values: ties wherever a filter cuts
          for (int64_t j = 0; j < vocab; ++j) x[j] = std::round(x[j]);
        }
      }
      DeviceMatrix device(*cuda_, logits, DType::F32, 3);
      std::vector<SampleResult> got(rows.size()), want(rows.size());
      ASSERT_TRUE(cuda_->begin_sample(device.tensor, rows));
      cuda_->end_sample(got);
      ref_.sample(want, logits.tensor, rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        SCOPED_TRACE(fmt::format("row {} (kind {}) of {}, spread {}", i, i % kinds.size(), vocab, spread));
        EXPECT_EQ(got[i].token, want[i].token);
        EXPECT_EQ(got[i].bad, want[i].bad);
        if (!rows[i].want_logprob) continue;
        EXPECT_NEAR(got[i].logprob, want[i].logprob, 2e-5F * (1 + std::fabs(want[i].logprob)));
      }
    }
  }
}

TEST_P(OpsOnCuda, EmbeddingTakesTokensThatAreBeingChosen) {
  std::mt19937 random(kSeed);
  const WeightMatrix source = random_weights(random, GetParam(), 50, 64);
  const Param table = cuda_->prepare_table(source.tensor);
  Matrix logits = random_matrix(random, 3, 50);
  logits.tensor.f32(0)[7] = logits.tensor.f32(1)[49] = logits.tensor.f32(2)[21] = 5;
  DeviceMatrix device(*cuda_, logits, DType::F32), ahead(*cuda_, 3, 64, DType::F32), known(*cuda_, 3, 64, DType::F32);
  std::vector<SampleRow> rows(3);
  for (SampleRow& r : rows) r.temperature = 0;
  ASSERT_TRUE(cuda_->begin_sample(device.tensor, rows));
  cuda_->embedding(ahead.tensor, std::vector<int32_t>{-3, 4, -1}, table.tensor, 1.0F);
  cuda_->embedding(known.tensor, std::vector<int32_t>{21, 4, 7}, table.tensor, 1.0F);
  EXPECT_TRUE(same_bits(ahead.values(), known.values()));
  EXPECT_THROW(cuda_->embedding(ahead.tensor, std::vector<int32_t>{-4, 4, -1}, table.tensor, 1.0F), Error);
}

// In a process of its own, which has no device afterwards.
TEST_P(OpsOnCuda, AKernelThatFailsLosesTheDevice) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto read_nowhere = [&] {
    try {
      const std::unique_ptr<Backend> backend = Backend::create({.device = "cuda", .threads = 1});
      Buffer out = backend->allocate(4096);
      const Tensor nowhere(reinterpret_cast<void*>(uintptr_t{64}), DType::F32, {4, 64});
      backend->gather_rows(Tensor(out.data(), DType::F32, {1, 64}), nowhere, std::vector<int32_t>{3});
      float x = 0;
      backend->download(&x, out.data(), sizeof(x));
    } catch (const Error& e) {
      std::fputs(e.what(), stderr);
      std::_Exit(e.kind() == ErrorKind::DeviceLost ? 7 : 1);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(read_nowhere(), ::testing::ExitedWithCode(7), "illegal memory access");
}

TEST_P(OpsOnCuda, ABatchThatWasNotAnnouncedIsRefused) {
  PagedBatch batch, other;
  cuda_->begin(batch);
  Matrix empty(0, 64);
  KvView kv{.dtype = DType::F16, .page_size = 16, .num_kv_heads = 1, .head_dim = 64};
  EXPECT_THROW(cuda_->store_kv(kv, empty.tensor, empty.tensor, other), Error);
}

INSTANTIATE_TEST_SUITE_P(, OpsOnCuda, ::testing::Values(DType::F32, DType::F16, DType::BF16),
                         [](const auto& type) { return std::string(name(type.param)); });

}  // namespace
}  // namespace sgl
