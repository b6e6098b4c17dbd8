#pragma once
// Decoders: how the spellings of tokens become text again, one token at a time.
//
// The reference decodes a whole list of tokens, step after step. Here the same steps pass each token on as soon as its
// text cannot change any more, so a stream of tokens costs O(new tokens), and decoding a list is the same code.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace sgl {

/// One step of a decoder, with the fields that its kind uses.
struct DecodeStep {
  enum class Kind {
    ByteLevel,     ///< the byte-level alphabet back to bytes
    ByteFallback,  ///< "<0xE2>" to its byte; a run of them that is not valid UTF-8 is one U+FFFD a byte
    Fuse,          ///< from here on all tokens are one
    Metaspace,     ///< `text` ("▁") to a space; in the first token to nothing if `flag`
    Replace,       ///< matches of `pattern` to `text`
    Strip,         ///< cuts up to `start` and `stop` characters `text` from a token's ends
    WordPiece,     ///< joins tokens with spaces, those that begin with `text` ("##") without; `flag`: cleans up
    BpeSuffix,     ///< `text` ("</w>") to a space, in the last token to nothing
    Spaced,        ///< joins tokens with spaces: what a tokenizer without a decoder does
  };
  Kind kind = Kind::Fuse;
  std::string text;
  size_t start = 0, stop = 0;
  bool flag = false;
  std::shared_ptr<const Pattern> pattern;
  bool fused = false;  ///< set by TokenDecoder: the step sees parts of one token, not tokens
};

/// The steps in order. Immutable.
class TokenDecoder {
 public:
  TokenDecoder() = default;
  explicit TokenDecoder(std::vector<DecodeStep> steps);

  const std::vector<DecodeStep>& steps() const { return steps_; }
  /// The bytes that a token stands for in the middle of a text.
  std::string token_bytes(std::string_view spelling) const;

 private:
  std::vector<DecodeStep> steps_;
};

/// One text being decoded. Keeps what is not certain yet: the first bytes of a character, a run of byte tokens.
/// Requires: the decoder outlives the stream. Thread: one at a time.
class DecodeStream {
 public:
  explicit DecodeStream(const TokenDecoder& decoder) : steps_(decoder.steps()), states_(steps_.size()) {}

  /// Appends to `out` what is certain now that the token with this spelling (valid UTF-8) has come.
  void push(std::string_view spelling, std::string& out) { feed(0, spelling, out); }
  /// Appends the rest. Nothing may be pushed after this.
  void finish(std::string& out);
  /// Forgets kept text that is complete, so that only an unfinished character goes on into what follows.
  void forget_complete_text();

 private:
  struct State {
    bool any = false;     // a token, or its part, has been here
    bool broken = false;  // ByteFallback: the run of bytes is known to be invalid
    size_t count = 0;     // ByteFallback: bytes of `held` that are whole characters. Strip: characters cut so far
    std::string held;     // text kept back
  };
  void feed(size_t step, std::string_view token, std::string& out);
  void feed_bytes(size_t step, std::string_view bytes, std::string& out);
  void feed_fallback(size_t step, std::string_view token, std::string& out);
  void end_byte_run(size_t step, std::string& out);
  void feed_strip(size_t step, std::string_view part, std::string& out);
  void feed_replace(size_t step, std::string_view part, std::string& out);

  const std::vector<DecodeStep>& steps_;
  std::vector<State> states_;
};

}  // namespace sgl
