// Which alternatives of a oneOf can hold together, and demands that nothing satisfies.

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include <fmt/format.h>

#include "grammar/json_schema.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;

}  // namespace

// What can be read off a schema at once.
struct SchemaCompiler::Outline {
  unsigned types = kAllTypes;  // an instance is of one of these
  std::set<std::string_view> required;
  std::optional<std::vector<std::string>> values;               // keys of those that an instance may be
  std::map<std::string_view, std::vector<std::string>> listed;  // member → keys of those that it may be

  /// Keys of the values that the member must be one of, since it must be there; null if it is free.
  const std::vector<std::string>* tag(std::string_view name) const {
    auto at = listed.find(name);
    return at != listed.end() && required.contains(name) ? &at->second : nullptr;
  }
};

namespace {

// Equal for equal values; of arrays and objects the type alone.
std::string key_of(const JsonValue& value) {
  switch (value.type) {
    case Type::Boolean:
      return value.boolean ? "true" : "false";
    case Type::Number: {
      Decimal d = to_decimal(value.text);
      return fmt::format("{}{}.{}", d.negative && !d.is_zero() ? "-" : "", d.whole, d.fraction);
    }
    case Type::String:
      return '"' + value.text;
    default:
      return value.is(Type::Null) ? "null" : value.is(Type::Array) ? "[" : "{";
  }
}

// The values that the schema's own const or enum lists.
std::optional<std::span<const JsonValue>> own_values(const JsonValue& schema) {
  if (const JsonValue* only = schema.find("const")) return std::span(only, 1);
  if (const JsonValue* list = member_if(schema, "enum", Type::Array)) return std::span(list->items);
  return std::nullopt;
}

}  // namespace

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
  if (auto values = own_values(schema); values && !out.values) {
    automaton_.budget().spend(4 * values->size());
    unsigned types = 0;
    out.values.emplace();
    for (const JsonValue& v : *values) {
      types |= type_of(v);
      out.values->push_back(key_of(v));
    }
    out.types &= types;
  }
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
    auto own = own_values(member);
    if (!own) continue;
    std::vector<std::string> values;
    for (const JsonValue& v : *own) values.push_back(key_of(v));
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
    std::map<std::string_view, std::vector<size_t>> best;  // of what has the most values: value → alternatives
    if (std::all_of(group.begin(), group.end(), [&](size_t i) { return outlines[i].values.has_value(); })) {
      for (size_t i : group) {
        automaton_.budget().spend(outlines[i].values->size());
        for (std::string_view value : *outlines[i].values) {
          if (best[value].empty() || best[value].back() != i) best[value].push_back(i);
        }
      }
    } else if (type == kObject) {
      for (const auto& [name, values] : outlines[group[0]].listed) {
        std::map<std::string_view, std::vector<size_t>> by_value;
        bool everywhere = true;
        for (size_t i : group) {
          const std::vector<std::string>* tag = outlines[i].tag(name);
          everywhere = tag != nullptr;
          if (!everywhere) break;
          automaton_.budget().spend(tag->size());
          for (std::string_view value : *tag) {  // an enum may say one twice
            if (by_value[value].empty() || by_value[value].back() != i) by_value[value].push_back(i);
          }
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
  if (types == kNumber && integer && no_integer) return true;
  if (bounds_exclude_all(facts, types)) return true;
  if (types == kArray) return array_needs_item(facts) && surely_empty(item_demand(facts, 0), depth - 1);
  if (types != kObject) return false;
  for (const std::string& name : required_names(facts)) {
    for (const Fact& other : facts) {
      if (other.kind == Fact::Kind::Absent && other.name == name) return true;
    }
    if (surely_empty(member_demand(facts, name), depth - 1)) return true;
  }
  return false;
}

// Lower bounds above upper ones, where the instance is of the one type that they speak of.
bool SchemaCompiler::bounds_exclude_all(const Facts& facts, unsigned types) {
  if (types == kNumber) {
    NumberRange range;
    for (const Fact& fact : facts) {
      if (fact.kind != Fact::Kind::All) continue;
      for (const auto& [k, value] : fact.schema->members) {
        if (!value.is(Type::Number)) continue;
        if (k == "minimum" || k == "exclusiveMinimum") range.at_least({to_decimal(value.text), k != "minimum"});
        if (k == "maximum" || k == "exclusiveMaximum") range.at_most({to_decimal(value.text), k != "maximum"});
      }
    }
    if (!range.low || !range.high) return false;
    int order = compare(range.low->value, range.high->value);
    return order > 0 || (order == 0 && (range.low->exclusive || range.high->exclusive));
  }
  std::string_view least, most;
  if (types == kString) std::tie(least, most) = std::pair("minLength", "maxLength");
  if (types == kArray) std::tie(least, most) = std::pair("minItems", "maxItems");
  if (types == kObject) std::tie(least, most) = std::pair("minProperties", "maxProperties");
  if (least.empty()) return false;
  uint64_t low = 0, high = kUnbounded;
  for (const Fact& fact : facts) {
    if (fact.kind != Fact::Kind::All) continue;
    if (const JsonValue* n = fact.schema->find(least)) low = std::max(low, count(*fact.schema, least, *n));
    if (const JsonValue* n = fact.schema->find(most)) high = std::min(high, count(*fact.schema, most, *n));
  }
  return low > high;
}

// Whether an array that satisfies the facts has an item.
bool SchemaCompiler::array_needs_item(const Facts& facts) {
  return std::any_of(facts.begin(), facts.end(), [&](const Fact& fact) {
    if (fact.kind == Fact::Kind::Longer) return true;
    if (fact.kind == Fact::Kind::Count) return fact.index > 0;
    const JsonValue* n = fact.kind == Fact::Kind::All ? fact.schema->find("minItems") : nullptr;
    return n != nullptr && count(*fact.schema, "minItems", *n) > 0;
  });
}

}  // namespace sgl::grammar
