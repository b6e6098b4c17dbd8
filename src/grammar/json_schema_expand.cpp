// Demands → alternatives of facts: $ref, allOf, anyOf, oneOf, not, if and dependencies are multiplied out here.

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "grammar/json_schema.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr size_t kMostBranches = 4000;

// Keywords that only describe, or only hold what others refer to.
constexpr std::array kSilent = {"$id",           "id",          "$schema",          "$anchor",
                                "$comment",      "$defs",       "definitions",      "title",
                                "description",   "default",     "examples",         "deprecated",
                                "readOnly",      "writeOnly",   "contentMediaType", "contentEncoding",
                                "contentSchema", "$vocabulary", "$dynamicAnchor",   "$recursiveAnchor",
                                "example"};
// Those that are multiplied out here.
constexpr std::array kChoosing = {
    "$ref",        "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas",
    "dependencies"};

// Those that a message names as what makes many cases, the likeliest first.
constexpr std::array kMultiplying = {"oneOf",        "anyOf", "if",         "dependentSchemas", "dependentRequired",
                                     "dependencies", "allOf", "properties", "required"};

template <size_t n>
bool in(const std::array<const char*, n>& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const char* item) { return name == item; });
}

}  // namespace

std::vector<Facts> SchemaCompiler::expand(const Demand& demand) {
  std::vector<Branch> open;
  std::vector<Facts> done;
  open.push_back({std::vector<Literal>(demand.rbegin(), demand.rend()), {}, {}});
  const JsonValue* chooses = demand.empty() ? nullptr : demand[0].schema;  // the schema that multiplies cases the most
  size_t most_ways = 1;
  while (!open.empty()) {
    Branch branch = std::move(open.back());
    open.pop_back();
    if (branch.open.empty()) {
      done.push_back(std::move(branch.facts));
      continue;
    }
    automaton_.budget().spend(1 + branch.open.size() + branch.seen.size() + branch.facts.size());
    Literal literal = branch.open.back();
    branch.open.pop_back();
    auto seen = [&](Literal l) { return std::find(branch.seen.begin(), branch.seen.end(), l) != branch.seen.end(); };
    if (seen({literal.schema, !literal.holds})) continue;  // a contradiction
    if (seen(literal)) {
      open.push_back(std::move(branch));
      continue;
    }
    branch.seen.push_back(literal);
    const JsonValue& schema = *literal.schema;
    for (std::string_view keyword : {"anyOf", "oneOf", "allOf", "required"}) {
      const JsonValue* list = schema.find(keyword);
      if (list != nullptr && !list->is(Type::Array)) malformed(schema, keyword, "an array");
    }
    if (const JsonValue* ref = schema.find("$ref"); ref != nullptr && !ref->is(Type::String))
      malformed(schema, "$ref", "a string");
    if (schema.is(Type::Boolean)) {
      if (schema.boolean == literal.holds) open.push_back(std::move(branch));
      continue;
    }
    if (!schema.is(Type::Object)) malformed(schema, "", "a schema: an object, true or false");
    size_t before = open.size();
    if (literal.holds) {
      expand_holding(schema, std::move(branch), open);
    } else {
      expand_failing(schema, std::move(branch), open);
    }
    if (open.size() > before + most_ways) {
      most_ways = open.size() - before;
      chooses = &schema;
    }
    if (open.size() + done.size() > kMostBranches) {
      auto chosen = std::find_if(kMultiplying.begin(), kMultiplying.end(),
                                 [&](const char* keyword) { return chooses->find(keyword) != nullptr; });
      refuse_cases(*chooses, chosen != kMultiplying.end() ? *chosen : "not");
    }
  }
  return done;
}

void SchemaCompiler::refuse_cases(const JsonValue& schema, std::string_view keyword) const {
  refuse(
      schema, keyword,
      fmt::format("together with other keywords it makes more than {} cases{}", kMostBranches,
                  keyword == "oneOf" ? "; give each alternative a type of its own, or a required member with a const "
                                       "of its own, or write anyOf"
                                     : ""));
}

