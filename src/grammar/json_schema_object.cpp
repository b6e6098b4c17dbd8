// Objects: members in the order in which the schema names them, others anywhere in between.

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "grammar/json_schema.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr size_t kMostPatterns = 6;       // patternProperties at one place: each set of them is a case
constexpr size_t kLongestName = 1000;     // bytes, where all other names are allowed: a level of their trie each
constexpr size_t kMostInterleaved = 600;  // states of an object whose members come in several orders
constexpr size_t kMostChains = 12;
constexpr size_t kMostWanted = 6;  // sorts of members that there must be: twice the states each, or three times

const JsonValue& never() {
  static const JsonValue kFalse = [] {
    JsonValue value;
    value.type = Type::Boolean;
    return value;
  }();
  return kFalse;
}

bool is_false(const Demand& demand) {
  return std::any_of(demand.begin(), demand.end(),
                     [](const Literal& l) { return l.schema->is(Type::Boolean) && l.schema->boolean != l.holds; });
}

// The members that schemas list, as chains: a name is in the chain of the first that lists it. With `apart`, names that
// several list are chains of their own where these would put them out of the order of one that comes first for once.
std::vector<std::vector<std::string>> chains_of(const std::vector<std::vector<std::string>>& lists, bool apart) {
  std::map<std::string_view, size_t> times;
  for (const auto& list : lists) {
    for (const std::string& name : list) ++times[name];
  }
  std::set<std::string_view> alone;
  auto first_of = [&](size_t leader) {
    std::vector<std::vector<std::string_view>> chains;
    std::set<std::string_view> known;
    for (size_t i = 0; i <= lists.size(); ++i) {
      const size_t at = i == 0 ? leader : i - 1;
      if (at == lists.size() || (i > 0 && at == leader)) continue;
      chains.emplace_back();
      for (const std::string& name : lists[at]) {
        if (!alone.contains(name) && known.insert(name).second) chains.back().push_back(name);
      }
    }
    return chains;
  };
  const auto usual = first_of(lists.size());
  for (size_t leader = 0; apart && leader < lists.size() && leader < kMostChains; ++leader) {
    const auto& list = lists[leader];
    // One that only says more about others' members has no order of its own.
    auto own = [&](const std::string& name) { return times[name] == 1; };
    if (std::all_of(list.begin(), list.end(), own) || std::none_of(list.begin(), list.end(), own)) continue;
    std::map<std::string_view, size_t> places;
    for (const auto& chain : first_of(leader)) {
      for (std::string_view name : chain) places.try_emplace(name, places.size());
    }
    for (const auto& chain : usual) {
      std::vector<size_t> least(chain.size() + 1, SIZE_MAX);  // of the places from a member on
      for (size_t i = chain.size(); i-- > 0;) least[i] = std::min(least[i + 1], places[chain[i]]);
      size_t most = 0;
      for (size_t i = 0; i < chain.size(); ++i) {
        const size_t place = places[chain[i]];
        if (times[chain[i]] > 1 && (most > place || least[i + 1] < place)) alone.insert(chain[i]);
        most = std::max(most, place);
      }
    }
  }
  std::vector<std::vector<std::string>> out;
  for (const auto& chain : first_of(lists.size())) {
    if (!chain.empty()) out.emplace_back(chain.begin(), chain.end());
  }
  for (std::string_view name : alone) out.push_back({std::string(name)});
  return out;
}

}  // namespace

// The ways to write a member of some wanted sorts: whether it is of the one that depends on the value is a choice.
// term_of: with this demanded of the value as well.
template <typename TermOf>
std::vector<SchemaCompiler::Way> SchemaCompiler::ways_of(const Members& members, unsigned sorts, TermOf&& term_of) {
  std::vector<Way> ways = {{term_of(Demand{}), sorts & ~members.by_value}};
  for (size_t i = 0; i < members.wanted.size(); ++i) {
    if ((sorts & members.by_value) == 1U << i) ways.push_back({term_of(members.wanted[i]->demand), sorts});
  }
  return ways;
}

bool SchemaCompiler::name_matches(const JsonValue& schema, const std::string& pattern, const std::string& name) {
  auto [at, added] = name_matches_.try_emplace({pattern, name}, false);
  if (added) {
    pattern_term(schema, "patternProperties", pattern, true);  // complains with the place
    at->second = text_matches(pattern, true, name);
  }
  return at->second;
}

