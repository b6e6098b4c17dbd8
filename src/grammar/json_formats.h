#pragma once
// `format` of JSON Schema as regular expressions.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sgl::grammar {

enum class FormatSupport : uint8_t {
  Known,        ///< there is an expression
  Unsupported,  ///< a format of the standard that no automaton decides, or this program does not
  Annotation,   ///< not of the standard: JSON Schema ignores it
};

/// What a whole string of a format matches: all expressions (in the Ecma dialect) of at least one list.
using FormatRegex = std::vector<std::vector<std::string>>;
FormatSupport find_format(std::string_view name, FormatRegex& regex);

/// The format `regex` (json_format_regex.cpp).
std::string ecma_regex();

}  // namespace sgl::grammar
