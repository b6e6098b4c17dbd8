#include "nn/layers.h"

#include "base/assert.h"
#include "nn/key_balance.h"

namespace sgl {
namespace {

std::vector<std::string> with_suffix(std::vector<std::string> names, const char* suffix) {
  for (std::string& n : names) n += suffix;
  return names;
}

Act act_of(Activation a) {
  switch (a) {
    case Activation::Silu:
      return Act::Silu;
    case Activation::Gelu:
      return Act::Gelu;
    case Activation::GeluTanh:
      return Act::GeluTanh;
    case Activation::Relu:
      return Act::Relu;
  }
  return Act::Silu;
}

std::vector<int64_t> qkv_outs(const ModelConfig& c) {
  const int64_t nq = int64_t{c.num_heads} * c.head_dim, nkv = int64_t{c.num_kv_heads} * c.head_dim;
  return {nq, nkv, nkv};
}

// The names of matrices with the same input: the one that holds them all, where the checkpoint has it.
std::vector<std::string> merged_or(const Loader& w, const std::string& merged, std::vector<std::string> names) {
  const bool is_merged = !merged.empty() && w.has(merged + ".weight");
  return is_merged ? std::vector{merged} : std::move(names);
}

// The last block goes on with fewer rows.
void keep_rows(Normed& y, int64_t n) {
  SGL_ASSERT(n <= y.x.rows(), "the residual stream has more rows than there is room for its norm");
  y.x = y.x.slice_rows(0, n);
  if (!y.squares.empty()) y.squares = y.squares.slice_rows(0, n);
}

}  // namespace

Tensor pick_rows(Ctx& cx, Tensor x, std::span<const int32_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count == x.rows()) return x;
  Tensor picked = cx.arena.alloc(x.dtype, {count, x.cols()});
  cx.ops.gather_rows(picked, x, rows);
  return picked;
}

Tensor rows_to_go_on(Ctx& cx, Tensor x) { return cx.rows.empty() ? x : pick_rows(cx, x, cx.rows); }

Normed room_for_norms(Ctx& cx, int64_t n, int64_t hidden) {
  Normed y{cx.arena.alloc(cx.activations, {n, hidden})};
  const int64_t sums = cx.ops.num_square_sums(n, hidden);
  if (sums > 0) y.squares = cx.arena.alloc(DType::F32, {n, sums});
  return y;
}

Linear::Linear(const Loader& w, const std::vector<std::string>& names, int64_t in, const std::vector<int64_t>& outs,
               MatrixLayout layout, MatrixUse use, Split split)
    : weight_(w.matrix(with_suffix(names, ".weight"), in, outs, layout, use, split)),
      bias_(w.merged_vector(with_suffix(names, ".bias"), outs, split)),
      split_(w.num_ranks() > 1 ? split : Split::None) {}

void Linear::multiply(Ctx& cx, Tensor y, const Normed& x) const {
  cx.ops.count(weight_.work(x.x.rows()));
  cx.ops.normed_linear(y, x, weight_, bias_.tensor);
}

Tensor Linear::part(Ctx& cx, const Normed& x, DType type) const {
  Tensor y = cx.ops.exchange(type, x.x.rows(), weight_.out);
  multiply(cx, y, x);
  return y;
}

Tensor Linear::operator()(Ctx& cx, const Normed& x) const { return (*this)(cx, x, cx.activations); }

Tensor Linear::operator()(Ctx& cx, const Normed& x, DType type) const {
  Tensor y = cx.arena.alloc(type, {x.x.rows(), weight_.out});
  if (split_ == Split::Inputs) {
    cx.ops.all_reduce(y, part(cx, x, type));
  } else {
    multiply(cx, y, x);
  }
  return y;
}

Tensor Linear::whole(Ctx& cx, const Normed& x) const {
  if (split_ != Split::Outputs) return (*this)(cx, x, DType::F32);
  Tensor y;
  if (cx.ops.rank() == 0) y = cx.arena.alloc(DType::F32, {x.x.rows(), weight_.out * cx.ops.num_ranks()});
  cx.ops.gather_parts(y, part(cx, x, DType::F32));
  return y;
}

void Linear::add_to(Ctx& cx, Tensor h, Tensor x) const {
  if (split_ == Split::Inputs) {
    cx.ops.add(h, (*this)(cx, x));
    return;
  }
  Tensor scratch = cx.arena.alloc(cx.activations, {x.rows(), weight_.out});
  cx.ops.count(weight_.work(x.rows()));
  cx.ops.linear_add(h, x, weight_, bias_.tensor, scratch);
}

