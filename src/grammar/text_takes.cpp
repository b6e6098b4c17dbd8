#include "grammar/text_takes.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "grammar/token_vocabulary.h"

namespace sgl::grammar {
namespace {

constexpr int kMostTerms = 32;      // looked at in one state's term
constexpr uint32_t kFewChars = 8;   // what is taken of an And is found out for as many characters and more
constexpr size_t kMostStates = 48;  // looked at to see what a state does with text

CharKinds kind_of_byte(unsigned byte) {
  return byte < 0x80 ? kByteKinds[byte] : kWideChars | kLineSeparators | kBroken;
}

bool says_more(const Take& x, const Take& y) {
  int more = std::popcount(x.kinds) - std::popcount(y.kinds);
  return more > 0 || (more == 0 && x.chars > y.chars);
}

}  // namespace

// Visits the states after each character of several bytes but the line separators. False where there is none after one
// of them, or `visit` says false.
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
  bool all = step(from, 0xC2, 0xDF, 1) && lead(0xE0, 0xA0, 0xBF, 1) && step(from, 0xE1, 0xE1, 2) &&
             lead(0xE2, 0x81, 0xBF, 1) && step(from, 0xE3, 0xEC, 2) && lead(0xED, 0x80, 0x9F, 1) &&
             step(from, 0xEE, 0xEF, 2) && lead(0xF0, 0x90, 0xBF, 2) && step(from, 0xF1, 0xF3, 3) &&
             lead(0xF4, 0x80, 0x8F, 2);
  if (all) {  // beside the line separators
    StateId at = automaton_.next(automaton_.next(from, 0xE2), 0x80);
    all = at != kDead && step(at, 0x80, 0xA7, 0) && step(at, 0xAA, 0xBF, 0);
  }
  while (all && !open.empty()) {
    Part p = open.back();
    open.pop_back();
    all = step(p.state, p.low, p.high, p.tail - 1);
  }
  return all;
}

template <typename Visit>
bool TextTakes::each_line_separator(StateId from, Visit visit) {
  StateId at = automaton_.next(automaton_.next(from, 0xE2), 0x80);
  for (uint8_t last : {0xA8, 0xA9}) {
    StateId to = automaton_.next(at, last);
    if (to == kDead || !visit(to)) return false;
  }
  return true;
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
  CharKinds kinds = bytes.none() ? 0 : ~(kBroken | kWideChars | kLineSeparators);
  for (unsigned byte = 0; byte < 0x80; ++byte) {
    if (!bytes[byte]) kinds &= ~kByteKinds[byte];
  }
  Single result{kinds, true};
  if (kinds != 0 && t.kind == Automaton::Kind::Alt) {
    StateId start = automaton_.state_of(id), over = automaton_.state_of(kEpsilon);
    for (unsigned byte = 0; byte < 0x80; ++byte) {
      if ((kByteKinds[byte] & kinds) != 0) {
        result.no_more &= automaton_.next(start, static_cast<uint8_t>(byte)) == over;
      }
    }
    auto is_whole = [&](StateId to) {
      result.no_more &= to == over;
      return automaton_.accepts(to);
    };
    if (each_wide(start, is_whole)) result.kinds |= kWideChars;
    if (each_line_separator(start, is_whole)) result.kinds |= kLineSeparators;
  }
  return single_[body] = result;
}

