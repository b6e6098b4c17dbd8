// Validation of a value that is at hand: for the values of enum and const, which other keywords may rule out.

#include <algorithm>
#include <utility>

#include "grammar/json_formats.h"
#include "grammar/json_schema.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr int kDeepestCheck = 200;

uint64_t length_of(const std::string& text) {
  return static_cast<uint64_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool multiple(const Decimal& value, const Decimal& divisor) {
  // value / divisor is a whole number: long division of the digits, both scaled by the same power of ten.
  size_t q = std::max(value.fraction.size(), divisor.fraction.size());
  auto scaled = [&](const Decimal& d) { return d.whole + d.fraction + std::string(q - d.fraction.size(), '0'); };
  std::string n = scaled(value), p = scaled(divisor);
  p.erase(0, std::min(p.find_first_not_of('0'), p.size() - 1));
  Decimal rest, step{false, p, ""};
  if (step.whole == "0") return false;
  for (char c : n) {
    rest.whole = rest.whole == "0" ? std::string(1, c) : rest.whole + c;
    while (compare(rest, step) >= 0) {
      // rest −= step
      std::string s = std::string(rest.whole.size() - step.whole.size(), '0') + step.whole;
      int borrow = 0;
      for (size_t i = s.size(); i-- > 0;) {
        int d = rest.whole[i] - s[i] - borrow;
        borrow = d < 0;
        rest.whole[i] = static_cast<char>('0' + d + (borrow ? 10 : 0));
      }
      rest.whole.erase(0, std::min(rest.whole.find_first_not_of('0'), rest.whole.size() - 1));
    }
  }
  return rest.whole == "0";
}

}  // namespace

// Schemas refer to each other in many ways: what was asked of a value once is remembered. Not for longer than a
// question from outside takes, since the value may be gone then.
bool SchemaCompiler::valid(const JsonValue& value, const JsonValue& schema, int depth) {
  if (depth == 0) {
    auto outer = std::exchange(checked_, {});
    bool result = check(value, schema, depth);
    checked_ = std::move(outer);
    return result;
  }
  if (schema.is(Type::Boolean)) return schema.boolean;
  std::pair<const JsonValue*, const JsonValue*> question{&value, &schema};
  if (auto known = checked_.find(question); known != checked_.end()) return known->second;
  return checked_[question] = check(value, schema, depth);
}

bool SchemaCompiler::check(const JsonValue& value, const JsonValue& schema, int depth) {
  automaton_.budget().spend(schema.members.size() + 1);
  if (depth > kDeepestCheck) refuse(schema, "$ref", "it goes round in a circle");
  if (schema.is(Type::Boolean)) return schema.boolean;
  const JsonValue* ref = member_if(schema, "$ref", Type::String);
  if (ref != nullptr) {
    if (!valid(value, *resolve(schema, ref->text, "$ref"), depth + 1)) return false;
    if (ref_stands_alone_) return true;
  }
  return std::none_of(schema.members.begin(), schema.members.end(), [&](const auto& member) {
    return violates(value, schema, member.name, member.value, depth + 1);
  });
}

