#pragma once
// From output tokens to text that may be shown: whole characters, nothing that could still become a stop string.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sgl/tokenizer.h"
#include "text/detokenizer.h"

namespace sgl {

/// Thread: one at a time.
class TextStream {
 public:
  /// Without a tokenizer there is no text.
  TextStream() = default;
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special_tokens, bool keep_stop);

  /// Takes one more output token and appends what may be shown now to `shown`. Returns the stop string that the text
  /// now holds, if any: the first one in the text, the earliest listed at the same place. The text then ends before it,
  /// or after it with keep_stop, and nothing more may be appended.
  std::optional<std::string> append(int32_t token, std::string& shown);

  /// The text has ended: appends what was held back.
  void finish(std::string& shown);

 private:
  void release_all_but_possible_stop(std::string& shown);

  std::optional<IncrementalDetokenizer> detokenizer_;
  std::vector<std::string> stop_;
  bool keep_stop_ = false;
  std::string held_;  ///< decoded, not shown yet: a proper prefix of a stop string
};

}  // namespace sgl
