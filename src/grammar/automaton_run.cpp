// Running: derivatives, computed once for each (state, byte class) and remembered in a table.

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>
#include <unordered_set>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {
namespace {

uint64_t less_one(uint64_t n) { return n == kUnbounded || n == 0 ? n : n - 1; }

constexpr size_t kMostSearched = 10000;  // states looked at to decide whether an And matches anything
constexpr size_t kMostSeen = 20000;      // that these lead to
constexpr size_t kMostSteps = 400000;    // terms looked at for one derivative
constexpr size_t kFewSteps = 64;         // after these, what was looked at is remembered: tails of stacks are shared
constexpr size_t kStepsOfAReading = 8;   // where there are many, they cost time, too

[[noreturn]] void refuse_steps() {
  throw Error(ErrorKind::Unsupported, "the grammar is too ambiguous: one byte takes too many steps; make it simpler");
}

}  // namespace

void Automaton::count_readings(size_t made) {
  if (readings_left_ == kUnbounded) return;
  if (made > readings_left_) {
    throw Error(
        ErrorKind::Unsupported,
        "the grammar is too ambiguous: there are too many readings of this text to find the tokens that may come next; "
        "where a counted repetition can begin at many places, as in [ab]*a[ab]{2000}, bound it lower");
  }
  readings_left_ -= made;
}

StateId Automaton::state_of(TermId term) {
  StateId& state = term_states_[term];
  if (state == kUnknown) {
    state = static_cast<StateId>(state_terms_.size());
    state_terms_.push_back(term);
    forced_.push_back(-2);
    table_.resize(table_.size() + num_classes_, term == kNone ? kDead : kUnknown);
  }
  return state;
}

// The states whose derivatives those of `id` are made of and that are not known yet.
void Automaton::find_missing(TermId id, unsigned c, std::vector<StateId>& missing) {
  std::vector<TermId> open = {id};
  auto need = [&](TermId body) {
    StateId state = state_of(body);
    if (table_[size_t{state} * num_classes_ + c] == kUnknown) missing.push_back(state);
  };
  std::unordered_set<TermId> seen;
  for (size_t steps = 0; !open.empty(); ++steps) {
    const TermId term = open.back();
    const Term t = terms_[term];
    open.pop_back();
    if (steps > kMostSteps) refuse_steps();
    if (steps > kFewSteps && !seen.insert(term).second) continue;
    switch (t.kind) {
      case Kind::Cat:
        open.push_back(t.a);
        if (terms_[t.a].nullable) open.push_back(t.b);
        break;
      case Kind::Frame:
        need(t.a);
        if (terms_[t.a].nullable) open.push_back(t.b);
        break;
      case Kind::Alt:
        open.insert(open.end(), lists_.begin() + t.a, lists_.begin() + t.a + t.b);
        break;
      case Kind::Repeat:
        open.push_back(t.a);
        break;
      case Kind::Ref:
        if (rules_[t.a].framed) {
          need(rules_[t.a].body);
        } else {
          open.push_back(rules_[t.a].body);
        }
        break;
      case Kind::Fresh:
        need(present_item(term).first);
        break;
      default:
        break;
    }
  }
}

// Rules may call each other thousands deep before a byte is read, so what a derivative needs is computed first, with a
// stack of its own and not the machine's.
StateId Automaton::compute_next(StateId state, unsigned byte_class) {
  // The commonest by far, inside of constants and characters: a set of bytes, then the rest.
  const Term& t = terms_[state_terms_[state]];
  const Term& head = t.kind == Kind::Cat ? terms_[t.a] : t;
  if (head.kind == Kind::Bytes) {
    TermId rest = t.kind == Kind::Cat ? t.b : kEpsilon;
    StateId next = has_byte(head.a, byte_class) ? state_of(rest) : kDead;
    return table_[size_t{state} * num_classes_ + byte_class] = next;
  }
  std::vector<StateId> open = {state};
  std::vector<StateId> missing;
  while (!open.empty()) {
    StateId at = open.back();
    size_t cell = size_t{at} * num_classes_ + byte_class;
    if (table_[cell] == kUnknown) {
      missing.clear();
      find_missing(state_terms_[at], byte_class, missing);
      if (!missing.empty()) {
        open.insert(open.end(), missing.begin(), missing.end());
        if (open.size() > kMostSteps) {
          throw Error(ErrorKind::Unsupported, "the grammar is nested too deep for this text; nest less deep");
        }
        continue;
      }
      StateId next = state_of(derive(state_terms_[at], byte_class));
      table_[cell] = next;
    }
    open.pop_back();
  }
  return table_[size_t{state} * num_classes_ + byte_class];
}

