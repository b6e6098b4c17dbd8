#pragma once
// Free text: any characters up to the first of some stops.

#include <string>
#include <vector>

#include "grammar/automaton.h"

namespace sgl::grammar {

/// What ends free text.
struct TextStop {
  std::string text;  ///< valid UTF-8, not empty
  TermId after;      ///< how the text goes on behind it; kNone: it must not come
};

/// Text in UTF-8 that holds no stop but where it goes on as that stop says. Of stops that end at the same place the
/// first in the list counts. `may_end`: the text can also end without a stop. Takes at most 256 steps for each byte of
/// the stops. Throws Unsupported for more than kMostStopBytes of them.
TermId free_text(Automaton& automaton, const std::vector<TextStop>& stops, bool may_end);

constexpr size_t kMostStopBytes = 20000;

}  // namespace sgl::grammar
