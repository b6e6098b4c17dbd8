#pragma once
// From output tokens to text that may be shown: whole characters, nothing that could still become a stop string.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/grammar.h"
#include "sgl/tokenizer.h"
#include "text/detokenizer.h"

namespace sgl {

/// A regular expression that ends a text in which it is found, as Python's re.search finds it.
class StopPattern {
 public:
  /// Throws InvalidArgument for what is no regular expression, Unsupported for what the grammars' do not have.
  explicit StopPattern(std::string pattern);
  const std::string& pattern() const { return pattern_; }
  /// Takes more text. Whether all so far holds a match.
  bool found(std::string_view more);

 private:
  std::string pattern_;
  GrammarMatcher matcher_;
};

/// Thread: one at a time.
class TextStream {
 public:
  /// Without a tokenizer there is no text.
  TextStream() = default;
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special_tokens, bool keep_stop,
             std::vector<StopPattern> patterns = {});

  /// Takes one more output token and appends what may be shown now to `shown`. Returns the stop string that the text
  /// now holds, if any: the first one in the text, the earliest listed at the same place. The text then ends before it,
  /// or after it with keep_stop, and nothing more may be appended. If there is none, the first pattern that the text
  /// holds a match of; then the text ends with the token, and nothing is cut. Throws Unsupported where the text drives
  /// a pattern beyond its limits.
  std::optional<std::string> append(int32_t token, std::string& shown);

  /// Takes text that the next output tokens stand for, instead of the tokens: whole characters, or the beginning of one
  /// whose rest comes with the next call. Then resume() with all output tokens before append() again.
  std::optional<std::string> append_text(std::string_view text, std::string& shown);
  void resume(std::span<const int32_t> output);

  /// The text has ended: appends what was held back.
  void finish(std::string& shown);

 private:
  std::optional<std::string> take_stop(std::string_view more, std::string& shown);
  void release_all_but_possible_stop(std::string& shown);

  const Tokenizer* tokenizer_ = nullptr;
  bool skip_special_tokens_ = true;
  std::optional<IncrementalDetokenizer> detokenizer_;  ///< none: there is no text, or it has ended
  bool flushed_ = false;                               ///< the detokenizer gave all it had
  std::string partial_;                                ///< the beginning of a character
  std::vector<std::string> stop_;
  bool keep_stop_ = false;
  std::vector<StopPattern> patterns_;
  std::string held_;  ///< decoded, not shown yet: a proper prefix of a stop string
};

}  // namespace sgl