// `derived`, of the body of a framed rule, goes on with `rest`.
void Automaton::push_frames(TermId derived, TermId rest, std::vector<TermId>& out) {
  if (terms_[derived].kind != Kind::Alt) {
    if (derived != kNone) out.push_back(frame(derived, rest));
    return;
  }
  std::vector<TermId> list(items(derived).begin(), items(derived).end());
  auto first_frame =
      std::stable_partition(list.begin(), list.end(), [&](TermId id) { return terms_[id].kind != Kind::Frame; });
  for (auto i = first_frame; i != list.end(); ++i) out.push_back(frame(*i, rest));
  if (first_frame == list.end()) {
    out.push_back(frame(derived, rest));
  } else {
    list.erase(first_frame, list.end());
    if (!list.empty()) out.push_back(frame(alt(list), rest));
  }
}

TermId Automaton::derive(TermId id, unsigned c) {
  std::vector<Pair> open = {{id, kEpsilon}};
  std::unordered_set<uint64_t> seen;
  std::vector<TermId> out;
  size_t steps = 0;
  while (!open.empty()) {
    auto [term, rest] = open.back();
    open.pop_back();
    if (++steps > kMostSteps) refuse_steps();
    if (steps > kFewSteps && !seen.insert(uint64_t{term} << 32 | rest).second) continue;
    const Term t = terms_[term];
    switch (t.kind) {
      case Kind::None:
      case Kind::Epsilon:
        break;
      case Kind::Bytes:
        if (has_byte(t.a, c)) out.push_back(rest);
        break;
      case Kind::Cat:
        open.push_back({t.a, cat(t.b, rest)});
        if (terms_[t.a].nullable) open.push_back({t.b, rest});
        break;
      case Kind::Alt:
        for (uint32_t i = 0; i < t.b; ++i) open.push_back({lists_[t.a + i], rest});
        break;
      case Kind::Repeat: {
        auto [min, max] = bounds_[t.b];
        open.push_back({t.a, cat(repeat(t.a, less_one(min), less_one(max)), rest)});
        break;
      }
      case Kind::Ref:
        if (rules_[t.a].framed) {
          push_frames(state_terms_[next_class(state_of(rules_[t.a].body), c)], rest, out);
        } else {
          open.push_back({rules_[t.a].body, rest});
        }
        break;
      case Kind::And:
      case Kind::Not:
        if (TermId d = derive_bool(term, c); d != kNone && is_live(d)) out.push_back(cat(d, rest));
        break;
      case Kind::Frame:
        push_frames(state_terms_[next_class(state_of(t.a), c)], cat(t.b, rest), out);
        if (terms_[t.a].nullable) open.push_back({t.b, rest});
        break;
      case Kind::Fresh: {
        auto [item, came] = present_item(term);
        if (TermId d = state_terms_[next_class(state_of(item), c)]; d != kNone) {
          const char byte = static_cast<char>(byte_of_[c]);
          out.push_back(cat(after_item(came, {&byte, 1}, d), rest));
        }
        if (terms_[item].nullable) open.push_back({after_items(came_[came]), rest});
        break;
      }
    }
  }
  budget_.spend(steps);
  if (out.empty()) return kNone;
  if (out.size() == 1) return out[0];
  count_readings(std::max(out.size(), steps / kStepsOfAReading));
  return alt(out);
}

TermId Automaton::derive_bool(TermId id, unsigned c) {
  const Term t = terms_[id];
  if (t.kind == Kind::Not) return negate(state_terms_[next_class(state_of(t.a), c)]);
  std::vector<TermId> list(items(id).begin(), items(id).end());
  for (TermId& item : list) {
    if (terms_[item].kind == Kind::Not || terms_[item].kind == Kind::And) {
      item = derive_bool(item, c);  // not its own state: that need not be live, only all together
    } else {
      item = state_terms_[next_class(state_of(item), c)];
    }
    if (item == kNone) return kNone;
  }
  return both(list);
}

