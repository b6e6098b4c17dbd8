#pragma once
// Which tokens may come next in a state: the automaton walked along the vocabulary's tries, and what is remembered of it.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/token_vocabulary.h"

namespace sgl::grammar {

/// The masks of one automaton's states. Thread: one at a time.
class TokenMasks {
 public:
  /// Both must outlive this object.
  TokenMasks(Automaton& automaton, const TokenVocabulary& vocabulary);

  /// Sets the bits of the tokens allowed in `state`, EOS among them where the text may end, and clears all others.
  /// Requires: at least vocabulary.mask_words() words; further ones are cleared.
  void fill(StateId state, std::span<uint32_t> mask);

  size_t memory() const { return bytes_ + kept_bytes_; }
  /// Whole masks of states are kept up to this many bytes, least recently used ones go.
  static constexpr size_t kMostKept = size_t{16} << 20;

 private:
  using MaskPtr = std::shared_ptr<const PartialMask>;
  using Key = uint64_t;  // state · 4 + what was asked
  MaskPtr short_mask(StateId state, bool with_exits);
  MaskPtr long_mask(StateId state, bool with_exits);
  template <typename Make>
  MaskPtr cached(StateId state, unsigned what, Make make);
  size_t plain_length(StateId state, bool& exits);
  /// Walks nodes [from, to) of a trie, `state` standing before them at depth `depth`. Characters up to `done` are known.
  void walk(uint32_t trie, uint32_t from, uint32_t to, size_t depth, StateId state, size_t done,
            std::vector<PartialMask::Exit>* exits);
  void add(const PartialMask& mask);
  MaskPtr pack(std::vector<PartialMask::Exit> exits);
  void compute(StateId state);

  Automaton& automaton_;
  const TokenVocabulary& vocabulary_;
  std::vector<uint32_t> words_;  // the mask being made
  std::vector<StateId> path_;    // states along the path of a walk
  std::unordered_map<Key, MaskPtr> partial_;
  std::list<std::pair<StateId, MaskPtr>> recent_;
  std::unordered_map<StateId, std::list<std::pair<StateId, MaskPtr>>::iterator> kept_;
  size_t bytes_ = 0, kept_bytes_ = 0;
};

}  // namespace sgl::grammar