void Linear::add_to(Ctx& cx, Tensor h, Tensor x, const RmsNorm& norm, Normed& y) const {
  if (split_ == Split::Inputs) {
    keep_rows(y, h.rows());
    cx.ops.all_reduce_norm(y, h, part(cx, x, cx.activations), norm.weight());
    return;
  }
  Tensor scratch = cx.arena.alloc(cx.activations, {x.rows(), weight_.out});
  cx.ops.count(weight_.work(x.rows()));
  keep_rows(y, h.rows());
  cx.ops.linear_add_norm(y, h, x, weight_, bias_.tensor, norm.weight(), scratch);
}

Tensor Linear::gated(Ctx& cx, const Normed& x, Act act) const {
  Tensor scratch = cx.arena.alloc(cx.activations, {x.x.rows(), weight_.out});
  Tensor y = cx.arena.alloc(cx.activations, {x.x.rows(), weight_.out / 2});
  cx.ops.count(weight_.work(x.x.rows()));
  cx.ops.normed_gated_linear(y, x, weight_, bias_.tensor, act, scratch);
  return y;
}

RmsNorm::RmsNorm(const Loader& w, const ModelConfig& c, int64_t n)
    : weight_(w.vector("weight", n, c.norm_plus_one ? 1.0F : 0.0F)), eps_(c.norm_eps) {}

Tensor RmsNorm::operator()(Ctx& cx, Tensor x) const {
  Tensor y = cx.arena.alloc(cx.activations, {x.rows(), x.cols()});
  cx.ops.rms_norm(y, x, weight_.tensor, eps_);
  return y;
}

void RmsNorm::in_place(Ctx& cx, Tensor x) const { cx.ops.rms_norm(x, x, weight_.tensor, eps_); }

void RmsNorm::apply(Ctx& cx, Normed& y, Tensor h) const {
  keep_rows(y, h.rows());
  cx.ops.rms_norm(y.x, h, weight_.tensor, eps_);
  y.whole = true;
}

void RmsNorm::after_add(Ctx& cx, Normed& y, Tensor h, Tensor x) const {
  keep_rows(y, h.rows());
  cx.ops.add_rms_norm(y.x, h, x, weight_.tensor, eps_);
  y.whole = true;
}

LayerNorm::LayerNorm(const Loader& w, const ModelConfig& c, int64_t n)
    : weight_(w.vector("weight", n)), bias_(w.vector("bias", n)), eps_(c.norm_eps) {}

void LayerNorm::in_place(Ctx& cx, Tensor x) const { cx.ops.layer_norm(x, x, weight_.tensor, bias_.tensor, eps_); }

void LayerNorm::apply(Ctx& cx, Normed& y, Tensor h) const {
  keep_rows(y, h.rows());
  cx.ops.layer_norm(y.x, h, weight_.tensor, bias_.tensor, eps_);
  y.whole = true;
}

void LayerNorm::after_add(Ctx& cx, Normed& y, Tensor h, Tensor x) const {
  cx.ops.add(h, x);
  apply(cx, y, h);
}

Attention::Attention(const Loader& w, const ModelConfig& c, int layer, const AttentionNames& names, MatrixLayout layout)
    : qkv_(w, merged_or(w, names.qkv, {names.q, names.k, names.v}), c.hidden_size, qkv_outs(c), layout,
           MatrixUse::Layer, Split::Outputs),
      o_(w, {names.o}, int64_t{c.num_heads} * c.head_dim, {c.hidden_size}, layout, MatrixUse::Layer, Split::Inputs),
      layer_(layer),
      head_dim_(c.head_dim),
      num_heads_(static_cast<int>(w.share(c.num_heads, "attention heads"))),
      num_kv_heads_(static_cast<int>(w.share(c.num_kv_heads, "KV heads"))),
      use_rope_(c.rope.rotary_dim > 0),
      interleaved_(c.rope.interleaved) {
  if (w.has("q_norm.weight")) {
    qk_norm_.emplace_back(w / "q_norm", c, c.head_dim);
    qk_norm_.emplace_back(w / "k_norm", c, c.head_dim);
  }
  const bool sliding = c.sliding_window > 0 && (c.layer_sliding.empty() || c.layer_sliding[static_cast<size_t>(layer)]);
  rope_table_ = sliding && c.rope_local ? RopeTable::Local : RopeTable::Global;
  options_ = {.num_heads = num_heads_,
              .scale = c.attention_scale,
              .softcap = c.attention_softcap,
              .window = sliding ? c.sliding_window : 0,
              .causal = !c.encoder};
  const std::vector<float> bias = w.merged_values(
      with_suffix(merged_or(w, names.qkv, {names.q, names.k, names.v}), ".bias"), qkv_outs(c), Split::Outputs);
  if (!bias.empty() && qk_norm_.empty()) {
    const auto dim = static_cast<size_t>(head_dim_);
    const size_t nq = static_cast<size_t>(num_heads_) * dim, nkv = static_cast<size_t>(num_kv_heads_) * dim;
    key_balance_ = balance_keys(std::span(bias).subspan(nq, nkv),
                                {num_heads_, num_kv_heads_, head_dim_, c.rope.rotary_dim, interleaved_});
  }
}

