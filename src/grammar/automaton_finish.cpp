// The end of building: what is nullable, which bytes the grammar tells apart, left recursion, what derives nothing.

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {

// The terms that a term is made of; of a call, the rule's body.
template <typename Visit>
void Automaton::each_operand(TermId id, Visit visit) const {
  const Term& t = terms_[id];
  switch (t.kind) {
    case Kind::Cat:
    case Kind::Frame:
      visit(t.a);
      visit(t.b);
      break;
    case Kind::Alt:
    case Kind::And:
      for (TermId item : items(id)) visit(item);
      break;
    case Kind::Repeat:
    case Kind::Not:
      visit(t.a);
      break;
    case Kind::Ref:
      visit(rules_[t.a].body);
      break;
    case Kind::Fresh:
      visit(unique_arrays_[came_[t.b].array].item);
      break;
    default:
      break;
  }
}

template <typename Holds>
std::vector<char> Automaton::least_fixed_point(Holds holds) const {
  // Users of each term, as one array with an offset for each: a rule's body is used by the calls of the rule.
  std::vector<uint32_t> offsets(terms_.size() + 1, 0);
  auto size = static_cast<TermId>(terms_.size());
  for (TermId id = 0; id < size; ++id) each_operand(id, [&](TermId x) { ++offsets[x + 1]; });
  for (size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  std::vector<TermId> users(offsets.back());
  std::vector<uint32_t> fill(offsets.begin(), offsets.end() - 1);
  for (TermId id = 0; id < size; ++id) each_operand(id, [&](TermId x) { users[fill[x]++] = id; });
  std::vector<char> value(terms_.size(), 0);
  std::vector<TermId> open;
  auto ask = [&](TermId id) {
    if (value[id] != 0 || !holds(id, value)) return;
    value[id] = 1;
    open.push_back(id);
  };
  for (TermId id = 0; id < size; ++id) ask(id);
  while (!open.empty()) {
    TermId id = open.back();
    open.pop_back();
    for (uint32_t i = offsets[id]; i < offsets[id + 1]; ++i) ask(users[i]);
  }
  return value;
}

// Nullability is a least fixed point, but for And and Not, which are not monotone. They are computed in between, in
// order of their ids, from operands that are regular and were settled before.
void Automaton::find_nullable() {
  auto settle = [&] {
    std::vector<char> value = least_fixed_point([&](TermId id, const std::vector<char>& known) {
      const Term& t = terms_[id];
      switch (t.kind) {
        case Kind::Cat:
        case Kind::Frame:
          return known[t.a] != 0 && known[t.b] != 0;
        case Kind::Alt:
          return std::any_of(items(id).begin(), items(id).end(), [&](TermId i) { return known[i] != 0; });
        case Kind::Repeat:
          return bounds_[t.b].first == 0 || known[t.a] != 0;
        case Kind::Ref:
          return known[rules_[t.a].body] != 0;
        case Kind::And:
        case Kind::Not:
          return t.nullable;
        default:
          return t.kind == Kind::Epsilon;
      }
    });
    for (TermId id = 0; id < terms_.size(); ++id) terms_[id].nullable = value[id] != 0;
    for (Rule& rule : rules_) rule.nullable = terms_[rule.body].nullable;
  };
  for (Term& t : terms_) t.nullable = false;
  settle();
  bool any_bool = false;
  for (Term& t : terms_) {
    t.nullable = compute_nullable(t);
    any_bool |= t.kind == Kind::And || t.kind == Kind::Not;
  }
  if (any_bool) settle();
}

void Automaton::make_classes() {
  // Bytes are alike if the same sets hold them.
  std::map<std::vector<bool>, uint8_t> seen;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::vector<bool> in(sets_.size());
    for (size_t i = 0; i < sets_.size(); ++i) in[i] = sets_[i][byte];
    auto [at, added] = seen.try_emplace(std::move(in), static_cast<uint8_t>(seen.size()));
    class_of_[byte] = at->second;
    byte_of_[at->second] = static_cast<uint8_t>(byte);
  }
  num_classes_ = static_cast<unsigned>(seen.size());
  set_classes_.clear();
  for (const ByteSet& set : sets_) add_set_classes(set);
}

void Automaton::add_set_classes(const ByteSet& set) {
  ByteSet classes;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (set[byte]) classes.set(class_of_[byte]);
  }
  set_classes_.push_back(classes);
}

