#pragma once
// JSON numbers within bounds, as automata over their digits.

#include <optional>

#include "grammar/automaton.h"
#include "grammar/json_text.h"

namespace sgl::grammar {

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRange {
  std::optional<Bound> low, high;
  bool integer = false;
  bool digits_only = false;  ///< of an integer: no point and no exponent

  /// Narrows the range.
  void at_least(const Bound& bound);
  void at_most(const Bound& bound);
};

/// Numbers in the range: every spelling without an exponent (1.0 is an integer); with one, any spelling if there are no
/// bounds, else those with one digit before the point, as programs write them (1.5e+300). With digits_only, digits.
TermId number_term(Automaton& a, const NumberRange& range);

/// Multiples of `divisor` (> 0): every spelling without an exponent; with one, those with one digit before the point,
/// without a fraction if its digits are many (5e3). Throws Unsupported if they are too many.
TermId multiple_term(Automaton& a, const Decimal& divisor);
/// Whether it gives those with a fraction and an exponent, too (2.5e-1).
bool multiples_have_exponents(const Decimal& divisor);

/// The spellings in which number_term() and multiple_term() give every number that they should, so that in these a
/// number that they do not give is none of theirs: without an exponent, and with `exponents` also those with one, one
/// digit before the point and up to 20 after it. The latter asks for multiples_have_exponents().
TermId complete_spellings(Automaton& a, bool exponents);

}  // namespace sgl::grammar
