#pragma once
// The texts of a JSON value.

#include "grammar/char_set.h"
#include "grammar/json_text.h"

namespace sgl::grammar {

/// All texts that mean the value: strings with any escapes, members of objects in any order, numbers in the spellings
/// of number_term(), `space` between tokens. Regular, without calls of rules.
TermId value_term(CharTerms& chars, const JsonValue& value, TermId space);

}  // namespace sgl::grammar
