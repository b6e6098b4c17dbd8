#pragma once
// Tokens → syntax tree, by recursive descent with Jinja's precedences, which are not quite Python's: `~` binds tighter
// than `+`, a filter tighter than any operator, `**` groups to the left.

#include <string_view>

#include "text/jinja_ast.h"

namespace sgl::jinja {

/// Parses a template and resolves its variables. Throws CorruptFile for what Jinja refuses, Unsupported for what it has
/// and we do not (inheritance, includes, autoescape); the message has the line.
Ast parse(std::string_view source);

}  // namespace sgl::jinja
