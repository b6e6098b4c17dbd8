#pragma once
// Which variable a name means: Jinja's scoping rules, decided once per template.
//
// A `set` in a loop, macro or block is not seen outside of it, one in an `if` is. Jinja decides this at compile time: a
// scope that assigns to a name anywhere gets a variable of its own, which begins as a copy of the outer one (or of what
// the caller passed in, or as nothing). Some of the consequences are surprising and templates depend on them, so this
// follows jinja2/idtracking.py and compiler.py (3.1) step by step.

#include "text/jinja_ast.h"

namespace sgl::jinja {

/// Fills in every VariableRef, ScopeCode and FunctionCode of the tree. Throws CorruptFile for what only this step can
/// see: an unknown filter or test where it is sure to be reached, an assignment to `loop`.
void resolve_variables(Ast& ast);

}  // namespace sgl::jinja
