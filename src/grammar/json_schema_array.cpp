// Arrays: the first items one by one, the others as a counted repetition.

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/json_schema.h"
#include "grammar/json_values.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr uint64_t kMostCounted = 64;  // items that `contains` or uniqueItems are counted over
constexpr size_t kMostFirstItems = 2000;
constexpr size_t kMostUnique = 10;  // values that items which must differ are taken from

// A schema for messages.
const JsonValue* named_schema(const Facts& facts) {
  auto at = std::find_if(facts.begin(), facts.end(), [](const Fact& fact) { return fact.schema != nullptr; });
  static const JsonValue kNone;
  return at != facts.end() ? at->schema : &kNone;
}

}  // namespace

// Of an array's items `low` to `high` satisfy the literal. `schema` and `keyword` are for messages.
struct SchemaCompiler::Wanted {
  Literal literal;
  uint64_t low, high;
  const JsonValue* schema;
  std::string_view keyword;
};

// The schema of the items after the first `prefix` ones, or null if they are free. Drafts differ in the names.
const JsonValue* SchemaCompiler::other_items_of(const JsonValue& schema, size_t& prefix) {
  prefix = 0;
  const JsonValue* items = schema.find("items");
  if (items != nullptr && items->is(Type::Array)) {
    prefix = items->items.size();
    return schema.find("additionalItems");
  }
  if (const JsonValue* first = member_if(schema, "prefixItems", Type::Array)) prefix = first->items.size();
  if (const JsonValue* rest = schema.find("unevaluatedItems"); rest != nullptr && items == nullptr) {
    if (rest->is(Type::Boolean) && rest->boolean) return nullptr;
    for (std::string_view other : {"$ref", "allOf", "anyOf", "oneOf", "if", "not", "contains", "dependentSchemas"}) {
      if (schema.find(other) != nullptr)
        refuse(schema, "unevaluatedItems", fmt::format("it depends on {} beside it", other));
    }
    return rest;
  }
  return items;
}

// How many items, at least and at most, must satisfy the schema's `contains`.
std::pair<uint64_t, uint64_t> SchemaCompiler::contained(const JsonValue& schema) {
  const JsonValue *low = schema.find("minContains"), *high = schema.find("maxContains");
  return {low != nullptr ? count(schema, "minContains", *low) : 1,
          high != nullptr ? count(schema, "maxContains", *high) : kUnbounded};
}