void SchemaCompiler::expand_holding(const JsonValue& schema, Branch branch, std::vector<Branch>& open) {
  const JsonValue* ref = member_if(schema, "$ref", Type::String);
  if (ref != nullptr) branch.open.push_back({resolve(schema, ref->text, "$ref"), true});
  if (ref != nullptr && ref_stands_alone_) {
    open.push_back(std::move(branch));
    return;
  }
  for (std::string_view keyword : {"$dynamicRef", "$recursiveRef"}) {
    if (schema.find(keyword) != nullptr) refuse(schema, keyword, "write a $ref to a fixed place");
  }
  bool any_fact = false;
  for (const auto& [name, value] : schema.members) any_fact |= !in(kSilent, name) && !in(kChoosing, name);
  if (any_fact) branch.facts.push_back({Fact::Kind::All, &schema, {}, {}, 0});
  if (const JsonValue* all = member_if(schema, "allOf", Type::Array)) {
    for (const JsonValue& s : all->items) branch.open.push_back({&s, true});
  }
  if (const JsonValue* no = schema.find("not")) branch.open.push_back({no, false});

  // Each choice multiplies the branches that there are.
  std::vector<Branch> branches = {std::move(branch)};
  auto choose = [&](std::string_view keyword, const std::vector<Branch>& options) {
    std::vector<Branch> next;
    for (const Branch& b : branches) {
      for (const Branch& option : options) {
        Branch both = b;
        both.open.insert(both.open.end(), option.open.begin(), option.open.end());
        both.facts.insert(both.facts.end(), option.facts.begin(), option.facts.end());
        automaton_.budget().spend(1 + both.open.size() + both.facts.size());
        next.push_back(std::move(both));
        if (next.size() > kMostBranches) refuse_cases(schema, keyword);
      }
    }
    branches = std::move(next);
  };
  if (const JsonValue* any = member_if(schema, "anyOf", Type::Array)) {
    std::vector<Branch> options;
    for (const JsonValue& s : any->items) options.push_back({{{&s, true}}, {}, {}});
    choose("anyOf", options);
  }
  if (const JsonValue* one = member_if(schema, "oneOf", Type::Array)) {
    std::vector<Branch> options;
    std::vector<std::vector<const JsonValue*>> others = overlaps(one->items);
    for (size_t i = 0; i < others.size(); ++i) {
      Branch option;
      for (const JsonValue* other : others[i]) option.open.push_back({other, false});
      option.open.push_back({&one->items[i], true});
      options.push_back(std::move(option));
    }
    choose("oneOf", options);
  }
  const JsonValue* then = schema.find("then");
  const JsonValue* otherwise = schema.find("else");
  if (const JsonValue* condition = schema.find("if");
      condition != nullptr && (then != nullptr || otherwise != nullptr)) {
    Branch yes{{{condition, true}}, {}, {}}, no{{{condition, false}}, {}, {}};
    if (then != nullptr) yes.open.push_back({then, true});
    if (otherwise != nullptr) no.open.push_back({otherwise, true});
    choose("if", {yes, no});
  }
  for (std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const JsonValue* map = member_if(schema, keyword, Type::Object);
    if (map == nullptr) continue;
    for (const auto& [name, value] : map->members) {
      Branch absent{{}, {}, {{Fact::Kind::Absent, nullptr, name, {}, 0}}};
      Branch present{{}, {}, {{Fact::Kind::Present, nullptr, name, {}, 0}}};
      if (value.is(Type::Array)) {
        for (const JsonValue& other : value.items)
          present.facts.push_back({Fact::Kind::Present, nullptr, other.text, {}, 0});
      } else {
        present.open.push_back({&value, true});
      }
      choose(keyword, {absent, present});
    }
  }
  for (size_t i = branches.size(); i-- > 0;) open.push_back(std::move(branches[i]));
}

