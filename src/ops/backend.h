#pragma once
// The operations a model is made of, and the devices that run them.
//
// `ref` defines every op by plain loops. `cpu` inherits from it and overrides what it makes fast. A device with its own
// memory implements all of it. Outputs come first; shapes are checked in each op. Tensors lie on the device; spans, and
// what batches and weights are made of, lie on the host.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ops/act.h"
#include "ops/quantize.h"
#include "ops/rank_group.h"
#include "ops/sampling.h"
#include "sgl/work.h"
#include "tensor/tensor.h"

namespace sgl {

/// A matrix [out, in] as a backend prepared it for linear(). Made by Backend::prepare; move-only.
///
/// Several source matrices with the same `in` can be merged (q, k, v; gate, up): each is a part and fills its own
/// columns of the result, so that parts may have different formats.
struct Weight {
  struct Part {
    DType format = DType::F32;  ///< of the source
    int64_t rows = 0;           ///< columns of the result that this part fills
    Tensor source;              ///< [rows, in] as the file has it; empty when `packed` replaces it
    Buffer packed;              ///< the backend's own layout
    int layout = 0;             ///< the backend's tag for `packed`
  };
  int64_t out = 0;
  int64_t in = 0;
  std::vector<Part> parts;
  int64_t bytes() const;          ///< that a product reads of it
  Work work(int64_t rows) const;  ///< of linear() with so many rows
  std::vector<Buffer> keep;       ///< memory that a part's source lives in, if not the file's
};

/// A tensor and its memory, unless that is somebody else's.
struct Param {
  Buffer memory;
  Tensor tensor;
  bool empty() const { return tensor.empty(); }
};

/// Geometry of one sequence in a step: its rows are tokens [q_begin, q_begin + q_len) of the batch, at positions
/// [kv_len − q_len, kv_len) of the sequence. Its KV page i is `pages[page_begin + i]` and holds positions
/// [i · page_size, (i + 1) · page_size).
struct BatchSeq {
  int32_t q_begin = 0;
  int32_t q_len = 0;
  int32_t kv_len = 0;
  int32_t page_begin = 0;
};

/// What attention must know of a step: plain data, built once a step, the same for every layer.
struct PagedBatch {
  std::vector<BatchSeq> seqs;
  std::vector<int32_t> pages;        ///< page tables of all sequences, one after the other
  std::vector<int32_t> token_ids;    ///< [n]
  std::vector<int32_t> positions;    ///< [n], within the token's own sequence
  std::vector<int32_t> token_types;  ///< [n], or empty: all 0. Encoders: which text of a pair
  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

/// Where one layer's keys and values live: `num_pages` pages each, in the backend's own layout inside a page.
/// Keys and values of a page that no sequence wrote yet are undefined (tests fill them with NaN).
struct KvView {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  /// F32, F16, BF16; F8E4M3, fast on cuda alone; or, not on cuda, Q8_0: int8 in blocks of 32 along head_dim with a
  /// float16 scale each.
  DType dtype = DType::F32;
  int64_t num_pages = 0;
  int page_size = 0;  ///< tokens
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t page_bytes() const { return row_bytes(dtype, int64_t{page_size} * num_kv_heads * head_dim); }
};

/// cuda: prompts attend to e4m3 keys and values by copies in 16 bits of what they see. So large are the copies at once,
/// or as one sequence needs.
constexpr int64_t kWidenedBytes = int64_t{64} << 20;

struct AttentionOptions {
  int num_heads = 0;     ///< a multiple of the KV heads: query head h reads KV head h / (num_heads / num_kv_heads)
  float scale = 1.0F;    ///< on q·k
  float softcap = 0.0F;  ///< s ← cap · tanh(s / cap); 0: none
  int window = 0;        ///< position i sees (i − window, i]; 0: all of [0, i]
  /// false: position i sees all of [0, kv_len) (encoders). The step must hold the whole sequence; no window then.
  bool causal = true;
};

/// The weight of an rms_norm(): [d], float32.
struct NormWeight {
  Tensor w;
  float eps;
};

/// Rows that are normed; or, where products of few rows do the rest on their way, all but each row's factor
/// 1 / sqrt(mean square + eps). x: [n, d], of the activations' type.
struct Normed {
  // NOLINTNEXTLINE(google-explicit-constructor): rows are what they are
  Normed(Tensor rows = {}) : x(rows) {}
  Tensor x;
  Tensor squares;  ///< [n, num_square_sums()], float32: sums that add up to the sum of the row's squares
  float eps = 0;
  bool whole = true;  ///< squares and eps mean nothing then
};

struct BackendOptions {
  std::string device = "cpu";        ///< "cpu", "cuda" or "ref"
  int threads = 0;                   ///< 0: chosen for the machine
  bool quantize_activations = true;  ///< let linear() round its input to int8 (blocks of 32) for quantized weights
  DType activations = DType::BF16;   ///< cuda: of weights and of what layers pass to each other; F32, F16 or BF16
  Quantization quantization = Quantization::None;  ///< of what prepare() makes; Fp8: cuda only
  bool deterministic = false;  ///< cuda: a row's bits do not depend on the others, or on cuts; slower. cpu: always so
  /// Tensor parallelism: the group that the backend belongs to, and which of it it is; null: it is alone. All of a
  /// group are created at once, each by a thread of its own, which calls it from then on; rank 0's may be any thread,
  /// at one time. cuda: the rank is the GPU's index.
  std::shared_ptr<RankGroup> group = nullptr;
  int rank = 0;
};

/// One device. Thread: calls come from one thread at a time.
///
/// Every op computes a row from that row's own data, in an order fixed by the row's own geometry: results do not depend
/// on the other rows of the batch, on how a sequence was cut into steps, on page ids, or on the number of threads.
class Backend {
 public:
  Backend() = default;
  explicit Backend(const BackendOptions& options) : group_(options.group), rank_(options.rank) {}
  virtual ~Backend() = default;

