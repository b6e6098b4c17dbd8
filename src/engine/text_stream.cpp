#include "engine/text_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "text/unicode.h"

namespace sgl {

StopPattern::StopPattern(std::string pattern)
    : pattern_(std::move(pattern)),
      matcher_(std::make_shared<const Grammar>(GrammarSpec{GrammarKind::Regex, pattern_, {.search = true}}, nullptr)) {}

bool StopPattern::found(std::string_view more) {
  const bool possible = matcher_.accept_text(more);
  return possible && matcher_.complete();
}

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop, bool skip_special_tokens,
                       bool keep_stop, std::vector<StopPattern> patterns)
    : tokenizer_(&tokenizer),
      skip_special_tokens_(skip_special_tokens),
      stop_(std::move(stop)),
      keep_stop_(keep_stop),
      patterns_(std::move(patterns)) {
  detokenizer_.emplace(tokenizer, skip_special_tokens);
}

std::optional<std::string> TextStream::append(int32_t token, std::string& shown) {
  if (!detokenizer_) return std::nullopt;
  return take_stop(detokenizer_->append(std::span(&token, 1)), shown);
}

std::optional<std::string> TextStream::append_text(std::string_view text, std::string& shown) {
  if (!detokenizer_) return std::nullopt;
  std::string more;
  if (!std::exchange(flushed_, true)) more = detokenizer_->flush();
  partial_ += text;
  const size_t whole = partial_.size() - incomplete_utf8_tail(partial_);
  more.append(partial_, 0, whole);
  partial_.erase(0, whole);
  return take_stop(more, shown);
}

void TextStream::resume(std::span<const int32_t> output) {
  if (!detokenizer_) return;
  detokenizer_.emplace(*tokenizer_, skip_special_tokens_, output);
  flushed_ = false;
  partial_.clear();
}

// Shows what may be shown, and ends the text at the first stop string in it.
std::optional<std::string> TextStream::take_stop(std::string_view more, std::string& shown) {
  held_ += more;
  // What was shown before cannot be part of a match: it was not the beginning of any stop string.
  size_t first = std::string::npos;
  const std::string* match = nullptr;
  for (const std::string& s : stop_) {
    size_t at = held_.find(s);
    if (at < first) {
      first = at;
      match = &s;
    }
  }
  if (match != nullptr) {
    shown.append(held_, 0, first + (keep_stop_ ? match->size() : 0));
    held_.clear();
    detokenizer_.reset();
    return *match;
  }
  for (StopPattern& p : patterns_) {
    if (!p.found(more)) continue;
    shown += held_;
    held_.clear();
    detokenizer_.reset();
    return p.pattern();
  }
  release_all_but_possible_stop(shown);
  return std::nullopt;
}

void TextStream::release_all_but_possible_stop(std::string& shown) {
  size_t keep = 0;
  for (const std::string& s : stop_) {
    for (size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n) {
      if (std::string_view(held_).ends_with(std::string_view(s).substr(0, n))) keep = n;
    }
  }
  // A stop string may begin in the middle of a character only if it is not text: never cut a character in two.
  size_t cut = held_.size() - keep;
  while (cut > 0 && cut < held_.size() && (static_cast<unsigned char>(held_[cut]) & 0xc0U) == 0x80U) --cut;
  shown.append(held_, 0, cut);
  held_.erase(0, cut);
}

void TextStream::finish(std::string& shown) {
  if (!detokenizer_) return;
  shown += held_;
  if (!flushed_) shown += detokenizer_->flush();
  if (!partial_.empty()) shown += kReplacementCharacter;
  held_.clear();
  detokenizer_.reset();
}

}  // namespace sgl