// A schema fails if any of its keywords does.
void SchemaCompiler::expand_failing(const JsonValue& schema, Branch branch, std::vector<Branch>& open) {
  auto option = [&](std::vector<Literal> literals, Facts facts) {
    Branch b = branch;
    b.open.insert(b.open.end(), literals.begin(), literals.end());
    b.facts.insert(b.facts.end(), facts.begin(), facts.end());
    open.push_back(std::move(b));
  };
  auto absent = [](const std::string& name) { return Fact{Fact::Kind::Absent, nullptr, name, {}, 1}; };
  auto present = [](const std::string& name, Demand demand) {
    return Fact{Fact::Kind::Present, nullptr, name, std::move(demand), 0};
  };
  if (const JsonValue* ref = member_if(schema, "$ref", Type::String)) {
    option({{resolve(schema, ref->text, "$ref"), false}}, {});
    if (ref_stands_alone_) return;
  }
  for (const auto& [name, value] : schema.members) {
    if (in(kSilent, name) || name == "$ref" || name == "then" || name == "else") continue;
    if (name == "allOf") {
      for (const JsonValue& s : value.items) option({{&s, false}}, {});
    } else if (name == "anyOf") {
      std::vector<Literal> none;
      for (const JsonValue& s : value.items) none.push_back({&s, false});
      option(none, {});
    } else if (name == "oneOf") {
      std::vector<Literal> none;
      for (const JsonValue& s : value.items) none.push_back({&s, false});
      option(none, {});
      for (size_t i = 0; i < value.items.size(); ++i) {
        for (size_t j = i + 1; j < value.items.size(); ++j)
          option({{&value.items[i], true}, {&value.items[j], true}}, {});
      }
    } else if (name == "not") {
      option({{&value, true}}, {});
    } else if (name == "if") {
      if (const JsonValue* then = schema.find("then")) option({{&value, true}, {then, false}}, {});
      if (const JsonValue* otherwise = schema.find("else")) option({{&value, false}, {otherwise, false}}, {});
    } else if (name == "dependentRequired" || name == "dependentSchemas" || name == "dependencies") {
      for (const auto& [key, needed] : value.members) {
        if (needed.is(Type::Array)) {
          for (const JsonValue& other : needed.items) option({}, {present(key, {}), absent(other.text)});
        } else {
          option({{&needed, false}}, {present(key, {})});
        }
      }
    } else if (name == "required") {
      for (const JsonValue& key : value.items) option({}, {absent(key.text)});
    } else if (name == "properties") {
      for (const auto& [key, s] : value.members) option({}, {present(key, {{&s, false}})});
    } else if (name == "prefixItems" || (name == "items" && value.is(Type::Array))) {
      for (size_t i = 0; i < value.items.size(); ++i) {
        option({}, {{Fact::Kind::Longer, nullptr, {}, {{&value.items[i], false}}, i}});
      }
    } else {
      option({}, {{Fact::Kind::Not, &schema, name, {}, 0}});
    }
  }
}

// What can be read off a schema at once.
struct SchemaCompiler::Outline {
  unsigned types = kAllTypes;  // an instance is of one of these
  std::set<std::string_view> required;
  std::map<std::string_view, std::vector<std::string_view>> listed;  // member → the strings that it may be

  /// The strings that the member must be one of, since it must be there; null if it is free.
  const std::vector<std::string_view>* tag(std::string_view name) const {
    auto at = listed.find(name);
    return at != listed.end() && required.contains(name) ? &at->second : nullptr;
  }
};

void SchemaCompiler::outline(const JsonValue& schema, Outline& out, int depth) {
  constexpr int kDeepestOutline = 8;
  if (depth > kDeepestOutline || !schema.is(Type::Object)) return;
  automaton_.budget().spend(schema.members.size() + 1);
  if (const JsonValue* ref = member_if(schema, "$ref", Type::String)) {
    outline(*resolve(schema, ref->text, "$ref"), out, depth + 1);
    if (ref_stands_alone_) return;
  }
  bool integer = false, no_integer = false;
  out.types &= types_of({{Fact::Kind::All, &schema, {}, {}, 0}}, integer, no_integer);
  if (const JsonValue* all = member_if(schema, "allOf", Type::Array)) {
    for (const JsonValue& s : all->items) outline(s, out, depth + 1);
  }
  if (const JsonValue* list = member_if(schema, "required", Type::Array)) {
    for (const JsonValue& name : list->items) out.required.insert(name.text);
  }
  const JsonValue* properties = member_if(schema, "properties", Type::Object);
  if (properties == nullptr) return;
  for (const auto& [name, member] : properties->members) {
    if (ref_stands_alone_ && member.find("$ref") != nullptr) continue;
    const JsonValue* only = member_if(member, "const", Type::String);
    const JsonValue* list = member_if(member, "enum", Type::Array);
    std::vector<std::string_view> values;
    if (only != nullptr) {
      values.push_back(only->text);
    } else if (list != nullptr && std::all_of(list->items.begin(), list->items.end(),
                                              [](const JsonValue& v) { return v.is(Type::String); })) {
      for (const JsonValue& v : list->items) values.push_back(v.text);
    } else {
      continue;
    }
    out.listed.try_emplace(name, std::move(values));
  }
}