  /// Throws InvalidArgument on an unknown device, Unsupported when the machine lacks it.
  static std::unique_ptr<Backend> create(const BackendOptions& options);

  /// For the log: "cpu, avx512, 2 threads".
  virtual std::string describe() const = 0;

  /// Element type of what layers pass to each other. The residual stream, the logits and parameters are float32.
  virtual DType activations() const { return DType::F32; }
  /// How many rows ops are called with for the device to find out, at such a call, how these and fewer are computed
  /// best; rising. Who calls them all beforehand has no request wait for that. Empty: nothing is found out.
  virtual std::vector<int64_t> rows_to_try() const { return {}; }
  /// Device memory that new allocations can take, in bytes; 0 if unknown.
  virtual int64_t available_memory() const = 0;

  /// Device memory; contents undefined.
  virtual Buffer allocate(size_t bytes) = 0;
  /// Copies host memory to the device, and back. What ran before is done when download() returns.
  virtual void upload(std::byte* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const std::byte* device, size_t bytes) = 0;
  /// Returns when what ran before is done.
  virtual void wait() {}
  /// Makes a weight of host matrices [rows_i, in] in any file format. The sources must outlive the weight where the
  /// result still refers to them (Weight::Part::source). May run in parallel inside.
  virtual Weight prepare(std::span<const Tensor> parts) = 0;
  /// The same for the matrix that makes logits: never quantized by the backend itself.
  virtual Weight prepare_head(std::span<const Tensor> parts) { return prepare(parts); }
  /// Makes a table for look-ups by row of a host matrix in any file format: the matrix itself where the device can read
  /// it, else a copy.
  virtual Param prepare_table(const Tensor& table) = 0;

  /// What has been counted since the last call. Layers count the products that they ask for.
  Work take_work() { return std::exchange(work_, {}); }
  void count(const Work& work) { work_ += work; }

  /// Precedes the ops of a step: store_kv() and attention() take this batch and no other until the next begin(). It
  /// must stay as it is until then.
  virtual void begin(const PagedBatch& batch) = 0;

  /// out[i, :] = table[ids[i], :] · scale. table: [vocab, d], prepared. Requires: 0 ≤ ids[i] < vocab, or the id of a
  /// token that begin_sample() is choosing.
  virtual void embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) = 0;
  /// h[i, :] += table[ids[i], :], for learned positions.
  virtual void add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) = 0;

