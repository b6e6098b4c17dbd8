#pragma once
// An NVIDIA GPU (sm_80 and newer), or one of several that share a model: everything of a step runs on one stream; the
// host waits for it only for the tokens.
//
// Weights and activations are of one type, BackendOptions::activations; the residual stream, sums and logits are
// float32. Weights of other types, GGUF's block formats too, are converted when they are loaded; or all are quantized
// then (BackendOptions::quantization), but for tables and the matrix that makes logits. Results agree with the
// reference within the rounding of that type; unlike on the CPU, a row's last bits can depend on the batch, unless
// BackendOptions::deterministic: few rows and many are computed in different ways, and cut in different places.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "ops/backend.h"
#include "ops/cublaslt_cuda.h"
#include "ops/kernels_cuda.h"
#include "ops/memory_cuda.h"

namespace sgl {

class CudaBackend : public Backend {
 public:
  /// Throws Unsupported when there is no GPU that it can use, or no cuBLASLt; of a group, when there are fewer GPUs
  /// than ranks, one does not reach another one's memory, or another group of this process lives.
  explicit CudaBackend(const BackendOptions& options);
  ~CudaBackend() override;

  std::string describe() const override;
  DType activations() const override { return type_; }
  std::vector<int64_t> rows_to_try() const override { return cuda::DenseProducts::timed_rows(); }
  int64_t available_memory() const override;
  Buffer allocate(size_t bytes) override { return cuda::allocate_device(bytes); }
  void upload(std::byte* device, const void* host, size_t bytes) override;
  void download(void* host, const std::byte* device, size_t bytes) override;
  void wait() override;
  /// One matrix [out, in] of all parts, in the first part's `packed`: numbers in rows that are padded to a multiple of
  /// 8 elements, or as quantize.h describes it; `layout` is the Quantization.
  Weight prepare(std::span<const Tensor> parts) override;
  Weight prepare_head(std::span<const Tensor> parts) override;
  Param prepare_table(const Tensor& table) override;
  void begin(const PagedBatch& batch) override;

