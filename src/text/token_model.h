#pragma once
// A tokenizer's model: how one piece of text, between two cuts, becomes ids.

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace sgl {

/// Immutable; const functions may be called from any thread.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// Appends the ids of `piece`. Requires: not empty, valid UTF-8.
  /// Throws InvalidArgument where the piece cannot be written in the vocabulary and there is no unknown token.
  virtual void encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;

  /// The model's own tokens, without added ones.
  virtual const Vocab& vocab() const = 0;

  /// Asks the model to take raw bytes where it was to get their byte-level spelling. False: it cannot, spell them.
  virtual bool use_byte_level() { return false; }
};

}  // namespace sgl
