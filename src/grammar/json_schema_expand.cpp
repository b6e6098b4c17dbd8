// Demands → alternatives of facts: $ref, allOf, anyOf, oneOf, not, if and dependencies are multiplied out here.

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "grammar/json_schema.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr size_t kMostBranches = 4000;
constexpr size_t kMostValues = 64;  // of a member that are looked at to simplify what is said of it

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

// A schema that says nothing.
bool is_trivial(const JsonValue& schema) {
  if (schema.is(Type::Boolean)) return schema.boolean;
  return schema.is(Type::Object) &&
         std::all_of(schema.members.begin(), schema.members.end(), [](const auto& m) { return in(kSilent, m.name); });
}

// The values that a held const or enum of the demand leaves: of the shortest list, before other keywords are asked.
std::optional<std::vector<const JsonValue*>> shortest_list(const Demand& demand, bool ref_stands_alone) {
  std::optional<std::vector<const JsonValue*>> best;
  for (const Literal& l : demand) {
    if (!l.holds || (ref_stands_alone && l.schema->find("$ref") != nullptr)) continue;
    if (const JsonValue* value = l.schema->find("const")) return std::vector<const JsonValue*>{value};
    const JsonValue* list = member_if(*l.schema, "enum", Type::Array);
    if (list == nullptr || (best && best->size() <= list->items.size())) continue;
    best.emplace();
    for (const JsonValue& v : list->items) best->push_back(&v);
  }
  return best;
}

}  // namespace

// One way to satisfy a demand, as far as it is known. What can be done without choosing is done first, then choices
// are made one by one: most branches of later ones contradict what is known by then.
struct SchemaCompiler::Branch {
  std::vector<Literal> open;  // the last is next
  std::vector<Literal> seen;
  Facts facts;
  std::vector<size_t> ids;  // of the facts
  uint64_t signature = 0;   // their set, roughly
  std::vector<size_t> choices;

  /// True if whatever satisfies this branch satisfies the other, too.
  bool is_part_of(const Branch& other) const {
    return (other.signature & ~signature) == 0 && other.ids.size() <= ids.size() &&
           std::all_of(other.ids.begin(), other.ids.end(),
                       [&](size_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); });
  }
};

struct SchemaCompiler::Choices {
  struct Choice {
    const JsonValue* schema;
    std::string_view keyword;
    std::vector<Option> options;
  };
  std::vector<Choice> list;
  std::map<Fact, size_t> ids;  // of all facts
};

std::vector<Facts> SchemaCompiler::expand(const Demand& demand) {
  constexpr uint64_t kBranchSteps = 8;  // what copying one takes, beside its parts
  Choices choices;
  std::vector<Branch> open(1), done;
  open[0].open.assign(demand.rbegin(), demand.rend());
  size_t most_ways = 1;
  Choices::Choice widest{demand.empty() ? &root_ : demand[0].schema, "not", {}};  // what multiplies cases the most
  while (!open.empty()) {
    Branch branch = std::move(open.back());
    open.pop_back();
    automaton_.budget().spend(kBranchSteps + branch.open.size() + branch.seen.size() + 4 * branch.facts.size());
    if (!settle(branch, choices) || contradictory(branch.facts)) continue;
    auto larger = [&](const Branch& other) { return branch.is_part_of(other); };
    if (!evaluates_ && std::any_of(done.begin(), done.end(), larger)) continue;
    automaton_.budget().spend(done.size() / 16);
    // An option that is known to hold makes the choice needless.
    std::erase_if(branch.choices, [&](size_t c) {
      return !evaluates_ && std::any_of(choices.list[c].options.begin(), choices.list[c].options.end(),
                                        [&](const Option& o) { return is_known(o, branch, choices); });
    });
    if (branch.choices.empty()) {
      done.push_back(std::move(branch));
      if (done.size() > kMostBranches) refuse_cases(*widest.schema, widest.keyword);
      continue;
    }
    const size_t chosen = branch.choices.front();
    branch.choices.erase(branch.choices.begin());
    const Choices::Choice choice = choices.list[chosen];
    if (choice.options.size() > most_ways) {
      most_ways = choice.options.size();
      widest = {choice.schema, choice.keyword, {}};
    }
    for (size_t i = choice.options.size(); i-- > 0;) {
      Branch next = branch;
      next.open.assign(choice.options[i].open.rbegin(), choice.options[i].open.rend());
      for (const Fact& fact : choice.options[i].facts) add_fact(next, fact, choices);
      open.push_back(std::move(next));
    }
  }
  std::vector<Facts> cases;
  automaton_.budget().spend(done.size() * done.size() / 16);
  for (size_t i = 0; i < done.size(); ++i) {
    bool needless = false;
    for (size_t j = i + 1; j < done.size() && !evaluates_ && !needless; ++j) needless = done[i].is_part_of(done[j]);
    if (needless) continue;
    note_evaluated(done[i]);
    cases.push_back(std::move(done[i].facts));
  }
  return cases;
}