// Most oneOfs tell their alternatives apart by a type or by a member that names the alternative, which takes one look
// at each. Only those that share a type, and the value of such a member, are asked about in pairs.
std::vector<std::vector<const JsonValue*>> SchemaCompiler::overlaps(const std::vector<JsonValue>& schemas) {
  std::vector<Outline> outlines(schemas.size());
  for (size_t i = 0; i < schemas.size(); ++i) outline(schemas[i], outlines[i], 0);
  std::set<std::pair<size_t, size_t>> pairs;
  auto all_pairs = [&](const std::vector<size_t>& group) {
    automaton_.budget().spend(group.size() * group.size() / 2);
    for (size_t i = 0; i < group.size(); ++i) {
      for (size_t j = i + 1; j < group.size(); ++j) pairs.emplace(group[i], group[j]);
    }
  };
  for (unsigned type = kNull; type <= kObject; type *= 2) {
    std::vector<size_t> group;
    for (size_t i = 0; i < schemas.size(); ++i) {
      if ((outlines[i].types & type) != 0) group.push_back(i);
    }
    if (group.size() < 2) continue;
    std::map<std::string_view, std::vector<size_t>> best;  // of the member with the most values: value → alternatives
    if (type == kObject) {
      for (const auto& [name, values] : outlines[group[0]].listed) {
        std::map<std::string_view, std::vector<size_t>> by_value;
        bool everywhere = true;
        for (size_t i : group) {
          const std::vector<std::string_view>* tag = outlines[i].tag(name);
          everywhere = tag != nullptr;
          if (!everywhere) break;
          automaton_.budget().spend(tag->size());
          for (std::string_view value : *tag) by_value[value].push_back(i);
        }
        if (everywhere && by_value.size() > best.size()) best.swap(by_value);
      }
    }
    if (best.empty()) all_pairs(group);
    for (const auto& [value, same] : best) all_pairs(same);
  }
  std::vector<std::vector<const JsonValue*>> out(schemas.size());
  for (auto [i, j] : pairs) {
    if (surely_disjoint(schemas[i], schemas[j])) continue;
    out[i].push_back(&schemas[j]);
    out[j].push_back(&schemas[i]);
  }
  return out;
}

// Expanding a oneOf asks this, and this expands: a recursive schema would go on for ever.
bool SchemaCompiler::surely_disjoint(const JsonValue& a, const JsonValue& b) {
  constexpr int kDeepestNesting = 3;
  constexpr int kQuestions = 2000;  // asked to answer one from outside
  std::pair<const JsonValue*, const JsonValue*> pair = std::minmax(&a, &b);
  if (auto known = disjoint_.find(pair); known != disjoint_.end()) return known->second;
  if (disjoint_nesting_ >= kDeepestNesting) return false;
  if (disjoint_nesting_ == 0) emptiness_budget_ = kQuestions;
  ++disjoint_nesting_;
  bool empty = surely_empty(Demand{{&a, true}, {&b, true}}, 3);
  --disjoint_nesting_;
  // Inside of another question a "no" may mean that it was nested too deep.
  if (empty || disjoint_nesting_ == 0) disjoint_[pair] = empty;
  return empty;
}

bool SchemaCompiler::surely_empty(const Demand& demand, int depth) {
  if (depth == 0 || --emptiness_budget_ < 0) return false;
  std::vector<Facts> cases = expand(demand);
  return std::all_of(cases.begin(), cases.end(), [&](const Facts& facts) { return surely_empty(facts, depth); });
}

bool SchemaCompiler::surely_empty(const Facts& facts, int depth) {
  bool integer = false, no_integer = false;
  unsigned types = types_of(facts, integer, no_integer);
  if (types == 0) return true;
  if (auto values = listed_values(facts)) {
    return std::none_of(values->begin(), values->end(), [&](const JsonValue* v) { return valid(*v, facts); });
  }
  if (types == kNumber) return integer && no_integer;
  if (types != kObject) return false;
  for (const Fact& fact : facts) {
    std::vector<std::string> names;
    if (fact.kind == Fact::Kind::Present) names.push_back(fact.name);
    if (fact.kind == Fact::Kind::All) {
      if (const JsonValue* required = member_if(*fact.schema, "required", Type::Array)) {
        for (const JsonValue& name : required->items) names.push_back(name.text);
      }
    }
    for (const std::string& name : names) {
      for (const Fact& other : facts) {
        if (other.kind == Fact::Kind::Absent && other.name == name) return true;
      }
      if (surely_empty(member_demand(facts, name), depth - 1)) return true;
    }
  }
  return false;
}

}  // namespace sgl::grammar