// The schema that says `keyword`, for messages.
const JsonValue& SchemaCompiler::schema_with(const Facts& facts, std::string_view keyword) const {
  for (const Fact& fact : facts) {
    if (fact.schema != nullptr && fact.schema->find(keyword) != nullptr) return *fact.schema;
  }
  return !facts.empty() && facts.front().schema != nullptr ? *facts.front().schema : root_;
}

// The schema of members that `properties` and patternProperties do not name; null: they are free. It is that of
// members which were not evaluated if there is no additionalProperties.
const JsonValue* SchemaCompiler::other_members_of(const Fact& fact) {
  const JsonValue& schema = *fact.schema;
  const JsonValue* other = schema.find("additionalProperties");
  const JsonValue* rest = schema.find("unevaluatedProperties");
  if (rest != nullptr && other == nullptr && !(rest->is(Type::Boolean) && rest->boolean)) {
    for (std::string_view k : {"$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"}) {
      if (fact.demand.empty() && schema.find(k) != nullptr)
        refuse(schema, "unevaluatedProperties", fmt::format("it depends on {} beside it", k));
    }
    bool all_evaluated = std::any_of(fact.demand.begin(), fact.demand.end(), [&](const Literal& l) {
      return l.schema->find("additionalProperties") != nullptr ||
             (l.schema != &schema && l.schema->find("unevaluatedProperties") != nullptr);
    });
    other = all_evaluated ? nullptr : rest;
  }
  if (other == nullptr && options_.closed_objects && schema.find("properties") != nullptr) return &never();
  return other;
}

// Whether unevaluatedProperties of the fact does not speak of the member, since a schema beside it does.
bool SchemaCompiler::evaluates(const Fact& fact, const std::string& name) {
  if (fact.schema->find("additionalProperties") != nullptr) return false;
  return std::any_of(fact.demand.begin(), fact.demand.end(), [&](const Literal& l) {
    const JsonValue* properties = member_if(*l.schema, "properties", Type::Object);
    if (properties != nullptr && properties->find(name) != nullptr) return true;
    const JsonValue* patterns = member_if(*l.schema, "patternProperties", Type::Object);
    return patterns != nullptr && std::any_of(patterns->members.begin(), patterns->members.end(),
                                              [&](const auto& m) { return name_matches(*l.schema, m.name, name); });
  });
}

// What the value of the member `name` must satisfy, if there is one.
Demand SchemaCompiler::member_demand(const Facts& facts, const std::string& name) {
  Demand demand;
  automaton_.budget().spend(facts.size() + 1);
  for (const Fact& fact : facts) {
    if ((fact.kind == Fact::Kind::Present || fact.kind == Fact::Kind::Limited) && fact.name == name) {
      demand.insert(demand.end(), fact.demand.begin(), fact.demand.end());
    }
    if (fact.kind == Fact::Kind::Absent && fact.name == name) demand.push_back({&never(), true});
    if (fact.kind != Fact::Kind::All) continue;
    const JsonValue& s = *fact.schema;
    bool named = false;
    if (const JsonValue* properties = member_if(s, "properties", Type::Object)) {
      if (const JsonValue* sub = properties->find(name)) {
        demand.push_back({sub, true});
        named = true;
      }
    }
    if (const JsonValue* patterns = member_if(s, "patternProperties", Type::Object)) {
      for (const auto& [pattern, sub] : patterns->members) {
        if (!name_matches(s, pattern, name)) continue;
        demand.push_back({&sub, true});
        named = true;
      }
    }
    if (const JsonValue* other = other_members_of(fact); other != nullptr && !named && !evaluates(fact, name)) {
      demand.push_back({other, true});
    }
    if (const JsonValue* names = s.find("propertyNames")) {
      JsonValue text;
      text.type = Type::String;
      text.text = name;
      if (!valid(text, *names)) demand.push_back({&never(), true});
    }
  }
  return demand;
}