// The rules that `body` may call before it has read a byte.
void Automaton::left_calls(TermId body, std::vector<RuleId>& out) {
  std::vector<TermId> open = {body};
  std::unordered_map<TermId, bool> seen;
  while (!open.empty()) {
    TermId id = open.back();
    open.pop_back();
    budget_.spend(1);
    if (!seen.try_emplace(id, true).second) continue;
    const Term& t = terms_[id];
    switch (t.kind) {
      case Kind::Cat:
      case Kind::Frame:
        open.push_back(t.a);
        if (terms_[t.a].nullable) open.push_back(t.b);
        break;
      case Kind::Alt:
      case Kind::And:
        open.insert(open.end(), items(id).begin(), items(id).end());
        break;
      case Kind::Repeat:
      case Kind::Not:
        open.push_back(t.a);
        break;
      case Kind::Ref:
        out.push_back(t.a);
        break;
      case Kind::Fresh:
        open.push_back(unique_arrays_[came_[t.b].array].item);
        break;
      default:
        break;
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

// The rules that a text can lead to.
std::vector<bool> Automaton::reached_rules(TermId root) {
  std::vector<bool> rules(rules_.size()), seen(terms_.size());
  std::vector<TermId> open = {root};
  while (!open.empty()) {
    const TermId id = open.back();
    open.pop_back();
    if (seen[id]) continue;
    seen[id] = true;
    if (terms_[id].kind == Kind::Ref) rules[terms_[id].a] = true;
    each_operand(id, [&](TermId operand) { open.push_back(operand); });
  }
  return rules;
}

void Automaton::check_left_recursion(TermId root) {
  enum class Mark : uint8_t { New, Open, Done };
  std::vector<Mark> marks(rules_.size(), Mark::New);
  std::vector<int> heights(rules_.size(), 1);
  std::vector<std::vector<RuleId>> calls(rules_.size());
  std::vector<std::pair<RuleId, size_t>> stack;  // rule, how many of its calls were followed
  const std::vector<bool> reached = reached_rules(root);
  std::vector<RuleId> roots, cut;
  left_calls(root, roots);
  for (RuleId r = 0; r < rules_.size(); ++r) {
    if (reached[r]) roots.push_back(r);
  }
  for (RuleId r = 0; r < rules_.size(); ++r) {
    if (!reached[r]) roots.push_back(r);
  }
  for (RuleId r : roots) {
    if (marks[r] != Mark::New) continue;
    stack.emplace_back(r, 0);
    while (!stack.empty()) {
      auto& [rule, at] = stack.back();
      if (at == 0) {
        marks[rule] = Mark::Open;
        left_calls(rules_[rule].body, calls[rule]);
      }
      if (at == calls[rule].size()) {
        for (RuleId q : calls[rule]) heights[rule] = std::max(heights[rule], heights[q] + 1);
        marks[rule] = Mark::Done;
        if (heights[rule] > kDeepest && reached[rule]) {
          throw Error(ErrorKind::Unsupported,
                      fmt::format("rule '{}' calls more than {} rules deep before its first character; nest less deep",
                                  rules_[rule].name, kDeepest));
        }
        stack.pop_back();
        continue;
      }
      RuleId q = calls[rule][at++];
      if (marks[q] == Mark::Open && !reached[q]) {
        cut.push_back(q);  // no text meets it
      } else if (marks[q] == Mark::Open) {
        throw Error(ErrorKind::Unsupported,
                    fmt::format("rule '{}' is left-recursive: it calls itself before its first character; write the "
                                "repetition as x* or to the right",
                                rules_[q].name));
      }
      if (marks[q] == Mark::New) stack.emplace_back(q, 0);
    }
  }
  for (RuleId r : cut) rules_[r].body = kNone;
}

TermId Automaton::rebuild(TermId id, const std::vector<char>& alive, std::unordered_map<TermId, TermId>& memo) {
  // Iterative along the right spine; recursion only into heads and into alternatives. These are nested as deep as
  // groups are in a text, and in schemas as names are long (1000) or prefixItems many (2000).
  if (auto known = memo.find(id); known != memo.end()) return known->second;
  const Term t = terms_[id];
  TermId result = id;
  switch (t.kind) {
    case Kind::Cat: {
      std::vector<TermId> heads;
      TermId rest = id;
      while (terms_[rest].kind == Kind::Cat && !memo.contains(rest)) {
        heads.push_back(rest);
        rest = terms_[rest].b;
      }
      result = rebuild(rest, alive, memo);
      for (size_t i = heads.size(); i-- > 0;) {
        result = result == kNone ? kNone : cat(rebuild(terms_[heads[i]].a, alive, memo), result);
        memo[heads[i]] = result;
      }
      return result;
    }
    case Kind::Alt: {
      std::vector<TermId> list(items(id).begin(), items(id).end());
      for (TermId& item : list) item = rebuild(item, alive, memo);
      result = alt(list);
      break;
    }
    case Kind::Repeat: {
      auto [min, max] = bounds(id);
      result = repeat(rebuild(t.a, alive, memo), min, max);
      break;
    }
    case Kind::Ref:
      result = alive[t.a] ? id : kNone;
      break;
    case Kind::Fresh:
      result = rebuild(unique_arrays_[came_[t.b].array].item, alive, memo) == kNone ? kNone : id;
      break;
    case Kind::And:
    case Kind::Not:
      result = is_live(id) ? id : kNone;
      break;
    default:
      break;
  }
  memo[id] = result;
  return result;
}

void Automaton::prune(TermId& root) {
  // Which terms derive something: a least fixed point over "all operands do".
  std::vector<TermId> bools;
  for (TermId id = 0; id < terms_.size(); ++id) {
    if (terms_[id].kind == Kind::And || terms_[id].kind == Kind::Not) bools.push_back(id);
  }
  for (TermId id : bools) is_live(id);  // may add terms
  std::vector<char> alive = least_fixed_point([&](TermId id, const std::vector<char>& known) {
    const Term& t = terms_[id];
    switch (t.kind) {
      case Kind::None:
        return false;
      case Kind::Epsilon:
      case Kind::Bytes:
        return true;
      case Kind::Cat:
      case Kind::Frame:
        return known[t.a] != 0 && known[t.b] != 0;
      case Kind::Alt:
        return std::any_of(items(id).begin(), items(id).end(), [&](TermId i) { return known[i] != 0; });
      case Kind::Repeat:
        return bounds_[t.b].first == 0 || known[t.a] != 0;
      case Kind::Ref:
        return known[rules_[t.a].body] != 0;
      case Kind::Fresh:
        return known[unique_arrays_[came_[t.b].array].item] != 0;
      case Kind::And:
      case Kind::Not: {
        auto found = live_.find(id);
        return found == live_.end() || found->second;  // those that came up in the search are looked at when met
      }
    }
    return false;
  });
  std::vector<char> rule_alive(rules_.size(), 0);
  for (RuleId r = 0; r < rules_.size(); ++r) rule_alive[r] = alive[rules_[r].body];
  if (std::all_of(rule_alive.begin(), rule_alive.end(), [](char c) { return c != 0; }) && bools.empty()) return;
  std::unordered_map<TermId, TermId> memo;
  for (RuleId r = 0; r < rules_.size(); ++r) {
    rules_[r].body = rule_alive[r] ? rebuild(rules_[r].body, rule_alive, memo) : kNone;
  }
  root = rebuild(root, rule_alive, memo);
  for (UniqueItems& array : unique_arrays_) array.item = rebuild(array.item, rule_alive, memo);
}

void Automaton::finish(TermId root) {
  find_nullable();
  check_left_recursion(root);
  make_classes();
  finished_ = true;
  term_states_.assign(terms_.size(), kUnknown);
  state_of(kNone);
  prune(root);
  check_unique_items();
  budget_.lift();
  start_ = state_of(root);
}

StateId Automaton::import(const Automaton& other, StateId state) {
  // Terms of the common past have equal ids; later ones are built again from their operands.
  std::unordered_map<TermId, TermId> memo;
  std::vector<std::pair<TermId, bool>> stack = {{other.state_terms_[state], false}};
  auto done = [&](TermId id) { return memo.contains(id); };
  while (!stack.empty()) {
    auto [id, ready] = stack.back();
    stack.pop_back();
    if (done(id)) continue;
    const Term& t = other.terms_[id];
    bool is_list = t.kind == Kind::Alt || t.kind == Kind::And;
    bool one = t.kind == Kind::Repeat || t.kind == Kind::Not;
    bool two = t.kind == Kind::Cat || t.kind == Kind::Frame;
    bool fresh = t.kind == Kind::Fresh;
    if (!ready && (is_list || one || two || fresh)) {
      stack.emplace_back(id, true);
      if (fresh) stack.emplace_back(other.came_[t.b].seen, false);
      if (is_list) {
        for (TermId item : other.items(id)) stack.emplace_back(item, false);
      } else {
        stack.emplace_back(t.a, false);
        if (two) stack.emplace_back(t.b, false);
      }
      continue;
    }
    TermId result = id;  // kNone, kEpsilon
    if (fresh) {
      result = import_fresh(other, id, memo);
    } else if (is_list) {
      std::vector<TermId> list;
      for (TermId item : other.items(id)) list.push_back(memo[item]);
      std::sort(list.begin(), list.end());
      result = make_list(t.kind, list);
    } else if (two) {
      result = make(t.kind, memo[t.a], memo[t.b]);
    } else if (t.kind == Kind::Repeat) {
      result = make(t.kind, memo[t.a], bounds_index(other.bounds(id).first, other.bounds(id).second));
    } else if (t.kind == Kind::Not) {
      result = make(t.kind, memo[t.a], 0);
    } else if (t.kind == Kind::Bytes) {
      result = bytes(other.byte_set(id));
    } else if (t.kind == Kind::Ref) {
      result = make(t.kind, t.a, 0);  // rules are not added to by running
    }
    memo[id] = result;
  }
  return state_of(memo[other.state_terms_[state]]);
}

}  // namespace sgl::grammar
