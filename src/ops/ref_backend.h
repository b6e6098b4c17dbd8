#pragma once
// The reference: every op as plain loops with double accumulators. Slow, and the definition of what is right.

#include <cstring>
#include <string>
#include <vector>

#include "base/memory.h"
#include "ops/backend.h"

namespace sgl {

class RefBackend : public Backend {
 public:
  using Backend::Backend;

  std::string describe() const override { return "ref (plain loops, one thread)"; }
  int64_t available_memory() const override { return sgl::available_memory(); }
  Buffer allocate(size_t bytes) override { return allocate_host(bytes); }
  void upload(std::byte* device, const void* host, size_t bytes) override { std::memcpy(device, host, bytes); }
  void download(void* host, const std::byte* device, size_t bytes) override { std::memcpy(host, device, bytes); }
  /// Keeps the sources as they are: rows are dequantized when they are used.
  Weight prepare(std::span<const Tensor> parts) override;
  Param prepare_table(const Tensor& table) override { return {{}, table}; }
  void begin(const PagedBatch& /*batch*/) override {}

  void embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) override;
  void add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) override;
  void rms_norm(Tensor out, Tensor x, Tensor w, float eps) override;
  void add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) override;
  void layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) override;
  void linear(Tensor y, Tensor x, const Weight& w, Tensor bias) override;
  void rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                  float factor) override;
  void rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) override;
  /// Layout inside a page: [page_size, num_kv_heads, head_dim].
  void store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) override;
  void attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch,
                 const AttentionOptions& options) override;
  void gated_act(Tensor out, Tensor x, Act act) override;
  void activation(Tensor out, Tensor x, Act act) override;
  void add(Tensor h, Tensor x) override;
  void softcap(Tensor x, float cap) override;
  void scale_columns(Tensor x, std::span<const float> factors) override;
  void gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) override;
  void all_reduce(Tensor out, Tensor part) override;
  void all_reduce_norm(Normed& y, Tensor h, Tensor part, const NormWeight& norm) override;
  void gather_parts(Tensor out, Tensor part) override;
  void sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) override;
};

/// Checks shared by every backend: shapes agree and the batch lies within its tensors and pages.
void check_attention(const char* op, Tensor q_or_k, const KvView& kv, const PagedBatch& batch, int num_heads);
/// Checks x, y, bias against the weight.
void check_linear(Tensor y, Tensor x, const Weight& w, Tensor bias);
/// Checks that x is gate and up for out.
void check_gated_act(Tensor out, Tensor x);
/// Checks that there is a factor for each column of x.
void check_scale_columns(Tensor x, std::span<const float> factors);
/// Checks that `out` has room for the parts of all ranks beside each other, in float32.
void check_gathered(Tensor out, Tensor part, int ranks);
/// Checks cos_sin against the frequencies.
void check_rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq);
/// Checks that x consists of heads of head_dim, which hold what cos_sin turns.
void check_rope(Tensor x, Tensor cos_sin, int head_dim);
/// Builds the description of a weight (rows, formats, sources) without packing. Throws Internal if `in` differs.
Weight describe_weight(std::span<const Tensor> parts);

}  // namespace sgl
