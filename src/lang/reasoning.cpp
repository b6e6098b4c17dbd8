#include "lang/reasoning.h"

#include <algorithm>

#include <fmt/format.h>

#include "sgl/error.h"
#include "sgl/program_json.h"

namespace sgl::lang {
namespace {

constexpr ReasoningFormat kFormats[] = {
    {"qwen3", "<think>", "</think>", false},
    {"qwen3-thinking", "<think>", "</think>", true},
    {"deepseek-r1", "<think>", "</think>", true},
    {"deepseek-v3", "<think>", "</think>", false},
    {"glm45", "<think>", "</think>", false},
    {"kimi", "◁think▷", "◁/think▷", false},
    {"gpt-oss", "<|channel|>analysis<|message|>", "<|end|>", false},
};

/// Length of the longest end of `text` that begins `mark`.
size_t overlap(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (text.ends_with(mark.substr(0, n))) return n;
  }
  return 0;
}

size_t blanks(std::string_view text) { return std::min(text.find_first_not_of(" \t\r\n"), text.size()); }

}  // namespace

const ReasoningFormat& find_reasoning_format(std::string_view model_type) {
  std::string names;
  for (const ReasoningFormat& f : kFormats) {
    if (f.model_type == model_type) return f;
    names += (names.empty() ? "" : ", ") + std::string(f.model_type);
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("separate_reasoning: there is no model type \"{}\"; expected one of {}", model_type, names));
}

std::string ReasoningSplitter::answer(std::string text) {
  if (answering_ || text.empty()) return text;
  text.erase(0, blanks(text));  // between the thoughts and the answer
  answering_ = !text.empty();
  return text;
}

std::string ReasoningSplitter::add(std::string_view piece) {
  pending_ += piece;
  if (!begun_) {
    const size_t skip = blanks(pending_);
    const std::string_view text = std::string_view(pending_).substr(skip);
    if (text.size() < format_.begin.size() && format_.begin.starts_with(text)) return "";  // perhaps its beginning
    begun_ = true;
    if (text.starts_with(format_.begin)) {
      inside_ = true;
      pending_.erase(0, skip + format_.begin.size());
    } else if (!inside_) {
      answering_ = true;  // no thoughts: the text stays as it is, blanks too
    }
  }
  if (!inside_) return answer(std::exchange(pending_, {}));

  const size_t end = pending_.find(format_.end);
  const size_t known = end != std::string::npos ? end : pending_.size() - overlap(pending_, format_.end);
  reasoning_ += pending_.substr(0, known);
  pending_.erase(0, known);
  if (end == std::string::npos) return "";
  inside_ = false;
  pending_.erase(0, format_.end.size());
  return answer(std::exchange(pending_, {}));
}

std::string ReasoningSplitter::finish() {
  if (inside_) {
    reasoning_ += std::exchange(pending_, {});
    return "";
  }
  if (!begun_) return std::exchange(pending_, {});
  return answer(std::exchange(pending_, {}));
}

std::string ReasoningSplitter::reasoning() const { return std::string(trim(reasoning_)); }

}  // namespace sgl::lang