Tensor Attention::operator()(Ctx& cx, const Normed& x) const { return o_(cx, attend(cx, x)); }

void Attention::add_to(Ctx& cx, Tensor& h, Normed& x, const RmsNorm& norm) const {
  Tensor out = attend(cx, x);
  h = rows_to_go_on(cx, h);
  o_.add_to(cx, h, out, norm, x);
}

// What heads make of it, of the rows to go on with.
Tensor Attention::attend(Ctx& cx, const Normed& x) const {
  const int64_t nq = int64_t{num_heads_} * head_dim_, nkv = int64_t{num_kv_heads_} * head_dim_;
  Tensor qkv = qkv_(cx, x);
  Tensor q = qkv.slice_cols(0, nq), k = qkv.slice_cols(nq, nkv), v = qkv.slice_cols(nq + nkv, nkv);
  if (!qk_norm_.empty()) {
    qk_norm_[0].in_place(cx, q);
    qk_norm_[1].in_place(cx, k);
  }
  const KvView kv = cx.kv.layer(layer_);
  if (kv.dtype == DType::Q8_0 && !key_balance_.empty()) {
    cx.ops.scale_columns(qkv.slice_cols(0, nq + nkv), key_balance_);
  }
  if (use_rope_) {
    cx.ops.rope_store_kv(kv, qkv, cx.cos_sin[static_cast<int>(rope_table_)], interleaved_, cx.batch);
  } else {
    cx.ops.store_kv(kv, k, v, cx.batch);
  }
  Tensor out = cx.arena.alloc(cx.activations, {qkv.rows(), nq});
  cx.ops.attention(out, q, kv, cx.batch, options_);
  return rows_to_go_on(cx, out);
}

GatedMlp::GatedMlp(const Loader& w, const ModelConfig& c)
    : gate_up_(w, merged_or(w, "gate_up_proj", {"gate_proj", "up_proj"}), c.hidden_size,
               {c.intermediate_size, c.intermediate_size}, MatrixLayout::OutIn, MatrixUse::Layer, Split::Outputs),
      down_(w, {"down_proj"}, c.intermediate_size, {c.hidden_size}, MatrixLayout::OutIn, MatrixUse::Layer,
            Split::Inputs),
      act_(act_of(c.activation)) {}

Tensor GatedMlp::operator()(Ctx& cx, const Normed& x) const { return down_(cx, gate_up_.gated(cx, x, act_)); }

void GatedMlp::add_to(Ctx& cx, Tensor h, Normed& x, const RmsNorm& norm) const {
  down_.add_to(cx, h, gate_up_.gated(cx, x, act_), norm, x);
}

Mlp::Mlp(const Loader& w, const ModelConfig& c, const std::string& up, const std::string& down, MatrixLayout layout)
    : up_(w, {up}, c.hidden_size, {c.intermediate_size}, layout, MatrixUse::Layer, Split::Outputs),
      down_(w, {down}, c.intermediate_size, {c.hidden_size}, layout, MatrixUse::Layer, Split::Inputs),
      act_(act_of(c.activation)) {}

void Mlp::add_to(Ctx& cx, Tensor h, const Normed& x) const {
  Tensor y = up_(cx, x);
  cx.ops.activation(y, y, act_);
  down_.add_to(cx, h, y);
}

}  // namespace sgl
