#include "grammar/text_takes.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "grammar/token_vocabulary.h"

namespace sgl::grammar {
namespace {

constexpr int kMostTerms = 32;           // looked at in one state's term
constexpr size_t kMostPlainStates = 48;  // states looked at to see how much plain text a state takes

Take better(Take x, Take y) {
  int more = std::popcount(x.kinds) - std::popcount(y.kinds);
  return more > 0 || (more == 0 && x.chars >= y.chars) ? x : y;
}

}  // namespace

// Visits the states after each character of several bytes. False where there is none after one of them, or `visit` says
// false.
template <typename Visit>
bool TextTakes::each_wide(StateId from, Visit visit) {
  struct Part {
    StateId state;
    unsigned low, high, tail;  // of the next byte, and how many follow it
  };
  std::vector<Part> open;
  auto step = [&](StateId s, unsigned low, unsigned high, unsigned tail) {
    StateId last = kDead;
    for (unsigned byte = low; byte <= high; ++byte) {
      StateId to = automaton_.next(s, static_cast<uint8_t>(byte));
      if (to == kDead) return false;
      if (to == last) continue;
      last = to;
      if (tail == 0) {
        if (!visit(to)) return false;
      } else if (std::none_of(open.begin(), open.end(),
                              [&](const Part& p) { return p.state == to && p.tail == tail; })) {
        open.push_back({to, 0x80, 0xBF, tail});
      }
    }
    return true;
  };
  // Second bytes are narrower after four of the lead bytes (Unicode table 3-7).
  auto lead = [&](unsigned byte, unsigned low, unsigned high, unsigned tail) {
    StateId to = automaton_.next(from, static_cast<uint8_t>(byte));
    return to != kDead && step(to, low, high, tail);
  };
  bool all = step(from, 0xC2, 0xDF, 1) && lead(0xE0, 0xA0, 0xBF, 1) && step(from, 0xE1, 0xEC, 2) &&
             lead(0xED, 0x80, 0x9F, 1) && step(from, 0xEE, 0xEF, 2) && lead(0xF0, 0x90, 0xBF, 2) &&
             step(from, 0xF1, 0xF3, 3) && lead(0xF4, 0x80, 0x8F, 2);
  while (all && !open.empty()) {
    Part p = open.back();
    open.pop_back();
    all = step(p.state, p.low, p.high, p.tail - 1);
  }
  return all;
}

// The kinds of which any one character is a whole text of `body`.
TextTakes::Single TextTakes::single(TermId body) {
  if (auto known = single_.find(body); known != single_.end()) return known->second;
  TermId id = body;
  for (int i = 0; i < kMostTerms && automaton_.term(id).kind == Automaton::Kind::Ref; ++i) {
    id = automaton_.body(automaton_.term(id).a);
  }
  const Automaton::Term t = automaton_.term(id);
  ByteSet bytes;
  if (t.kind == Automaton::Kind::Bytes) bytes = automaton_.byte_set(id);
  if (t.kind == Automaton::Kind::Alt) {
    for (TermId item : automaton_.items(id)) {
      if (automaton_.term(item).kind == Automaton::Kind::Bytes) bytes |= automaton_.byte_set(item);
    }
  }
  CharKinds kinds = bytes.none() ? 0 : ~(kNoText | kWideChars);
  for (unsigned byte = 0x20; byte < 0x80; ++byte) {
    if (!bytes[byte]) kinds &= ~kByteKinds[byte];
  }
  Single result{kinds, true};
  if (kinds != 0 && t.kind == Automaton::Kind::Alt) {
    StateId start = automaton_.state_of(id), over = automaton_.state_of(kEpsilon);
    for (unsigned byte = 0x20; byte < 0x80; ++byte) {
      if ((kByteKinds[byte] & kPlainKinds) != 0 && bytes[byte]) {
        result.no_more &= automaton_.next(start, static_cast<uint8_t>(byte)) == over;
      }
    }
    bool wide = each_wide(start, [&](StateId to) {
      result.no_more &= to == over;
      return automaton_.accepts(to);
    });
    if (wide) result.kinds |= kWideChars;
  }
  return single_[body] = result;
}

bool TextTakes::starts_plain(TermId id) {
  auto [known, added] = starts_plain_.try_emplace(id, false);
  if (!added) return known->second;
  StateId state = automaton_.state_of(id);
  bool any = false;
  for (unsigned byte = 0x20; byte < 0xF5 && !any; ++byte) {
    bool first = byte < 0x80 ? (kByteKinds[byte] & kPlainKinds) != 0 : byte >= 0xC2;
    any = first && automaton_.next(state, static_cast<uint8_t>(byte)) != kDead;
  }
  return starts_plain_[id] = any;
}

Take TextTakes::of_term(TermId id, int& budget) {
  if (--budget < 0) return {};
  const Automaton::Term t = automaton_.term(id);
  switch (t.kind) {
    case Automaton::Kind::Cat:
    case Automaton::Kind::Frame: {
      Take take = of_term(t.a, budget);
      return automaton_.term(t.a).nullable ? better(take, of_term(t.b, budget)) : take;
    }
    case Automaton::Kind::Alt: {
      Take take;
      for (uint32_t i = 0; i < t.b && budget > 0; ++i) take = better(take, of_term(automaton_.items(id)[i], budget));
      return take;
    }
    case Automaton::Kind::Repeat: {
      CharKinds kinds = single(t.a).kinds;
      if (kinds == 0) return of_term(t.a, budget);
      uint64_t most = automaton_.bounds(id).second;
      return {kinds, most == kUnbounded ? Take::kAny : static_cast<uint32_t>(std::min<uint64_t>(most, 1U << 30))};
    }
    case Automaton::Kind::Ref:
      return of_term(automaton_.body(t.a), budget);
    case Automaton::Kind::And: {
      const auto [loose, bytes] = automaton_.loosen(id, TokenVocabulary::kShort);
      if (loose == id) return {};
      Take take = of_term(loose, budget);
      const uint64_t most = bytes / ((take.kinds & kWideChars) != 0 ? 4 : 1);  // characters have up to 4 bytes
      take.chars = static_cast<uint32_t>(std::min<uint64_t>(take.chars, most));
      return take;
    }
    default:
      return {};
  }
}

Take TextTakes::find(StateId state) {
  int budget = kMostTerms;
  Take take = of_term(automaton_.term_of(state), budget);
  if (known_.size() <= state) known_.resize(automaton_.num_states(), {kUnknown, 0});
  return known_[state] = take;
}

PlainTake TextTakes::plain(StateId state) {
  Take take = of(state);
  if ((kPlainKinds & ~take.kinds) != 0) return {};
  if (take.chars == Take::kAny) return {SIZE_MAX, false};
  // X{0,n} K, where K begins otherwise.
  const Automaton::Term t = automaton_.term(automaton_.term_of(state));
  bool counted = t.kind == Automaton::Kind::Cat && automaton_.term(t.a).kind == Automaton::Kind::Repeat;
  if (!counted || automaton_.term(t.b).nullable) return {take.chars, false};
  Single each = single(automaton_.term(t.a).a);
  bool no_longer = (kPlainKinds & ~each.kinds) == 0 && each.no_more && !starts_plain(t.b);
  return {take.chars, no_longer};
}

size_t TextTakes::plain_length(StateId state) {
  // Breadth first over states between characters.
  std::vector<StateId> level = {state};
  std::unordered_set<StateId> seen = {state};
  for (size_t length = 0;; ++length) {
    std::vector<StateId> next_level;
    auto visit = [&](StateId to) {
      if (seen.insert(to).second) next_level.push_back(to);
      return true;
    };
    for (StateId from : level) {
      StateId last = kDead;
      for (unsigned byte = 0x20; byte < 0x80; ++byte) {
        if ((kByteKinds[byte] & kPlainKinds) == 0) continue;
        StateId to = automaton_.next(from, static_cast<uint8_t>(byte));
        if (to == kDead) return length;
        if (to != last) visit(last = to);
      }
      if (!each_wide(from, visit)) return length;
    }
    if (next_level.empty()) return SIZE_MAX;
    if (seen.size() > kMostPlainStates || length > TokenVocabulary::kShort) return length + 1;
    level.swap(next_level);
  }
}

}  // namespace sgl::grammar