  /// out = x / sqrt(mean(x²) + eps) · w over groups of d = w.cols() along each row (Zhang & Sennrich 2019, eq. 4).
  /// x, out: [n, g·d]; g > 1 normalises each head. out may be x.
  virtual void rms_norm(Tensor out, Tensor x, Tensor w, float eps) = 0;
  /// h += x; out = rms_norm(h). h, x, out: [n, d].
  virtual void add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) = 0;
  /// out = (x − mean) / sqrt(var + eps) · w + b. x, out: [n, d]; out may be x.
  virtual void layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) = 0;

  /// y = x · wᵀ + bias. x: [n, in], y: [n, out]; bias: [out] or empty.
  virtual void linear(Tensor y, Tensor x, const Weight& w, Tensor bias) = 0;

  /// cos_sin[i, :] = cos, then sin of positions[i] · inv_freq, times `factor`. cos_sin: [n, 2 · inv_freq.size()].
  virtual void rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                          float factor) = 0;
  // Two ops at once. A device that gains nothing by it computes them one after the other, with what is between them in
  // `scratch`, memory that they may overwrite.

  /// h += x · wᵀ + bias. scratch: [n, out], of the activations' type.
  virtual void linear_add(Tensor h, Tensor x, const Weight& w, Tensor bias, Tensor scratch);
  /// h += x · wᵀ + bias; y = rms_norm(h), of the activations' type, or what normed_linear() and normed_gated_linear()
  /// need of it. y has memory for its rows, and for squares where num_square_sums() is not 0.
  virtual void linear_add_norm(Normed& y, Tensor h, Tensor x, const Weight& w, Tensor bias, const NormWeight& norm,
                               Tensor scratch);
  /// How many sums a row's squares come in if norms of n rows may be left to products; 0: they are always whole.
  virtual int64_t num_square_sums(int64_t /*n*/, int64_t /*d*/) const { return 0; }
  /// linear() and gated_linear() of normed rows.
  virtual void normed_linear(Tensor y, const Normed& x, const Weight& w, Tensor bias) { linear(y, x.x, w, bias); }
  virtual void normed_gated_linear(Tensor out, const Normed& x, const Weight& w, Tensor bias, Act act, Tensor scratch) {
    gated_linear(out, x.x, w, bias, act, scratch);
  }
  /// gated_act(out, x · wᵀ + bias). scratch: [n, 2 · d], of the activations' type.
  virtual void gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch);

  /// Turns the first rotary_dim of each head of x: [n, heads · head_dim] in place. cos_sin: [n, rotary_dim], the first
  /// half cosines, the second half sines. Pairs are (2i, 2i+1) if interleaved, else (i, i + rotary_dim/2).
  virtual void rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) = 0;

  /// x[:, j] *= factors[j]. Not on cuda: what takes it, a cache in int8, is not there.
  virtual void scale_columns(Tensor x, std::span<const float> factors) = 0;

  /// Writes this step's keys and values, [n, num_kv_heads · head_dim] each, to their pages.
  virtual void store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) = 0;
  /// rope() of q and k, then store_kv(). qkv: [n, (num_heads + 2 · num_kv_heads) · head_dim]; q is turned in place,
  /// what k holds afterwards is undefined.
  virtual void rope_store_kv(const KvView& kv, Tensor qkv, Tensor cos_sin, bool interleaved, const PagedBatch& batch);
  /// Attention of q: [n, num_heads · head_dim] over the pages; this step's keys must have been stored.
  virtual void attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch,
                         const AttentionOptions& options) = 0;

  /// out[:, i] = act(x[:, i]) · x[:, d + i]. x: [n, 2d] (gate, then up); out: [n, d].
  virtual void gated_act(Tensor out, Tensor x, Act act) = 0;
  /// out = act(x); out may be x.
  virtual void activation(Tensor out, Tensor x, Act act) = 0;
  /// h += x.
  virtual void add(Tensor h, Tensor x) = 0;
  /// x = cap · tanh(x / cap).
  virtual void softcap(Tensor x, float cap) = 0;
  /// out[i, :] = x[rows[i], :], of one type: float32 or the activations'.
  virtual void gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) = 0;

  // Tensor parallelism. All ranks of a group call these in the same order, with the same shapes. What is handed over
  // lies in memory from exchange(), which one such call takes.

  int rank() const { return rank_; }
  int num_ranks() const { return group_ == nullptr ? 1 : group_->size(); }
  /// [n, d], for what all_reduce() and its like take next. Requires: a group.
  Tensor exchange(DType type, int64_t n, int64_t d);
  /// out = Σ part over the ranks, added up in float32 in their order. out, part: [n, d].
  virtual void all_reduce(Tensor out, Tensor part) = 0;
  /// h += Σ part; y = rms_norm(h), whole.
  virtual void all_reduce_norm(Normed& y, Tensor h, Tensor part, const NormWeight& norm) = 0;
  /// Rank 0: out = all ranks' parts beside each other, [n, ranks · d]; elsewhere out is empty. part: [n, d], float32.
  virtual void gather_parts(Tensor out, Tensor part) = 0;

  /// Chooses one token for each row of logits: [n, vocab]. Changes logits. See sampling.h.
  virtual void sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) = 0;

  /// The same in two halves, for a device that works while the host does something else. begin_sample() returns false
  /// where there is no such device, or where rows ask for what only sample() has: then nothing was done. Until
  /// end_sample() gives the results, ops of the next step may be called, and in its token ids −1 − i stands for the
  /// token of row i.
  virtual bool begin_sample(Tensor /*logits*/, std::span<const SampleRow> /*rows*/) { return false; }
  virtual void end_sample(std::span<SampleResult> /*results*/) {}

 protected:
  /// Around what all ranks do with their parts, in memory from exchange() (RankGroup::meet).
  RankGroup::Meeting meet(const Tensor& part);
  void leave();

  const std::shared_ptr<RankGroup> group_;  ///< null: no others
  const int rank_ = 0;

 private:
  Work work_;
  Buffer exchange_[2];
  unsigned exchanges_ = 0;  ///< that have ended
};

/// Throws Internal when a dimension differs: names bind, so equal letters must be equal sizes.
/// check_shapes("rms_norm", {{"out", out, "n d"}, {"x", x, "n d"}, {"w", w, "d"}})
struct ShapeCheck {
  const char* tensor_name;
  const Tensor& tensor;
  const char* dims;
};
void check_shapes(const char* op, std::initializer_list<ShapeCheck> checks);

}  // namespace sgl
