#pragma once
#include "nn/layers.h"

namespace sgl {

/// GPT-2's block (Radford et al. 2019): LayerNorm, biases everywhere, no gate, learned positions in the embedding.
struct Gpt2Block {
  using Norm = LayerNorm;

  Gpt2Block(const Loader& w, const ModelConfig& c, int layer)
      : attn_norm(w / "ln_1", c, c.hidden_size),
        attn(w / "attn", c, layer, {.o = "c_proj", .qkv = "c_attn"}, layout(c)),
        ffn_norm(w / "ln_2", c, c.hidden_size),
        ffn(w / "mlp", c, "c_fc", "c_proj", layout(c)) {}

  void operator()(Ctx& cx, Tensor& h, Normed& x, const Norm& next) const {
    Tensor y = attn(cx, x);
    h = rows_to_go_on(cx, h);
    ffn_norm.after_add(cx, x, h, y);  // h += y; x = norm(h)
    ffn.add_to(cx, h, x);
    next.apply(cx, x, h);
  }

  static MatrixLayout layout(const ModelConfig& c) {
    return c.conv1d_weights ? MatrixLayout::InOut : MatrixLayout::OutIn;
  }

  LayerNorm attn_norm;
  Attention attn;
  LayerNorm ffn_norm;
  Mlp ffn;
};

}  // namespace sgl