// What needs no choice; false for a contradiction.
bool SchemaCompiler::settle(Branch& branch, Choices& choices) {
  while (!branch.open.empty()) {
    automaton_.budget().spend(1 + branch.seen.size() / 8);
    Literal literal = branch.open.back();
    branch.open.pop_back();
    auto seen = [&](Literal l) { return std::find(branch.seen.begin(), branch.seen.end(), l) != branch.seen.end(); };
    if (seen({literal.schema, !literal.holds})) return false;
    if (seen(literal)) continue;
    branch.seen.push_back(literal);
    const JsonValue& schema = *literal.schema;
    for (std::string_view keyword : {"anyOf", "oneOf", "allOf", "required"}) {
      const JsonValue* list = schema.find(keyword);
      if (list != nullptr && !list->is(Type::Array)) malformed(schema, keyword, "an array");
    }
    if (const JsonValue* ref = schema.find("$ref"); ref != nullptr && !ref->is(Type::String))
      malformed(schema, "$ref", "a string");
    if (schema.is(Type::Boolean)) {
      if (schema.boolean != literal.holds) return false;
      continue;
    }
    if (!schema.is(Type::Object)) malformed(schema, "", "a schema: an object, true or false");
    if (literal.holds) {
      expand_holding(schema, branch, choices);
    } else if (!expand_failing(schema, branch, choices)) {
      return false;
    }
  }
  return true;
}

// What is demanded of the member, as far as one can tell without looking at what was evaluated.
Demand SchemaCompiler::known_of(const Facts& facts, const std::string& name) {
  Demand demand;
  for (const Fact& fact : facts) {
    if ((fact.kind == Fact::Kind::Present || fact.kind == Fact::Kind::Limited) && fact.name == name) {
      demand.insert(demand.end(), fact.demand.begin(), fact.demand.end());
    }
    if (fact.kind != Fact::Kind::All) continue;
    const JsonValue* properties = member_if(*fact.schema, "properties", Type::Object);
    const JsonValue* member = properties != nullptr ? properties->find(name) : nullptr;
    if (member == nullptr && fact.schema->find("patternProperties") == nullptr) {
      member = fact.schema->find("additionalProperties");
    }
    if (member != nullptr) demand.push_back({member, true});
  }
  return demand;
}

// Of a member that is one of a few values, what these satisfy need not be said.
Fact SchemaCompiler::simplified(Fact fact, const Facts& facts) {
  if ((fact.kind != Fact::Kind::Present && fact.kind != Fact::Kind::Limited) || fact.demand.empty()) return fact;
  auto values = shortest_list(known_of(facts, fact.name), ref_stands_alone_);
  if (!values || values->size() > kMostValues) return fact;
  std::erase_if(fact.demand, [&](const Literal& l) {
    return std::all_of(values->begin(), values->end(), [&](const JsonValue* v) { return valid(*v, l); });
  });
  return fact;
}

