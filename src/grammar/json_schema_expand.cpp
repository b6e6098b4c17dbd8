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

template <size_t n>
bool in(const std::array<const char*, n>& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const char* item) { return name == item; });
}

}  // namespace

std::vector<Facts> SchemaCompiler::expand(const Demand& demand) {
  std::vector<Branch> open;
  std::vector<Facts> done;
  open.push_back({std::vector<Literal>(demand.rbegin(), demand.rend()), {}, {}});
  while (!open.empty()) {
    Branch branch = std::move(open.back());
    open.pop_back();
    if (branch.open.empty()) {
      done.push_back(std::move(branch.facts));
      continue;
    }
    if (open.size() + done.size() > kMostBranches) {
      refuse(*demand[0].schema, "anyOf",
             fmt::format("together with other keywords it makes more than {} cases", kMostBranches));
    }
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
    if (literal.holds) {
      expand_holding(schema, std::move(branch), open);
    } else {
      expand_failing(schema, std::move(branch), open);
    }
  }
  return done;
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
  auto choose = [&](const std::vector<Branch>& options) {
    std::vector<Branch> next;
    for (const Branch& b : branches) {
      for (const Branch& option : options) {
        Branch both = b;
        both.open.insert(both.open.end(), option.open.begin(), option.open.end());
        both.facts.insert(both.facts.end(), option.facts.begin(), option.facts.end());
        next.push_back(std::move(both));
        if (next.size() > kMostBranches) {
          refuse(schema, "anyOf",
                 fmt::format("together with other keywords it makes more than {} cases", kMostBranches));
        }
      }
    }
    branches = std::move(next);
  };
  if (const JsonValue* any = member_if(schema, "anyOf", Type::Array)) {
    std::vector<Branch> options;
    for (const JsonValue& s : any->items) options.push_back({{{&s, true}}, {}, {}});
    choose(options);
  }
  if (const JsonValue* one = member_if(schema, "oneOf", Type::Array)) {
    std::vector<Branch> options;
    for (const JsonValue& s : one->items) {
      Branch option;
      for (const JsonValue& other : one->items) {
        if (&other != &s && !surely_disjoint(s, other)) option.open.push_back({&other, false});
      }
      option.open.push_back({&s, true});
      options.push_back(std::move(option));
    }
    choose(options);
  }
  const JsonValue* then = schema.find("then");
  const JsonValue* otherwise = schema.find("else");
  if (const JsonValue* condition = schema.find("if");
      condition != nullptr && (then != nullptr || otherwise != nullptr)) {
    Branch yes{{{condition, true}}, {}, {}}, no{{{condition, false}}, {}, {}};
    if (then != nullptr) yes.open.push_back({then, true});
    if (otherwise != nullptr) no.open.push_back({otherwise, true});
    choose({yes, no});
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
      choose({absent, present});
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

// Expanding a oneOf asks this, and this expands: a recursive schema would go on for ever.
bool SchemaCompiler::surely_disjoint(const JsonValue& a, const JsonValue& b) {
  constexpr int kDeepestNesting = 3;
  if (disjoint_nesting_ >= kDeepestNesting) return false;
  ++disjoint_nesting_;
  bool empty = surely_empty(Demand{{&a, true}, {&b, true}}, 3);
  --disjoint_nesting_;
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