bool SchemaCompiler::violates(const JsonValue& value, const JsonValue& schema, std::string_view k, const JsonValue& arg,
                              int depth) {
  auto matching = [&](const JsonValue& list) {
    return std::count_if(list.items.begin(), list.items.end(),
                         [&](const JsonValue& s) { return valid(value, s, depth); });
  };
  auto all = [&](const auto& list, auto&& test) { return std::all_of(list.begin(), list.end(), test); };
  if (k == "allOf") return static_cast<size_t>(matching(arg)) != arg.items.size();
  if (k == "anyOf") return matching(arg) == 0;
  if (k == "oneOf") return matching(arg) != 1;
  if (k == "not") return valid(value, arg, depth);
  if (k == "if") {
    const JsonValue* next = schema.find(valid(value, arg, depth) ? "then" : "else");
    return next != nullptr && !valid(value, *next, depth);
  }
  if (k == "const") return !equal(value, arg);
  if (k == "enum") {
    automaton_.budget().spend(arg.items.size() / 4);
    return std::none_of(arg.items.begin(), arg.items.end(), [&](const JsonValue& v) { return equal(v, value); });
  }
  if (k == "type") {
    bool integer = false;
    unsigned types = named_types(schema, arg, integer);
    if (value.is(Type::Null)) {
      const JsonValue* nullable = member_if(schema, "nullable", Type::Boolean);
      if (nullable != nullptr && nullable->boolean) return false;
    }
    if ((types & type_of(value)) == 0) return true;
    return value.is(Type::Number) && integer && !to_decimal(value.text).is_integer();
  }
  if (value.is(Type::Number)) {
    Decimal n = to_decimal(value.text);
    if (k == "multipleOf") return !multiple(n, number(schema, k, arg));
    auto flag = [&](std::string_view name) {
      const JsonValue* f = member_if(schema, name, Type::Boolean);
      return f != nullptr && f->boolean;
    };
    if (k == "minimum") return compare(n, number(schema, k, arg)) < (flag("exclusiveMinimum") ? 1 : 0);
    if (k == "maximum") return compare(n, number(schema, k, arg)) > (flag("exclusiveMaximum") ? -1 : 0);
    if (k == "exclusiveMinimum" && !arg.is(Type::Boolean)) return compare(n, number(schema, k, arg)) <= 0;
    if (k == "exclusiveMaximum" && !arg.is(Type::Boolean)) return compare(n, number(schema, k, arg)) >= 0;
  } else if (value.is(Type::String)) {
    if (k == "minLength") return length_of(value.text) < count(schema, k, arg);
    if (k == "maxLength") return length_of(value.text) > count(schema, k, arg);
    if (k == "pattern") return !name_matches(schema, arg.text, value.text);
    FormatRegex formats;
    if (k == "format" && find_format(arg.text, formats) == FormatSupport::Known) {
      return std::none_of(formats.begin(), formats.end(), [&](const auto& together) {
        return all(together, [&](const std::string& regex) { return text_matches(regex, false, value.text); });
      });
    }
  } else if (value.is(Type::Array)) {
    size_t n = value.items.size();
    if (k == "minItems") return n < count(schema, k, arg);
    if (k == "maxItems") return n > count(schema, k, arg);
    if (k == "uniqueItems" && arg.boolean) {
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = i + 1; j < n; ++j) {
          if (equal(value.items[i], value.items[j])) return true;
        }
      }
    }
    if (k == "contains") {
      auto found = static_cast<uint64_t>(std::count_if(value.items.begin(), value.items.end(),
                                                       [&](const JsonValue& v) { return valid(v, arg, depth); }));
      const auto [least, most] = contained(schema);
      return found < least || found > most;
    }
    if (k == "prefixItems" || k == "items" || k == "additionalItems" || k == "unevaluatedItems") {
      size_t prefix = 0;
      const JsonValue* rest = other_items_of(schema, prefix);
      const JsonValue* first = member_if(schema, "prefixItems", Type::Array);
      if (first == nullptr) first = member_if(schema, "items", Type::Array);
      for (size_t i = 0; i < n; ++i) {
        const JsonValue* s = i < prefix ? &first->items[i] : rest;
        if (s != nullptr && !valid(value.items[i], *s, depth)) return true;
      }
    }
  } else if (value.is(Type::Object)) {
    if (k == "minProperties") return value.members.size() < count(schema, k, arg);
    if (k == "maxProperties") return value.members.size() > count(schema, k, arg);
    if (k == "required")
      return !all(arg.items, [&](const JsonValue& name) { return value.find(name.text) != nullptr; });
    if (k == "properties" || k == "patternProperties" || k == "additionalProperties" || k == "propertyNames" ||
        k == "unevaluatedProperties") {
      return members_violate(value, {{Fact::Kind::All, &schema, {}, {}, 0}}, depth);
    }
    if (k == "dependentRequired" || k == "dependentSchemas" || k == "dependencies") {
      return !all(arg.members, [&](const auto& member) {
        if (value.find(member.name) == nullptr) return true;
        if (!member.value.is(Type::Array)) return valid(value, member.value, depth);
        return all(member.value.items, [&](const JsonValue& name) { return value.find(name.text) != nullptr; });
      });
    }
  }
  return false;
}

