#pragma once
#include "nn/layers.h"

namespace sgl {

/// BERT's block (Devlin et al. 2019): attention over the whole text, biases everywhere, norms behind each half.
struct BertBlock {
  BertBlock(const Loader& w, const ModelConfig& c)
      : attn(w / "attention", c, 0, {.q = "self.query", .k = "self.key", .v = "self.value", .o = "output.dense"}),
        attn_norm(w / "attention" / "output" / "LayerNorm", c, c.hidden_size),
        ffn(w, c, "intermediate.dense", "output.dense", MatrixLayout::OutIn),
        ffn_norm(w / "output" / "LayerNorm", c, c.hidden_size) {}

  void operator()(Ctx& cx, Tensor h) const {
    cx.ops.add(h, attn(cx, h));
    attn_norm.in_place(cx, h);
    ffn.add_to(cx, h, h);
    ffn_norm.in_place(cx, h);
  }

  Attention attn;
  LayerNorm attn_norm;
  Mlp ffn;
  LayerNorm ffn_norm;
};

}  // namespace sgl
