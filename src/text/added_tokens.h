#pragma once
// Added tokens: strings that are taken out of the text whole, before the model sees any of it ("<|im_end|>").

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/byte_trie.h"
#include "text/function_ref.h"
#include "text/normalizer.h"

namespace sgl {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string spelling;      ///< what it is looked for and decoded as; set by finish(): the content, or its normal form
  bool special = false;      ///< left out of decoded text; never comes from ordinary text
  bool normalized = false;   ///< looked for in the normalized text, in its own normal form
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  bool single_word = false;  ///< only where no word character touches it
};

/// The added tokens of a tokenizer, and how a text is cut at them. Immutable after the last add().
class AddedTokens {
 public:
  /// A token of an id or content that is here already replaces it. Empty contents are ignored.
  void add(AddedToken token);
  /// Call once after the last add(): makes the spellings with `normalizer` (may be null) and builds the index.
  void finish(const Normalizer* normalizer);

  /// A part of the text: an added token's id, or −1 and ordinary text.
  using PartSink = FunctionRef<void(int32_t id, std::string_view text, size_t begin)>;
  /// Cuts raw text at the tokens that are not `normalized`, or normalized text at those that are. The leftmost match
  /// wins, among those that begin together the longest. Parts are not empty. Cost: linear.
  void split_raw(std::string_view text, PartSink sink) const { split(raw_, text, sink); }
  void split_normalized(std::string_view text, PartSink sink) const { split(normalized_, text, sink); }

  const AddedToken* find(int32_t id) const;
  std::optional<int32_t> find(std::string_view content) const;
  bool is_special(int32_t id) const;
  /// One more than the largest id; 0 if there is none.
  int32_t end_id() const { return end_id_; }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  void split(const ByteTrie& trie, std::string_view text, PartSink sink) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;           // id → index in tokens_
  std::unordered_map<std::string, size_t> by_content_;  // content → index in tokens_
  ByteTrie raw_, normalized_;                           // values: indices in tokens_
  int32_t end_id_ = 0;
};

}  // namespace sgl
