#pragma once
// Pictures of a grammar's automaton, for people.

#include <cstdint>
#include <string>
#include <string_view>

#include "grammar/grammar.h"

namespace sgl::grammar {

enum class ExplainForm : uint8_t { Text, Dot, Svg };

/// The states that texts reach first, at most `most_states`, with chains of states that have one way on drawn as one
/// edge. If `sample` is not empty: the way it takes, and which parts of it are forced.
std::string explain(const Grammar& grammar, ExplainForm form, std::string_view sample, size_t most_states = 60);

}  // namespace sgl::grammar
