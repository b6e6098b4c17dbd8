#include "text/pattern.h"

namespace sgl {

Pattern Pattern::regex(std::string_view expression) {
  if (auto known = known_split_pattern(expression)) return Pattern(*known);
  return Pattern(Regex(expression));
}

void Pattern::for_each_match(std::string_view text, FunctionRef<void(size_t, size_t)> on_match) const {
  if (const auto* scanned = std::get_if<SplitPattern>(&what_)) {
    for (size_t at = 0; at < text.size();) {
      size_t end = scan_piece(*scanned, text, at);
      on_match(at, end);
      at = end;
    }
  } else if (const auto* literal = std::get_if<std::string>(&what_)) {
    if (literal->empty()) return;
    for (size_t at = 0; (at = text.find(*literal, at)) != std::string_view::npos; at += literal->size()) {
      on_match(at, at + literal->size());
    }
  } else {
    std::get<Regex>(what_).for_each_match(text, on_match);
  }
}

}  // namespace sgl
