#pragma once
// The split patterns of GPT-2, Llama 3 and Qwen 2, scanned by hand.
//
// Most byte-level tokenizers use one of these three regular expressions. Each alternative can be decided by looking at
// one or two characters, so a scanner is several times faster than a regex engine; the comparison with the reference
// package over random texts is what proves it equal.

#include <cstddef>
#include <optional>
#include <string_view>

namespace sgl {

enum class SplitPattern {
  Gpt2,    ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  Llama3,  ///< (?i:'s|…)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  Qwen2,   ///< Llama 3's with \p{N} instead of \p{N}{1,3}
};

/// The regular expression in full, as tokenizer.json has it.
std::string_view regex_of(SplitPattern pattern);

/// The pattern that is spelled exactly so, if it is one of these.
std::optional<SplitPattern> known_split_pattern(std::string_view regex);

/// End of the match that begins at `at`. The patterns match everywhere, so the matches tile the text.
/// Requires: valid UTF-8, `at` < text.size() and the end of the match before (or 0).
size_t scan_piece(SplitPattern pattern, std::string_view text, size_t at);

}  // namespace sgl
