#pragma once
// Sets of Unicode characters, and the byte-level terms that match one character of such a set.

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/automaton.h"

namespace sgl::grammar {

constexpr char32_t kLastChar = 0x10FFFF;

/// Ranges of scalar values (no surrogates), sorted, not touching. Immutable value type.
class CharSet {
 public:
  using Range = std::pair<char32_t, char32_t>;

  CharSet() = default;
  /// Any ranges in any order; surrogates are cut out.
  explicit CharSet(const std::vector<Range>& ranges);
  static CharSet of(char32_t c) { return CharSet({{c, c}}); }
  static CharSet range(char32_t low, char32_t high) { return CharSet({{low, high}}); }
  static CharSet all() { return range(0, kLastChar); }

  const std::vector<Range>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  bool contains(char32_t c) const;
  bool is_all() const { return *this == all(); }
  bool operator==(const CharSet&) const = default;

  CharSet operator|(const CharSet& o) const;
  CharSet operator&(const CharSet& o) const { return ~(~*this | ~o); }
  CharSet operator-(const CharSet& o) const { return *this & ~o; }
  CharSet operator~() const;
  /// All characters that Python's `re` takes for one of the set with the flag i: those of the same simple lower case,
  /// and a few whose upper cases alone agree, σ and ς. `ascii`: of ASCII's letters only, as with the flag a.
  CharSet fold_case(bool ascii = false) const;

 private:
  std::vector<Range> ranges_;
};

/// Classes of regular expressions. `unicode`: Python's str classes; else ASCII's, as ECMAScript has them (its \s is
/// Unicode's white space in both).
CharSet digit_class(bool unicode);
CharSet word_class(bool unicode);
CharSet space_class(bool unicode);
/// A general category ("L", "Lu", "Nd", or its long name), "Any" or "ASCII"; empty if the name is none of them.
CharSet unicode_category(std::string_view name);

/// How characters of a string are written.
enum class Spelling : uint8_t {
  Plain,      ///< themselves, in UTF-8
  Json,       ///< inside of a JSON string, in any way that JSON allows: "A", "\u0041", "\/", surrogate pairs
  JsonShort,  ///< inside of a JSON string: printable ASCII has one spelling, the rest stands as it is or as \uXXXX
};

/// Makes terms of characters in one automaton, each once.
class CharTerms {
 public:
  explicit CharTerms(Automaton& automaton) : automaton_(automaton) {}
  Automaton& automaton() { return automaton_; }
  /// One character of `set`, spelled so.
  TermId of(const CharSet& set, Spelling spelling);
  /// The text (valid UTF-8), spelled so.
  TermId text(std::string_view text, Spelling spelling);

 private:
  Automaton& automaton_;
  std::map<std::pair<std::vector<CharSet::Range>, Spelling>, TermId> known_;
};

}  // namespace sgl::grammar