TermId SchemaCompiler::build_array(const Facts& facts) {
  uint64_t min = 0, max = kUnbounded;
  size_t first = 0;
  Demand rest, every;  // of the items after the first ones, and of all
  std::optional<Wanted> contains;
  auto want = [&](const Wanted& wanted) {
    if (wanted.high == 0) {
      every.push_back({wanted.literal.schema, !wanted.literal.holds});
    } else if (wanted.low > 0 || wanted.high != kUnbounded) {
      if (contains) {
        refuse(*wanted.schema, wanted.keyword, "more than one count of items at one place is not supported");
      }
      contains = wanted;
    }
  };
  bool none = false;
  const JsonValue* unique = nullptr;
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Longer) {
      first = std::max(first, fact.index + 1);
      min = std::max<uint64_t>(min, fact.index + 1);
    }
    if (fact.kind == Fact::Kind::Count) want({fact.demand[0], fact.index, fact.most, fact.schema, fact.name});
    if (fact.kind == Fact::Kind::Not) {
      const JsonValue* value = fact.schema->find(fact.name);
      if (fact.name == "minItems") {
        uint64_t n = count(*fact.schema, fact.name, *value);
        if (n == 0) return kNone;
        max = std::min(max, n - 1);
      } else if (fact.name == "maxItems") {
        min = std::max(min, count(*fact.schema, fact.name, *value) + 1);
      } else if (fact.name == "uniqueItems" && value->is(Type::Boolean) && !value->boolean) {
        return kNone;
      } else if (fact.name != "enum" && fact.name != "const" && fact.name != "type") {
        refuse(*fact.schema, fact.name, "under not, if or oneOf this keyword is not supported");
      } else if (fact.name != "type") {
        for (const JsonValue& v : fact.name == "const" ? std::vector<JsonValue>{*value} : value->items) {
          if (v.is(Type::Array)) refuse(*fact.schema, fact.name, "an array cannot be excluded under not");
        }
      }
    }
    if (fact.kind != Fact::Kind::All) continue;
    const JsonValue& s = *fact.schema;
    size_t prefix = 0;
    if (const JsonValue* items = other_items_of(s, prefix)) rest.push_back({items, true});
    first = std::max(first, prefix);
    if (const JsonValue* n = s.find("minItems")) min = std::max(min, count(s, "minItems", *n));
    if (const JsonValue* n = s.find("maxItems")) max = std::min(max, count(s, "maxItems", *n));
    if (const JsonValue* wanted = s.find("contains")) {
      const auto [least, most] = contained(s);
      none |= least > most;
      want({{wanted, true}, least, most, &s, "contains"});
    }
    if (const JsonValue* u = s.find("uniqueItems"); u != nullptr && u->is(Type::Boolean) && u->boolean) unique = &s;
    if (const JsonValue* u = s.find("unevaluatedItems");
        u != nullptr && s.find("items") != nullptr && !(u->is(Type::Boolean) && u->boolean)) {
      if (s.find("items")->is(Type::Array)) refuse(s, "unevaluatedItems", "it stands beside a list of items");
    }
  }
  if (none || min > max) return kNone;
  if (first == 0) {
    rest.insert(rest.end(), every.begin(), every.end());
    every.clear();
  }
  if (first > kMostFirstItems) {
    refuse(*named_schema(facts), "prefixItems", fmt::format("more than {} different items", kMostFirstItems));
  }
  if (unique != nullptr && max > 1) {
    if (first > 0 || contains) refuse(*unique, "uniqueItems", "beside prefixItems or contains it is not supported");
    return unique_term(*unique, rest, min, max);
  }
  std::vector<TermId> heads;
  for (size_t i = 0; i < first && i < max; ++i) {
    Demand demand = item_demand(facts, i);
    demand.insert(demand.end(), every.begin(), every.end());
    heads.push_back(value_of(std::move(demand)));
  }
  rest.insert(rest.end(), every.begin(), every.end());
  if (contains) {
    if (first > 0) refuse(*contains->schema, contains->keyword, "beside prefixItems it is not supported");
    return contains_term(*contains, rest, min, max);
  }
  TermId item = max > heads.size() ? value_of(rest) : kNone;
  return array_term(heads, item, min, max);
}

// What the item at the index must satisfy, but for what is said of all items in other ways.
Demand SchemaCompiler::item_demand(const Facts& facts, size_t index) {
  Demand demand;
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Longer && fact.index == index) {
      demand.insert(demand.end(), fact.demand.begin(), fact.demand.end());
    }
    if (fact.kind != Fact::Kind::All) continue;
    size_t prefix = 0;
    const JsonValue* others = other_items_of(*fact.schema, prefix);
    const JsonValue* list = member_if(*fact.schema, "prefixItems", Type::Array);
    if (list == nullptr) list = member_if(*fact.schema, "items", Type::Array);
    if (index < prefix) {
      demand.push_back({&list->items[index], true});
    } else if (others != nullptr) {
      demand.push_back({others, true});
    }
  }
  return demand;
}

// The values that satisfy the demand, if they are listed by enum and const; true, false and null count as listed.
std::optional<std::vector<const JsonValue*>> SchemaCompiler::finite_values(const Demand& demand) {
  static const std::vector<JsonValue> kSimple = [] {
    std::vector<JsonValue> list(3);
    list[1].type = list[2].type = Type::Boolean;
    list[2].boolean = true;
    return list;
  }();
  std::vector<const JsonValue*> out;
  for (const Facts& facts : expand(demand)) {
    bool integer = false, no_integer = false;
    std::vector<const JsonValue*> candidates;
    if (auto listed = listed_values(facts)) {
      candidates = *listed;
    } else if ((types_of(facts, integer, no_integer) & ~(kNull | kBoolean)) == 0) {
      for (const JsonValue& v : kSimple) candidates.push_back(&v);
    } else {
      return std::nullopt;
    }
    for (const JsonValue* v : candidates) {
      bool known = std::any_of(out.begin(), out.end(), [&](const JsonValue* o) { return equal(*o, *v); });
      if (!known && valid(*v, facts)) out.push_back(v);
    }
  }
  return out;
}

