// The ops that take a row at a time: every instruction set against the reference, and the exact equalities.

#include <algorithm>
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "ops/cpu_backend.h"
#include "ops/op_cases.h"
#include "ops/test_data.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using test::Matrix;
using test::random_matrix;
using test::random_weights;
using test::same_bits;
using test::WeightMatrix;

constexpr unsigned kSeed = 20260103;

// An op as a function of its (already random) inputs: runs it on rows [begin, begin + n) and leaves the result in
// `out`.
struct RowOp {
  const char* name;
  float tolerance;  // of |difference| / (1 + |expected|): float32 rounding, and the approximations of simd_math.inl
  std::function<void(Backend&, Tensor out, Tensor x, Tensor y, Tensor w, Tensor b)> run;
  int width = 1;  // x has `width` times the columns of out
};

void copy(Tensor to, Tensor from) {
  for (int64_t i = 0; i < from.rows(); ++i) std::copy_n(from.f32(i), from.cols(), to.f32(i));
}

std::vector<RowOp> row_ops() {
  std::vector<RowOp> ops;
  ops.push_back({"rms_norm", 2e-6F,
                 [](Backend& b, Tensor out, Tensor x, Tensor, Tensor w, Tensor) { b.rms_norm(out, x, w, 1e-5F); }});
  ops.push_back({"rms_norm in place", 2e-6F, [](Backend& b, Tensor out, Tensor x, Tensor, Tensor w, Tensor) {
                   copy(out, x);
                   b.rms_norm(out, out, w, 1e-5F);
                 }});
  ops.push_back({"add_rms_norm", 2e-6F, [](Backend& b, Tensor out, Tensor x, Tensor y, Tensor w, Tensor) {
                   Matrix h(x.rows(), x.cols());
                   copy(h.tensor, x);
                   b.add_rms_norm(out, h.tensor, y, w, 1e-6F);
                 }});
  ops.push_back({"layer_norm", 4e-6F, [](Backend& b, Tensor out, Tensor x, Tensor, Tensor w, Tensor bias) {
                   b.layer_norm(out, x, w, bias, 1e-5F);
                 }});
  ops.push_back({"layer_norm in place", 4e-6F, [](Backend& b, Tensor out, Tensor x, Tensor, Tensor w, Tensor bias) {
                   copy(out, x);
                   b.layer_norm(out, out, w, bias, 1e-5F);
                 }});
  ops.push_back({"add", 0.0F, [](Backend& b, Tensor out, Tensor x, Tensor y, Tensor, Tensor) {
                   copy(out, x);
                   b.add(out, y);
                 }});
  ops.push_back({"softcap", 2e-6F, [](Backend& b, Tensor out, Tensor x, Tensor, Tensor, Tensor) {
                   copy(out, x);
                   b.softcap(out, 1.5F);
                 }});
  ops.push_back({"scale_columns", 0.0F, [](Backend& b, Tensor out, Tensor x, Tensor, Tensor w, Tensor) {
                   copy(out, x);
                   b.scale_columns(out, {w.f32(), static_cast<size_t>(w.cols())});
                 }});
  for (auto [act, name] :
       {std::pair{Act::Silu, "silu"}, {Act::Gelu, "gelu"}, {Act::GeluTanh, "gelu_tanh"}, {Act::Relu, "relu"}}) {
    ops.push_back({name, 1e-6F, [act = act](Backend& b, Tensor out, Tensor x, Tensor, Tensor, Tensor) {
                     b.activation(out, x, act);
                   }});
    ops.push_back({name, 4e-6F,
                   [act = act](Backend& b, Tensor out, Tensor x, Tensor, Tensor, Tensor) { b.gated_act(out, x, act); },
                   2});
  }
  return ops;
}

