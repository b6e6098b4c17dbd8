#pragma once
// WordPiece (BERT; Schuster & Nakajima 2012): the longest token that begins the word, then the longest "##" token that
// goes on from there. And WordLevel, where a word is one token or unknown.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_model.h"

namespace sgl {

class WordPiece final : public TokenModel {
 public:
  /// A word that cannot be written, or has more than `max_chars` characters, becomes `unknown`.
  WordPiece(Vocab vocab, int32_t unknown, std::string continuing_prefix = "##", size_t max_chars = 100);

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  bool append_parts(std::string_view word, std::vector<int32_t>& ids) const;

  Vocab vocab_;
  int32_t unknown_;
  std::string prefix_;
  size_t max_chars_;
};

class WordLevel final : public TokenModel {
 public:
  WordLevel(Vocab vocab, int32_t unknown) : vocab_(std::move(vocab)), unknown_(unknown) {}

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override {
    ids.push_back(vocab_.find(piece).value_or(unknown_));
  }
  const Vocab& vocab() const override { return vocab_; }

 private:
  Vocab vocab_;
  int32_t unknown_;
};

}  // namespace sgl