// Whether there are values without end that satisfy one of the cases; false where it is not easily seen.
bool SchemaCompiler::is_endless(const std::vector<Facts>& cases, int depth) {
  return std::any_of(cases.begin(), cases.end(), [&](const Facts& facts) {
    bool integer = false, no_integer = false;
    const unsigned types = types_of(facts, integer, no_integer);
    if (listed_values(facts)) return false;
    // Texts of strings are without end where values are; those of numbers may be zeros.
    if ((types & kString) != 0 && automaton_.is_endless(string_content(facts))) return true;
    auto has = [&](std::initializer_list<std::string_view> keywords) {
      return std::any_of(facts.begin(), facts.end(), [&](const Fact& fact) {
        return fact.schema != nullptr && std::any_of(keywords.begin(), keywords.end(), [&](std::string_view k) {
                 return fact.schema->find(k) != nullptr;
               });
      });
    };
    if ((types & kNumber) != 0 && !(integer && no_integer) &&
        !(has({"minimum", "exclusiveMinimum"}) && has({"maximum", "exclusiveMaximum"}))) {
      return true;
    }
    // Of an object any one member will do, if nothing else can make it impossible.
    if (types != kObject || cases.size() > 1 || depth == 0 || facts.size() > 1 || facts[0].kind != Fact::Kind::All)
      return false;
    const JsonValue* members = member_if(*facts[0].schema, "properties", Type::Object);
    if (members == nullptr ||
        has({"maxProperties", "minProperties", "propertyNames", "patternProperties", "unevaluatedProperties"})) {
      return false;
    }
    return std::any_of(members->members.begin(), members->members.end(), [&](const JsonMember& member) {
      return is_endless(expand({{&member.value, true}}), depth - 1);
    });
  });
}

// Items of which no two have one value. Few that are listed: a rule for each set of those that came already.
TermId SchemaCompiler::unique_term(const JsonValue& schema, const Demand& items, uint64_t min, uint64_t max) {
  std::optional<std::vector<const JsonValue*>> values = items.empty() ? std::nullopt : finite_values(items);
  if (!values || values->size() > kMostUnique) return any_unique_term(schema, items, min, max);
  size_t n = values->size();
  std::vector<TermId> terms;
  for (const JsonValue* v : *values) terms.push_back(automaton_.cat(constant(*v), space_));
  std::vector<RuleId> rules;
  for (size_t set = 0; set < size_t{1} << n; ++set) rules.push_back(automaton_.new_rule("unique items", false));
  for (size_t set = 0; set < size_t{1} << n; ++set) {
    std::vector<TermId> options;
    auto count = static_cast<uint64_t>(std::popcount(set));
    for (size_t i = 0; i < n && count < max; ++i) {
      if ((set >> i & 1) == 0)
        options.push_back(automaton_.cat(terms[i], automaton_.call(rules[set | size_t{1} << i])));
    }
    TermId more = automaton_.cat(set == 0 ? kEpsilon : automaton_.cat(mark(","), space_), automaton_.alt(options));
    automaton_.define(rules[set], count >= min ? automaton_.alt({mark("]"), more}) : more);
  }
  return automaton_.cat({mark("["), space_, automaton_.call(rules[0])});
}

TermId SchemaCompiler::any_unique_term(const JsonValue& schema, const Demand& items, uint64_t min, uint64_t max) {
  UniqueItems array{value_of(items), automaton_.any_bytes(), space_, std::max<uint64_t>(min, 1), max, false, {}};
  const std::vector<Facts> cases = expand(items);
  array.endless = is_endless(cases, 3);
  const bool fractions = std::any_of(cases.begin(), cases.end(), [&](const Facts& facts) {
    bool integer = false, no_integer = false;
    return (types_of(facts, integer, no_integer) & kNumber) != 0 && !(integer && options_.plain_integers);
  });
  if (!array.endless && min > kMostCounted) {
    refuse(schema, "uniqueItems",
           fmt::format("beside minItems above {} there must be values without end", kMostCounted));
  }
  if (fractions) {
    // Only numbers in spellings in which equal ones are known to be equal.
    ByteSet number;
    for (char c : std::string_view("-0123456789")) number.set(static_cast<unsigned char>(c));
    array.spelled = automaton_.alt(
        {complete_spellings(automaton_, true), automaton_.cat(automaton_.bytes(~number), automaton_.any_bytes())});
  }
  array.equal = [space = space_](Automaton& automaton, std::string_view item) {
    CharTerms chars(automaton);
    try {
      return value_term(chars, parse_json_text(item), {.space = space});
    } catch (const Error&) {  // half a surrogate pair, or a number of thousands of digits: equal to itself
      return automaton.literal(item);
    }
  };
  TermId some = automaton_.unique_items(std::move(array));
  return automaton_.cat({mark("["), space_, min == 0 ? automaton_.alt({mark("]"), some}) : some});
}

