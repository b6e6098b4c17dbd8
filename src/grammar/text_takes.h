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

  static constexpr uint32_t kAny = UINT32_MAX;  ///< however long the text is
};

/// What a state does with plain characters (kPlainKinds), whichever they are.
struct PlainTake {
  size_t length = 0;       ///< it takes so many; SIZE_MAX: any number
  bool no_longer = false;  ///< and no more, nor is the text complete before
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
  /// Read off the term, too.
  PlainTake plain(StateId state);
  /// How many plain characters can come next, found by running the automaton.
  size_t plain_length(StateId state);
  size_t memory() const { return known_.size() * sizeof(Take) + (single_.size() + starts_plain_.size()) * 48; }

 private:
  static constexpr CharKinds kUnknown = kNoText;  // no state takes any such bytes

  Take find(StateId state);
  Take of_term(TermId id, int& budget);
  struct Single {
    CharKinds kinds = 0;
    bool no_more = true;  // after a plain character nothing can follow
  };
  Single single(TermId body);
  bool starts_plain(TermId id);
  template <typename Visit>
  bool each_wide(StateId from, Visit visit);

  Automaton& automaton_;
  std::vector<Take> known_;                        // of states
  std::unordered_map<TermId, Single> single_;      // of repeated terms
  std::unordered_map<TermId, bool> starts_plain_;  // of what follows them
};

}  // namespace sgl::grammar
