#pragma once
// Which tokens may come next in a state: the automaton walked along the vocabulary's tries, and what is remembered of
// it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/text_takes.h"
#include "grammar/token_vocabulary.h"

namespace sgl::grammar {

/// The masks of one automaton's states. Thread: one at a time.
class TokenMasks {
 public:
  /// Both must outlive this object.
  TokenMasks(Automaton& automaton, const TokenVocabulary& vocabulary);

  /// Sets the bits of the tokens allowed in `state`, EOS among them where the text may end, and clears all others.
  /// Requires: at least vocabulary.mask_words() words; further ones are cleared. Throws Unsupported beyond the
  /// automaton's limit_readings().
  void fill(StateId state, std::span<uint32_t> mask);

  /// Makes the parts of masks that do not depend on the stack, for states of all rules, those near their starts first,
  /// until all are made or the time is up.
  void prepare(std::chrono::steady_clock::duration budget);

  size_t memory() const { return bytes_ + kept_bytes_ + takes_.memory(); }
  /// Whole masks of states are kept up to this many bytes, least recently used ones go.
  static constexpr size_t kMostKept = size_t{16} << 20;

 private:
  using MaskPtr = std::shared_ptr<const PartialMask>;
  using Key = uint64_t;  // state · 8 + what was asked
  MaskPtr short_mask(StateId state, unsigned exits);
  MaskPtr long_mask(StateId state, unsigned exits);
  template <typename Make>
  MaskPtr cached(StateId state, unsigned what, Make make);
  /// The tokens that need no walk. Those of characters of these kinds: up to `chars` characters are taken; if
  /// `no_more`, longer ones are not. And those that go on with other kinds than `then`: they are not taken.
  struct Known {
    CharKinds kinds = 0;
    size_t chars = 0;
    bool no_more = false;
    CharKinds then = ~CharKinds{0};
  };
  /// Walks nodes [from, to) of a trie, `state` standing before them, and adds the tokens that it takes, but the known
  /// ones, to `ids`. `exits`: the nodes before which the text can be complete, with tokens below that are not taken.
  void walk(const TokenTrie& trie, uint32_t from, uint32_t to, StateId state, const Known& known,
            std::vector<int32_t>& ids, std::vector<uint32_t>* exits);
  void add_exits(uint32_t dead, size_t depth, size_t start, std::vector<uint32_t>& exits);
  void walk_all(uint32_t which, StateId state, const Known& known, PartialMask& mask, bool with_exits);
  Known known_of(StateId state, bool with_exits);
  void collect_rests(PartialMask& mask) const;
  void add(const PartialMask& part, PartialMask& whole) const;
  void add_kinds(const PartialMask& mask, std::span<uint32_t> to) const;
  bool is_split(TermId id) const;
  void add_item(TermId fresh, TermId rest, PartialMask& whole, std::vector<TermId>& open);
  void add_rest_of_item(TermId item, uint32_t came, TermId rest, PartialMask& whole, std::vector<TermId>& open);
  bool find_blocked(StateId item, StateId excluded, std::vector<int32_t>& blocked);
  void add_behind_item(const TokenTrie& trie, uint32_t from, uint32_t came, TermId rest, PartialMask& whole);
  MaskPtr compute(StateId state);
  void compress(PartialMask& mask) const;
  void write(const PartialMask& mask, std::span<uint32_t> to) const;

  Automaton& automaton_;
  const TokenVocabulary& vocabulary_;
  TextTakes takes_;
  /// A place on the path of a walk.
  struct Step {
    StateId state;
    uint32_t node;
    CharKinds kinds;  // what the state takes; tokens of such characters are taken
    uint32_t chars;   // so far,
    uint32_t limit;   // and the most that a token may have for it,
    bool no_more;     // while longer ones of such characters are not taken
    bool is_known;    // the path is of known kinds
    bool has_exits;   // those on the path to it were added
  };
  std::vector<Step> path_;
  std::vector<int32_t> taken_;  // by the present walk; memory that is used again
  std::unordered_map<Key, MaskPtr> partial_;
  std::list<std::pair<StateId, MaskPtr>> recent_;
  std::unordered_map<StateId, std::list<std::pair<StateId, MaskPtr>>::iterator> kept_;
  size_t bytes_ = 0, kept_bytes_ = 0;
};

}  // namespace sgl::grammar