// Inputs of a case and one op's result on them, by rows of at most `step` at a time.
struct RowInputs {
  RowInputs(const RowsCase& c, const RowOp& op)
      : random(kSeed + static_cast<unsigned>(c.d)),
        x(random_matrix(random, c.n, c.d * op.width, c.x_pad, 3.0F)),
        y(random_matrix(random, c.n, c.d, c.x_pad)),
        w(random_matrix(random, 1, c.d)),
        b(random_matrix(random, 1, c.d)) {}
  std::vector<float> run(Backend& backend, const RowsCase& c, const RowOp& op, int64_t step) {
    Matrix out(c.n, c.d, c.out_pad);
    for (int64_t at = 0; at < std::max<int64_t>(c.n, 1); at += step) {
      const int64_t n = std::min(step, c.n - at);
      op.run(backend, out.tensor.slice_rows(at, n), x.tensor.slice_rows(at, n), y.tensor.slice_rows(at, n),
             Tensor(w.memory.data(), DType::F32, {c.d}), Tensor(b.memory.data(), DType::F32, {c.d}));
    }
    EXPECT_TRUE(out.padding_untouched());
    return out.values();
  }
  std::mt19937 random;
  Matrix x, y, w, b;
};

class VectorOpsOnEachIsa : public ::testing::TestWithParam<CpuIsa> {
 protected:
  static CpuBackend cpu(int threads) { return CpuBackend({.device = "cpu", .threads = threads}, GetParam()); }
};

TEST_P(VectorOpsOnEachIsa, EqualReferenceOnRows) {
  RefBackend ref;
  CpuBackend backend = cpu(2);
  for (const RowOp& op : row_ops()) {
    for (const RowsCase& c : kRowsCases) {
      SCOPED_TRACE(fmt::format("{} of {} x {}", op.name, c.n, c.d));
      RowInputs in(c, op);
      std::vector<float> got = in.run(backend, c, op, c.n + 1), want = in.run(ref, c, op, c.n + 1);
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_LE(std::fabs(got[i] - want[i]), op.tolerance * (1.0F + std::fabs(want[i]))) << "element " << i;
      }
    }
  }
}

TEST_P(VectorOpsOnEachIsa, RowsDoNotDependOnTheBatchOrTheThreads) {
  CpuBackend one = cpu(1), three = cpu(3);
  for (const RowOp& op : row_ops()) {
    for (const RowsCase& c : kRowsCases) {
      SCOPED_TRACE(fmt::format("{} of {} x {}", op.name, c.n, c.d));
      RowInputs in(c, op);
      std::vector<float> whole = in.run(one, c, op, c.n + 1);
      EXPECT_TRUE(same_bits(whole, in.run(three, c, op, c.n + 1)));
      EXPECT_TRUE(same_bits(whole, in.run(one, c, op, 1)));
      EXPECT_TRUE(same_bits(whole, in.run(three, c, op, 3)));
    }
  }
}

TEST_P(VectorOpsOnEachIsa, RopeEqualsReference) {
  RefBackend ref;
  CpuBackend backend = cpu(2);
  for (const RopeCase& c : kRopeCases) {
    SCOPED_TRACE(fmt::format("{} x {} heads of {}, {} turn", c.n, c.heads, c.head_dim, c.rotary_dim));
    std::mt19937 random(kSeed);
    Matrix x = random_matrix(random, c.n, int64_t{c.heads} * c.head_dim, c.pad), got = x, want = x,
           table = random_matrix(random, c.n, c.rotary_dim);
    for (int64_t i = 0; i < c.n; ++i) {
      for (int j = 0; j < c.rotary_dim / 2; ++j) {
        float angle = table.tensor.f32(i)[j];
        table.tensor.f32(i)[j] = std::cos(angle);
        table.tensor.f32(i)[c.rotary_dim / 2 + j] = std::sin(angle);
      }
    }
    backend.rope(got.tensor, table.tensor, c.head_dim, c.interleaved);
    ref.rope(want.tensor, table.tensor, c.head_dim, c.interleaved);
    EXPECT_TRUE(got.padding_untouched());
    std::vector<float> a = got.values(), b = want.values();
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-6) << "element " << i;
  }
}

