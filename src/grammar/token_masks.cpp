// A state is an alternative of stacks, Frame(A, K): "A, then K". The mask of A is made once for A alone: tokens that A
// takes whole, and the exits, nodes of the trie at which A may be over while the token goes on. Below the exits K decides,
// and only these subtrees are walked again for another K.

#include "grammar/token_masks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

namespace sgl::grammar {
namespace {

constexpr size_t kAnyLength = SIZE_MAX;
constexpr size_t kMostPlainStates = 48;  // states looked at to see how much plain text a state takes
enum : unsigned { kShortMask, kShortExits, kLongMask, kLongExits };

}  // namespace

TokenMasks::TokenMasks(Automaton& automaton, const TokenVocabulary& vocabulary)
    : automaton_(automaton), vocabulary_(vocabulary), words_(vocabulary.mask_words(), 0) {
  size_t deepest = 0;
  for (uint32_t t = 0; t < TokenVocabulary::kNumTries; ++t) deepest = std::max(deepest, vocabulary.trie(t).deepest());
  path_.resize(deepest + 1);
}

// How many plain characters, whichever they are, can come next from `state` for sure. `exits`: on the way the text may
// be complete after a byte.
size_t TokenMasks::plain_length(StateId state, bool& exits) {
  // Breadth first over states between characters; `steps` follows the bytes of one character.
  std::vector<StateId> level = {state};
  std::unordered_set<StateId> seen = {state};
  exits = false;
  struct Part {
    StateId state;
    unsigned low, high, tail;  // of the next byte, and how many follow it
  };
  for (size_t length = 0;; ++length) {
    std::vector<StateId> next_level;
    for (StateId from : level) {
      std::vector<Part> open;
      auto step = [&](StateId s, unsigned low, unsigned high, unsigned tail) {
        StateId last = kDead;
        for (unsigned byte = low; byte <= high; ++byte) {
          if (byte == '"' || byte == '\\') continue;
          StateId to = automaton_.next(s, static_cast<uint8_t>(byte));
          if (to == kDead) return false;
          if (to == last) continue;
          last = to;
          exits |= automaton_.accepts(to);
          if (tail > 0) {
            bool known = std::any_of(open.begin(), open.end(), [&](const Part& p) { return p.state == to && p.tail == tail; });
            if (!known) open.push_back({to, 0x80, 0xBF, tail});
          } else if (seen.insert(to).second) {
            next_level.push_back(to);
          }
        }
        return true;
      };
      // Second bytes are narrower after four of the lead bytes (Unicode table 3-7).
      auto lead = [&](unsigned byte, unsigned low, unsigned high, unsigned tail) {
        StateId to = automaton_.next(from, static_cast<uint8_t>(byte));
        if (to == kDead) return false;
        exits |= automaton_.accepts(to);
        return step(to, low, high, tail);
      };
      bool all = step(from, 0x20, 0x7F, 0) && step(from, 0xC2, 0xDF, 1) && lead(0xE0, 0xA0, 0xBF, 1) &&
                 step(from, 0xE1, 0xEC, 2) && lead(0xED, 0x80, 0x9F, 1) && step(from, 0xEE, 0xEF, 2) &&
                 lead(0xF0, 0x90, 0xBF, 2) && step(from, 0xF1, 0xF3, 3) && lead(0xF4, 0x80, 0x8F, 2);
      while (all && !open.empty()) {
        Part p = open.back();
        open.pop_back();
        all = step(p.state, p.low, p.high, p.tail - 1);
      }
      if (!all) return length;
    }
    if (next_level.empty()) return kAnyLength;
    if (seen.size() > kMostPlainStates || length > TokenVocabulary::kShort) return length + 1;
    level.swap(next_level);
  }
}

void TokenMasks::walk(uint32_t which, uint32_t from, uint32_t to, size_t depth, StateId state, size_t done,
                      std::vector<PartialMask::Exit>* exits) {
  const TokenTrie& trie = vocabulary_.trie(which);
  path_[depth] = state;
  for (uint32_t i = from; i < to;) {
    const TokenTrie::Node& node = trie.node(i);
    if (node.most_chars <= done) {
      i = node.end;
      continue;
    }
    StateId next = automaton_.next(path_[node.depth - 1U], node.byte);
    if (next == kDead) {
      i = node.end;
      continue;
    }
    path_[node.depth] = next;
    for (int32_t id : trie.tokens(i)) words_[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
    if (exits != nullptr && node.end > i + 1 && automaton_.accepts(next)) exits->push_back({which, i});
    ++i;
  }
}

TokenMasks::MaskPtr TokenMasks::pack(std::vector<PartialMask::Exit> exits) {
  auto mask = std::make_shared<PartialMask>();
  mask->exits = std::move(exits);
  size_t count = 0;
  for (uint32_t word : words_) count += static_cast<size_t>(std::popcount(word));
  if (count < words_.size() / 2) {
    mask->ids.reserve(count);
    for (size_t w = 0; w < words_.size(); ++w) {
      for (uint32_t word = words_[w]; word != 0; word &= word - 1) {
        mask->ids.push_back(static_cast<int32_t>(w * 32 + static_cast<size_t>(std::countr_zero(word))));
      }
    }
  } else {
    mask->words = words_;
  }
  return mask;
}

void TokenMasks::add(const PartialMask& mask) {
  for (size_t w = 0; w < mask.words.size(); ++w) words_[w] |= mask.words[w];
  for (int32_t id : mask.ids) words_[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
}

template <typename Make>
TokenMasks::MaskPtr TokenMasks::cached(StateId state, unsigned what, Make make) {
  MaskPtr& known = partial_[uint64_t{state} << 2 | what];
  if (known != nullptr) return known;
  uint64_t stable = automaton_.term(automaton_.term_of(state)).stable;
  uint64_t key = stable * 0x9E3779B97F4A7C15 + what;
  if (stable != 0) known = vocabulary_.find_mask(key);
  if (known != nullptr) return known;
  std::fill(words_.begin(), words_.end(), 0);
  MaskPtr made = pack(make());
  if (stable != 0) {
    vocabulary_.keep_mask(key, made);
  } else {
    bytes_ += made->memory();
  }
  partial_[uint64_t{state} << 2 | what] = made;
  return made;
}

TokenMasks::MaskPtr TokenMasks::short_mask(StateId state, bool with_exits) {
  return cached(state, with_exits ? kShortExits : kShortMask, [&] {
    std::vector<PartialMask::Exit> exits;
    bool plain_exits = false;
    size_t plain = plain_length(state, plain_exits);
    if (with_exits && plain_exits) plain = 0;  // exits must be found, too
    if (plain > 0) {
      std::span<const uint32_t> all = vocabulary_.plain_mask(plain);
      std::copy(all.begin(), all.end(), words_.begin());
    }
    auto* to = with_exits ? &exits : nullptr;
    if (plain < TokenVocabulary::kShort) {
      walk(TokenVocabulary::kPlain, 0, vocabulary_.trie(TokenVocabulary::kPlain).size(), 0, state, plain, to);
    }
    walk(TokenVocabulary::kOther, 0, vocabulary_.trie(TokenVocabulary::kOther).size(), 0, state, 0, to);
    return exits;
  });
}

TokenMasks::MaskPtr TokenMasks::long_mask(StateId state, bool with_exits) {
  return cached(state, with_exits ? kLongExits : kLongMask, [&] {
    std::vector<PartialMask::Exit> exits;
    walk(TokenVocabulary::kLong, 0, vocabulary_.trie(TokenVocabulary::kLong).size(), 0, state, 0,
         with_exits ? &exits : nullptr);
    return exits;
  });
}

void TokenMasks::compute(StateId state) {
  // The stacks of the state; where the top of one may be over, what lies below it as well.
  std::vector<std::pair<TermId, TermId>> stacks;
  std::vector<TermId> open = {automaton_.term_of(state)};
  std::unordered_set<TermId> seen;
  while (!open.empty()) {
    TermId id = open.back();
    open.pop_back();
    if (!seen.insert(id).second) continue;
    const Automaton::Term t = automaton_.term(id);
    if (t.kind == Automaton::Kind::Alt &&
        std::any_of(automaton_.items(id).begin(), automaton_.items(id).end(),
                    [&](TermId i) { return automaton_.term(i).kind == Automaton::Kind::Frame; })) {
      open.insert(open.end(), automaton_.items(id).begin(), automaton_.items(id).end());
    } else if (t.kind == Automaton::Kind::Frame) {
      stacks.emplace_back(t.a, t.b);
      if (automaton_.term(t.a).nullable) open.push_back(t.b);
    } else {
      stacks.emplace_back(id, kEpsilon);
    }
  }
  std::vector<std::pair<MaskPtr, TermId>> parts;
  for (auto [top, rest] : stacks) {
    bool exits = rest != kEpsilon;
    StateId near = automaton_.state_of(automaton_.clamp(top, TokenVocabulary::kShort));
    parts.emplace_back(short_mask(near, exits), rest);
    parts.emplace_back(long_mask(automaton_.state_of(top), exits), rest);
  }
  std::fill(words_.begin(), words_.end(), 0);
  for (const auto& [mask, rest] : parts) {
    add(*mask);
    if (mask->exits.empty()) continue;
    StateId below = automaton_.state_of(rest);
    for (PartialMask::Exit exit : mask->exits) {
      const TokenTrie::Node& node = vocabulary_.trie(exit.trie).node(exit.node);
      walk(exit.trie, exit.node + 1, node.end, node.depth, below, 0, nullptr);
    }
  }
  if (automaton_.accepts(state)) {
    for (int32_t id : vocabulary_.eos_ids()) words_[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
  }
}

void TokenMasks::fill(StateId state, std::span<uint32_t> mask) {
  auto write = [&](const PartialMask& m) {
    if (!m.words.empty()) {
      std::copy(m.words.begin(), m.words.end(), mask.begin());
      std::fill(mask.begin() + static_cast<std::ptrdiff_t>(m.words.size()), mask.end(), 0);
    } else {
      std::fill(mask.begin(), mask.end(), 0);
      for (int32_t id : m.ids) mask[static_cast<size_t>(id) / 32] |= 1U << (id % 32);
    }
  };
  if (auto at = kept_.find(state); at != kept_.end()) {
    recent_.splice(recent_.begin(), recent_, at->second);
    return write(*at->second->second);
  }
  if (state == kDead) {
    std::fill(mask.begin(), mask.end(), 0);
    return;
  }
  compute(state);
  MaskPtr made = pack({});
  write(*made);
  kept_bytes_ += made->memory() + 64;
  recent_.emplace_front(state, std::move(made));
  kept_[state] = recent_.begin();
  while (kept_bytes_ > kMostKept && recent_.size() > 1) {
    kept_bytes_ -= recent_.back().second->memory() + 64;
    kept_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

}  // namespace sgl::grammar
