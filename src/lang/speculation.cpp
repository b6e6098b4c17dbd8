#include "lang/speculation.h"

#include <algorithm>
#include <utility>

namespace sgl::lang {

std::optional<StopMatch> find_stop(std::string_view text, const std::vector<std::string>& stops) {
  std::optional<StopMatch> first;
  for (const std::string& stop : stops) {
    const size_t at = text.find(stop);
    if (at != std::string_view::npos && (!first || at < first->begin)) first = StopMatch{at, stop.size()};
  }
  return first;
}

void cut_at_stop(Generated& generated, const std::vector<std::string>& stops) {
  for (std::string& text : generated.texts) {
    const std::optional<StopMatch> stop = find_stop(text, stops);
    if (!stop) continue;
    if (&text == &generated.texts[0]) {
      generated.meta.finish_reason = "stop";
      generated.meta.matched = text.substr(stop->begin, stop->size);
      std::erase_if(generated.token_ends, [&](size_t end) { return end > stop->begin; });
    }
    text.resize(stop->begin);
  }
}

std::optional<std::vector<std::string>> match_pattern(const std::vector<PatternPart>& pattern, std::string_view reply,
                                                      bool cut) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const PatternPart& part = pattern[i];
    if (!part.is_gen) {
      // What a chat template has the model write is trimmed: a constant's blanks at the end of the reply may be gone.
      if (!reply.starts_with(part.text)) {
        const bool last = i + 1 == pattern.size();
        return last && trim(part.text) == trim(reply) ? std::optional(texts) : std::nullopt;
      }
      reply.remove_prefix(part.text.size());
      continue;
    }
    const bool last = i + 1 == pattern.size();
    size_t end = reply.size();
    if (std::optional<StopMatch> stop = find_stop(reply, part.stop)) {
      end = stop->begin;  // it stays for the constant behind
    } else if (!last) {
      end = pattern[i + 1].is_gen ? std::string_view::npos : reply.find(pattern[i + 1].text);
      if (end == std::string_view::npos) return std::nullopt;
    } else if (cut) {
      return std::nullopt;
    }
    texts.emplace_back(reply.substr(0, end));
    reply.remove_prefix(end);
  }
  return texts;
}

void Surplus::clear() {
  text_.clear();
  ends_.clear();
}

void Surplus::set(Generated&& generated, int asked) {
  asked_ = static_cast<size_t>(asked);
  text_ = generated.texts.empty() ? std::string() : std::move(generated.texts[0]);
  ends_ = std::move(generated.token_ends);
  ended_ = generated.meta.finish_reason != "length";
}

void Surplus::drop(size_t bytes) {
  if (bytes > 0) asked_ = 0;
  text_.erase(0, bytes);
  std::erase_if(ends_, [&](size_t end) { return end <= bytes; });
  for (size_t& end : ends_) end -= bytes;
}

void Surplus::skip(std::string_view constant) {
  if (text_.empty()) return;
  if (text_.starts_with(constant))
    drop(constant.size());
  else
    clear();
}

std::optional<std::string> Surplus::take(const std::vector<std::string>& stops, int max_tokens) {
  const std::optional<StopMatch> stop = find_stop(text_, stops);
  size_t size = stop ? stop->begin : text_.size();
  const auto limit = static_cast<size_t>(max_tokens);
  if (!stop && asked_ == limit && asked_ > 0) {
    // The call was for this gen alone: all of it, however it ended.
  } else if (!ends_.empty()) {
    if (limit == 0)
      size = 0;
    else if (ends_.size() >= limit && ends_[limit - 1] <= size)
      size = ends_[limit - 1];
    else if (!stop && !ended_)
      return std::nullopt;  // the gen's text goes on behind what is here
  } else if (size > limit || (!stop && !ended_)) {
    return std::nullopt;
  }
  std::string out = text_.substr(0, size);
  drop(size);
  return out;
}

}  // namespace sgl::lang
