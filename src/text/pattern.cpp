#include "text/pattern.h"

#include "text/unicode.h"

namespace sgl {
namespace {

// \s+$ in Ruby syntax, where $ is the end of a line: of a run of white space, all up to the last place that is followed
// by \n or by the text's end.
//     "a \n \n b"  one match, " \n ", from the run's start to the last \n
void for_each_trailing_space(std::string_view text, FunctionRef<void(size_t, size_t)> on_match) {
  for (size_t at = 0; at < text.size();) {
    size_t begin = at, end = at;
    while (at < text.size()) {
      Utf8Char c = decode_utf8(text, at);
      if (!is_space(c.code)) break;
      if (c.code == '\n') end = at;
      at += c.size;
    }
    if (at == text.size()) end = at;
    if (end > begin) on_match(begin, end);
    if (at < text.size()) at += decode_utf8(text, at).size;
  }
}

}  // namespace

Pattern Pattern::regex(std::string_view expression) {
  if (auto known = known_split_pattern(expression)) return Pattern(*known);
  if (expression == "\\s+$") return Pattern(LineEnd::Spaces);
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
  } else if (std::holds_alternative<LineEnd>(what_)) {
    for_each_trailing_space(text, on_match);
  } else {
    std::get<Regex>(what_).for_each_match(text, on_match);
  }
}

}  // namespace sgl
