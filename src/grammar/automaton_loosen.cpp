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
constexpr uint64_t kMostReadings = 20000;  // of one search
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

// X{min,max}, alone or behind the rest of a character, without its end, and `max`. `id` itself if it is none.
TermId Automaton::without_end(TermId id, uint64_t& max) {
  std::vector<TermId> heads;
  TermId last = id;
  while (terms_[last].kind == Kind::Cat && heads.size() < kMostOfACharacter) {
    heads.push_back(terms_[last].a);
    last = terms_[last].b;
  }
  const Term t = terms_[last];
  if (t.kind != Kind::Repeat || terms_[t.a].nullable || bounds(last).second == kUnbounded) return id;
  max = bounds(last).second;
  TermId out = repeat(t.a, bounds(last).first, kUnbounded);
  for (size_t i = heads.size(); i-- > 0;) out = cat(heads[i], out);
  return out;
}

// Whether every text of `a` is one of `b`, for all that is known.
bool Automaton::is_part_of(TermId a, TermId b) {
  if (auto known = part_of_.find(pair_key(a, b)); known != part_of_.end()) return known->second;
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
  if (differs) return part_of_[pair_key(a, b)] = false;  // of the others nothing is known
  for (uint64_t key : seen) part_of_[key] = holds;       // where it was given up, so that no one tries again
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

Automaton::Loose Automaton::loosen(TermId id, uint64_t n) {
  if (terms_[id].kind != Kind::And) return {id, kUnbounded};
  const uint64_t key = uint64_t{id} << 8 | (n & 0xFF);
  if (auto known = loosened_.find(key); known != loosened_.end()) return known->second;
  struct Part {
    TermId whole, loose;
    uint64_t max;
  };
  std::vector<Part> parts;
  for (TermId item : std::vector<TermId>(items(id).begin(), items(id).end())) {
    Part part{item, item, kUnbounded};
    part.loose = without_end(item, part.max);
    parts.push_back(part);
  }
  Loose result{id, kUnbounded};
  while (result.term == id) {
    uint64_t least = kUnbounded;
    for (const Part& part : parts) {
      if (part.loose != part.whole) least = std::min(least, part.max);
    }
    if (least == kUnbounded) break;
    if (least >= n) {
      std::vector<TermId> list;
      for (const Part& part : parts) list.push_back(part.loose);
      for (const Part& part : parts) {
        if (part.loose == part.whole || list.size() < 2) continue;
        std::vector<TermId> others = list;
        others.erase(std::find(others.begin(), others.end(), part.loose));
        if (is_part_of(both(others), part.loose)) list = std::move(others);
      }
      const TermId term = both(list);
      const uint64_t longest = longest_completion(term);
      if (longest <= least - n) result = {term, least - longest};
    }
    for (Part& part : parts) {
      if (part.max == least) part.loose = part.whole;  // the next try keeps the nearest end
    }
  }
  return loosened_[key] = result;
}

}  // namespace sgl::grammar
