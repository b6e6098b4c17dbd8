// A text on its way to ids:
//   "Hi<|im_end|>\n ok"   raw added tokens are cut out            Hi │ <|im_end|> │ \n ok
//                         each part between is normalized, and normalized added tokens are cut out
//                         the rest is pre-tokenized                Hi │            │ \n │ ␣ok
//                         and every piece goes through the model

#include "text/text_tokenizer.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl {

TextTokenizer::TextTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  parts_.added.finish(parts_.normalizer.get());
  if (parts_.byte_level && !parts_.model->use_byte_level()) {
    parts_.pre_tokenizers.push_back(make_byte_spelling());
  }
  vocab_size_ = std::max(parts_.model->vocab().size(), parts_.added.end_id());
  auto check = [&](std::string_view what, int32_t id) {
    if (id < 0 || id >= vocab_size_) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("the tokenizer's {} has the id {}, expected 0 to {}", what, id, vocab_size_ - 1));
    }
  };
  for (int32_t id : parts_.before) check("prefix", id);
  for (int32_t id : parts_.after) check("suffix", id);
  for (int32_t id : parts_.eos_ids) check("end of text", id);
  if (parts_.bos_id) check("begin of text", *parts_.bos_id);
}

std::vector<int32_t> TextTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = to_valid_utf8(text);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  if (add_special_tokens) ids = parts_.before;
  parts_.added.split_raw(text, [&](int32_t id, std::string_view part, size_t begin) {
    if (id >= 0) {
      ids.push_back(id);
    } else {
      encode_ordinary(part, begin == 0, ids);
    }
  });
  if (add_special_tokens) ids.insert(ids.end(), parts_.after.begin(), parts_.after.end());
  return ids;
}

void TextTokenizer::encode_ordinary(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
  std::string normalized;
  if (parts_.normalizer != nullptr) {
    normalized = text;
    parts_.normalizer->apply(normalized);
    text = normalized;
  }
  parts_.added.split_normalized(text, [&](int32_t id, std::string_view part, size_t begin) {
    if (id >= 0) return ids.push_back(id);
    run_pre_tokenizers(parts_.pre_tokenizers, {part, at_start && begin == 0},
                       [&](Piece piece) { parts_.model->encode(piece.text, ids); });
  });
}

bool TextTokenizer::is_skipped(int32_t id, bool skip_special_tokens) const {
  if (id < 0 || id >= vocab_size_) return true;
  if (const AddedToken* added = parts_.added.find(id)) return skip_special_tokens && added->special;
  return parts_.model->vocab().spelling(id).empty();
}

std::string TextTokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string text;
  DecodeStream stream(parts_.decoder);
  for (int32_t id : ids) {
    if (!is_skipped(id, skip_special_tokens)) stream.push(token(id), text);
  }
  stream.finish(text);
  return text;
}

std::string TextTokenizer::token_bytes(int32_t id) const {
  if (is_skipped(id, true)) return {};
  return parts_.decoder.token_bytes(token(id));
}

std::string_view TextTokenizer::token(int32_t id) const {
  if (const AddedToken* added = parts_.added.find(id)) return added->spelling;
  return parts_.model->vocab().spelling(id);
}

std::optional<int32_t> TextTokenizer::token_to_id(std::string_view token) const {
  if (auto id = parts_.added.find(token)) return id;
  return parts_.model->vocab().find(token);
}

}  // namespace sgl