TermId SchemaCompiler::build_object(const Facts& facts) {
  Members members;
  std::string_view min_keyword = "minProperties";
  std::vector<std::vector<std::string>> lists;
  std::set<std::string> known;
  const std::set<std::string> required = required_names(facts);
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Other) {
      const bool by_value = !fact.demand.empty();
      if (members.wanted.size() == kMostWanted || (by_value && members.by_value != 0)) {
        // Of two by their values one would have to come last, and the other, too.
        refuse(*fact.schema, fact.name, "under not, if or oneOf it is not supported so often at one place");
      }
      if (by_value) members.by_value = 1U << members.wanted.size();
      members.wanted.push_back(&fact);
      members.start.push_back(0);
    }
    if (fact.kind == Fact::Kind::Not) {
      const JsonValue* value = fact.schema->find(fact.name);
      if (fact.name == "minProperties") {
        uint64_t n = count(*fact.schema, fact.name, *value);
        if (n == 0) return kNone;
        members.max = std::min(members.max, n - 1);
      } else if (fact.name == "maxProperties") {
        members.min = std::max(members.min, count(*fact.schema, fact.name, *value) + 1);
        min_keyword = "maxProperties";
      } else if (fact.name == "const" || fact.name == "enum") {
        for (const JsonValue& v : fact.name == "const" ? std::vector<JsonValue>{*value} : value->items) {
          if (v.is(Type::Object)) refuse(*fact.schema, fact.name, "an object cannot be excluded under not");
        }
      } else if (fact.name != "type") {
        refuse(*fact.schema, fact.name, "under not, if or oneOf this keyword is not supported");
      }
    }
    if (fact.kind != Fact::Kind::All) continue;
    const JsonValue& s = *fact.schema;
    if (const JsonValue* properties = s.find("properties")) {
      if (!properties->is(Type::Object)) malformed(s, "properties", "an object");
      lists.emplace_back();
      for (const auto& [name, sub] : properties->members) {
        lists.back().push_back(name);
        known.insert(name);
      }
    }
    if (const JsonValue* list = member_if(s, "required", Type::Array)) {
      for (const JsonValue& name : list->items) {
        if (!name.is(Type::String)) malformed(s, "required", "a list of strings");
      }
    }
    if (const JsonValue* n = s.find("minProperties"))
      members.min = std::max(members.min, count(s, "minProperties", *n));
    if (const JsonValue* n = s.find("maxProperties"))
      members.max = std::min(members.max, count(s, "maxProperties", *n));
  }
  // Names that are not among `properties` have no order: each is a chain of its own.
  auto name_alone = [&](const std::string& name) {
    if (known.insert(name).second) lists.push_back({name});
  };
  for (const Fact* sort : members.wanted) {
    const JsonValue* no_others = member_if(*sort->schema, "properties", Type::Object);
    if (no_others == nullptr) continue;
    lists.emplace_back();
    for (const auto& [name, sub] : no_others->members) {
      if (known.insert(name).second) lists.back().push_back(name);
    }
  }
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Present || fact.kind == Fact::Kind::Limited || fact.kind == Fact::Kind::Absent) {
      name_alone(fact.name);
    }
    const JsonValue* list = fact.kind == Fact::Kind::All ? member_if(*fact.schema, "required", Type::Array) : nullptr;
    for (size_t i = 0; list != nullptr && i < list->items.size(); ++i) name_alone(list->items[i].text);
  }
  // A list of names that there may be: then all of them are known.
  bool names_listed = false;
  Demand name_demand;
  for (const Fact& fact : facts) {
    const JsonValue* n = fact.kind == Fact::Kind::All ? fact.schema->find("propertyNames") : nullptr;
    if (n != nullptr) name_demand.push_back({n, true});
  }
  if (members.min > 1 && !name_demand.empty()) {
    if (auto values = finite_values(name_demand)) {
      names_listed = true;
      for (const JsonValue* v : *values) {
        if (v->is(Type::String)) name_alone(v->text);
      }
    }
  }
  auto states_of = [&](const auto& of) {
    size_t product = 1;
    for (const auto& chain : of) product = std::min(product * (chain.size() + 1), kMostInterleaved + 1);
    if (members.min != 0 || members.max != kUnbounded)
      product *= 1 + std::min<uint64_t>(members.max != kUnbounded ? members.max : members.min, 100);
    for (size_t i = 0; i < members.wanted.size(); ++i) product *= (members.by_value >> i & 1) != 0 ? 3 : 2;
    return product;
  };
  auto too_many = [&](const auto& of) { return states_of(of) > kMostInterleaved || of.size() > kMostChains; };
  std::vector<std::vector<std::string>> chains = chains_of(lists, true);
  if (too_many(chains)) chains = chains_of(lists, false);
  // A member that breaks what others must not keep may stand before them if its name is known to come once. Each such
  // name doubles the states.
  for (const Fact* sort : members.wanted) {
    const JsonValue* list = sort->demand.empty() ? nullptr : member_if(*sort->schema, "required", Type::Array);
    for (size_t i = 0; list != nullptr && i < list->items.size(); ++i) {
      if (!known.insert(list->items[i].text).second) continue;
      std::vector<std::vector<std::string>> more = chains;
      more.push_back({list->items[i].text});
      if (too_many(more)) break;
      chains = std::move(more);
    }
  }
  std::vector<std::string> names;
  uint64_t needed = 0, listed = 0;
  for (const std::vector<std::string>& chain : chains) {
    std::vector<Member> list;
    for (const std::string& name : chain) {
      names.push_back(name);
      Demand demand = member_demand(facts, name);
      bool is_required = required.contains(name);
      if (is_false(demand)) {
        if (is_required) return kNone;
        continue;
      }
      TermId key = automaton_.cat({mark("\""), chars_.text(name, spelling_), mark("\""), space_, mark(":"), space_});
      unsigned sorts = 0;
      for (size_t i = 0; i < members.wanted.size(); ++i) {
        const JsonValue* no_others = member_if(*members.wanted[i]->schema, "properties", Type::Object);
        if (no_others == nullptr || no_others->find(name) == nullptr) sorts |= 1U << i;
      }
      list.push_back({ways_of(members, sorts,
                              [&](const Demand& also) {
                                Demand whole = demand;
                                whole.insert(whole.end(), also.begin(), also.end());
                                return automaton_.cat({key, value_of(std::move(whole)), space_});
                              }),
                      is_required});
      needed += is_required ? 1 : 0;
      ++listed;
    }
    if (!list.empty()) members.chains.push_back(std::move(list));
  }
  if (!names_listed) {
    members.others = ways_of(members, (1U << members.wanted.size()) - 1,
                             [&](const Demand& also) { return other_member(facts, names, also); });
    if (members.others[0].term == kNone) members.others.clear();
  }
  for (size_t i = 0; i < members.wanted.size(); ++i) {
    if ((members.by_value >> i & 1) != 0) continue;
    bool all = true;  // members are of this sort
    for (const auto& chain : members.chains) {
      for (const Member& m : chain) {
        const bool is_one = (m.ways[0].sorts >> i & 1) != 0;
        all &= is_one;
        if (is_one && m.required) members.start[i] = 1;
      }
    }
    if (!all) continue;
    members.min = std::max<uint64_t>(members.min, 1);
    members.start[i] = 1;
  }
  if (members.max < needed) return kNone;
  if (members.min <= needed) members.min = 0;
  if (!members.others.empty() && members.min > needed + 1) {
    // A text may say one name twice, which is one member.
    refuse(schema_with(facts, min_keyword), min_keyword,
           fmt::format("members that are not named could come twice and are counted only up to {} here, one more than "
                       "are required; name all members under properties, or as an enum under propertyNames",
                       needed + 1));
  }
  if (members.others.empty() && members.max >= listed) members.max = kUnbounded;
  if (members.min > members.max) return kNone;
  bool counted = members.min != 0 || members.max != kUnbounded;
  // The states are the places in all chains together; where these are too many, chains are put one after the other.
  while (members.chains.size() > 1 && too_many(members.chains)) {
    auto& last = members.chains.back();
    auto& before = members.chains[members.chains.size() - 2];
    before.insert(before.end(), last.begin(), last.end());
    members.chains.pop_back();
  }
  if (members.chains.empty()) members.chains.emplace_back();
  members.facts = &facts;
  return !counted && !members.wants() && members.chains.size() == 1 ? object_term(members)
                                                                    : interleaved_object_term(members);
}