void SchemaCompiler::add_fact(Branch& branch, Fact fact, Choices& choices) {
  fact = simplified(std::move(fact), branch.facts);
  size_t id = choices.ids.try_emplace(fact, choices.ids.size()).first->second;
  if (std::find(branch.ids.begin(), branch.ids.end(), id) != branch.ids.end()) return;
  branch.ids.push_back(id);
  branch.signature |= uint64_t{1} << (id % 64);
  branch.facts.push_back(std::move(fact));
}

// Whether the option adds nothing to the branch.
bool SchemaCompiler::is_known(const Option& option, const Branch& branch, const Choices& choices) {
  auto seen = [&](Literal l) {
    return (l.holds && is_trivial(*l.schema)) ||
           std::find(branch.seen.begin(), branch.seen.end(), l) != branch.seen.end();
  };
  automaton_.budget().spend(option.open.size() + option.facts.size());
  if (!std::all_of(option.open.begin(), option.open.end(), seen)) return false;
  return std::all_of(option.facts.begin(), option.facts.end(), [&](const Fact& f) {
    const Fact fact = simplified(f, branch.facts);
    if (auto id = choices.ids.find(fact); id != choices.ids.end()) {
      if (std::find(branch.ids.begin(), branch.ids.end(), id->second) != branch.ids.end()) return true;
    }
    if ((fact.kind != Fact::Kind::Present && fact.kind != Fact::Kind::Limited) || !fact.demand.empty()) return false;
    bool integer = false, no_integer = false;
    if (types_of(branch.facts, integer, no_integer) != kObject) return false;
    return fact.kind == Fact::Kind::Limited || required_names(branch.facts).contains(fact.name);
  });
}

std::set<std::string> SchemaCompiler::required_names(const Facts& facts) const {
  std::set<std::string> names;
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Present) names.insert(fact.name);
    const JsonValue* required =
        fact.kind == Fact::Kind::All ? member_if(*fact.schema, "required", Type::Array) : nullptr;
    for (size_t i = 0; required != nullptr && i < required->items.size(); ++i) names.insert(required->items[i].text);
  }
  return names;
}

// Contradictions that are seen at once; there may be more.
bool SchemaCompiler::contradictory(const Facts& facts) {
  bool integer = false, no_integer = false;
  unsigned types = types_of(facts, integer, no_integer);
  if (types == 0 || (types == kNumber && integer && no_integer)) return true;
  if (types != kObject) return false;
  for (const std::string& name : required_names(facts)) {
    for (const Fact& fact : facts) {
      if (fact.kind == Fact::Kind::Absent && fact.name == name) return true;
    }
    Demand demand = known_of(facts, name);
    automaton_.budget().spend(facts.size() + demand.size());
    unsigned member_types = kAllTypes;
    for (const Literal& l : demand) {
      if (l.schema->is(Type::Boolean) && l.schema->boolean != l.holds) return true;
      if (!l.holds || !l.schema->is(Type::Object) || (ref_stands_alone_ && l.schema->find("$ref") != nullptr)) continue;
      member_types &= types_of({{Fact::Kind::All, l.schema, {}, {}, 0}}, integer, no_integer);
    }
    if (member_types == 0) return true;
    auto values = shortest_list(demand, ref_stands_alone_);
    if (!values || values->size() > kMostValues || demand.size() < 2) continue;
    if (std::none_of(values->begin(), values->end(), [&](const JsonValue* v) {
          return std::all_of(demand.begin(), demand.end(), [&](const Literal& l) { return valid(*v, l); });
        })) {
      return true;
    }
  }
  return false;
}

void SchemaCompiler::refuse_cases(const JsonValue& schema, std::string_view keyword) const {
  refuse(
      schema, keyword,
      fmt::format("together with other keywords it makes more than {} cases{}", kMostBranches,
                  keyword == "oneOf" ? "; give each alternative a type of its own, or a required member with a const "
                                       "of its own, or write anyOf"
                                     : ""));
}

