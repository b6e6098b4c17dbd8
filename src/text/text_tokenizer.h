#pragma once
// The tokenizer that both file formats are read into: added tokens → normalizer → pre-tokenizers → model → template.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sgl/tokenizer.h>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"

namespace sgl {

/// What a tokenizer is made of; filled by the readers of files.
struct TokenizerParts {
  AddedTokens added;         ///< finish() not called yet
  NormalizerPtr normalizer;  ///< may be null
  std::vector<PreTokenizerPtr> pre_tokenizers;
  bool byte_level = false;  ///< after these, pieces are written in the byte-level alphabet
  std::unique_ptr<TokenModel> model;
  TokenDecoder decoder;
  std::vector<int32_t> before, after;  ///< the ids that add_special_tokens puts around a text
  std::optional<int32_t> bos_id;
  std::vector<int32_t> eos_ids;
  std::string chat_template;
};

/// See Tokenizer for what each function promises.
class TextTokenizer final : public Tokenizer {
 public:
  /// Throws CorruptFile where an id of `before`, `after`, BOS or EOS is not a token.
  explicit TextTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const override;
  int32_t vocab_size() const override { return vocab_size_; }
  std::string token_bytes(int32_t id) const override;
  std::string_view token(int32_t id) const override;
  std::optional<int32_t> token_to_id(std::string_view token) const override;
  bool is_special(int32_t id) const override { return parts_.added.is_special(id); }
  std::optional<int32_t> bos_id() const override { return parts_.bos_id; }
  const std::vector<int32_t>& eos_ids() const override { return parts_.eos_ids; }
  const std::string& chat_template() const override { return parts_.chat_template; }

  const TokenDecoder& decoder() const { return parts_.decoder; }
  /// Whether decoding passes the token over: an id out of range, a hole, a special token that is to be skipped.
  bool is_skipped(int32_t id, bool skip_special_tokens) const;

 private:
  void encode_ordinary(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;

  TokenizerParts parts_;
  int32_t vocab_size_ = 0;
};

}  // namespace sgl