// A member whose name is none of `names` and whose value satisfies `also`, too. Each set of patternProperties that a
// name can match is a case of its own.
TermId SchemaCompiler::other_member(const Facts& facts, const std::vector<std::string>& names, const Demand& also) {
  std::vector<std::pair<const JsonValue*, const JsonMember*>> patterns;  // schema, pattern
  Demand name_demand;
  for (const Fact& fact : facts) {
    if (fact.kind != Fact::Kind::All) continue;
    if (const JsonValue* map = member_if(*fact.schema, "patternProperties", Type::Object)) {
      for (const auto& entry : map->members) patterns.emplace_back(fact.schema, &entry);
    }
    if (const JsonValue* n = fact.schema->find("propertyNames")) name_demand.push_back({n, true});
  }
  if (patterns.size() > kMostPatterns) {
    refuse(*patterns[0].first, "patternProperties", fmt::format("more than {} patterns at one place", kMostPatterns));
  }
  std::vector<TermId> options;
  for (size_t set = 0; set < size_t{1} << patterns.size(); ++set) {
    Demand demand = also;
    std::vector<TermId> parts;
    for (const Fact& fact : facts) {
      if (fact.kind != Fact::Kind::All) continue;
      bool named = false;
      for (size_t i = 0; i < patterns.size(); ++i) {
        if ((set >> i & 1) == 0) continue;
        if (patterns[i].first == fact.schema) demand.push_back({&patterns[i].second->value, true});
        named |= patterns[i].first == fact.schema || (fact.schema->find("additionalProperties") == nullptr &&
                                                      std::find(fact.demand.begin(), fact.demand.end(),
                                                                Literal{patterns[i].first, true}) != fact.demand.end());
      }
      if (const JsonValue* other = other_members_of(fact); other != nullptr && !named) demand.push_back({other, true});
    }
    if (is_false(demand)) continue;
    for (size_t i = 0; i < patterns.size(); ++i) {
      TermId term = pattern_term(*patterns[i].first, "patternProperties", patterns[i].second->name, true).term;
      parts.push_back((set >> i & 1) != 0 ? term : automaton_.negate(term));
    }
    TermId key;
    if (parts.empty() && name_demand.empty()) {
      key = other_names(facts, names);
    } else {
      if (!name_demand.empty()) parts.push_back(name_content(name_demand));
      for (const std::string& name : names) parts.push_back(automaton_.negate(chars_.text(name, spelling_)));
      parts.push_back(automaton_.star(chars_.of(CharSet::all(), spelling_)));
      key = string_rule(automaton_.both(parts));
    }
    options.push_back(automaton_.cat({key, space_, mark(":"), space_, value_of(std::move(demand)), space_}));
  }
  return automaton_.alt(options);
}

