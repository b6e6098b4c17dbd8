#pragma once
#include "nn/layers.h"

namespace sgl {

/// Gemma 2 and 3 (Gemma Team 2024, 2025): norms before and after each half of the block. Soft-caps, the layer pattern
/// of the window and the two rope tables come from the config, the norms of q and k from the checkpoint.
struct GemmaBlock {
  using Norm = RmsNorm;

  GemmaBlock(const Loader& w, const ModelConfig& c, int layer)
      : attn_norm(w / "input_layernorm", c, c.hidden_size),
        attn(w / "self_attn", c, layer),
        post_attn_norm(w / "post_attention_layernorm", c, c.hidden_size),
        ffn_norm(w / "pre_feedforward_layernorm", c, c.hidden_size),
        ffn(w / "mlp", c),
        post_ffn_norm(w / "post_feedforward_layernorm", c, c.hidden_size) {}

  void operator()(Ctx& cx, Tensor& h, Normed& x, const Norm& next) const {
    Tensor y = post_attn_norm(cx, attn(cx, x));
    h = rows_to_go_on(cx, h);
    ffn_norm.after_add(cx, x, h, y);  // h += y; x = norm(h)
    next.after_add(cx, x, h, post_ffn_norm(cx, ffn(cx, x)));
  }

  RmsNorm attn_norm;
  Attention attn;
  RmsNorm post_attn_norm;
  RmsNorm ffn_norm;
  GatedMlp ffn;
  RmsNorm post_ffn_norm;
};

}  // namespace sgl