void SchemaCompiler::expand_holding(const JsonValue& schema, Branch& branch, Choices& choices) {
  const JsonValue* ref = member_if(schema, "$ref", Type::String);
  const JsonValue* target = ref != nullptr ? resolve(schema, ref->text, "$ref") : nullptr;
  if (ref != nullptr && ref_stands_alone_) {
    branch.open.push_back({target, true});
    return;
  }
  for (std::string_view keyword : {"$dynamicRef", "$recursiveRef"}) {
    if (schema.find(keyword) != nullptr) refuse(schema, keyword, "write a $ref to a fixed place");
  }
  bool any_fact = false;
  for (const auto& [name, value] : schema.members) any_fact |= !in(kSilent, name) && !in(kChoosing, name);
  if (any_fact) add_fact(branch, {Fact::Kind::All, &schema, {}, {}, 0}, choices);
  if (const JsonValue* no = schema.find("not")) branch.open.push_back({no, false});
  if (const JsonValue* all = member_if(schema, "allOf", Type::Array)) {
    for (size_t i = all->items.size(); i-- > 0;) branch.open.push_back({&all->items[i], true});
  }
  if (target != nullptr) branch.open.push_back({target, true});

  auto choose = [&](std::string_view keyword, std::vector<Option> options) {
    automaton_.budget().spend(options.size());
    branch.choices.push_back(choices.list.size());
    choices.list.push_back({&schema, keyword, std::move(options)});
  };
  if (const JsonValue* any = member_if(schema, "anyOf", Type::Array)) {
    std::vector<Option> options;
    if (evaluates_) {
      options = subsets(any->items);
      if (options.empty()) unclear_.insert(&schema);
    }
    if (options.empty()) {
      for (const JsonValue& s : any->items) options.push_back({{{&s, true}}, {}});
    }
    choose("anyOf", std::move(options));
  }
  if (const JsonValue* one = member_if(schema, "oneOf", Type::Array)) {
    std::vector<Option> options;
    std::vector<std::vector<const JsonValue*>> others = overlaps(one->items);
    for (size_t i = 0; i < others.size(); ++i) {
      Option option{{{&one->items[i], true}}, {}};
      for (const JsonValue* other : others[i]) option.open.push_back({other, false});
      options.push_back(std::move(option));
    }
    choose("oneOf", std::move(options));
  }
  const JsonValue* then = schema.find("then");
  const JsonValue* otherwise = schema.find("else");
  if (const JsonValue* condition = schema.find("if");
      condition != nullptr && (then != nullptr || otherwise != nullptr || evaluates_)) {
    Option yes{{{condition, true}}, {}}, no{{{condition, false}}, {}};
    if (then != nullptr) yes.open.push_back({then, true});
    if (otherwise != nullptr) no.open.push_back({otherwise, true});
    choose("if", {yes, no});
  }
  for (std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const JsonValue* map = member_if(schema, keyword, Type::Object);
    if (map == nullptr) continue;
    for (const auto& [name, value] : map->members) {
      Option absent{{}, {{Fact::Kind::Absent, nullptr, name, {}, 0}}};
      Option present{{}, {{Fact::Kind::Present, nullptr, name, {}, 0}}};
      if (value.is(Type::Array)) {
        for (const JsonValue& other : value.items)
          present.facts.push_back({Fact::Kind::Present, nullptr, other.text, {}, 0});
      } else {
        present.open.push_back({&value, true});
      }
      choose(keyword, {absent, present});
    }
  }
}

