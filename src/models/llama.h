#pragma once
#include "nn/layers.h"

namespace sgl {

/// Llama's block (Touvron et al. 2023), and the models that differ from it by what their checkpoint and config say:
/// Mistral (window), Qwen2 (bias on q, k, v), Qwen3 (norms on q and k), Phi-3 (merged matrices), SmolLM.
/// h is the residual stream, [n, hidden], and x its norm; n counts the tokens of all sequences in the step, after the
/// last block's attention those of rows_to_go_on().
struct LlamaBlock {
  using Norm = RmsNorm;

  LlamaBlock(const Loader& w, const ModelConfig& c, int layer)
      : attn_norm(w / "input_layernorm", c, c.hidden_size),
        attn(w / "self_attn", c, layer, {.qkv = "qkv_proj"}),
        ffn_norm(w / "post_attention_layernorm", c, c.hidden_size),
        ffn(w / "mlp", c) {}

  void operator()(Ctx& cx, Tensor& h, Normed& x, const Norm& next) const {
    attn.add_to(cx, h, x, ffn_norm);
    ffn.add_to(cx, h, x, next);
  }

  RmsNorm attn_norm;
  Attention attn;
  RmsNorm ffn_norm;
  GatedMlp ffn;
};

}  // namespace sgl
