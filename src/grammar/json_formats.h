#pragma once
// `format` of JSON Schema as regular expressions.

#include <string>
#include <string_view>

namespace sgl::grammar {

enum class FormatSupport : uint8_t {
  Known,        ///< there is an expression
  Unsupported,  ///< a format of the standard that no automaton decides, or this program does not
  Annotation,   ///< not of the standard: JSON Schema ignores it
};

/// What a whole string of this format matches, in the Ecma dialect.
FormatSupport find_format(std::string_view name, std::string& regex);

}  // namespace sgl::grammar