  void embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) override;
  void add_embedding(Tensor h, std::span<const int32_t> ids, const Tensor& table) override;
  void rms_norm(Tensor out, Tensor x, Tensor w, float eps) override;
  void add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) override;
  void layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) override;
  void linear(Tensor y, Tensor x, const Weight& w, Tensor bias) override;
  void linear_add(Tensor h, Tensor x, const Weight& w, Tensor bias, Tensor scratch) override;
  void gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch) override;
  int64_t num_square_sums(int64_t n, int64_t d) const override;
  void linear_add_norm(Normed& y, Tensor h, Tensor x, const Weight& w, Tensor bias, const NormWeight& norm,
                       Tensor scratch) override;
  void normed_linear(Tensor y, const Normed& x, const Weight& w, Tensor bias) override;
  void normed_gated_linear(Tensor out, const Normed& x, const Weight& w, Tensor bias, Act act, Tensor scratch) override;
  void rope_table(Tensor cos_sin, std::span<const int32_t> positions, std::span<const float> inv_freq,
                  float factor) override;
  void rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) override;
  /// Layout inside a page: [num_kv_heads, page_size, head_dim].
  void store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) override;
  void rope_store_kv(const KvView& kv, Tensor qkv, Tensor cos_sin, bool interleaved, const PagedBatch& batch) override;
  /// On tensor cores where kernels_cuda.h's attention_on_tensor_cores() says so, else by plain loops.
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
  /// On the device, but for rows that ask for the log-probabilities of other tokens: their logits are copied to the
  /// host, where the cpu backend samples.
  void sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) override;
  /// False if there is such a row.
  bool begin_sample(Tensor logits, std::span<const SampleRow> rows) override;
  void end_sample(std::span<SampleResult> results) override;

 private:
  class Stream {
   public:
    Stream();
    ~Stream();
    operator cudaStream_t() const { return stream_; }

   private:
    cudaStream_t stream_ = nullptr;
  };
  // Items of one kernel, and the pages that are widened for it.
  struct AttentionRound {
    const cuda::AttentionItem* items;
    int num_items;
    const int32_t* pages;
    int num_pages;
  };
  // Which blocks compute a step's attention, on the device. It depends on the cache, on how many query heads a KV head
  // has, and on the window: where all is seen of a sequence, what sequences share can be computed for all of them.
  struct AttentionPlan {
    int group = 0, page_size = 0, window = 0;  ///< 0: not planned; no window
    DType dtype = DType::F32;                  ///< of the cache
    std::vector<AttentionRound> prefill, shared;
    const cuda::AttentionItem* decode = nullptr;
    const int32_t* shared_tokens = nullptr;
    const int32_t* wide_pages = nullptr;  ///< the batch's page tables, of widened pages
    int num_decode = 0, num_slots = 0, partial_rows = 0;
  };
  // The step's batch on the device. What depends on an op's options is made when the first layer asks for it.
  struct Step {
    const PagedBatch* batch = nullptr;
    const BatchSeq* seqs = nullptr;
    const int32_t* pages = nullptr;
    const int32_t* slots = nullptr;                            ///< of each token, in pages of slots_page_size
    const int32_t* tokens = nullptr;                           ///< [n, 2]: sequence and position
    const int32_t *token_ids = nullptr, *positions = nullptr;  ///< of the batch
    int slots_page_size = 0;
    AttentionPlan windowed, whole;
  };

  void join_group();
  /// Begins a meeting of the ranks, for a kernel that is launched before leave().
  cuda::Peers meet_peers(const Tensor& part);
  void require(const char* op, const PagedBatch& batch) const;
  cuda::Staging& staging() { return staging_[turn_]; }
  void sample_on_device(Tensor logits, std::span<const SampleRow> rows, std::span<const int32_t> which);
  void sample_on_host(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows,
                      std::span<const int32_t> which);
  bool has_pages_of(int page_size) const;
  const int32_t* slots_of(const KvView& kv, const PagedBatch& batch);
  void plan_slots(int page_size);
  const AttentionPlan& plan_attention(const KvView& kv, int group, int window);
  std::vector<AttentionRound> plan_rounds(std::span<cuda::AttentionItem> items, const KvView& kv,
                                          const AttentionPlan& plan, std::vector<int32_t>& wide_pages);
  cuda::AttentionCall widen_for(cuda::AttentionCall call, const AttentionRound& round, const AttentionPlan& plan);
  /// x, in type_ and aligned: itself or a copy in x_.
  Tensor input(Tensor x);
  /// x whole: its rows, or what the rest of the norm makes of them in x_.
  Tensor finished(const Normed& x);
  /// Where the values lie on the device: the batch's own do already.
  const int32_t* send(std::span<const int32_t> values);
  /// Memory that grows to the largest size asked for; `what` was in it is lost.
  std::byte* scratch(Buffer& memory, size_t bytes);
  /// Copies host rows of any format to the device, as they are if of type_ or `as_it_is`, else in float32: some at a
  /// time, which `take(first, rows)` reads in the order of the stream.
  using TakeRows = std::function<void(int64_t first, Tensor rows)>;
  void send_rows(const Tensor& host, const TakeRows& take, bool as_it_is = false);
  void send_parts(Weight& w, const TakeRows& take, bool as_it_is = false);
  void multiply(Tensor y, Tensor x, const Weight& w, Tensor bias, bool add);
  bool multiply_quantized_rows(Tensor y, Tensor x, const cuda::QuantizedMatrix& w, bool add);
  bool multiply_int8(Tensor y, Tensor x, const float* x_scales, const cuda::QuantizedMatrix& w, bool add);
  void multiply_dequantized(Tensor y, Tensor x, const cuda::QuantizedMatrix& w, bool add);

  DType type_;
  Quantization quantization_;
  bool deterministic_;  ///< products and attention of any rows go one way: that of many
  std::string name_;
  Stream stream_;
  cuda::DenseProducts dense_;
  cuda::Staging staging_[2];  ///< of this step, and of the one before, which may still be read
  int turn_ = 0;
  Step step_;
  /// What the last step's attention was planned for: the next one's is likely the same, and is planned at its begin, so
  /// that all of a step's tables go to the device in one copy.
  KvView usual_kv_;
  int usual_windowed_ = 0, usual_whole_ = 0;  ///< the groups; 0: no such layers
  int usual_window_ = 0;
  std::vector<float> inv_freq_[2];  ///< of the rotary tables, which are the same in every step
  Buffer sent_inv_freq_[2];
  Buffer x_, y_;        ///< linear's rounded input and its result
  Buffer x_codes_, w_;  ///< its quantized input, and rows of quantized weights as numbers or sums of int8 products
  Buffer partial_, counters_;  ///< attention's parts, and how many of them are done
  Buffer wide_;                ///< pages of a cache of codes as numbers
  Buffer chosen_;              ///< the tokens of the last sample, by row of the logits
  int64_t num_chosen_ = 0;
  Buffer choices_;  ///< of the host, where the device writes them
  int num_choices_ = 0;
  cuda::Event sampled_;
  std::vector<const CudaBackend*> peers_;  ///< of the group, by rank; empty: there are no others
  Buffer flags_;                           ///< [ranks]: the last meeting that each has come to (kernels_cuda.h)
  std::string step_name_ = "loading";      ///< or the last step that began, with its sizes, for errors
  Buffer host_logits_, pinned_rows_, sent_rows_;
  cuda::Event rows_sent_[2];  ///< from a half of pinned_rows_
  int sending_ = 0;           ///< the half that is filled next
  int threads_;
  std::unique_ptr<ThreadPool> pool_;  ///< converts weights
  std::unique_ptr<Backend> host_;     ///< samples what the device does not
};

}  // namespace sgl