// What was evaluated depends on all alternatives that hold, so that each set of them is a case. None if they are too
// many.
std::vector<SchemaCompiler::Option> SchemaCompiler::subsets(const std::vector<JsonValue>& schemas) {
  constexpr size_t kMostTogether = 5;
  std::vector<Option> options;
  auto others = overlaps(schemas);
  if (std::all_of(others.begin(), others.end(), [](const auto& list) { return list.empty(); })) {
    for (const JsonValue& s : schemas) options.push_back({{{&s, true}}, {}});
    return options;
  }
  if (schemas.size() > kMostTogether) return options;
  for (size_t set = 1; set < size_t{1} << schemas.size(); ++set) {
    options.emplace_back();
    for (size_t i = 0; i < schemas.size(); ++i) {
      if ((set >> i & 1) != 0) options.back().open.push_back({&schemas[i], true});
    }
  }
  return options;
}

// Tells facts whose unevaluatedProperties stand beside other schemas which of these hold.
void SchemaCompiler::note_evaluated(Branch& branch) {
  for (Fact& fact : branch.facts) {
    if (fact.kind != Fact::Kind::All || fact.schema->find("unevaluatedProperties") == nullptr) continue;
    fact.demand = {{fact.schema, true}};
    for (size_t i = 0; i < fact.demand.size(); ++i) {
      const JsonValue& s = *fact.demand[i].schema;
      auto holds = [&](const JsonValue& of, bool how) {
        return std::find(branch.seen.begin(), branch.seen.end(), Literal{&of, how}) != branch.seen.end();
      };
      auto add = [&](const JsonValue& beside) {
        const Literal l{&beside, true};
        if (std::find(fact.demand.begin(), fact.demand.end(), l) == fact.demand.end()) fact.demand.push_back(l);
      };
      automaton_.budget().spend(branch.seen.size() + fact.demand.size());
      if (const JsonValue* ref = member_if(s, "$ref", Type::String)) add(*resolve(s, ref->text, "$ref"));
      for (std::string_view keyword : {"allOf", "anyOf", "oneOf"}) {
        const JsonValue* list = member_if(s, keyword, Type::Array);
        for (size_t k = 0; list != nullptr && k < list->items.size(); ++k) {
          if (keyword == "allOf" || holds(list->items[k], true)) add(list->items[k]);
        }
      }
      if (unclear_.contains(&s)) {
        refuse(*fact.schema, "unevaluatedProperties",
               fmt::format("it depends on the anyOf at {}, of whose many alternatives several may hold", place(s)));
      }
      if (const JsonValue* condition = s.find("if")) {
        const bool yes = holds(*condition, true);
        const JsonValue* next = s.find(yes ? "then" : "else");
        if (yes) add(*condition);
        if (next != nullptr) add(*next);
      }
      for (std::string_view keyword : {"dependentSchemas", "dependencies"}) {
        const JsonValue* map = member_if(s, keyword, Type::Object);
        for (size_t k = 0; map != nullptr && k < map->members.size(); ++k) {
          if (holds(map->members[k].value, true)) add(map->members[k].value);
        }
      }
    }
  }
}

