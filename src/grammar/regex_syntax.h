#pragma once
// Regular expressions: their syntax tree, and the terms made of it.

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/char_set.h"

namespace sgl::grammar {

struct RegexNode {
  enum class Kind : uint8_t { Set, Cat, Alt, Repeat, Start, End, Look } kind = Kind::Cat;
  CharSet set;                      ///< Set
  std::vector<RegexNode> children;  ///< Cat, Alt: any number; Repeat, Look: one
  uint64_t min = 0, max = 0;        ///< Repeat
  bool or_newline = false;          ///< End: also before a newline that ends the text, as Python's $
  bool negative = false;            ///< Look: what must not be there,
  bool behind = false;              ///< and not ahead, but behind
};

enum class RegexDialect : uint8_t {
  Python,  ///< `re` on str: \d, \w are Unicode's, . is all but \n
  Ecma,    ///< JSON Schema's `pattern`, ECMAScript with flag u: \d, \w are ASCII's
};

/// Throws InvalidArgument for a malformed pattern, Unsupported for what no automaton can do or this one does not:
/// back-references, word boundaries, possessive and atomic groups. The message gives the place.
RegexNode parse_regex(std::string_view pattern, RegexDialect dialect);

// Terms of patterns. Throw Unsupported for a lookahead inside of a repetition that sees beyond what must follow it
// there, for a lookbehind that is not in the outermost sequence, and for very many of them.

/// What a whole text must be to match the pattern (`re.fullmatch`).
TermId full_match_term(CharTerms& chars, const RegexNode& regex, Spelling spelling);
/// What a text must be to hold a match (`re.search`, JSON Schema's pattern).
TermId search_term(CharTerms& chars, const RegexNode& regex, Spelling spelling);

/// Whether every match takes the whole text, so that a search is a full match.
bool is_anchored(const RegexNode& regex);
/// The fewest and the most characters of a match, or fewer and more where there is lookaround; kUnbounded: no end.
std::pair<uint64_t, uint64_t> lengths_of(const RegexNode& regex);

}  // namespace sgl::grammar
