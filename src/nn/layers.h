#pragma once
// The layers that blocks are made of: callables over a Ctx. A layer owns its weights; what it returns lives in the
// step's arena.

#include <span>
#include <string>
#include <vector>

#include "nn/ctx.h"
#include "nn/loader.h"

namespace sgl {

/// Those rows of x, [n, d], which rise: x itself where they are all.
Tensor pick_rows(Ctx& cx, Tensor x, std::span<const int32_t> rows);
/// The rows of x that a block goes on with after its attention: in the last block those whose results are asked for.
Tensor rows_to_go_on(Ctx& cx, Tensor x);

class RmsNorm;

/// Memory for the norms of a step's residual stream, which the blocks pass on: of n rows.
Normed room_for_norms(Ctx& cx, int64_t n, int64_t hidden);

/// y = x · wᵀ + b. Several matrices with the same input can be merged into one. In a tensor-parallel group a matrix may
/// be split by its outputs, so that y has this rank's; or by its inputs, of which x has this rank's, and results are
/// added up over the ranks.
class Linear {
 public:
  /// `w` is the place of the layer's own names: `names` + ".weight" and, where the checkpoint has it, ".bias". A single
  /// name may hold all of `outs`. `in` and `outs` are the whole matrix's.
  Linear(const Loader& w, const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& outs,
         MatrixLayout layout = MatrixLayout::OutIn, MatrixUse use = MatrixUse::Layer, Split split = Split::None);
  /// [n, in] → [n, out], in the step's activation type or another.
  Tensor operator()(Ctx& cx, const Normed& x) const;
  Tensor operator()(Ctx& cx, const Normed& x, DType type) const;
  /// All outputs, in float32, of a matrix that is split by them: at rank 0; elsewhere empty.
  Tensor whole(Ctx& cx, const Normed& x) const;
  /// h += what it makes of x.
  void add_to(Ctx& cx, Tensor h, Tensor x) const;
  /// The same, and y = norm(h).
  void add_to(Ctx& cx, Tensor h, Tensor x, const RmsNorm& norm, Normed& y) const;
  /// [n, in] → [n, out / 2]: act of the first half of the columns, times the second.
  Tensor gated(Ctx& cx, const Normed& x, Act act) const;
  int64_t out() const { return weight_.out; }

 private:
  /// y = what it makes of x: of all, or this rank's part.
  void multiply(Ctx& cx, Tensor y, const Normed& x) const;
  /// This rank's part of what must be added up or put together.
  Tensor part(Ctx& cx, const Normed& x, DType type) const;

  Weight weight_;
  Param bias_;
  Split split_;  ///< None where there are no other ranks
};

/// Root mean square norm; in Gemma's hub form the stored weight is w − 1.
class RmsNorm {
 public:
  RmsNorm(const Loader& w, const ModelConfig& c, int64_t n);
  /// norm(x) over each group of n along the rows. [n, g · d] → same shape.
  Tensor operator()(Ctx& cx, Tensor x) const;
  /// x = norm(x), in place.
  void in_place(Ctx& cx, Tensor x) const;
  /// y = norm(h), for the block that follows; of h's rows, where y has more.
  void apply(Ctx& cx, Normed& y, Tensor h) const;
  /// h += x; y = norm(h): one pass over memory.
  void after_add(Ctx& cx, Normed& y, Tensor h, Tensor x) const;
  NormWeight weight() const { return {weight_.tensor, eps_}; }

 private:
  Param weight_;
  float eps_;
};

class LayerNorm {
 public:
  LayerNorm(const Loader& w, const ModelConfig& c, int64_t n);
  /// As RmsNorm's.
  void in_place(Ctx& cx, Tensor x) const;
  void apply(Ctx& cx, Normed& y, Tensor h) const;
  void after_add(Ctx& cx, Normed& y, Tensor h, Tensor x) const;

 private:
  Param weight_, bias_;
  float eps_;
};

/// Names of a block's attention weights in the checkpoint.
struct AttentionNames {
  std::string q = "q_proj", k = "k_proj", v = "v_proj", o = "o_proj";
  std::string qkv{};  ///< set where the file stores q, k and v as one matrix
};

/// Multi-head attention with grouped KV heads over the paged cache: qkv, optional q/k norm, rope, store, attend, o.
/// Causal, unless the config is an encoder's.
class Attention {
 public:
  /// `layer` picks the KV storage and whether the layer uses the sliding window (and the local rope table).
  Attention(const Loader& w, const ModelConfig& c, int layer, const AttentionNames& names = {},
            MatrixLayout layout = MatrixLayout::OutIn);
  /// [n, hidden] → [m, hidden], of the rows to go on with.
  Tensor operator()(Ctx& cx, const Normed& x) const;
  /// h becomes its rows to go on with, h += what attention makes of x, and then x = norm(h).
  void add_to(Ctx& cx, Tensor& h, Normed& x, const RmsNorm& norm) const;

 private:
  Tensor attend(Ctx& cx, const Normed& x) const;

  Linear qkv_, o_;
  std::vector<RmsNorm> qk_norm_;  ///< empty, or the norms of q's and k's heads
  int layer_;
  int head_dim_, num_heads_, num_kv_heads_;
  bool use_rope_, interleaved_;
  RopeTable rope_table_;
  AttentionOptions options_;
  std::vector<float> key_balance_;  ///< of q and k for a cache in int8 (nn/key_balance.h); empty: as they are
};

/// down(act(gate(x)) · up(x)), gate and up merged. Names: gate_proj, up_proj (or gate_up_proj), down_proj.
class GatedMlp {
 public:
  GatedMlp(const Loader& w, const ModelConfig& c);
  Tensor operator()(Ctx& cx, const Normed& x) const;
  /// h += what it makes of x, and then x = norm(h).
  void add_to(Ctx& cx, Tensor h, Normed& x, const RmsNorm& norm) const;

 private:
  Linear gate_up_, down_;
  Act act_;
};

/// down(act(up(x))): GPT-2, BERT.
class Mlp {
 public:
  Mlp(const Loader& w, const ModelConfig& c, const std::string& up, const std::string& down, MatrixLayout layout);
  /// h += what it makes of x.
  void add_to(Ctx& cx, Tensor h, const Normed& x) const;

 private:
  Linear up_, down_;
  Act act_;
};

}  // namespace sgl
