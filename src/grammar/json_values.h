#pragma once
// The texts of a JSON value.

#include "grammar/char_set.h"
#include "grammar/json_text.h"

namespace sgl::grammar {

/// Which texts of a value are meant.
struct ValueForm {
  TermId space;                       ///< between tokens
  Spelling strings = Spelling::Json;  ///< how characters are written
  bool plain_integers = false;        ///< integers as digits alone
  bool any_order = true;              ///< of members; else in that of the value
};

/// The texts that mean the value in this form; numbers in the spellings of number_term(). Regular, without calls of
/// rules.
TermId value_term(CharTerms& chars, const JsonValue& value, const ValueForm& form);

}  // namespace sgl::grammar