TEST_P(VectorOpsOnEachIsa, EmbeddingAndGatherEqualReference) {
  RefBackend ref;
  CpuBackend backend = cpu(2);
  std::mt19937 random(kSeed);
  for (DType t : kWeightFormats) {
    SCOPED_TRACE(name(t));
    WeightMatrix table = random_weights(random, t, 50, 256);
    for (int64_t n : {0, 1, 3, 200}) {
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(random() % 50));
      Matrix got(n, 256, 4), want(n, 256), picked(n, 256), wanted(n, 256);
      backend.embedding(got.tensor, ids, table.tensor, 16.0F);
      ref.embedding(want.tensor, ids, table.tensor, 16.0F);
      EXPECT_TRUE(got.padding_untouched());
      EXPECT_TRUE(same_bits(got.values(), want.values()));
      std::vector<int32_t> rows;
      for (int64_t i = 0; i < n; ++i) rows.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(n)));
      backend.gather_rows(picked.tensor, got.tensor, rows);
      ref.gather_rows(wanted.tensor, want.tensor, rows);
      EXPECT_TRUE(same_bits(picked.values(), wanted.values()));
    }
  }
}

TEST_P(VectorOpsOnEachIsa, ActivationsAreRightFarFromZero) {
  RefBackend ref;
  CpuBackend backend = cpu(1);
  std::vector<float> values;
  for (float x :
       {0.0F, 1e-30F, 1e-6F, 0.1F, 0.62F, 0.63F, 1.0F, 5.0F, 9.0F, 20.0F, 87.0F, 88.5F, 100.0F, 1e4F, 1e30F}) {
    values.push_back(x);
    values.push_back(-x);
  }
  const auto n = static_cast<int64_t>(values.size());
  Tensor x(values.data(), DType::F32, {1, n});
  for (Act act : {Act::Silu, Act::Gelu, Act::GeluTanh, Act::Relu}) {
    Matrix got(1, n), want(1, n);
    backend.activation(got.tensor, x, act);
    ref.activation(want.tensor, x, act);
    for (int64_t i = 0; i < n; ++i) {
      float w = want.memory[static_cast<size_t>(i)];
      EXPECT_NEAR(got.memory[static_cast<size_t>(i)], w, 1e-6F * (1.0F + std::fabs(w)))
          << "x " << values[static_cast<size_t>(i)] << " act " << static_cast<int>(act);
    }
  }
  Matrix cap(1, n), capped(1, n);
  copy(cap.tensor, x);
  copy(capped.tensor, x);
  backend.softcap(cap.tensor, 30.0F);
  ref.softcap(capped.tensor, 30.0F);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(cap.memory[i], capped.memory[i], 1e-6F * std::fabs(capped.memory[i])) << "x " << values[i];
  }
}

TEST_P(VectorOpsOnEachIsa, NanStays) {
  CpuBackend backend = cpu(1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const RowOp& op : row_ops()) {
    RowsCase c{2, 40};
    RowInputs in(c, op);
    in.x.tensor.f32(1)[37] = nan;
    EXPECT_TRUE(std::isnan(in.run(backend, c, op, 2)[40 + 37])) << op.name;
  }
}

