#pragma once
// Text of a growing list of ids, as it can be streamed to a reader.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <sgl/tokenizer.h>

namespace sgl {

/// Turns token ids into text piece by piece. A piece is always valid UTF-8 and never holds half a character: bytes that
/// may still become one wait for the next ids, or for flush(), which gives U+FFFD for them.
///
/// All pieces together are equal to tokenizer.decode(all ids, skip_special_tokens). For tokenizers with byte fallback
/// that means that a run of byte tokens (a character that is not in the vocabulary) waits for its end, because decode
/// shows either all of the run or, if any of it is invalid, one U+FFFD for each byte.
///
/// Cost: O(new ids). Requires: the tokenizer outlives this object. Thread: one at a time.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);

  /// The same for text that continues `prompt`: what comes out is what the ids add to the prompt's text. Tokenizers of
  /// the SentencePiece kind drop the space that begins a text; here it stays, and a character whose first bytes end the
  /// prompt comes out whole with the first piece. Looks at the last few ids of the prompt only.
  IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens, std::span<const int32_t> prompt);

  ~IncrementalDetokenizer();
  IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept;
  IncrementalDetokenizer& operator=(IncrementalDetokenizer&&) noexcept;

  /// Takes the next ids and returns the text that is certain now; may be empty.
  std::string append(std::span<const int32_t> ids);
  std::string append(int32_t id) { return append({&id, 1}); }

  /// The rest of the text. Call once, at the end; nothing may be appended after it.
  std::string flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sgl
