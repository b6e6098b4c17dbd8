// Counters in intersections. A & X{0,480}, a pattern beside a maxLength, is another state after each character, though
// the end of the counter matters to the last few alone. Elsewhere A & X{0,∞} stands for it, or A where every text of A
// is one of X's: these states are few, and what was made for them is found again.
//
// Dropping the end changes nothing for the next n bytes if after any of them some text completes A within what the
// counter then still has. So it is dropped where max ≥ n + s: each X has at least a byte, and s is the longest of the
// shortest completions, in bytes, of the states that A & X{0,∞} leads to. Both questions, what s is and whether A is a
// part of X*, are searches through these states, whose answers hold for all of them; they are given up where there are
// many states, and then the counter stays.

#include <algorithm>
#include <unordered_set>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {
namespace {

constexpr size_t kMostStates = 1000;       // of one search
constexpr size_t kMostOfACompletion = 32;  // states, in the search for a short one
constexpr uint64_t kMostReadings = 20000;  // of one search
constexpr unsigned kMostFailed = 2;        // searches for the same whole of which others are no part
constexpr size_t kMostOfACharacter = 12;   // bytes that may be left of a character: \ud83d\ude00

uint64_t pair_key(TermId a, TermId b) { return uint64_t{a} << 32 | b; }

}  // namespace

// Runs `search`, within limits of its own. False where it was given up or says so.
template <typename Search>
bool Automaton::within_search_limits(Search search) {
  const uint64_t readings = readings_left_;
  readings_left_ = kMostReadings;
  bool found = false;
  try {
    found = search();
  } catch (const Error& e) {
    // What a text that leads there would meet; one that does not must not.
    if (e.kind() != ErrorKind::Unsupported) {
      readings_left_ = readings;
      throw;
    }
  }
  readings_left_ = readings;
  return found;
}

Automaton::Counter Automaton::without_end(TermId id) {
  std::vector<TermId> heads;
  TermId last = id;
  while (terms_[last].kind == Kind::Cat && heads.size() < kMostOfACharacter) {
    heads.push_back(terms_[last].a);
    last = terms_[last].b;
  }
  const Term t = terms_[last];
  if (t.kind != Kind::Repeat || terms_[t.a].nullable || bounds(last).second == kUnbounded) {
    return {id, id, kNone, kUnbounded};
  }
  Counter counter{id, repeat(t.a, bounds(last).first, kUnbounded), t.a, bounds(last).second};
  for (size_t i = heads.size(); i-- > 0;) counter.endless = cat(heads[i], counter.endless);
  return counter;
}

// The And of what they are without their ends, without those that are then a part of the others.
TermId Automaton::both_without(const std::vector<Counter>& counters) {
  std::vector<TermId> list;
  for (const Counter& counter : counters) list.push_back(counter.endless);
  for (const Counter& counter : counters) {
    if (counter.endless == counter.whole || list.size() < 2) continue;
    std::vector<TermId> others = list;
    others.erase(std::find(others.begin(), others.end(), counter.endless));
    if (is_part_of(both(others), counter.endless)) list = std::move(others);
  }
  return both(list);
}

// Whether every text of `a` is one of `b`, for all that is known.
bool Automaton::is_part_of(TermId a, TermId b) {
  if (auto known = part_of_.find(pair_key(a, b)); known != part_of_.end()) return known->second;
  unsigned& failed = not_parts_[b];
  if (failed >= kMostFailed) return false;
  std::vector<Pair> open = {{a, b}};
  std::unordered_set<uint64_t> seen = {pair_key(a, b)};
  bool differs = false;
  const bool holds = within_search_limits([&] {
    while (!open.empty()) {
      const auto [left, right] = open.back();
      open.pop_back();
      if (terms_[left].nullable && !terms_[right].nullable) return !(differs = true);
      for (unsigned c = 0; c < num_classes_; ++c) {
        if (searches_left_ == 0 || seen.size() > kMostStates) return false;
        --searches_left_;
        const TermId l = state_terms_[next_class(state_of(left), c)];
        if (l == kNone) continue;
        const TermId r = state_terms_[next_class(state_of(right), c)];
        if (r == kNone) return !(differs = true);
        if (seen.insert(pair_key(l, r)).second) open.push_back({l, r});
      }
    }
    return true;
  });
  if (differs) {
    ++failed;
    return part_of_[pair_key(a, b)] = false;  // of the others nothing is known
  }
  for (uint64_t key : seen) part_of_[key] = holds;  // where it was given up, so that no one tries again
  return holds;
}