TEST_P(VectorOpsOnEachIsa, SamplesAsTheReference) {
  RefBackend ref;
  CpuBackend one = cpu(1), three = cpu(3);
  std::mt19937 random(kSeed);
  for (int64_t vocab : {1, 5, 31, 2048, 2049, 5000, 49152}) {
    SCOPED_TRACE(vocab);
    const int64_t n = 5;
    Matrix logits = random_matrix(random, n, vocab, 3, 4.0F);
    if (vocab > 1) logits.tensor.f32(1)[vocab - 1] = logits.tensor.f32(1)[vocab / 2] = 30.0F;  // a tie at the top
    logits.tensor.f32(3)[vocab - 1] = std::numeric_limits<float>::quiet_NaN();
    std::fill_n(logits.tensor.f32(4), vocab, -std::numeric_limits<float>::infinity());
    // Words of all kinds; the last id may come.
    std::vector<uint32_t> allowed(static_cast<size_t>(vocab + 31) / 32);
    for (uint32_t& word : allowed)
      word = random() % 3 == 0 ? 0 : random() % 2 == 0 ? ~0U : static_cast<uint32_t>(random());
    allowed.back() |= 1U << ((vocab - 1) % 32);
    for (SampleRow row :
         {SampleRow{.temperature = 0.0F, .want_logprob = true},
          SampleRow{.temperature = 0.7F, .top_p = 0.9F, .want_logprob = true, .top_logprobs = 2},
          SampleRow{.top_k = 20, .min_p = 0.05F},
          SampleRow{.temperature = 0.0F, .allowed = allowed.data(), .want_logprob = true},
          SampleRow{.top_p = 0.8F, .allowed = allowed.data(), .want_logprob = true, .top_logprobs = 2}}) {
      std::vector<SampleRow> rows(n, row);
      std::vector<SampleResult> expected(n), got(n), again(n);
      Matrix a = logits, b = logits, c = logits;
      ref.sample(expected, a.tensor, rows);
      one.sample(got, b.tensor, rows);
      three.sample(again, c.tensor, rows);
      for (size_t i = 0; i < n; ++i) {
        EXPECT_EQ(got[i].bad, expected[i].bad) << i;
        EXPECT_EQ(got[i].bad, i >= 3) << i;
        EXPECT_EQ(got[i].token, expected[i].token) << i;
        EXPECT_NEAR(got[i].logprob, expected[i].logprob, 1e-5) << i;
        EXPECT_EQ(got[i].top.size(), expected[i].top.size()) << i;
        EXPECT_EQ(again[i].token, got[i].token) << i;
        EXPECT_EQ(again[i].logprob, got[i].logprob) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, VectorOpsOnEachIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return std::string(name(isa.param)); });

TEST(VectorOps, Avx2AndAvx512GiveTheSameBits) {
  if (available_isas().back() < CpuIsa::Avx512) GTEST_SKIP() << "this machine has no AVX-512";
  CpuBackend a({.device = "cpu", .threads = 1}, CpuIsa::Avx2), b({.device = "cpu", .threads = 1}, CpuIsa::Avx512);
  for (const RowOp& op : row_ops()) {
    for (const RowsCase& c : kRowsCases) {
      SCOPED_TRACE(fmt::format("{} of {} x {}", op.name, c.n, c.d));
      RowInputs in(c, op);
      EXPECT_TRUE(same_bits(in.run(a, c, op, c.n + 1), in.run(b, c, op, c.n + 1)));
    }
  }
}

TEST(CpuBackend, SaysWhatItRunsOn) {
  for (CpuIsa isa : available_isas()) {
    CpuBackend backend({.device = "cpu", .threads = 3}, isa);
    EXPECT_EQ(backend.describe(), fmt::format("cpu, {}, 3 threads", name(isa)));
  }
}

TEST(CpuBackend, IsMadeByCreateAndUnknownDevicesAreNot) {
  EXPECT_NE(Backend::create({.device = "cpu", .threads = 1})->describe().find("cpu, "), std::string::npos);
  EXPECT_NE(Backend::create({.device = "ref"})->describe().find("ref"), std::string::npos);
  EXPECT_THROW(Backend::create({.device = "abacus"}), Error);
  EXPECT_THROW(Backend::create({.device = "cpu", .threads = -1}), Error);
}

TEST(CpuBackend, RefusesTensorsThatDoNotFit) {
  CpuBackend backend({.device = "cpu", .threads = 1});
  Matrix a(2, 16), b(2, 17), w(1, 16);
  Tensor weight(w.memory.data(), DType::F32, {16});
  EXPECT_THROW(backend.rms_norm(a.tensor, b.tensor, weight, 1e-5F), Error);
  EXPECT_THROW(backend.add(a.tensor, b.tensor), Error);
  EXPECT_THROW(backend.scale_columns(b.tensor, std::vector<float>(16, 1.0F)), Error);
  EXPECT_THROW(backend.gated_act(a.tensor, b.tensor, Act::Silu), Error);
  EXPECT_THROW(backend.rope(a.tensor, b.tensor, 12, false), Error);
  std::vector<int32_t> ids = {0, 2};
  EXPECT_THROW(backend.embedding(a.tensor, ids, a.tensor, 1.0F), Error);
}

}  // namespace
}  // namespace sgl
