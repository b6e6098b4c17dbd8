#pragma once
// Arguments as Python writes them → JSON.

#include <optional>
#include <string>
#include <string_view>

namespace sgl {

/// A literal (numbers, strings, True, False, None, lists, tuples, dicts with strings as keys, and JSON's true, false,
/// null) as JSON; nothing if `text` is something else.
std::optional<std::string> python_literal_to_json(std::string_view text);

/// Keyword arguments, `city="Paris", days=3`, as a JSON object; nothing if they are malformed or a name comes twice.
std::optional<std::string> python_arguments_to_json(std::string_view text);

}  // namespace sgl