// By an automaton that is kept: names and values are many, patterns few.
bool SchemaCompiler::text_matches(const std::string& pattern, bool search, const std::string& text) {
  auto at = matchers_.find({pattern, search});
  if (at == matchers_.end()) {
    const RegexNode regex = parse_regex(pattern, RegexDialect::Ecma);
    Automaton a;
    CharTerms chars(a);
    a.finish(search ? search_term(chars, regex, Spelling::Plain) : full_match_term(chars, regex, Spelling::Plain));
    at = matchers_.emplace(std::pair(pattern, search), std::move(a)).first;
    automaton_.budget().spend(at->second.num_terms());
  }
  Automaton& a = at->second;
  size_t terms = a.num_terms();
  StateId state = a.start();
  for (char c : text) state = a.next(state, static_cast<uint8_t>(c));
  automaton_.budget().spend((a.num_terms() - terms) * 4 + text.size() / 16 + 1);
  return a.accepts(state);
}

// Whether a member of the object is not what the facts demand of it.
bool SchemaCompiler::members_violate(const JsonValue& value, const Facts& facts, int depth) {
  return std::any_of(value.members.begin(), value.members.end(), [&](const JsonMember& member) {
    const Demand demand = member_demand(facts, member.name);
    return std::any_of(demand.begin(), demand.end(),
                       [&](const Literal& l) { return valid(member.value, *l.schema, depth) != l.holds; });
  });
}

bool SchemaCompiler::valid(const JsonValue& value, const Facts& facts) {
  return std::all_of(facts.begin(), facts.end(), [&](const Fact& fact) {
    auto holds = [&](const JsonValue& v) {
      return std::all_of(fact.demand.begin(), fact.demand.end(), [&](const Literal& l) { return valid(v, l); });
    };
    switch (fact.kind) {
      case Fact::Kind::All:
        // Its choices were made already: only the other keywords count.
        return std::none_of(fact.schema->members.begin(), fact.schema->members.end(), [&](const auto& m) {
          for (std::string_view choosing :
               {"allOf", "anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "dependencies"}) {
            if (m.name == choosing) return false;
          }
          if (m.name == "unevaluatedProperties" && value.is(Type::Object)) {
            return members_violate(value, {fact}, 0);
          }
          return &m.value != values_from_ && violates(value, *fact.schema, m.name, m.value, 0);
        });
      case Fact::Kind::Not:
        return violates(value, *fact.schema, fact.name, *fact.schema->find(fact.name), 0);
      case Fact::Kind::Present: {
        const JsonValue* member = value.find(fact.name);
        return value.is(Type::Object) && member != nullptr && holds(*member);
      }
      case Fact::Kind::Limited: {
        const JsonValue* member = value.find(fact.name);
        return value.is(Type::Object) && (member == nullptr || holds(*member));
      }
      case Fact::Kind::Other: {
        const JsonValue* named = member_if(*fact.schema, "properties", Type::Object);
        return value.is(Type::Object) && std::any_of(value.members.begin(), value.members.end(), [&](const auto& m) {
                 return (named == nullptr || named->find(m.name) == nullptr) && holds(m.value);
               });
      }
      case Fact::Kind::Count: {
        auto n = static_cast<uint64_t>(std::count_if(value.items.begin(), value.items.end(), holds));
        return value.is(Type::Array) && n >= fact.index && n <= fact.most;
      }
      case Fact::Kind::Absent:
        return value.is(Type::Object) ? value.find(fact.name) == nullptr : fact.index == 0;
      case Fact::Kind::Longer:
        return value.is(Type::Array) && value.items.size() > fact.index && holds(value.items[fact.index]);
    }
    return false;
  });
}

}  // namespace sgl::grammar
