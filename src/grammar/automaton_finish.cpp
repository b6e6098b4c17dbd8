// The end of building: what is nullable, which bytes the grammar tells apart, left recursion, what derives nothing.

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/automaton.h"

namespace sgl::grammar {

// Nullability of rules is a least fixed point; And and Not are not monotone, so they are computed in between, in order of
// their ids, from operands that are regular and were settled before.
void Automaton::find_nullable() {
  auto settle = [&](bool with_bool) {
    for (bool changed = true; changed;) {
      changed = false;
      for (Term& t : terms_) {
        if (!with_bool && (t.kind == Kind::And || t.kind == Kind::Not)) continue;
        bool null = compute_nullable(t);
        changed |= null != t.nullable;
        t.nullable = null;
      }
      for (Rule& rule : rules_) {
        bool null = terms_[rule.body].nullable;
        changed |= null != rule.nullable;
        rule.nullable = null;
      }
    }
  };
  for (Term& t : terms_) t.nullable = t.kind == Kind::Epsilon;
  for (Rule& rule : rules_) rule.nullable = false;
  settle(false);
  for (Term& t : terms_) t.nullable = compute_nullable(t);
  settle(false);
}

void Automaton::make_classes() {
  // Bytes are alike if the same sets hold them.
  std::map<std::vector<bool>, uint8_t> seen;
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::vector<bool> in(sets_.size());
    for (size_t i = 0; i < sets_.size(); ++i) in[i] = sets_[i][byte];
    auto [at, added] = seen.try_emplace(std::move(in), static_cast<uint8_t>(seen.size()));
    class_of_[byte] = at->second;
  }
  num_classes_ = static_cast<unsigned>(seen.size());
  set_classes_.assign(sets_.size(), {});
  for (size_t i = 0; i < sets_.size(); ++i) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (sets_[i][byte]) set_classes_[i].set(class_of_[byte]);
    }
  }
}

// The rules that `body` may call before it has read a byte.
void Automaton::left_calls(TermId body, std::vector<RuleId>& out) const {
  std::vector<TermId> open = {body};
  std::unordered_map<TermId, bool> seen;
  while (!open.empty()) {
    TermId id = open.back();
    open.pop_back();
    if (!seen.try_emplace(id, true).second) continue;
    const Term& t = terms_[id];
    switch (t.kind) {
      case Kind::Cat:
      case Kind::Frame:
        open.push_back(t.a);
        if (terms_[t.a].nullable) open.push_back(t.b);
        break;
      case Kind::Alt:
      case Kind::And: open.insert(open.end(), items(id).begin(), items(id).end()); break;
      case Kind::Repeat:
      case Kind::Not: open.push_back(t.a); break;
      case Kind::Ref: out.push_back(t.a); break;
      default: break;
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

void Automaton::check_left_recursion(TermId root) {
  enum class Mark : uint8_t { New, Open, Done };
  std::vector<Mark> marks(rules_.size(), Mark::New);
  std::vector<int> heights(rules_.size(), 1);
  std::vector<std::vector<RuleId>> calls(rules_.size());
  std::vector<std::pair<RuleId, size_t>> stack;  // rule, how many of its calls were followed
  std::vector<RuleId> roots;
  left_calls(root, roots);
  for (RuleId r = 0; r < rules_.size(); ++r) roots.push_back(r);
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
        if (heights[rule] > kDeepest) {
          throw Error(ErrorKind::Unsupported,
                      fmt::format("rule '{}' calls more than {} rules deep before its first character; nest less deep",
                                  rules_[rule].name, kDeepest));
        }
        stack.pop_back();
        continue;
      }
      RuleId q = calls[rule][at++];
      if (marks[q] == Mark::Open) {
        throw Error(ErrorKind::Unsupported,
                    fmt::format("rule '{}' is left-recursive: it calls itself before its first character; write the "
                                "repetition as x* or to the right",
                                rules_[q].name));
      }
      if (marks[q] == Mark::New) stack.emplace_back(q, 0);
    }
  }
}

TermId Automaton::rebuild(TermId id, const std::vector<char>& alive, std::unordered_map<TermId, TermId>& memo) {
  // Iterative along the right spine; recursion only into heads.
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
      result = alt(std::move(list));
      break;
    }
    case Kind::Repeat: {
      auto [min, max] = bounds(id);
      result = repeat(rebuild(t.a, alive, memo), min, max);
      break;
    }
    case Kind::Ref: result = alive[t.a] ? id : kNone; break;
    case Kind::And:
    case Kind::Not: result = is_live(id) ? id : kNone; break;
    default: break;
  }
  memo[id] = result;
  return result;
}

void Automaton::prune(TermId& root) {
  // Which rules derive something: a least fixed point over "all operands do".
  std::vector<char> term_alive(terms_.size(), 0), rule_alive(rules_.size(), 0);
  for (TermId id = 0; id < term_alive.size(); ++id) {
    if (terms_[id].kind == Kind::And || terms_[id].kind == Kind::Not) term_alive[id] = is_live(id);
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (TermId id = 0; id < term_alive.size(); ++id) {  // operands have smaller ids, so one pass settles a term
      if (term_alive[id]) continue;
      const Term& t = terms_[id];
      bool alive = false;
      switch (t.kind) {
        case Kind::None:
        case Kind::And:
        case Kind::Not: break;
        case Kind::Epsilon:
        case Kind::Bytes: alive = true; break;
        case Kind::Cat:
        case Kind::Frame: alive = term_alive[t.a] && term_alive[t.b]; break;
        case Kind::Alt:
          for (TermId item : items(id)) alive |= term_alive[item] != 0;
          break;
        case Kind::Repeat: alive = bounds_[t.b].first == 0 || term_alive[t.a]; break;
        case Kind::Ref: alive = rule_alive[t.a]; break;
      }
      if (alive) term_alive[id] = 1;
    }
    for (RuleId r = 0; r < rules_.size(); ++r) {
      if (!rule_alive[r] && term_alive[rules_[r].body]) {
        rule_alive[r] = 1;
        changed = true;
      }
    }
  }
  std::unordered_map<TermId, TermId> memo;
  for (RuleId r = 0; r < rules_.size(); ++r) {
    rules_[r].body = rule_alive[r] ? rebuild(rules_[r].body, rule_alive, memo) : kNone;
  }
  root = rebuild(root, rule_alive, memo);
}

void Automaton::finish(TermId root) {
  find_nullable();
  check_left_recursion(root);
  make_classes();
  finished_ = true;
  term_states_.assign(terms_.size(), kUnknown);
  state_of(kNone);
  prune(root);
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
    if (!ready && (is_list || one || two)) {
      stack.emplace_back(id, true);
      if (is_list) {
        for (TermId item : other.items(id)) stack.emplace_back(item, false);
      } else {
        stack.emplace_back(t.a, false);
        if (two) stack.emplace_back(t.b, false);
      }
      continue;
    }
    TermId result = id;  // kNone, kEpsilon
    if (is_list) {
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
    } else if (t.kind == Kind::Bytes || t.kind == Kind::Ref) {
      result = make(t.kind, t.a, 0);  // sets and rules are not added to by running
    }
    memo[id] = result;
  }
  return state_of(memo[other.state_terms_[state]]);
}

}  // namespace sgl::grammar
