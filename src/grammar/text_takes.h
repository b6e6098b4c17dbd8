#pragma once
// How much text a state takes for sure, so that tokens of such text need no walk.

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/char_kinds.h"

namespace sgl::grammar {

/// A state takes any text of up to `chars` whole characters of these kinds, and can go on after it.
struct Take {
  CharKinds kinds = 0;
  uint32_t chars = 0;
  bool no_more = false;  ///< after `chars` of them none can follow,
  bool may_end = true;   ///< or, where the text is complete by then, none of what the state's term takes

  static constexpr uint32_t kAny = UINT32_MAX;  ///< however long the text is
};

/// What the states of one automaton take. Lower bounds. Thread: as the automaton's.
class TextTakes {
 public:
  /// The automaton must outlive this object.
  explicit TextTakes(Automaton& automaton) : automaton_(automaton) {}

  /// Read off the state's term, whose counted repetitions say it; no states are made but those of one character.
  Take of(StateId state) {
    if (state < known_.size() && known_[state].kinds != kUnknown) return known_[state];
    return find(state);
  }
  /// How many plain characters can come next, found by running the automaton.
  size_t plain_length(StateId state);
  /// What can come after up to `chars` characters of these kinds, inside of a short token, for all that is known.
  struct Ahead {
    CharKinds kinds = ~CharKinds{0};  ///< of the next character,
    bool may_end = true;              ///< and whether the text may be complete there
  };
  Ahead ahead(StateId state, CharKinds kinds, size_t chars);
  size_t memory() const {
    return known_.size() * sizeof(Take) + (single_.size() + starts_.size() + completions_.size()) * 48;
  }

 private:
  static constexpr CharKinds kUnknown = kBroken;  // no state takes any such bytes

  Take find(StateId state);
  Take of_term(TermId id, int& budget);
  struct Single {
    CharKinds kinds = 0;
    bool no_more = true;  // after such a character nothing can follow
  };
  Single single(TermId body);
  CharKinds starts(TermId id, int depth = 0);
  Take of_and(TermId id, int& budget);
  uint64_t completion_after(TermId id, CharKinds kinds, uint32_t chars);
  template <typename Visit>
  bool each_next(StateId from, CharKinds kinds, Visit visit);
  template <typename Visit>
  bool each_wide(StateId from, Visit visit);
  template <typename Visit>
  bool each_line_separator(StateId from, Visit visit);

  Automaton& automaton_;
  std::vector<Take> known_;                             // of states
  std::unordered_map<TermId, Single> single_;           // of repeated terms
  std::unordered_map<TermId, CharKinds> starts_;        // of what follows them
  std::unordered_map<uint64_t, uint64_t> completions_;  // by term and kinds
  std::vector<CharKinds> class_kinds_;                  // of the bytes of a class
};

}  // namespace sgl::grammar