// The kinds of the characters that a text of `id` can begin with, or more. Characters of several bytes are kWideChars,
// and kBroken as well, for tokens that hold a part of one.
CharKinds TextTakes::starts(TermId id, int depth) {
  constexpr CharKinds kAll = ~CharKinds{0};
  if (auto known = starts_.find(id); known != starts_.end()) return known->second;
  if (depth > kMostTerms) return kAll;
  const Automaton::Term t = automaton_.term(id);
  CharKinds kinds = 0;
  switch (t.kind) {
    case Automaton::Kind::None:
    case Automaton::Kind::Epsilon:
      break;
    case Automaton::Kind::Bytes:
      for (unsigned byte = 0; byte < 256; ++byte) {
        if (automaton_.byte_set(id)[byte]) kinds |= kind_of_byte(byte);
      }
      break;
    case Automaton::Kind::Cat:
    case Automaton::Kind::Frame:
      kinds = starts(t.a, depth + 1);
      if (automaton_.term(t.a).nullable) kinds |= starts(t.b, depth + 1);
      break;
    case Automaton::Kind::Alt:
      for (uint32_t i = 0; i < t.b && kinds != kAll; ++i) kinds |= starts(automaton_.items(id)[i], depth + 1);
      break;
    case Automaton::Kind::Repeat:
      kinds = starts(t.a, depth + 1);
      break;
    case Automaton::Kind::And:
      kinds = kAll;
      for (uint32_t i = 0; i < t.b; ++i) kinds &= starts(automaton_.items(id)[i], depth + 1);
      break;
    case Automaton::Kind::Ref:
      kinds = starts(automaton_.body(t.a), depth + 1);
      break;
    case Automaton::Kind::Not:
    case Automaton::Kind::Fresh:
      kinds = kAll;
      break;
  }
  return starts_[id] = kinds;
}

TextTakes::Ahead TextTakes::ahead(StateId state, CharKinds kinds, size_t chars) {
  if (class_kinds_.empty()) {
    class_kinds_.assign(automaton_.num_classes(), 0);
    for (unsigned byte = 0; byte < 256; ++byte) {
      class_kinds_[automaton_.class_of(static_cast<uint8_t>(byte))] |= kind_of_byte(byte);
    }
  }
  // Of characters of several bytes each byte is a step, and tokens end before that many.
  const size_t steps = (kinds & (kWideChars | kLineSeparators)) != 0 ? TokenVocabulary::kShort
                                                                     : std::min(chars, TokenVocabulary::kShort);
  Ahead ahead{0, false};
  std::vector<StateId> level = {state}, next;
  std::unordered_set<StateId> seen = {state};
  for (size_t length = 0;; ++length) {
    next.clear();
    for (StateId at : level) {
      ahead.kinds |= starts(automaton_.term_of(at));
      ahead.may_end = ahead.may_end || automaton_.accepts(at);
      if (length == steps) continue;
      for (unsigned c = 0; c < automaton_.num_classes(); ++c) {
        if ((class_kinds_[c] & kinds) == 0) continue;
        const StateId to = automaton_.next_class(at, c);
        if (to != kDead && seen.insert(to).second) next.push_back(to);
      }
    }
    if (next.empty()) break;
    if (seen.size() > kMostStates) return {};
    level.swap(next);
  }
  return ahead;
}

// Visits the states after each character of these kinds; false as each_wide().
template <typename Visit>
bool TextTakes::each_next(StateId from, CharKinds kinds, Visit visit) {
  StateId last = kDead;
  for (unsigned byte = 0; byte < 0x80; ++byte) {
    if ((kByteKinds[byte] & kinds) == 0) continue;
    StateId to = automaton_.next(from, static_cast<uint8_t>(byte));
    if (to == kDead) return false;
    if (to != last && !visit(last = to)) return false;
  }
  return ((kinds & kWideChars) == 0 || each_wide(from, visit)) &&
         ((kinds & kLineSeparators) == 0 || each_line_separator(from, visit));
}

// The longest of the shortest completions, in bytes, of the states that up to `chars` characters of these kinds lead
// to; kUnbounded where some have none, or if they are too many to be looked at.
uint64_t TextTakes::completion_after(TermId id, CharKinds kinds, uint32_t chars) {
  const uint64_t key = uint64_t{id} << 32 | kinds;
  if (chars == Take::kAny) {
    auto [known, added] = completions_.try_emplace(key, kUnbounded);
    if (!added) return known->second;
  }
  std::vector<StateId> level = {automaton_.state_of(id)}, next;
  std::unordered_set<StateId> seen(level.begin(), level.end());
  uint64_t longest = 0;
  for (uint32_t length = 0; !level.empty(); ++length) {
    next.clear();
    for (StateId state : level) {
      longest = std::max(longest, automaton_.completion(automaton_.term_of(state)));
      if (longest == kUnbounded) return kUnbounded;
      if (length == chars) continue;
      bool all = each_next(state, kinds, [&](StateId to) {
        if (seen.insert(to).second) next.push_back(to);
        return seen.size() <= kMostStates;
      });
      if (!all) return kUnbounded;
    }
    level.swap(next);
  }
  if (chars == Take::kAny) completions_[key] = longest;
  return longest;
}

