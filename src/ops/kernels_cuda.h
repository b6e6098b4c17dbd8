#pragma once
// Launches of the cuda backend's kernels, from plain C++. Shapes were checked; tensors are F32, F16 or BF16 and lie on
// the device. All return when the work is queued.

#include <cuda_runtime_api.h>

#include "ops/backend.h"
#include "ops/quantize.h"

namespace sgl::cuda {

/// out = x, in out's type. [n, d]
void convert(cudaStream_t stream, Tensor out, Tensor x);
/// y[i, :] += bias, float32.
void add_bias(cudaStream_t stream, Tensor y, Tensor bias);

/// ids: [n] on the device; −1 − i stands for chosen[i].
void embedding(cudaStream_t stream, Tensor out, const int32_t* ids, const int32_t* chosen, Tensor table, float scale);
void add_embedding(cudaStream_t stream, Tensor h, const int32_t* ids, Tensor table);
void gather_rows(cudaStream_t stream, Tensor out, Tensor x, const int32_t* rows);

void rms_norm(cudaStream_t stream, Tensor out, Tensor x, Tensor w, float eps);
void add_rms_norm(cudaStream_t stream, Tensor out, Tensor h, Tensor x, Tensor w, float eps);
void layer_norm(cudaStream_t stream, Tensor out, Tensor x, Tensor w, Tensor b, float eps);

void rope_table(cudaStream_t stream, Tensor cos_sin, const int32_t* positions, const float* inv_freq, float factor);
void rope(cudaStream_t stream, Tensor x, Tensor cos_sin, int head_dim, bool interleaved);

void gated_act(cudaStream_t stream, Tensor out, Tensor x, Act act);
void activation(cudaStream_t stream, Tensor out, Tensor x, Act act);
void add(cudaStream_t stream, Tensor h, Tensor x);
void softcap(cudaStream_t stream, Tensor x, float cap);

/// The ranks of a tensor-parallel group at one of their meetings: kernels read the parts of all of them, once the flags
/// in their own GPU's memory say that these are there.
struct Peers {
  int rank, size;
  uint32_t number;                      ///< of the meeting
  const void* parts[RankGroup::kMost];  ///< [n, d] each, without gaps
  uint32_t* flags[RankGroup::kMost];    ///< [size] each: flags[r][s] is the last meeting that rank s has come to
};
/// Has the present device load the kernels below: the first launch of one may wait for the device, which may be waiting
/// for another one.
void load_exchange_kernels();
/// out = Σ parts, of one type, added in float32. Requires, of all three: there are rows.
void all_reduce(cudaStream_t stream, Tensor out, const Peers& peers);
/// h += Σ parts, which are of y's type; y = rms_norm(h).
void all_reduce_norm(cudaStream_t stream, Tensor y, Tensor h, const Peers& peers, const NormWeight& norm);
/// Rank 0: out = the parts, [n, part_cols] in float32, beside each other. Elsewhere out is empty.
void gather_parts(cudaStream_t stream, Tensor out, int64_t part_cols, const Peers& peers);

/// How to choose from one row of logits: a SampleRow without what only the host does.
struct SampleTask {
  int32_t row;                ///< of the logits
  float inverse_temperature;  ///< on the logits; 1 for the log-probabilities of greedy rows
  bool draws;                 ///< false: the largest
  bool wants_logprob;
  int32_t top_k;
  float top_p, min_p;
  float frequency, presence, repetition;  ///< penalties
  int32_t forced;                         ///< −1, or the token that is reported
  int32_t mask;                           ///< −1, or where the allowed ids' bits begin
  double uniform;                         ///< the draw, in (0, 1)
  /// Of the edits: [edits, counts_end) are counts of ids in the output, [counts_end, bias_end) what is added to their
  /// logits, [bias_end, edits_end) ids that are banned.
  int32_t edits, counts_end, bias_end, edits_end;
};
struct SampleEdit {
  int32_t id;
  float value;
};
struct SampleChoice {
  int32_t token;  ///< −1: the logits held NaN or +∞, or nothing was allowed
  float logprob;
};
/// choices: [num_tasks]; chosen[task.row] = the task's token. Changes logits. choices, tasks and edits may lie in
/// pinned host memory, the others lie on the device.
void sample(cudaStream_t stream, SampleChoice* choices, int32_t* chosen, Tensor logits, int num_tasks,
            const SampleTask* tasks, const SampleEdit* edits, const uint32_t* masks);

/// slots[i]: where token i's keys and values go: page · page_size + offset in the page. Layout inside a page:
/// [num_kv_heads, page_size, head_dim], so that what attention reads of a page lies together.
void store_kv(cudaStream_t stream, const KvView& kv, Tensor k, Tensor v, const int32_t* slots);
/// rope() of q and k and store_kv() in one pass over qkv, in halves (not interleaved). Requires: can_rope_store_kv().
void rope_store_kv(cudaStream_t stream, const KvView& kv, Tensor qkv, Tensor cos_sin, const int32_t* slots);
/// Page i of `wide`, of a type of 16 bits, becomes page from[i] of kv, of E4m3 and the same geometry. Requires: heads
/// of a multiple of 16.
void widen_pages(cudaStream_t stream, const KvView& wide, const KvView& kv, const int32_t* from, int count);
bool can_rope_store_kv(const KvView& kv, const Tensor& qkv, const Tensor& cos_sin);

/// A quantized matrix [out, in] as quantize.h describes it, both parts aligned to 16 bytes. None: rows of numbers, one
/// after the other.
struct QuantizedMatrix {
  Quantization format;
  int64_t out, in;
  std::byte* codes;
  std::byte* scales;
};
/// Rows [first_row, first_row + rows.rows()) of w from numbers, contiguous rows of `in`.
void quantize(cudaStream_t stream, const QuantizedMatrix& w, int64_t first_row, Tensor rows);
/// The same from groups that are quantized already: rows of blocks of Int4G128, to Int4.
void take_int4(cudaStream_t stream, const QuantizedMatrix& w, int64_t first_row, Tensor rows);
/// Each row of x to codes of 8 bits, Fp8's or Int8's, in the order of a weight's, and a scale of its own. codes:
/// [n, code_stride], zeros after the row's elements. Requires: code_stride is a multiple of 64.
void quantize_activations(cudaStream_t stream, Quantization q, std::byte* codes, int64_t code_stride, float* scales,
                          Tensor x);
/// y = sums · x_scales[row] · w_scales[output], or y += that if `add`. sums: [n, out] of products of int8 codes; y: of
/// any type, float32 if `add`. Requires: fours of outputs, sums and w_scales aligned to 16 bytes.
void scale_sums(cudaStream_t stream, Tensor y, const int32_t* sums, const float* x_scales, const float* w_scales,
                bool add);
/// Those rows of w as numbers, each rounded once. Requires: rows are padded to a multiple of 8 elements.
void dequantize(cudaStream_t stream, Tensor rows, const QuantizedMatrix& w, int64_t first_row);

/// Products of few rows of x, up to so many by the weights' format: as fast as the weights can be read. x, and weights
/// of format None, are of one 16-bit type.
constexpr int64_t kGemvRows = 16, kByteGemvRows = 16, kInt4GemvRows = 32;
constexpr int64_t kDenseTilesRows = 64, kInt4TilesRows = 256;  ///< of None and of int4 on Hopper
/// Whether gemv() takes them: few rows of x, aligned, of 16 bits and a multiple of eight columns; of more than
/// kGemvRows with weights of format None a multiple of eight outputs, too.
bool can_gemv(const Tensor& x, const QuantizedMatrix& w);
/// y = x · wᵀ + bias, y of x's type or float32; y += that, if `add`, y float32. bias: float32, or empty. Of x that is
/// not whole kGemvRows at most.
void gemv(cudaStream_t stream, Tensor y, const Normed& x, const QuantizedMatrix& w, Tensor bias, bool add);
/// can_gemv() for gemv_gated(): int4 halves must be whole eights of rows, and `out` aligned for more than a few rows.
bool can_gemv_gated(const Tensor& out, const Tensor& x, const QuantizedMatrix& w);
/// out[:, i] = act(row i) · row (d + i) of x · wᵀ + bias, out of x's type.
void gemv_gated(cudaStream_t stream, Tensor out, const Normed& x, const QuantizedMatrix& w, Tensor bias, Act act);
/// h += x · wᵀ + bias, h float32; y.x = h · norm_weight, and y.squares. Of kGemvRows at most.
void gemv_add_norm(cudaStream_t stream, const Normed& y, Tensor h, Tensor x, const QuantizedMatrix& w, Tensor bias,
                   Tensor norm_weight);
constexpr int64_t kSquares = 16;  ///< outputs whose squares are summed up
/// The rest of a norm: y = x.x · its rows' factors. y: of x.x's type.
void finish_norm(cudaStream_t stream, Tensor y, const Normed& x);

/// gemv_gated() of many rows (gated_hopper_cuda.cu) and of more than kDenseTilesRows up to 256
/// (gated_steps_hopper_cuda.cu), without bias, and whether it pays: on Hopper, with weights of format None, where the
/// tiles keep all processors busy. Requires: out's rows are aligned to 16 bytes.
bool can_multiply_gated(const Tensor& out, const Tensor& x, const QuantizedMatrix& w);
void multiply_gated(cudaStream_t stream, Tensor out, Tensor x, const QuantizedMatrix& w, Act act);
bool can_multiply_gated_step(const Tensor& out, const Tensor& x, const QuantizedMatrix& w);
void multiply_gated_step(cudaStream_t stream, Tensor out, Tensor x, const QuantizedMatrix& w, Act act);

/// What one block of an attention kernel computes for a KV head: rows [row, row + as many as a tile has) of a sequence,
/// counted as token · group + head in group, over positions [kv_begin, kv_end) or what they see of them.
///
/// Of attention_shared(), `seq` stands for sequences that begin alike and have a token each: all of these see the
/// kv_len positions that are shared, token i of q_len is tokens[q_begin + i], and its result goes to slot + i · splits.
struct AttentionItem {
  BatchSeq seq;
  int32_t row;
  int32_t kv_begin, kv_end;
  int32_t slot = -1;                    ///< where the part's result goes; −1: it is the whole, and goes to `out`
  int32_t first_slot = -1, splits = 1;  ///< of all parts of these rows: slots [first_slot, first_slot + splits)
  int32_t shared_splits = 0;            ///< of them, the first ones, which attention_shared() has computed
};

struct AttentionCall {
  Tensor out, q;
  KvView kv;
  const BatchSeq* seqs;  ///< this and the following on the device
  const int32_t* pages;
  const int32_t* tokens;  ///< of attention_shared()
  const AttentionItem* items;
  int num_items;
  unsigned* counters;  ///< [slot][kv head], all 0, and 0 again afterwards
  float* partial;  ///< [slot][kv head][partial_rows][head_dim] results, then the same without head_dim: log2 of sums
  int num_slots;
  int partial_rows;  ///< the most rows an item with a slot has
  AttentionOptions options;
};

constexpr int kPrefillRows = 128;  ///< of an item of attention_prefill
constexpr int kDecodeRows = 16;    ///< of attention_decode
constexpr int kMostParts = 512;    ///< of a sequence there

/// Whether the kernels on tensor cores take these: q, out and the cache in one 16-bit type, a head size they are made
/// for, aligned rows, pages of 2^i tokens. A cache of E4m3 can be that of attention_decode() alone; the others take
/// widen_pages()'.
bool attention_on_tensor_cores(const Tensor& out, const Tensor& q, const KvView& kv);
/// Many rows a sequence: blocks of rows that walk over all positions they see.
void attention_prefill(cudaStream_t stream, const AttentionCall& call);
/// The same by Hopper's own instructions: heads of 64 and 128, pages of 16 tokens and more. False where it cannot run:
/// then nothing was launched.
bool attention_prefill_on_hopper(cudaStream_t stream, const AttentionCall& call);
/// Parts of what sequences share, for all of them at once, before attention_decode() combines them with the others. No
/// window.
void attention_shared(cudaStream_t stream, const AttentionCall& call);
/// How many of its blocks the device runs at once.
int shared_blocks(const KvView& kv);
/// Few rows a sequence (at most kDecodeRows with the heads of a group): parts of sequences, combined by the last.
void attention_decode(cudaStream_t stream, const AttentionCall& call);
/// How many of its blocks the device runs at once: with fewer parts, times KV heads, some of it is idle.
int decode_blocks(const KvView& kv);
/// Any type, head size up to 640 and page size, in float32, a warp for each token and head: slow. tokens: sequence and
/// position of each row, [n, 2] on the device.
void attention_plain(cudaStream_t stream, const AttentionCall& call, const int32_t* tokens);

}  // namespace sgl::cuda