TermId SchemaCompiler::array_term(const std::vector<TermId>& first, TermId item, uint64_t min, uint64_t max) {
  TermId comma = automaton_.cat(mark(","), space_), close = mark("]");
  size_t n = first.size();
  auto less = [](uint64_t x, uint64_t y) { return x == kUnbounded ? x : x > y ? x - y : 0; };
  TermId tail;  // after all of `first`, at least one of them
  if (n > 0) {
    tail = automaton_.cat(automaton_.repeat(automaton_.cat({comma, item, space_}), less(min, n), less(max, n)), close);
  } else {
    TermId more = automaton_.repeat(automaton_.cat({comma, item, space_}), less(min, 1), less(max, 1));
    TermId some = max == 0 ? kNone : automaton_.cat({item, space_, more, close});
    return automaton_.cat({mark("["), space_, min == 0 ? automaton_.alt({close, some}) : some});
  }
  for (size_t i = n; i-- > 0;) {
    TermId go_on = automaton_.cat({i == 0 ? kEpsilon : comma, first[i], space_, tail});
    tail = i >= min ? automaton_.alt({close, go_on}) : go_on;
  }
  return automaton_.cat({mark("["), space_, tail});
}

// At least `low` items that match, and at most `high`: others may come before, between and after.
TermId SchemaCompiler::contains_term(const Wanted& wanted, const Demand& items, uint64_t min, uint64_t max) {
  const auto [literal, low, high, schema, keyword] = wanted;
  Demand matching = items, others = items;
  matching.push_back(literal);
  TermId match = value_of(matching);
  TermId other;
  if (high == kUnbounded) {
    other = value_of(items);  // it does not matter if these match as well
  } else {
    others.push_back({literal.schema, !literal.holds});
    other = value_of(others);
  }
  bool counted = max != kUnbounded || min > low;
  if (counted && ((max != kUnbounded && max > kMostCounted) || min > kMostCounted || low > kMostCounted)) {
    refuse(*schema, keyword,
           fmt::format("beside minItems or maxItems it is supported for up to {} items", kMostCounted));
  }
  // rule (items so far, of them matching), both up to where more make no difference.
  uint64_t most_matching = high == kUnbounded ? low : high;
  if (most_matching > kMostCounted) refuse(*schema, "maxContains", fmt::format("more than {}", kMostCounted));
  uint64_t most_items = counted ? (max != kUnbounded ? max : min) : 1;  // uncounted: 0 or 1, for the comma
  most_items = std::max<uint64_t>(most_items, 1);
  std::vector<std::vector<RuleId>> rules(most_items + 1);
  for (auto& row : rules) {
    for (uint64_t m = 0; m <= most_matching; ++m) row.push_back(automaton_.new_rule("contains", false));
  }
  for (uint64_t n = 0; n <= most_items; ++n) {
    for (uint64_t m = 0; m <= most_matching; ++m) {
      std::vector<TermId> options;
      if (n >= std::min(min, most_items) && m >= low) options.push_back(mark("]"));
      bool full = max != kUnbounded && n == max;
      if (!full) {
        uint64_t next = std::min(n + 1, most_items);
        TermId comma = n == 0 ? kEpsilon : automaton_.cat(mark(","), space_);
        options.push_back(automaton_.cat({comma, other, space_, automaton_.call(rules[next][m])}));
        if (m < high) {
          options.push_back(
              automaton_.cat({comma, match, space_, automaton_.call(rules[next][std::min(m + 1, most_matching)])}));
        }
      }
      automaton_.define(rules[n][m], automaton_.alt(options));
    }
  }
  return automaton_.cat({mark("["), space_, automaton_.call(rules[0][0])});
}

}  // namespace sgl::grammar
