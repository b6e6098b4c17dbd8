// The members of an object → terms: rules for the places in their order.

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "grammar/json_schema.h"

namespace sgl::grammar {
namespace {

constexpr uint64_t kMostCounted = 20000;  // rules made to count members
constexpr size_t kMostOptional = 3900;    // members in a row that may be left out: each calls the rule of the next

}  // namespace

// rest(i): what follows a member, when the members before i are done: the end, or a comma and next(i).
// next(i): member i, or if it may be left out what comes after it; or another member, and then rest(i) again.
TermId SchemaCompiler::object_term(const Members& m) {
  const std::vector<Member>& list = m.chains[0];
  size_t n = list.size();
  size_t optional = 0;
  for (const Member& member : list) {
    optional = member.required ? 0 : optional + 1;
    if (optional <= kMostOptional) continue;
    refuse(schema_with(*m.facts, "properties"), "properties",
           fmt::format("more than {} members in a row that may be left out; list some of them in required",
                       kMostOptional));
  }
  TermId comma = automaton_.cat(mark(","), space_), close = mark("}");
  std::vector<RuleId> rest(n + 1), next(n + 1);
  for (size_t i = 0; i <= n; ++i) {
    rest[i] = automaton_.new_rule("rest of an object", false);
    next[i] = automaton_.new_rule("next member", false);
  }
  bool may_end = true;  // none of the members from i on is required
  bool may_end_at_once = true;
  for (size_t i = n + 1; i-- > 0;) {
    if (i < n) may_end &= !list[i].required;
    if (i == 0) may_end_at_once = may_end;
    std::vector<TermId> options;
    if (i < n) {
      options.push_back(automaton_.cat(list[i].ways[0].term, automaton_.call(rest[i + 1])));
      if (!list[i].required) options.push_back(automaton_.call(next[i + 1]));
    }
    automaton_.define(next[i], automaton_.alt(options));
    std::vector<TermId> ways = {automaton_.call(next[i])};
    if (!m.others.empty()) ways.push_back(automaton_.cat(m.others[0].term, automaton_.call(rest[i])));
    TermId more = automaton_.cat(comma, automaton_.alt(ways));
    automaton_.define(rest[i], may_end ? automaton_.alt({close, more}) : more);
  }
  std::vector<TermId> first = {automaton_.call(next[0])};
  if (!m.others.empty()) first.push_back(automaton_.cat(m.others[0].term, automaton_.call(rest[0])));
  if (may_end_at_once) first.push_back(close);
  return automaton_.cat({mark("{"), space_, automaton_.alt(first)});
}

// Several chains, or members that are counted: a rule for each combination of places in the chains and the count.
TermId SchemaCompiler::interleaved_object_term(const Members& m) {
  TermId comma = automaton_.cat(mark(","), space_), close = mark("}");
  auto less = [](uint64_t x) { return x == kUnbounded ? x : x > 0 ? x - 1 : 0; };
  bool counted = m.min != 0 || m.max != kUnbounded;
  const size_t num_wanted = m.wanted.size();
  auto numbers = [&](size_t sort) { return (m.by_value >> sort & 1) != 0 ? size_t{3} : size_t{2}; };
  size_t states = 1, most = 0;
  std::vector<size_t> strides;
  for (const auto& chain : m.chains) {
    strides.push_back(states);
    states *= chain.size() + 1;
    most += chain.size();
  }
  if (counted && most == 0 && !m.wants()) {  // others only: a counted repetition
    const TermId other = m.others.empty() ? kNone : m.others[0].term;
    TermId more = automaton_.repeat(automaton_.cat(comma, other), less(m.min), less(m.max));
    TermId some = m.max == 0 ? kNone : automaton_.cat({other, more, close});
    return automaton_.cat({mark("{"), space_, m.min == 0 ? automaton_.alt({close, some}) : some});
  }
  if (m.others.empty() && m.min > most) return kNone;
  // More than `cap` members make no difference. Without others there are never more than all of them.
  const size_t places = states;
  for (size_t i = 0; i < num_wanted; ++i) states *= numbers(i);
  uint64_t cap = !counted ? 1 : m.max != kUnbounded ? m.max : m.min;
  if (m.others.empty()) cap = std::min<uint64_t>(cap, most);
  cap = std::max<uint64_t>(cap, 1);
  if (cap > kMostCounted || (cap + 1) * states > kMostCounted || (cap + 1) * states * (most + 1) > 50 * kMostCounted) {
    constexpr std::string_view kWhy = "with so many members it needs too many states";
    const std::string_view keyword = m.max != kUnbounded ? "maxProperties" : "minProperties";
    const JsonValue& schema = schema_with(*m.facts, keyword);
    if (schema.find(keyword) == nullptr && !m.wanted.empty()) {
      refuse(*m.wanted[0]->schema, m.wanted[0]->name, std::string(kWhy));
    }
    refuse(schema, keyword, std::string(kWhy));
  }
  // Of each wanted sort: none came, one did, or one did whose name another member may say again: then that one is of
  // the sort, too, since of a name that comes twice the last counts.
  enum : uint8_t { kNoneCame, kCame, kCameUnnamed };
  using Came = std::vector<uint8_t>;
  auto index_of = [&](const Came& came) {
    size_t index = 0;
    for (size_t i = num_wanted; i-- > 0;) index = index * numbers(i) + came[i];
    return index;
  };
  auto came_at = [&](size_t index) {
    Came came(num_wanted);
    for (size_t i = 0; i < num_wanted; index /= numbers(i++)) came[i] = static_cast<uint8_t>(index % numbers(i));
    return came;
  };
  // Nothing: such a member may not come, or another way to take it is enough.
  auto after_member = [&](Came came, unsigned sorts, bool named) -> std::optional<Came> {
    for (size_t i = 0; i < num_wanted; ++i) {
      const bool is_one = (sorts >> i & 1) != 0, by_value = (m.by_value >> i & 1) != 0;
      if (is_one && by_value && came[i] == kCame) return std::nullopt;
      if (!is_one && !named && came[i] == kCameUnnamed) return std::nullopt;
      if (is_one) came[i] = named || !by_value ? kCame : kCameUnnamed;
    }
    return came;
  };
  std::vector<std::vector<RuleId>> rest(states);
  for (auto& row : rest) {
    for (uint64_t c = 0; c <= cap; ++c) row.push_back(automaton_.new_rule("rest of an object", false));
  }
  for (size_t state = 0; state < states; ++state) {
    const size_t place = state % places;
    const Came came = came_at(state / places);
    for (uint64_t c = 0; c <= cap; ++c) {
      uint64_t after = std::min(c + 1, cap);
      std::vector<TermId> ways;
      bool may_end = c >= std::min(m.min, cap);
      for (size_t i = 0; i < num_wanted; ++i) may_end &= came[i] != kNoneCame;
      auto add_ways = [&](const std::vector<Way>& of, size_t next_place, bool named) {
        for (const Way& way : of) {
          const std::optional<Came> then = after_member(came, way.sorts, named);
          if (!then) continue;
          ways.push_back(automaton_.cat(way.term, automaton_.call(rest[next_place + places * index_of(*then)][after])));
        }
      };
      for (size_t k = 0; k < m.chains.size(); ++k) {
        const auto& chain = m.chains[k];
        size_t at = place / strides[k] % (chain.size() + 1);
        for (size_t j = at; j < chain.size(); ++j) {
          add_ways(chain[j].ways, place + (j + 1 - at) * strides[k], true);
          if (!chain[j].required) continue;
          may_end = false;
          break;
        }
      }
      add_ways(m.others, place, false);
      TermId more = c < m.max ? automaton_.alt(ways) : kNone;
      more = automaton_.cat(c == 0 ? kEpsilon : comma, more);
      automaton_.define(rest[state][c], may_end ? automaton_.alt({close, more}) : more);
    }
  }
  return automaton_.cat({mark("{"), space_, automaton_.call(rest[places * index_of(m.start)][0])});
}

}  // namespace sgl::grammar