// What all of the parts take, if it can be completed: A & X{0,n} takes what A & X{0,∞} takes, as long as what is left
// of the counter suffices to complete A.
Take TextTakes::of_and(TermId id, int& budget) {
  Take take{~kBroken, Take::kAny, false, false};
  std::vector<TermId> endless;
  uint64_t max = kUnbounded;
  CharKinds counted = ~CharKinds{0};
  bool no_more = true;  // after `max`
  for (TermId part : std::vector<TermId>(automaton_.items(id).begin(), automaton_.items(id).end())) {
    const Automaton::Counter counter = automaton_.without_end(part);
    endless.push_back(counter.endless);
    const Take other = of_term(counter.endless, budget);
    if (other.chars < take.chars) {
      take.chars = other.chars;
      take.no_more = other.no_more;
    }
    take.kinds &= other.kinds;
    take.may_end = take.may_end || other.may_end;
    if (counter.max == kUnbounded) continue;
    const Single each = single(counter.counted);
    counted &= each.kinds;
    no_more = no_more && each.no_more;
    max = std::min(max, counter.max);
  }
  take.kinds &= counted;
  if (take.kinds == 0 || take.chars < kFewChars) return {};  // finding out takes longer than it saves
  const uint64_t completion = completion_after(automaton_.both(endless), take.kinds, take.chars);
  if (completion >= max) return {};
  if (max == kUnbounded) return take;
  const uint64_t chars = std::min<uint64_t>(max - completion, 1U << 30);
  if (chars >= take.chars) return take;
  return {take.kinds, static_cast<uint32_t>(chars), completion == 0 && no_more, true};
}

Take TextTakes::of_term(TermId id, int& budget) {
  if (--budget < 0) return {};
  const Automaton::Term t = automaton_.term(id);
  switch (t.kind) {
    case Automaton::Kind::Cat:
    case Automaton::Kind::Frame: {
      Take take = of_term(t.a, budget);
      const bool may_end = take.may_end || automaton_.term(t.a).nullable;
      take.no_more = take.no_more && !(may_end && (starts(t.b) & take.kinds) != 0);
      take.may_end = may_end && automaton_.term(t.b).nullable;
      if (!automaton_.term(t.a).nullable) return take;
      Take behind = of_term(t.b, budget);
      behind.no_more = false;  // a may take more
      return says_more(behind, take) ? behind : take;
    }
    case Automaton::Kind::Alt: {
      Take take;
      uint32_t from = 0;
      for (uint32_t i = 0; i < t.b && budget > 0; ++i) {
        const Take other = of_term(automaton_.items(id)[i], budget);
        if (!says_more(other, take)) continue;
        take = other;
        from = i;
      }
      for (uint32_t i = 0; i < t.b && take.no_more; ++i) {
        take.no_more = i == from || (starts(automaton_.items(id)[i]) & take.kinds) == 0;
      }
      take.may_end = take.may_end || t.nullable;
      return take;
    }
    case Automaton::Kind::Repeat: {
      const Single each = single(t.a);
      if (each.kinds == 0) {
        Take take = of_term(t.a, budget);
        take.no_more = take.no_more && !take.may_end;
        take.may_end = take.may_end || t.nullable;
        return take;
      }
      const uint64_t most = automaton_.bounds(id).second;
      if (most == kUnbounded) return {each.kinds, Take::kAny, false, true};
      return {each.kinds, static_cast<uint32_t>(std::min<uint64_t>(most, 1U << 30)), each.no_more, true};
    }
    case Automaton::Kind::Ref:
      return of_term(automaton_.body(t.a), budget);
    case Automaton::Kind::And:
      return of_and(id, budget);
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
      if (!each_wide(from, visit) || !each_line_separator(from, visit)) return length;
    }
    if (next_level.empty()) return SIZE_MAX;
    if (seen.size() > kMostStates || length > TokenVocabulary::kShort) return length + 1;
    level.swap(next_level);
  }
}

}  // namespace sgl::grammar
