#pragma once
// The decoder-only transformer around a block: embed → blocks → norm → head. A model file writes only its block.

#include <optional>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/model.h"
#include "nn/rope.h"

namespace sgl {

/// Names of what surrounds the blocks in a checkpoint.
struct DecoderNames {
  std::string root = "model";
  std::string embed = "embed_tokens";
  std::string positions;  ///< learned position table; empty: none
  std::string layers = "layers";
  std::string norm = "norm";
  std::string head = "lm_head";
};

/// Block must have: a constructor (Loader, ModelConfig, int layer); `using Norm`, the type of the final norm and of
/// `attn_norm`, the norm that it begins with; and `void operator()(Ctx&, Tensor& h, Normed& x, const Norm& next) const`
/// that adds to the residual stream h, [n, hidden], in place, and leaves in h the rows_to_go_on() of it. x is h by its
/// attn_norm, and afterwards by `next`, so that an op can add and norm at once.
template <typename Block>
class Decoder : public Model {
 public:
  Decoder(const Loader& w, int context_length, const DecoderNames& names, ModelResult result)
      : config_(w.config()),
        embed_((w / names.root).table(names.embed + ".weight", config_.vocab_size, config_.hidden_size)),
        norm_(w / names.root / names.norm, config_, config_.hidden_size) {
    // A vocabulary that cannot be shared out is rank 0's: the others' results are of no interest.
    const bool is_split = vocab() % w.num_ranks() == 0, tied = config_.tie_word_embeddings;
    if (result == ModelResult::State || (!is_split && w.rank() > 0)) {
      w.pass_over(names.head + ".weight");
    } else {
      head_.emplace(tied ? w / names.root : w, std::vector{tied ? names.embed : names.head}, config_.hidden_size,
                    std::vector{vocab()}, MatrixLayout::OutIn, MatrixUse::Head,
                    is_split ? Split::Outputs : Split::None);
    }
    if (!names.positions.empty()) {
      positions_ = (w / names.root).table(names.positions + ".weight", config_.context_length, config_.hidden_size);
    }
    if (config_.rope.rotary_dim > 0) rope_.emplace_back(config_.rope, context_length);
    if (config_.rope_local) rope_.emplace_back(*config_.rope_local, context_length);
    blocks_.reserve(static_cast<size_t>(config_.num_layers));
    for (int i = 0; i < config_.num_layers; ++i) blocks_.emplace_back(w / names.root / names.layers / i, config_, i);
  }

  const ModelConfig& config() const override { return config_; }

  Tensor forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                 std::span<const int32_t> rows) const override {
    ops.begin(batch);
    Ctx cx{ops, arena, kv, batch, ops.activations(), {}};
    const int64_t n = batch.num_tokens();
    for (size_t i = 0; i < rope_.size(); ++i) {
      cx.cos_sin[i] = arena.alloc(DType::F32, {n, rope_[i].rotary_dim()});
      ops.rope_table(cx.cos_sin[i], batch.positions, rope_[i].inv_freq(), rope_[i].attention_factor());
    }
    Tensor h = arena.alloc(DType::F32, {n, config_.hidden_size});
    ops.embedding(h, batch.token_ids, embed_.tensor, config_.embedding_scale);
    if (!positions_.empty()) ops.add_embedding(h, batch.positions, positions_.tensor);
    Normed x = room_for_norms(cx, n, config_.hidden_size);
    blocks_.front().attn_norm.apply(cx, x, h);
    for (size_t i = 0; i + 1 < blocks_.size(); ++i) {
      Arena::Scope temporaries(arena);  // all blocks use the same memory
      blocks_[i](cx, h, x, blocks_[i + 1].attn_norm);
    }
    // After the last keys and values only the rows with results matter; of a step without any, one keeps ops simple.
    // What the last block leaves in h may be new memory, so no scope ends here.
    static constexpr int32_t kAnyRow = 0;
    cx.rows = rows.empty() ? std::span(&kAnyRow, 1) : rows;
    blocks_.back()(cx, h, x, norm_);

    if (rows.empty()) return {};
    if (!head_) {
      norm_.in_place(cx, h);  // in float32, which x has not
      return h;
    }
    Tensor logits = head_->whole(cx, x);
    if (config_.final_softcap > 0 && !logits.empty()) ops.softcap(logits, config_.final_softcap);
    return logits;
  }

 private:
  int64_t vocab() const { return config_.vocab_size; }

  ModelConfig config_;
  Param embed_;      ///< [vocab, hidden]; on the host in the checkpoint's mapping: only the rows that are used get read
  Param positions_;  ///< [context, hidden] or empty
  typename Block::Norm norm_;
  std::optional<Linear> head_;  ///< none: the states are wanted
  std::vector<Rope> rope_;
  std::vector<Block> blocks_;
};

}  // namespace sgl
