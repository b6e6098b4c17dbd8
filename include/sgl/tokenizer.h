#pragma once
// Text ↔ token ids, as the model's publisher defines it.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sgl {

/// A model's tokenizer. Immutable after construction; every const function may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Token ids of `text`. Invalid UTF-8 is read as U+FFFD, one for each maximal ill-formed part, as Python's
  /// `errors="replace"` does. `add_special_tokens` adds what the model's post-processor adds (BOS, EOS, [CLS] …).
  /// Special tokens written in `text` become their ids.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true) const = 0;

  /// Text of `ids`: always valid UTF-8 (ill-formed bytes become U+FFFD). Unknown ids are skipped.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const = 0;

  /// Number of ids, added tokens included: ids are in [0, vocab_size()).
  virtual int32_t vocab_size() const = 0;
  /// The bytes that the token contributes in the middle of a text (byte-level and byte-fallback decoded); empty for
  /// special tokens and ids out of range.
  virtual std::string token_bytes(int32_t id) const = 0;
  /// The token's own spelling in the vocabulary ("Ġhello", "▁hello", "<0x0A>", "<|im_end|>").
  virtual std::string_view token(int32_t id) const = 0;
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  virtual bool is_special(int32_t id) const = 0;

  virtual std::optional<int32_t> bos_id() const = 0;
  /// Ids that end a text by the tokenizer's own configuration; may be empty.
  virtual const std::vector<int32_t>& eos_ids() const = 0;
  /// The publisher's Jinja chat template; empty if there is none.
  virtual const std::string& chat_template() const = 0;
};

}  // namespace sgl
