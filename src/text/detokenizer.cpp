#include "text/detokenizer.h"

#include <optional>
#include <utility>
#include <vector>

#include "text/text_tokenizer.h"
#include "text/token_decoder.h"
#include "text/unicode.h"

namespace sgl {
namespace {

// Enough of a prompt's visible tokens to know the state behind it: that it is not empty, and the up to three bytes of
// an unfinished character, each of which can be a token.
constexpr size_t kContextTokens = 8;

}  // namespace

// Our own tokenizers decode as a stream. Any other implementation of the interface is asked to decode everything again.
struct IncrementalDetokenizer::Impl {
  const Tokenizer& tokenizer;
  bool skip_special;
  const TextTokenizer* own;
  std::optional<DecodeStream> stream;
  std::vector<int32_t> ids;  // for other implementations: all ids
  size_t shown = 0;          // and how much of their text has been given

  void push(std::span<const int32_t> more, std::string& out) {
    for (int32_t id : more) {
      if (!own->is_skipped(id, skip_special)) stream->push(own->token(id), out);
    }
  }

  std::string decode_again(bool last) {
    std::string text = tokenizer.decode(ids, skip_special);
    size_t end = text.size();
    // U+FFFD at the end may be the beginning of a character.
    while (!last && std::string_view(text).substr(0, end).ends_with(kReplacementCharacter)) end -= 3;
    if (end <= shown) return {};
    size_t begin = std::exchange(shown, end);
    return text.substr(begin, end - begin);
  }
};

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : impl_(new Impl{tokenizer, skip_special_tokens, dynamic_cast<const TextTokenizer*>(&tokenizer), {}, {}, 0}) {
  if (impl_->own != nullptr) impl_->stream.emplace(impl_->own->decoder());
}

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens,
                                               std::span<const int32_t> prompt)
    : IncrementalDetokenizer(tokenizer, skip_special_tokens) {
  if (impl_->own == nullptr) {
    append(prompt);
    return;
  }
  size_t begin = prompt.size();
  for (size_t visible = 0; begin > 0 && visible < kContextTokens;) {
    visible += impl_->own->is_skipped(prompt[--begin], skip_special_tokens) ? 0 : 1;
  }
  std::string unused;
  impl_->push(prompt.subspan(begin), unused);
  impl_->stream->forget_complete_text();
}

IncrementalDetokenizer::~IncrementalDetokenizer() = default;
IncrementalDetokenizer::IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept = default;
IncrementalDetokenizer& IncrementalDetokenizer::operator=(IncrementalDetokenizer&&) noexcept = default;

std::string IncrementalDetokenizer::append(std::span<const int32_t> ids) {
  std::string text;
  if (impl_->own != nullptr) {
    impl_->push(ids, text);
    return text;
  }
  impl_->ids.insert(impl_->ids.end(), ids.begin(), ids.end());
  return impl_->decode_again(false);
}

std::string IncrementalDetokenizer::flush() {
  std::string text;
  if (impl_->own == nullptr) return impl_->decode_again(true);
  impl_->stream->finish(text);
  return text;
}

}  // namespace sgl
