#pragma once
// How many of a sample's tokens are thinking, for the usage.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "server/reasoning_parser.h"
#include "sgl/tokenizer.h"

namespace sgl {

/// Keeps references to both.
class ReasoningTokens {
 public:
  ReasoningTokens(const ReasoningTags& tags, const Tokenizer& tokenizer) : tags_(tags), tokenizer_(tokenizer) {}

  /// Takes tokens that continue the output, in place of its last `replaced` ones.
  void add(const std::vector<int32_t>& ids, int replaced) {
    if (!over_) tokens_ -= std::min(replaced, tokens_);
    for (const int32_t id : ids) {
      if (over_) return;
      std::string text = tokenizer_.token_bytes(id);
      if (text.empty()) text = tokenizer_.token(id);  // a special one
      text_ += text;
      ++tokens_;
      look(text.size());
    }
  }
  /// The tags count, as they do in completion_tokens.
  int count() const { return begun_ || tags_.begins_inside ? tokens_ : 0; }

 private:
  void look(size_t new_bytes) {
    if (!begun_ && !tags_.begins_inside) {
      const size_t first = std::min(text_.find_first_not_of(" \t\r\n"), text_.size());
      const size_t length = std::min(text_.size() - first, tags_.begin.size());
      over_ = text_.compare(first, length, tags_.begin, 0, length) != 0;
      begun_ = !over_ && length == tags_.begin.size();
      return;
    }
    const size_t tail = std::min(text_.size(), new_bytes + tags_.end.size());
    over_ = text_.find(tags_.end, text_.size() - tail) != std::string::npos;
  }

  const ReasoningTags& tags_;
  const Tokenizer& tokenizer_;
  std::string text_;
  int tokens_ = 0;
  bool begun_ = false, over_ = false;
};

}  // namespace sgl
