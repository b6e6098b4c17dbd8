#pragma once
// Unigram language model (Kudo 2018): the segmentation of a piece whose tokens' log-probabilities sum to the most.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/token_model.h"

namespace sgl {

/// Cost of encode: O(length · longest token), by Viterbi's algorithm.
class Unigram final : public TokenModel {
 public:
  /// `scores[id]` is the log-probability of `vocab`'s token. A character that no token covers costs the lowest score
  /// less 10; with `byte_fallback` it then becomes its byte tokens, if all of them exist, else `unknown`.
  /// Requires: scores.size() == vocab.size(); `unknown`, if any, is in the vocabulary.
  Unigram(Vocab vocab, std::vector<double> scores, std::optional<int32_t> unknown, bool byte_fallback);

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  Vocab vocab_;
  std::vector<double> scores_;
  std::optional<int32_t> unknown_;
  std::vector<int32_t> byte_ids_;  // the tokens <0x00> … <0xFF>; empty without byte fallback
  double unknown_score_ = 0;
  ByteTrie trie_;
};

}  // namespace sgl