// The longest of the shortest completions, in bytes, of the states that `id` leads to, or a longer one; kUnbounded if
// the search was given up.
uint64_t Automaton::longest_completion(TermId id) {
  if (auto known = completions_.find(id); known != completions_.end()) return known->second;
  std::vector<TermId> nodes = {id};
  std::unordered_map<TermId, uint32_t> index = {{id, 0}};
  std::vector<std::vector<uint32_t>> sources(1);
  const bool all = within_search_limits([&] {
    for (uint32_t at = 0; at < nodes.size(); ++at) {
      for (unsigned c = 0; c < num_classes_; ++c) {
        if (searches_left_ == 0 || nodes.size() > kMostStates) return false;
        --searches_left_;
        const TermId to = state_terms_[next_class(state_of(nodes[at]), c)];
        if (to == kNone) continue;
        auto [known, added] = index.try_emplace(to, static_cast<uint32_t>(nodes.size()));
        if (added) {
          nodes.push_back(to);
          sources.emplace_back();
        }
        std::vector<uint32_t>& from = sources[known->second];
        if (from.empty() || from.back() != at) from.push_back(at);
      }
    }
    return true;
  });
  uint64_t longest = kUnbounded;
  if (all) {
    // Breadth first, from the states where a text can end.
    std::vector<uint32_t> level, next;
    std::vector<bool> reached(nodes.size());
    size_t left = nodes.size();
    auto reach = [&](uint32_t node, std::vector<uint32_t>& out) {
      if (reached[node]) return;
      reached[node] = true;
      --left;
      out.push_back(node);
    };
    for (uint32_t i = 0; i < nodes.size(); ++i) {
      if (terms_[nodes[i]].nullable) reach(i, level);
    }
    uint64_t length = 0;
    for (; left > 0 && !level.empty(); ++length) {
      next.clear();
      for (uint32_t node : level) {
        for (uint32_t from : sources[node]) reach(from, next);
      }
      level.swap(next);
    }
    if (left == 0) longest = length;
  }
  for (TermId node : nodes) completions_[node] = longest;
  return longest;
}

TermId Automaton::loosen(TermId id, uint64_t n) {
  if (terms_[id].kind != Kind::And) return id;
  const uint64_t key = uint64_t{id} << 8 | (n & 0xFF);
  if (auto known = loosened_.find(key); known != loosened_.end()) return known->second;
  std::vector<Counter> counters;
  for (TermId item : std::vector<TermId>(items(id).begin(), items(id).end())) counters.push_back(without_end(item));
  TermId result = id;
  while (result == id) {
    uint64_t least = kUnbounded;
    for (const Counter& counter : counters) {
      if (counter.endless != counter.whole) least = std::min(least, counter.max);
    }
    if (least == kUnbounded) break;
    if (least >= n) {
      const TermId term = both_without(counters);
      if (longest_completion(term) <= least - n) result = term;
    }
    for (Counter& counter : counters) {
      if (counter.max == least) counter.endless = counter.whole;  // the next try keeps the nearest end
    }
  }
  return loosened_[key] = result;
}

uint64_t Automaton::completion(TermId id) {
  if (terms_[id].nullable) return 0;
  if (auto known = shortest_.find(id); known != shortest_.end()) return known->second;
  // By ASCII alone: a shorter one by characters of several bytes is not worth looking through these.
  std::bitset<256> is_ascii;
  for (unsigned byte = 0; byte < 0x80; ++byte) is_ascii[class_of_[byte]] = true;
  uint64_t bytes = kUnbounded;
  within_search_limits([&] {
    std::vector<TermId> level = {id}, next;
    std::unordered_set<TermId> seen = {id};
    for (uint64_t length = 1; !level.empty(); ++length) {
      next.clear();
      for (TermId term : level) {
        for (unsigned c = 0; c < num_classes_; ++c) {
          if (searches_left_ == 0 || seen.size() > kMostOfACompletion) return false;
          if (!is_ascii[c]) continue;
          --searches_left_;
          const TermId to = state_terms_[next_class(state_of(term), c)];
          if (terms_[to].nullable) {
            bytes = length;
            return true;
          }
          if (to != kNone && seen.insert(to).second) next.push_back(to);
        }
      }
      level.swap(next);
    }
    return false;
  });
  return shortest_[id] = bytes;
}

}  // namespace sgl::grammar