// A schema fails if any of its keywords does; false if none can.
bool SchemaCompiler::expand_failing(const JsonValue& schema, Branch& branch, Choices& choices) {
  std::vector<Option> options;
  auto option = [&](std::vector<Literal> literals, Facts facts) {
    options.push_back({std::move(literals), std::move(facts)});
  };
  auto absent = [](const std::string& name) { return Fact{Fact::Kind::Absent, nullptr, name, {}, 1}; };
  auto present = [](const std::string& name, Demand demand) {
    return Fact{Fact::Kind::Present, nullptr, name, std::move(demand), 0};
  };
  auto items = [&](std::string_view name, Literal wanted, uint64_t low, uint64_t high) {
    Fact fact{Fact::Kind::Count, &schema, std::string(name), {wanted}, low};
    fact.most = high;
    option({}, {fact});
  };
  const JsonValue* ref = member_if(schema, "$ref", Type::String);
  if (ref != nullptr) option({{resolve(schema, ref->text, "$ref"), false}}, {});
  const JsonValue* properties = member_if(schema, "properties", Type::Object);
  const JsonValue* required = member_if(schema, "required", Type::Array);
  for (const auto& [name, value] : schema.members) {
    if (ref != nullptr && ref_stands_alone_) break;
    if (in(kSilent, name) || name == "$ref" || name == "then" || name == "else") continue;
    if (name == "allOf") {
      for (const JsonValue& s : value.items) {
        if (!is_trivial(s)) option({{&s, false}}, {});
      }
    } else if (name == "anyOf") {
      std::vector<Literal> none;
      for (const JsonValue& s : value.items) none.push_back({&s, false});
      option(none, {});
    } else if (name == "oneOf") {
      std::vector<Literal> none;
      for (const JsonValue& s : value.items) none.push_back({&s, false});
      option(none, {});
      std::vector<std::vector<const JsonValue*>> others = overlaps(value.items);
      for (size_t i = 0; i < others.size(); ++i) {
        for (const JsonValue* other : others[i]) {
          if (&value.items[i] < other) option({{&value.items[i], true}, {other, true}}, {});
        }
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
      // Not there, or not as `properties` says, is one case: whatever there is of it fails.
      for (const JsonValue& key : value.items) {
        const JsonValue* s = properties != nullptr ? properties->find(key.text) : nullptr;
        if (s == nullptr || is_trivial(*s)) {
          option({}, {absent(key.text)});
        } else {
          option({}, {{Fact::Kind::Limited, nullptr, key.text, {{s, false}}, 0}});
        }
      }
    } else if (name == "properties") {
      for (const auto& [key, s] : value.members) {
        const std::string& member = key;
        bool needed = required != nullptr && std::any_of(required->items.begin(), required->items.end(),
                                                         [&](const JsonValue& r) { return r.text == member; });
        if (!needed && !is_trivial(s)) option({}, {present(key, {{&s, false}})});
      }
    } else if (name == "prefixItems" || (name == "items" && value.is(Type::Array))) {
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (is_trivial(value.items[i])) continue;
        option({}, {{Fact::Kind::Longer, nullptr, {}, {{&value.items[i], false}}, i}});
      }
    } else if (name == "items" && schema.find("prefixItems") == nullptr) {
      if (!is_trivial(value)) items(name, {&value, false}, 1, kUnbounded);
    } else if (name == "contains") {
      const auto [least, most] = contained(schema);
      if (least > 0) items(name, {&value, true}, 0, least - 1);
      if (most != kUnbounded) items(name, {&value, true}, most + 1, kUnbounded);
    } else if (name == "additionalProperties" && !is_trivial(value) && schema.find("patternProperties") == nullptr) {
      const bool any = value.is(Type::Boolean);  // then it is false
      option({}, {{Fact::Kind::Other, &schema, name, any ? Demand{} : Demand{{&value, false}}, 0}});
    } else if ((name == "additionalProperties" || name == "propertyNames" || name == "additionalItems" ||
                name == "items") &&
               is_trivial(value)) {
      continue;
    } else if ((name == "exclusiveMinimum" || name == "exclusiveMaximum") && value.is(Type::Boolean)) {
      continue;  // draft 4: says how to read the bound beside it
    } else {
      option({}, {{Fact::Kind::Not, &schema, name, {}, 0}});
    }
  }
  if (options.empty()) return false;
  if (options.size() == 1) {
    for (Fact& fact : options[0].facts) add_fact(branch, std::move(fact), choices);
    branch.open.insert(branch.open.end(), options[0].open.rbegin(), options[0].open.rend());
    return true;
  }
  automaton_.budget().spend(options.size());
  branch.choices.push_back(choices.list.size());
  auto chosen = std::find_if(kMultiplying.begin(), kMultiplying.end(),
                             [&](const char* keyword) { return schema.find(keyword) != nullptr; });
  choices.list.push_back({&schema, chosen != kMultiplying.end() ? *chosen : "not", std::move(options)});
  return true;
}

}  // namespace sgl::grammar
