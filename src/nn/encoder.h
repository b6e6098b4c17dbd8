#pragma once
// The encoder around a block: embed → norm → blocks. Every token sees the whole text, so a sequence is computed in one
// step; its keys and values are needed within their layer only, and all layers share the storage of one.

#include <optional>
#include <vector>

#include "nn/layers.h"
#include "nn/model.h"

namespace sgl {

/// A cross-encoder's head on the states of first tokens: dense, tanh, a score for each label.
class Classifier {
 public:
  /// BERT's dense half is its pooler, RoBERTa's is in the classifier.
  Classifier(const Loader& w, const ModelConfig& c)
      : dense_(w, {w.has("pooler.dense.weight") ? "pooler.dense" : "classifier.dense"}, c.hidden_size, {c.hidden_size}),
        out_(w, {w.has("classifier.weight") ? "classifier" : "classifier.out_proj"}, c.hidden_size, {c.num_labels}) {}
  /// [n, hidden] → [n, num_labels]
  Tensor operator()(Ctx& cx, Tensor x) const {
    Tensor y = dense_(cx, x, DType::F32);
    cx.ops.softcap(y, 1.0F);  // 1 · tanh(y / 1)
    return out_(cx, y, DType::F32);
  }

 private:
  Linear dense_, out_;
};

/// Names are those of BERT in the hub's form. Block must have: a constructor (Loader, ModelConfig); and
/// `void operator()(Ctx&, Tensor h) const` that changes the states h, [n, hidden], in place.
template <typename Block>
class Encoder : public Model {
 public:
  explicit Encoder(const Loader& w)
      : config_(w.config()),
        words_((w / "embeddings").table("word_embeddings.weight", config_.vocab_size, config_.hidden_size)),
        positions_((w / "embeddings")
                       .table("position_embeddings.weight", config_.context_length + config_.position_offset,
                              config_.hidden_size)),
        types_((w / "embeddings").table("token_type_embeddings.weight", config_.type_vocab_size, config_.hidden_size)),
        norm_(w / "embeddings" / "LayerNorm", config_, config_.hidden_size) {
    blocks_.reserve(static_cast<size_t>(config_.num_layers));
    for (int i = 0; i < config_.num_layers; ++i) blocks_.emplace_back(w / "encoder" / "layer" / i, config_);
    if (config_.num_labels > 0) classifier_.emplace(w, config_);
  }

  const ModelConfig& config() const override { return config_; }

  Tensor forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                 std::span<const int32_t> rows) const override {
    ops.begin(batch);
    Ctx cx{ops, arena, kv, batch, ops.activations(), {}};
    const int64_t n = batch.num_tokens();
    Tensor h = arena.alloc(DType::F32, {n, config_.hidden_size});
    ops.embedding(h, batch.token_ids, words_.tensor, 1.0F);
    ops.add_embedding(h, batch.positions,
                      positions_.tensor.slice_rows(config_.position_offset, config_.context_length));
    const std::vector<int32_t> first_text(batch.token_types.empty() ? static_cast<size_t>(n) : 0);
    ops.add_embedding(h, batch.token_types.empty() ? first_text : batch.token_types, types_.tensor);
    norm_.in_place(cx, h);
    for (const Block& block : blocks_) {
      Arena::Scope temporaries(arena);  // all blocks use the same memory
      block(cx, h);
    }

    if (rows.empty()) return {};
    const Tensor picked = pick_rows(cx, h, rows);
    return classifier_ ? (*classifier_)(cx, picked) : picked;
  }

 private:
  ModelConfig config_;
  Param words_;      ///< [vocab, hidden]
  Param positions_;  ///< [position_offset + context, hidden]
  Param types_;      ///< [type_vocab, hidden]
  LayerNorm norm_;
  std::vector<Block> blocks_;
  std::optional<Classifier> classifier_;
};

}  // namespace sgl