// No text that the term matches has fewer or more bytes than these. Of an And its parts are asked, one by one.
Automaton::Lengths Automaton::lengths(TermId id) {
  if (lengths_.size() < terms_.size()) lengths_.resize(terms_.size(), {kUnknown, 0});
  // Sequences are long: from their ends, without recursion.
  std::vector<TermId> sequence;
  while (lengths_[id].least == kUnknown && (terms_[id].kind == Kind::Cat || terms_[id].kind == Kind::Frame)) {
    sequence.push_back(id);
    id = terms_[id].b;
  }
  constexpr uint64_t kMost = UINT32_MAX / 2;
  auto keep = [&](TermId of, uint64_t least, uint64_t most) {
    return lengths_[of] = {static_cast<uint32_t>(std::min(least, kMost)), static_cast<uint32_t>(std::min(most, kMost))};
  };
  Lengths known = lengths_[id];
  if (known.least == kUnknown) {
    const Term t = terms_[id];
    uint64_t least = 0, most = kMost;
    switch (t.kind) {
      case Kind::None:
        least = kMost;
        most = 0;
        break;
      case Kind::Epsilon:
        most = 0;
        break;
      case Kind::Bytes:
        least = most = 1;
        break;
      case Kind::Repeat: {
        const Lengths one = lengths(t.a);
        const auto [min, max] = bounds(id);
        least = std::min(min, kMost) * one.least;
        most = std::min(max, kMost) * one.most;
        break;
      }
      case Kind::Alt:
        least = kMost;
        most = 0;
        for (TermId item : items(id)) {
          const Lengths one = lengths(item);
          least = std::min<uint64_t>(least, one.least);
          most = std::max<uint64_t>(most, one.most);
        }
        break;
      case Kind::And:
        for (TermId item : items(id)) {
          const Lengths one = lengths(item);
          least = std::max<uint64_t>(least, one.least);
          most = std::min<uint64_t>(most, one.most);
        }
        break;
      default:
        break;
    }
    known = keep(id, least, most);
  }
  for (size_t i = sequence.size(); i-- > 0;) {
    const Lengths first = lengths(terms_[sequence[i]].a);
    known = keep(sequence[i], uint64_t{first.least} + known.least, uint64_t{first.most} + known.most);
  }
  return known;
}

// Whether an And or a Not matches any text: a search for a nullable derivative, first where the fewest bytes may be
// missing, and where that is the same, deeper. All that was seen on the way is remembered.
bool Automaton::is_live(TermId id) {
  Kind kind = terms_[id].kind;
  if (kind != Kind::And && kind != Kind::Not) return id != kNone;
  if (auto known = live_.find(id); known != live_.end()) return known->second;
  std::unordered_map<TermId, TermId> parent = {{id, id}};
  using Open = std::tuple<uint32_t, size_t, TermId>;  // missing bytes, the later the smaller, and the term
  std::priority_queue<Open, std::vector<Open>, std::greater<>> open;
  size_t later = SIZE_MAX, searched = 0;
  open.emplace(0, later, id);
  auto mark_live = [&](TermId at) {
    for (;; at = parent[at]) {
      live_[at] = true;
      if (parent[at] == at) return true;
    }
  };
  while (!open.empty()) {
    const TermId at = std::get<2>(open.top());
    open.pop();
    if (terms_[at].nullable) return mark_live(at);
    for (unsigned c = 0; c < num_classes_; ++c) {
      budget_.spend(1);
      TermId d = derive_bool(at, c);
      if (d == kNone || parent.contains(d)) continue;
      Kind k = terms_[d].kind;
      if (k != Kind::And && k != Kind::Not) return mark_live(at);
      auto known = live_.find(d);
      if (known != live_.end()) {
        if (known->second) return mark_live(at);
        continue;
      }
      const auto [least, most] = lengths(d);
      parent.emplace(d, at);
      if (least <= most) open.emplace(least, --later, d);
    }
    if (++searched > kMostSearched || parent.size() > kMostSeen) {
      throw Error(ErrorKind::Unsupported,
                  "the combination of patterns, formats and lengths is too large to decide whether any text fits; use "
                  "fewer of them together");
    }
  }
  for (const auto& [dead, from] : parent) live_[dead] = false;
  return false;
}

int Automaton::forced_byte(StateId state) {
  if (forced_[state] != -2) return forced_[state];
  int result = -1;
  if (state != kDead && !accepts(state)) {
    unsigned found = num_classes_;
    for (unsigned c = 0; c < num_classes_ && found != num_classes_ + 1; ++c) {
      if (next_class(state, c) != kDead) found = found == num_classes_ ? c : num_classes_ + 1;
    }
    if (found < num_classes_) {
      int count = 0;
      for (int byte = 0; byte < 256; ++byte) {
        if (class_of_[static_cast<size_t>(byte)] == found) {
          result = byte;
          ++count;
        }
      }
      if (count != 1) result = -1;
    }
  }
  forced_[state] = static_cast<int16_t>(result);
  return result;
}

bool Automaton::must_end(StateId state) {
  if (!accepts(state)) return false;
  for (unsigned c = 0; c < num_classes_; ++c) {
    if (next_class(state, c) != kDead) return false;
  }
  return true;
}

size_t Automaton::memory() const {
  return terms_.size() * (sizeof(Term) + 12) + lists_.size() * 4 + slots_.size() * 4 + table_.size() * 4 +
         state_terms_.size() * 8 + lengths_.size() * sizeof(Lengths) +
         (live_.size() + clamped_.size() + loosened_.size() + merged_.size() + part_of_.size() + completions_.size() +
          shortest_.size() + texts_.size()) *
             48 +
         came_.size() * (2 * sizeof(Came) + 48);
}

}  // namespace sgl::grammar
