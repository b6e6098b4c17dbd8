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

  /// Narrows the range.
  void at_least(const Bound& bound);
  void at_most(const Bound& bound);
};

/// Numbers in the range: every spelling without an exponent (1.0 is an integer); with one, any spelling if there are no
/// bounds, else those with one digit before the point, as programs write them (1.5e+300).
TermId number_term(Automaton& a, const NumberRange& range);

/// Multiples of `divisor` (> 0), decimals without an exponent and, where its digits are few, with one that makes up for
/// the fraction (1.5e3). Throws Unsupported if its digits are too many.
TermId multiple_term(Automaton& a, const Decimal& divisor);

}  // namespace sgl::grammar
