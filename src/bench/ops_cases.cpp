// The cases of `sgl bench ops`: every op, with the shapes that SmolLM2-135M and Qwen2.5-0.5B have.

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "bench/ops_bench.h"
#include "ops/op_cases.h"
#include "ops/test_data.h"

namespace sgl::bench {
namespace {

using test::Matrix;
using test::random_matrix;
using test::random_weights;

constexpr int64_t kWeightBytes = int64_t{128} << 20;  // of the copies that a case goes through, as a model's layers do

Arithmetic arithmetic_of(DType format, bool exact) {
  if (exact || format == DType::F32 || format == DType::F16) return Arithmetic::Float32;
  return format == DType::BF16 ? Arithmetic::Bfloat16 : Arithmetic::Int8;
}

}  // namespace

int OpsBench::run() {
  run_thread_pool();
  run_linear("smollm2", "qkv", DType::Q4_1, 576, 960);
  run_linear("smollm2", "o", DType::Q4_1, 576, 576);
  run_linear("smollm2", "gate_up", DType::Q4_1, 576, 3072);
  run_linear("smollm2", "down", DType::Q4_1, 1536, 576);
  run_linear("smollm2", "head", DType::Q8_0, 576, 49152);
  run_linear("qwen0.5b", "qkv", DType::Q5_0, 896, 1152);
  run_linear("qwen0.5b", "gate_up", DType::Q5_0, 896, 9728);
  run_linear("qwen0.5b", "down", DType::Q4_K, 4864, 896);
  run_linear("qwen0.5b", "down", DType::Q6_K, 4864, 896);
  run_linear("qwen0.5b", "head", DType::Q8_0, 896, 151936);
  run_linear("qwen0.5b", "gate_up", DType::Q5_0, 896, 9728, true);
  for (DType format : kWeightFormats) run_linear("format", "square", format, 2048, 2048);
  run_linear("format", "wide", DType::BF16, 8192, 2048);
  for (DType format : kWeightFormats) run_prepare(format, 1024, 8192);
  run_attention("smollm2", 9, 3, 64, 1, 1, 200);
  run_attention("smollm2", 9, 3, 64, 1, 1, 4096);
  run_attention("smollm2", 9, 3, 64, 16, 1, 500);
  run_attention("smollm2", 9, 3, 64, 1, 512, 512);
  run_attention("smollm2", 9, 3, 64, 1, 512, 4096);
  run_attention("qwen0.5b", 14, 2, 64, 1, 1, 1000);
  run_attention("qwen0.5b", 14, 2, 64, 16, 1, 1000);
  run_attention("qwen0.5b", 14, 2, 64, 8, 1, 8000);
  run_attention("qwen0.5b", 14, 2, 64, 8, 1, 8000, DType::Q8_0);
  run_attention("qwen0.5b", 14, 2, 64, 1, 512, 512);
  run_embedding("smollm2", DType::Q8_0, 576, 49152);
  run_embedding("qwen0.5b", DType::Q8_0, 896, 151936);
  run_rows("smollm2", 576, 1536, 49152);
  run_rows("qwen0.5b", 896, 4864, 151936);
  return cases_;
}

void OpsBench::run_linear(const char* model, const char* matrix, DType format, int64_t in, int64_t out, bool exact) {
  const std::string shape =
      fmt::format("linear/{}/{} {} {}x{}{}", model, matrix, name(format), in, out, exact ? " exact" : "");
  std::vector<int64_t> row_counts = {1, 4, 16, 128, 512};
  std::erase_if(row_counts, [&](int64_t m) {
    return !wants(fmt::format("{} m{}", shape, m)) || (out > 20000 && m > 16) || (exact && m != 1 && m != 128);
  });
  if (row_counts.empty()) return;
  Backend& backend = exact ? *exact_ : *fast_;
  const int64_t copies = std::clamp<int64_t>(kWeightBytes / row_bytes(format, in * out), 1, 64);
  const test::WeightMatrix source = random_weights(random_, format, out, in);
  std::vector<Weight> weights;
  for (int64_t i = 0; i < copies; ++i) weights.push_back(backend.prepare({&source.tensor, 1}));
  for (int64_t m : row_counts) {
    Matrix x = random_matrix(random_, m, in), y(m, out);
    const int64_t bytes = weights[0].bytes();
    size_t next = 0;
    report(fmt::format("{} m{}", shape, m),
           {.bytes = static_cast<double>(bytes + 4 * m * (in + out)),
            .ops = 2.0 * static_cast<double>(m * in * out),
            .arithmetic = arithmetic_of(format, exact),
            .working_set = bytes * copies},
           [&] {
             backend.linear(y.tensor, x.tensor, weights[next], {});
             next = (next + 1) % weights.size();
           });
  }
}

void OpsBench::run_prepare(DType format, int64_t in, int64_t out) {
  const std::string shape = fmt::format("prepare/{} {}x{}", name(format), in, out);
  if (!wants(shape)) return;
  const test::WeightMatrix source = random_weights(random_, format, out, in);
  // A backend keeps the memory of weights that are gone, so each run has a new one.
  report(shape, {.bytes = 2.0 * static_cast<double>(source.bytes.size())}, [&] {
    std::unique_ptr<Backend> fresh = Backend::create({.device = "cpu", .threads = pool_.threads()});
    fresh->prepare({&source.tensor, 1});
  });
}

void OpsBench::run_attention(const char* model, int heads, int kv_heads, int head_dim, int seqs, int q_len, int kv_len,
                             DType dtype) {
  const std::string shape =
      fmt::format("{} {}x{} of {}{}", model, seqs, q_len, kv_len, dtype == DType::Q8_0 ? " int8" : "");
  if (!wants("attention/" + shape) && !wants("store_kv/" + shape)) return;
  constexpr int kPageSize = 16, kLayers = 8;
  KvView kv;
  kv.dtype = dtype;
  kv.page_size = kPageSize;
  kv.num_kv_heads = kv_heads;
  kv.head_dim = head_dim;
  PagedBatch batch;
  const int pages = (kv_len + kPageSize - 1) / kPageSize;
  for (int s = 0; s < seqs; ++s) {
    batch.seqs.push_back({s * q_len, q_len, kv_len, s * pages});
    for (int p = 0; p < pages; ++p) batch.pages.push_back(s * pages + p);
  }
  batch.token_ids.assign(static_cast<size_t>(int64_t{seqs} * q_len), 0);
  kv.num_pages = int64_t{seqs} * pages;
  const auto bytes = static_cast<size_t>(kv.page_bytes() * kv.num_pages);
  Buffer memory = allocate_host(2 * bytes * kLayers);
  constexpr uint16_t kSmall = 0x2000;  // binary16 0.0078
  for (size_t i = 0; i < memory.bytes(); i += sizeof(kSmall)) std::memcpy(memory.data() + i, &kSmall, sizeof(kSmall));
  const int64_t rows = int64_t{seqs} * q_len;
  Matrix q = random_matrix(random_, rows, int64_t{heads} * head_dim), out(rows, int64_t{heads} * head_dim),
         k = random_matrix(random_, rows, int64_t{kv_heads} * head_dim);
  const AttentionOptions options{.num_heads = heads, .scale = 0.125F};
  size_t layer = 0;
  auto next_layer = [&] {
    kv.k = memory.data() + 2 * bytes * layer;
    kv.v = kv.k + bytes;
    layer = (layer + 1) % kLayers;
  };
  double visible = 0;  // (row, position) pairs
  for (int t = 0; t < q_len; ++t) visible += kv_len - q_len + t + 1;
  report("attention/" + shape,
         {.bytes = static_cast<double>(2 * bytes) + 8.0 * static_cast<double>(rows * heads * head_dim),
          .ops = 4.0 * visible * seqs * heads * head_dim,
          .working_set = static_cast<int64_t>(memory.bytes())},
         [&] {
           next_layer();
           fast_->attention(out.tensor, q.tensor, kv, batch, options);
         });
  report("store_kv/" + shape,
         {.bytes = 2.0 * static_cast<double>(rows * kv_heads * (4 * head_dim + row_bytes(dtype, head_dim)))}, [&] {
           next_layer();
           fast_->store_kv(kv, k.tensor, k.tensor, batch);
         });
}

void OpsBench::run_rows(const char* model, int64_t hidden, int64_t inter, int64_t vocab) {
  for (int64_t m : {1, 16, 512}) {
    if (m <= 16) run_sampling(model, m, vocab);
    Matrix x = random_matrix(random_, m, hidden), h = random_matrix(random_, m, hidden), out(m, hidden);
    Matrix w = random_matrix(random_, 1, hidden), gate = random_matrix(random_, m, 2 * inter), act(m, inter),
           up = random_matrix(random_, m, inter), turns = random_matrix(random_, m, 64);
    const Tensor weight(w.memory.data(), DType::F32, {hidden});
    std::vector<int32_t> order(static_cast<size_t>(m));
    for (int64_t i = 0; i < m; ++i) order[static_cast<size_t>(i)] = static_cast<int32_t>(m - 1 - i);
    const std::string shape = fmt::format("{} m{}", model, m);
    // Bytes of a matrix [m, hidden].
    const double rows = 4.0 * static_cast<double>(m * hidden);
    const double inter_rows = 4.0 * static_cast<double>(m * inter);
    report("rms_norm/" + shape, {.bytes = 2 * rows}, [&] { fast_->rms_norm(out.tensor, x.tensor, weight, 1e-5F); });
    report("add_rms_norm/" + shape, {.bytes = 4 * rows},
           [&] { fast_->add_rms_norm(out.tensor, h.tensor, x.tensor, weight, 1e-5F); });
    report("layer_norm/" + shape, {.bytes = 2 * rows},
           [&] { fast_->layer_norm(out.tensor, x.tensor, weight, weight, 1e-5F); });
    report("gated_act/" + shape, {.bytes = 3 * inter_rows},
           [&] { fast_->gated_act(act.tensor, gate.tensor, Act::Silu); });
    report("activation/" + shape, {.bytes = 2 * inter_rows},
           [&] { fast_->activation(act.tensor, up.tensor, Act::GeluTanh); });
    report("rope/" + shape, {.bytes = 2 * rows + 256.0 * static_cast<double>(m)},
           [&] { fast_->rope(x.tensor, turns.tensor, 64, false); });
    report("add/" + shape, {.bytes = 3 * rows}, [&] { fast_->add(h.tensor, x.tensor); });
    report("gather_rows/" + shape, {.bytes = 2 * rows}, [&] { fast_->gather_rows(out.tensor, x.tensor, order); });
  }
}

void OpsBench::run_embedding(const char* model, DType format, int64_t hidden, int64_t vocab) {
  const std::string shape = fmt::format("embedding/{} {}", model, name(format));
  if (!wants(shape + " m1") && !wants(shape + " m16") && !wants(shape + " m512")) return;
  const test::WeightMatrix table = random_weights(random_, format, vocab, hidden);
  for (int64_t m : {1, 16, 512}) {
    std::vector<int32_t> ids(static_cast<size_t>(m));
    for (int32_t& id : ids) id = static_cast<int32_t>(random_() % static_cast<uint32_t>(vocab));
    Matrix out(m, hidden);
    report(fmt::format("{} m{}", shape, m),
           {.bytes = static_cast<double>(row_bytes(format, m * hidden) + 4 * m * hidden)},
           [&] { fast_->embedding(out.tensor, ids, table.tensor, 1.0F); });
  }
}

void OpsBench::run_sampling(const char* model, int64_t rows, int64_t vocab) {
  const std::string shape = fmt::format("{} m{}", model, rows);
  std::vector<SampleRow> greedy(static_cast<size_t>(rows)), plain = greedy, top_p = greedy;
  for (SampleRow& r : greedy) r.temperature = 0;
  for (SampleRow& r : top_p) r.top_p = 0.9F;
  Matrix logits = random_matrix(random_, rows, vocab, 0, 3.0F);  // about as peaked as a model's
  std::vector<SampleResult> results(static_cast<size_t>(rows));
  const OpWork pass{.bytes = 4.0 * static_cast<double>(rows * vocab)};
  report("sample/greedy " + shape, pass, [&] { fast_->sample(results, logits.tensor, greedy); });
  report("sample/plain " + shape, pass, [&] { fast_->sample(results, logits.tensor, plain); });
  report("sample/top_p " + shape, pass, [&] { fast_->sample(results, logits.tensor, top_p); });
  report("softcap/" + shape, {.bytes = 2 * pass.bytes}, [&] { fast_->softcap(logits.tensor, 30.0F); });
}

void OpsBench::run_thread_pool() {
  for (int64_t n : {2, 8}) {
    report(fmt::format("parallel_for/{} empty pieces", n), {},
           [&] { pool_.parallel_for(n, 1, [](int64_t, int64_t) {}); });
  }
}

}  // namespace sgl::bench
