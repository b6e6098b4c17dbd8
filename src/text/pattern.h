#pragma once
// What a Split or a Replace looks for: a string, or a regular expression.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "text/function_ref.h"
#include "text/regex.h"
#include "text/split_scanner.h"

namespace sgl {

class Pattern {
 public:
  /// Finds this very string.
  static Pattern literal(std::string text) { return Pattern(std::move(text)); }
  /// Finds the expression's matches; the well-known split patterns get their scanners.
  static Pattern regex(std::string_view expression);

  /// Calls on_match(begin, end) for every match in `text` from left to right; see Regex::for_each_match.
  void for_each_match(std::string_view text, FunctionRef<void(size_t, size_t)> on_match) const;

  /// The string that is looked for; null for an expression.
  const std::string* literal_text() const { return std::get_if<std::string>(&what_); }

 private:
  enum class LineEnd { Spaces };  // \s+$, which backtracks quadratically over a run of spaces in any regex engine
  using What = std::variant<std::string, SplitPattern, LineEnd, Regex>;
  explicit Pattern(What what) : what_(std::move(what)) {}
  What what_;
};

}  // namespace sgl