// Any string but these: along their trie every other character leads out of it.
TermId SchemaCompiler::other_names(const Facts& facts, const std::vector<std::string>& names) {
  if (names.empty()) return any_string();
  for (const std::string& name : names) {
    if (name.size() <= kLongestName) continue;
    std::string why = fmt::format("a name has {} bytes; beside members that are not named at most {} are taken",
                                  name.size(), kLongestName);
    for (const Fact& fact : facts) {
      const JsonValue* named = fact.schema != nullptr ? member_if(*fact.schema, "properties", Type::Object) : nullptr;
      const JsonValue* member = named != nullptr ? named->find(name) : nullptr;
      if (member != nullptr) refuse(*fact.schema, "properties", fmt::format("{}: {}", place(*member), why));
    }
    refuse(schema_with(facts, "required"), "required", why);
  }
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  return string_rule(other_names_below(sorted, 0));
}

TermId SchemaCompiler::other_names_below(std::span<const std::string> names, size_t depth) {
  TermId any = automaton_.star(chars_.of(CharSet::all(), spelling_));
  std::vector<TermId> options;
  CharSet taken;
  bool ends = false;
  for (size_t i = 0; i < names.size();) {
    if (names[i].size() == depth) {
      ends = true;
      ++i;
      continue;
    }
    Utf8Char c = decode_utf8(names[i], depth);
    size_t first = i;
    while (i < names.size() && names[i].compare(depth, c.size, names[first], depth, c.size) == 0) ++i;
    std::span<const std::string> below = names.subspan(first, i - first);
    taken = taken | CharSet::of(c.code);
    options.push_back(
        automaton_.cat(chars_.of(CharSet::of(c.code), spelling_), other_names_below(below, depth + c.size)));
  }
  options.push_back(automaton_.cat(chars_.of(~taken, spelling_), any));
  if (!ends) options.push_back(kEpsilon);
  return automaton_.alt(options);
}

}  // namespace sgl::grammar
