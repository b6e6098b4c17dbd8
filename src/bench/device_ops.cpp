#include "bench/device_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/e4m3.h"
#include "bench/timing.h"
#include "tensor/block_formats.h"

namespace sgl::bench {
namespace {

constexpr int64_t kRandomNumbers = int64_t{1} << 20;  // made once: 10^9 by themselves take half a minute
constexpr int64_t kCopiedCols = 8192;
constexpr int kFewestLayers = 2;

// Where all sequences find their pages: those that they share, then their own, one sequence after the other.
PagedBatch batch_of(const AttentionShape& shape, std::mt19937& random) {
  const int shared = shape.shared / shape.page_size;
  const int own = (shape.kv_len + shape.page_size - 1) / shape.page_size - shared;
  std::vector<int32_t> pages(static_cast<size_t>(shared + shape.seqs * own));
  std::iota(pages.begin(), pages.end(), 0);
  if (shape.scattered) std::shuffle(pages.begin(), pages.end(), random);
  PagedBatch batch;
  for (int s = 0; s < shape.seqs; ++s) {
    batch.seqs.push_back({s * shape.q_len, shape.q_len, shape.kv_len, static_cast<int32_t>(batch.pages.size())});
    batch.pages.insert(batch.pages.end(), pages.begin(), pages.begin() + shared);
    const auto first = pages.begin() + shared + std::ptrdiff_t{s} * own;
    batch.pages.insert(batch.pages.end(), first, first + own);
    for (int t = shape.kv_len - shape.q_len; t < shape.kv_len; ++t) batch.positions.push_back(t);
  }
  batch.token_ids.assign(batch.positions.size(), 0);
  return batch;
}

std::string name_of(const AttentionShape& s) {
  return fmt::format("{}x{} of {} page {}{}{}{}", s.seqs, s.q_len, s.kv_len, s.page_size,
                     s.shared > 0 ? fmt::format(" shared {}", s.shared) : "", s.scattered ? " scattered" : "",
                     s.codes ? fmt::format(" {}", name(DType::F8E4M3)) : "");
}

}  // namespace

DeviceOps::DeviceOps(Backend& backend, DeviceSizes sizes, OpsChoice choice,
                     std::function<void(const OpFigures&)> on_figures)
    : backend_(backend),
      sizes_(std::move(sizes)),
      choice_(std::move(choice)),
      on_figures_(std::move(on_figures)),
      type_(backend.activations()),
      arithmetic_(type_ == DType::F32 ? Arithmetic::Float32 : Arithmetic::Bfloat16),
      random_numbers_(kRandomNumbers) {
  std::normal_distribution<float> normal;
  for (float& x : random_numbers_) x = normal(random_);
}

Buffer DeviceOps::host_numbers(DType type, int64_t count, float size) const {
  const int64_t once = std::min(count, kRandomNumbers);
  std::vector<float> scaled(random_numbers_.begin(), random_numbers_.begin() + once);
  for (float& x : scaled) x *= size;
  Buffer memory = allocate_host(static_cast<size_t>(row_bytes(type, count)));
  if (type == DType::F8E4M3) {
    std::transform(scaled.begin(), scaled.end(), reinterpret_cast<uint8_t*>(memory.data()), to_e4m3);
  } else {
    quantize_row(type, scaled.data(), memory.data(), once);
  }
  for (int64_t at = once; at < count; at += once) {
    const int64_t next = std::min(once, count - at);
    std::memcpy(memory.data() + row_bytes(type, at), memory.data(), static_cast<size_t>(row_bytes(type, next)));
  }
  return memory;
}

void DeviceOps::fill(std::byte* device, DType type, int64_t count, float size) {
  const int64_t once = std::min(count, kRandomNumbers);
  const Buffer some = host_numbers(type, once, size);
  for (int64_t at = 0; at < count; at += once) {
    const int64_t next = std::min(once, count - at);
    backend_.upload(device + row_bytes(type, at), some.data(), static_cast<size_t>(row_bytes(type, next)));
  }
}

Param DeviceOps::room(DType type, Shape shape) {
  Param p;
  p.memory = backend_.allocate(static_cast<size_t>(row_bytes(type, shape.elements())));
  p.tensor = Tensor(p.memory.data(), type, shape);
  return p;
}

Param DeviceOps::numbers(DType type, Shape shape, float size) {
  Param p = room(type, shape);
  fill(p.memory.data(), type, shape.elements(), size);
  return p;
}

// Each sample is a step: what the backend sends beside its launches is kept until the next one begins.
Timing DeviceOps::time(const std::function<void()>& launch, const PagedBatch& batch) {
  const Timing t = time_queued(
      choice_.seconds, [&] { backend_.begin(batch); }, launch, [&] { backend_.wait(); });
  backend_.begin(no_batch_);  // `batch` goes
  return t;
}

void DeviceOps::report(const std::string& name, const OpWork& work, const std::function<void()>& launch,
                       const PagedBatch& batch) {
  if (!wants(name)) return;
  ++cases_;
  on_figures_({name, time(launch, batch), work});
}

Roofs DeviceOps::measure_roofs() {
  Roofs roofs;
  roofs.copied = true;
  {
    // Of all ops the one that reads each number once and writes one, and needs nothing else; a list of rows, as
    // gather_rows() takes it, is a read that the others wait for.
    const int64_t rows = sizes_.copied_bytes / row_bytes(type_, kCopiedCols);
    const Param from = numbers(type_, {rows, kCopiedCols}), to = room(type_, {rows, kCopiedCols});
    const int64_t bytes = 2 * row_bytes(type_, rows * kCopiedCols);
    const Timing t = time([&] { backend_.activation(to.tensor, from.tensor, Act::Relu); }, no_batch_);
    roofs.read.emplace_back(bytes, static_cast<double>(bytes) / t.best);
  }
  const int64_t n = sizes_.square;
  const Buffer source = host_numbers(type_, n * n, 0.05F);
  const Tensor matrix(source.data(), type_, {n, n});
  const Weight w = backend_.prepare_head({&matrix, 1});  // of the activations' type, whatever the others become
  const Param x = numbers(type_, {n, n}), y = room(type_, {n, n});
  const Timing t = time([&] { backend_.linear(y.tensor, x.tensor, w, {}); }, no_batch_);
  roofs.units.push_back(
      {fmt::format("linear {0}x{0}x{0}", n), arithmetic_, 2.0 * std::pow(static_cast<double>(n), 3) / t.best});
  return roofs;
}

int DeviceOps::run() {
  const DeviceSizes& s = sizes_;
  const int64_t head_dim = s.head_dim, q = s.heads * head_dim;
  run_product("qkv", Product::Plain, s.hidden, q + 2 * s.kv_heads * head_dim);
  run_product("o", Product::Plain, q, s.hidden);
  run_product("gate_up", Product::Gated, s.hidden, s.inter);
  run_product("down", Product::Plain, s.inter, s.hidden);
  run_product("head", Product::Head, s.hidden, s.vocab);
  for (const AttentionShape& shape : s.attention) run_attention(shape);
  for (const int64_t m : s.rows) run_norms(m);
  for (const int64_t m : s.rows) {
    if (m <= s.logit_rows) run_sampling(m);
  }
  return cases_;
}

void DeviceOps::run_product(const char* matrix, Product product, int64_t in, int64_t out) {
  const bool gated = product == Product::Gated, head = product == Product::Head;
  auto name_of = [&](int64_t m) { return fmt::format("linear/{}/{} {}x{} m{}", sizes_.model, matrix, in, out, m); };
  std::vector<int64_t> row_counts = sizes_.rows;
  std::erase_if(row_counts, [&](int64_t m) { return !wants(name_of(m)) || (head && m > sizes_.logit_rows); });
  if (row_counts.empty()) return;
  const int64_t columns = gated ? 2 * out : out;  // of the product itself
  const Buffer source = host_numbers(type_, columns * in, 0.05F);
  const Tensor rows(source.data(), type_, {columns, in});
  std::vector<Weight> weights;
  int64_t bytes = 0;
  do {
    weights.push_back(head ? backend_.prepare_head({&rows, 1}) : backend_.prepare({&rows, 1}));
    bytes += weights.back().bytes();
  } while (bytes < sizes_.turn_bytes);
  const DType result = head ? DType::F32 : type_;
  for (const int64_t m : row_counts) {
    const Param x = numbers(type_, {m, in}), y = room(result, {m, out}),
                scratch = gated ? room(type_, {m, columns}) : Param{};
    size_t next = 0;
    report(name_of(m),
           {.bytes = static_cast<double>(weights[0].bytes() + row_bytes(type_, m * in) + row_bytes(result, m * out)),
            .ops = 2.0 * static_cast<double>(m * in * columns),
            .arithmetic = arithmetic_,
            .working_set = bytes},
           [&] {
             const Weight& w = weights[next];
             next = (next + 1) % weights.size();
             if (gated) {
               backend_.gated_linear(y.tensor, x.tensor, w, {}, Act::Silu, scratch.tensor);
             } else {
               backend_.linear(y.tensor, x.tensor, w, {});
             }
           });
  }
}

void DeviceOps::run_attention(const AttentionShape& shape) {
  const std::string case_name = fmt::format("attention/{} {}", sizes_.model, name_of(shape));
  if (!wants(case_name)) return;
  const PagedBatch batch = batch_of(shape, random_);
  KvView kv;
  kv.dtype = shape.codes ? DType::F8E4M3 : type_;
  kv.page_size = shape.page_size;
  kv.num_kv_heads = sizes_.kv_heads;
  kv.head_dim = sizes_.head_dim;
  kv.num_pages = *std::max_element(batch.pages.begin(), batch.pages.end()) + 1;
  const int64_t half = kv.page_bytes() * kv.num_pages;  // of a layer: its keys, or its values
  const int64_t layers = std::max<int64_t>((sizes_.turn_bytes + 2 * half - 1) / (2 * half), kFewestLayers);
  const Buffer memory = backend_.allocate(static_cast<size_t>(2 * half * layers));
  fill(memory.data(), kv.dtype, 2 * half * layers / row_bytes(kv.dtype, 1), 1.0F);
  const int64_t rows = batch.num_tokens(), cols = int64_t{sizes_.heads} * sizes_.head_dim;
  const Param q = numbers(type_, {rows, cols}), out = room(type_, {rows, cols});
  const AttentionOptions options{.num_heads = sizes_.heads,
                                 .scale = 1.0F / std::sqrt(static_cast<float>(sizes_.head_dim))};
  const int64_t tokens = shape.shared + int64_t{shape.seqs} * (shape.kv_len - shape.shared);
  double visible = 0;  // (row, position) pairs of a sequence
  for (int t = 0; t < shape.q_len; ++t) visible += shape.kv_len - shape.q_len + t + 1;
  int64_t layer = 0;
  report(
      case_name,
      {.bytes = static_cast<double>(2 * row_bytes(kv.dtype, tokens * kv.num_kv_heads * kv.head_dim) +
                                    2 * row_bytes(type_, rows * cols)),
       .ops = 4.0 * visible * shape.seqs * static_cast<double>(cols),
       .arithmetic = arithmetic_,
       .working_set = 2 * half * layers},
      [&] {
        kv.k = memory.data() + 2 * half * layer;
        kv.v = kv.k + half;
        layer = (layer + 1) % layers;
        backend_.attention(out.tensor, q.tensor, kv, batch, options);
      },
      batch);
}

void DeviceOps::run_norms(int64_t m) {
  const int64_t d = sizes_.hidden;
  const std::string shape = fmt::format("{} m{}", sizes_.model, m);
  const std::string norm = "rms_norm/" + shape, add_norm = "add_rms_norm/" + shape;
  if (!wants(norm) && !wants(add_norm)) return;
  // As layers have them: the residual stream in float32, what is added to it and what comes out in the activations'.
  const Param h = numbers(DType::F32, {m, d}), x = numbers(type_, {m, d}, 0.01F), out = room(type_, {m, d}),
              w = numbers(DType::F32, {d});
  const double stream = 4.0 * static_cast<double>(m * d), rows = static_cast<double>(row_bytes(type_, m * d));
  report(norm, {.bytes = stream + rows}, [&] { backend_.rms_norm(out.tensor, h.tensor, w.tensor, 1e-5F); });
  report(add_norm, {.bytes = 2 * stream + 2 * rows},
         [&] { backend_.add_rms_norm(out.tensor, h.tensor, x.tensor, w.tensor, 1e-5F); });
}

void DeviceOps::run_sampling(int64_t m) {
  std::vector<SampleRow> greedy(static_cast<size_t>(m)), plain = greedy, top_p = greedy;
  for (SampleRow& r : greedy) r.temperature = 0;
  for (SampleRow& r : top_p) r.top_p = 0.9F;
  const std::pair<const char*, std::span<const SampleRow>> kinds[] = {
      {"greedy", greedy}, {"plain", plain}, {"top_p", top_p}};
  for (const auto& [kind, rows] : kinds) {
    const std::string case_name = fmt::format("sample/{} {} m{}", kind, sizes_.model, m);
    if (!wants(case_name)) continue;
    const Param logits = numbers(DType::F32, {m, sizes_.vocab}, 3.0F);  // about as peaked as a model's
    std::vector<SampleResult> results(static_cast<size_t>(m));
    bool begun = false;
    report(case_name, {.bytes = 4.0 * static_cast<double>(m * sizes_.vocab)}, [&, rows = rows] {
      begun = backend_.begin_sample(logits.tensor, rows);
      if (!begun) backend_.sample(results, logits.tensor, rows);
    });
    if (begun) backend_.end_sample(results);
  }
}

}  // namespace sgl::bench
