#pragma once
// Byte-pair encoding (Sennrich et al. 2016) in all the forms that tokenizer.json and GGUF files have: byte-level
// (GPT-2, Llama 3, Qwen), and over characters with byte fallback as SentencePiece does it (Llama 2, Gemma).

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <variant>
#include <vector>

#include "text/bpe_merges.h"
#include "text/token_model.h"

namespace sgl {

struct BpeOptions {
  std::optional<int32_t> unknown;  ///< stands for characters that are not in the vocabulary; none: they are dropped
  bool fuse_unknown = false;       ///< one unknown token for a run of such characters
  bool byte_fallback = false;      ///< such a character becomes its bytes, <0xE2> …, if all of them are tokens
  bool ignore_merges = false;      ///< a piece that is a token is that token, whatever the merges would give
  std::string continuing_prefix;   ///< before every character of a piece but the first
  std::string word_suffix;         ///< after the last character of a piece
};

/// Cost of encode: O(n log n) in the piece's length; most words of ordinary text cost one look-up.
class Bpe final : public TokenModel {
 public:
  using Merges = std::variant<MergeTable, ScoredMerges>;
  Bpe(Vocab vocab, Merges merges, BpeOptions options);

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }
  bool use_byte_level() override;

 private:
  template <typename Rule>
  void encode_word(const Rule& rule, std::string_view word, std::vector<int32_t>& ids) const;
  template <typename Rule>
  void merge_short(const Rule& rule, std::string_view word, std::vector<BpeSymbol>& symbols) const;
  template <typename Rule>
  void merge_long(const Rule& rule, std::string_view word, std::vector<BpeSymbol>& symbols) const;
  void first_symbols(std::string_view word, std::vector<BpeSymbol>& symbols) const;
  int32_t whole_word(std::string_view word) const;
  void find_word_starts();
  size_t word_end(std::string_view piece, size_t begin) const;

  Vocab vocab_;
  Merges merges_;
  BpeOptions options_;
  bool byte_level_ = false;             // pieces are raw bytes, tokens are spelled in the byte-level alphabet
  bool cut_words_ = false;              // pieces may be cut before "▁", see find_word_starts
  std::unordered_set<char32_t> joins_;  // characters that some token has right before "▁"
  std::array<int32_t, 256> byte_ids_;   // the token of each byte, −1 if none: <0xE2>, or in the byte-level alphabet
  std::array<int32_t, 128> ascii_ids_;  // the token of each ASCII character, −1 if none

  // Whether the merges make a token out of its own spelling. Learnt when a token is first met, so that loading a
  // vocabulary does not have to try them all. A value never changes once known, so relaxed order is enough.
  enum class Whole : uint8_t { Unknown, Yes, No };
  std::unique_ptr<std::atomic<Whole>[]> whole_;
};

}  // namespace sgl
