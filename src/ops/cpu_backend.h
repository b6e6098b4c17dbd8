#pragma once
// The processor, made fast: inherits the reference and overrides op by op.
//
// A family of kernels is one generic source (*.inl, on the vectors of simd.h) that is compiled once for each
// instruction set; this class splits ops into tiles of rows and outputs and hands them to the kernels and threads.

#include <memory>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "ops/attention_kernels.h"
#include "ops/linear_bf16.h"
#include "ops/linear_kernels.h"
#include "ops/ref_backend.h"
#include "ops/shared_splits.h"
#include "ops/vector_kernels.h"

namespace sgl {

/// Memory for packed weights: pieces of few large mappings, so that huge pages hold many small matrices. Pieces are not
/// given back before the owner goes.
class WeightMemory {
 public:
  Buffer take(size_t bytes);

 private:
  std::vector<Buffer> slabs_;
  size_t used_ = 0;  ///< of the last slab
};

/// Memory of a step that grows to the largest size asked for, and stays.
class Scratch {
 public:
  std::byte* get(size_t bytes);

 private:
  Buffer memory_;
};

class CpuBackend : public RefBackend {
 public:
  /// The instruction set is choose_isa()'s.
  explicit CpuBackend(const BackendOptions& options) : CpuBackend(options, choose_isa()) {}
  CpuBackend(const BackendOptions& options, CpuIsa isa);

  std::string describe() const override;

  /// Packs every part (linear_layout.h), quantized first if BackendOptions say so; no source is needed afterwards. The
  /// weight must not outlive the backend.
  Weight prepare(std::span<const Tensor> parts) override { return pack(parts, quantization_); }
  /// The matrix that makes logits has no fewer than 8 bits.
  Weight prepare_head(std::span<const Tensor> parts) override {
    return pack(parts, quantization_ == Quantization::None ? Quantization::None : Quantization::Int8);
  }
  /// Weights of float types, and all weights without `quantize_activations`, are multiplied in float32; quantized
  /// weights otherwise in int8, where x is rounded to blocks of 32 with a scale each (relative error about 0.4 % of a
  /// block's largest magnitude at most). With it, and on machines that multiply bfloat16 (linear_bf16.h), such weights
  /// are multiplied with x rounded to bfloat16.
  void linear(Tensor y, Tensor x, const Weight& w, Tensor bias) override;
  void gated_linear(Tensor out, Tensor x, const Weight& w, Tensor bias, Act act, Tensor scratch) override;

  void begin(const PagedBatch& batch) override;
  /// The layout inside a page is attention_kernels.h's where head_dim is a multiple of 16 up to 576 and page_size of
  /// 16; else it is the reference's, and so is the speed.
  void store_kv(const KvView& kv, Tensor k, Tensor v, const PagedBatch& batch) override;
  void attention(Tensor out, Tensor q, const KvView& kv, const PagedBatch& batch,
                 const AttentionOptions& options) override;

  void embedding(Tensor out, std::span<const int32_t> ids, const Tensor& table, float scale) override;
  void rms_norm(Tensor out, Tensor x, Tensor w, float eps) override;
  void add_rms_norm(Tensor out, Tensor h, Tensor x, Tensor w, float eps) override;
  void layer_norm(Tensor out, Tensor x, Tensor w, Tensor b, float eps) override;
  void rope(Tensor x, Tensor cos_sin, int head_dim, bool interleaved) override;
  void gated_act(Tensor out, Tensor x, Act act) override;
  void activation(Tensor out, Tensor x, Act act) override;
  void add(Tensor h, Tensor x) override;
  void softcap(Tensor x, float cap) override;
  void scale_columns(Tensor x, std::span<const float> factors) override;
  void gather_rows(Tensor out, Tensor x, std::span<const int32_t> rows) override;
  void sample(std::span<SampleResult> results, Tensor logits, std::span<const SampleRow> rows) override;

 private:
  // Rows of one sequence and KV head that attention computes together, over the splits that are not shared.
  struct AttentionTask {
    int32_t seq, first_token, tokens;
    int32_t kv_head, first_head, heads;
    int32_t first_split, num_splits;
  };
  Weight pack(std::span<const Tensor> parts, Quantization quantization);
  bool find_shared_splits(const KvView& kv, const PagedBatch& batch, const AttentionOptions& options);
  void attend_shared_splits(Tensor q, const KvView& kv, const PagedBatch& batch, const AttentionOptions& options);
  void list_attention_tasks(const KvView& kv, const PagedBatch& batch, const AttentionOptions& options, bool sharing);

  // body(row) for rows of `cols` elements, by several threads where there are many.
  template <typename F>
  void for_rows(int64_t rows, int64_t cols, F body);
  // body(row, first column, columns): pieces of rows, for ops that take each element by itself.
  template <typename F>
  void for_elements(int64_t rows, int64_t cols, F body);
  void quantize_rows(Tensor x, int64_t tiles);
  void interleave_rows(Tensor x, int64_t tiles);
  void round_rows(Tensor x);
  struct TiledPart;
  struct RowsReady {
    bool quantized = false, interleaved = false;
  };
  TiledPart tiled_part(const Weight& w, const Weight::Part& part, int64_t rows) const;
  void prepare_rows(Tensor x, TiledPart& t, RowsReady& ready);
  void multiply_tile(const TiledPart& t, int64_t panel, int64_t tile, bool first_of_panel, float* y, int64_t y_stride,
                     const float* bias) const;
  template <typename F>
  void for_chunks(const TiledPart& t, int64_t panels, int64_t bytes, F body);
  void multiply_bf16(Tensor y, const Weight::Part& part, int64_t in, const float* bias);

  bool quantize_activations_;
  Quantization quantization_;
  CpuIsa isa_;
  ThreadPool pool_;
  Int8Kernels int8_;
  FloatKernels float_;
  Bf16Kernels bf16_;  ///< none where this machine does not multiply bfloat16, or activations are to stay as they are
  AttentionKernels attention_;
  VectorKernels vector_;
  WeightMemory weights_;
  Scratch quantized_;      ///< linear: int8 tiles of x
  Scratch interleaved_;    ///< linear: float tiles of x
  Scratch rounded_;        ///< linear: bfloat16 tiles of x
  Scratch splits_;         ///< attention: states of splits that were computed apart
  Scratch shared_states_;  ///< attention: states of shared splits
  SharedSplits shared_;    ///< of this step's batch
  bool shared_found_ = false;
  std::vector<AttentionTask> tasks_;
};

}  // namespace sgl
