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
constexpr uint64_t kMostCounted = 20000;  // rules made to count members
constexpr size_t kLongestName = 1000;     // bytes, where all other names are allowed: a level of their trie each
constexpr size_t kMostOptional = 3900;    // members in a row that may be left out: each calls the rule of the next
constexpr size_t kMostInterleaved = 600;  // states of an object whose members come in several orders
constexpr size_t kMostChains = 12;

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

struct SchemaCompiler::Members {
  struct Member {
    TermId term;  // name and value, with the space after it
    bool required;
    bool counts = false;  // it is one that must be there if `one_of_others`
  };
  // Members of one chain come in its order, those of several chains in any.
  std::vector<std::vector<Member>> chains;
  TermId other = kNone;        // any other member
  bool one_of_others = false;  // there must be one of these, or of those that count as such
  uint64_t min = 0, max = kUnbounded;
  const Facts* facts = nullptr;  // for messages
};

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
  const Fact* others = nullptr;  // that there must be
  for (const Fact& fact : facts) {
    if (fact.kind == Fact::Kind::Other) {
      if (others != nullptr) {
        refuse(*fact.schema, fact.name, "under not, if or oneOf it is not supported twice at one place");
      }
      others = &fact;
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
  const JsonValue* no_others =
      others != nullptr ? member_if(*others->schema, "properties", Type::Object) : nullptr;  // those that do not count
  if (no_others != nullptr) {
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
    return others != nullptr ? 2 * product : product;
  };
  std::vector<std::vector<std::string>> chains = chains_of(lists, true);
  if (states_of(chains) > kMostInterleaved || chains.size() > kMostChains) chains = chains_of(lists, false);
  std::vector<std::string> names;
  uint64_t needed = 0, listed = 0;
  for (const std::vector<std::string>& chain : chains) {
    std::vector<Members::Member> list;
    for (const std::string& name : chain) {
      names.push_back(name);
      Demand demand = member_demand(facts, name);
      bool is_required = required.contains(name);
      if (is_false(demand)) {
        if (is_required) return kNone;
        continue;
      }
      TermId key = automaton_.cat({mark("\""), chars_.text(name, spelling_), mark("\""), space_, mark(":"), space_});
      bool counts = others != nullptr && (no_others == nullptr || no_others->find(name) == nullptr);
      list.push_back({automaton_.cat({key, value_of(std::move(demand)), space_}), is_required, counts});
      needed += is_required ? 1 : 0;
      ++listed;
    }
    if (!list.empty()) members.chains.push_back(std::move(list));
  }
  members.other = names_listed ? kNone : other_member(facts, names);

  if (others != nullptr) {
    bool all_count = true, needed_counts = false;
    for (const auto& chain : members.chains) {
      for (const Members::Member& m : chain) {
        all_count &= m.counts;
        needed_counts |= m.counts && m.required;
      }
    }
    if (all_count) members.min = std::max<uint64_t>(members.min, 1);
    members.one_of_others = !all_count && !needed_counts;
  }
  if (members.max < needed) return kNone;
  if (members.min <= needed) members.min = 0;
  if (members.other != kNone && members.min > needed + 1) {
    // A text may say one name twice, which is one member.
    refuse(schema_with(facts, min_keyword), min_keyword,
           fmt::format("members that are not named could come twice and are counted only up to {} here, one more than "
                       "are required; name all members under properties, or as an enum under propertyNames",
                       needed + 1));
  }
  if (members.other == kNone && members.max >= listed) members.max = kUnbounded;
  if (members.min > members.max) return kNone;
  bool counted = members.min != 0 || members.max != kUnbounded;
  // The states are the places in all chains together; where these are too many, chains are put one after the other.
  auto too_many = [&] { return states_of(members.chains) > kMostInterleaved || members.chains.size() > kMostChains; };
  while (members.chains.size() > 1 && too_many()) {
    auto& last = members.chains.back();
    auto& before = members.chains[members.chains.size() - 2];
    before.insert(before.end(), last.begin(), last.end());
    members.chains.pop_back();
  }
  if (members.chains.empty()) members.chains.emplace_back();
  members.facts = &facts;
  return !counted && !members.one_of_others && members.chains.size() == 1 ? object_term(members)
                                                                          : interleaved_object_term(members);
}

// A member whose name is none of `names`. Each set of patternProperties that a name can match is a case of its own.
TermId SchemaCompiler::other_member(const Facts& facts, const std::vector<std::string>& names) {
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
    Demand demand;
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

// rest(i): what follows a member, when the members before i are done: the end, or a comma and next(i).
// next(i): member i, or if it may be left out what comes after it; or another member, and then rest(i) again.
TermId SchemaCompiler::object_term(const Members& m) {
  const std::vector<Members::Member>& list = m.chains[0];
  size_t n = list.size();
  size_t optional = 0;
  for (const Members::Member& member : list) {
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
      options.push_back(automaton_.cat(list[i].term, automaton_.call(rest[i + 1])));
      if (!list[i].required) options.push_back(automaton_.call(next[i + 1]));
    }
    automaton_.define(next[i], automaton_.alt(options));
    std::vector<TermId> ways = {automaton_.call(next[i])};
    if (m.other != kNone) ways.push_back(automaton_.cat(m.other, automaton_.call(rest[i])));
    TermId more = automaton_.cat(comma, automaton_.alt(ways));
    automaton_.define(rest[i], may_end ? automaton_.alt({close, more}) : more);
  }
  std::vector<TermId> first = {automaton_.call(next[0])};
  if (m.other != kNone) first.push_back(automaton_.cat(m.other, automaton_.call(rest[0])));
  if (may_end_at_once) first.push_back(close);
  return automaton_.cat({mark("{"), space_, automaton_.alt(first)});
}

// Several chains, or members that are counted: a rule for each combination of places in the chains and the count.
TermId SchemaCompiler::interleaved_object_term(const Members& m) {
  TermId comma = automaton_.cat(mark(","), space_), close = mark("}");
  auto less = [](uint64_t x) { return x == kUnbounded ? x : x > 0 ? x - 1 : 0; };
  bool counted = m.min != 0 || m.max != kUnbounded;
  size_t states = 1, most = 0;
  std::vector<size_t> strides;
  for (const auto& chain : m.chains) {
    strides.push_back(states);
    states *= chain.size() + 1;
    most += chain.size();
  }
  if (counted && most == 0) {  // others only: a counted repetition
    TermId more = automaton_.repeat(automaton_.cat(comma, m.other), less(m.min), less(m.max));
    TermId some = m.max == 0 ? kNone : automaton_.cat({m.other, more, close});
    return automaton_.cat({mark("{"), space_, m.min == 0 ? automaton_.alt({close, some}) : some});
  }
  if (m.other == kNone && m.min > most) return kNone;
  // More than `cap` members make no difference. Without others there are never more than all of them.
  uint64_t cap = !counted ? 1 : m.max != kUnbounded ? m.max : m.min;
  if (m.other == kNone) cap = std::min<uint64_t>(cap, most);
  cap = std::max<uint64_t>(cap, 1);
  if (cap > kMostCounted || (cap + 1) * states > kMostCounted || (cap + 1) * states * (most + 1) > 50 * kMostCounted) {
    std::string_view keyword = m.max != kUnbounded ? "maxProperties" : "minProperties";
    refuse(schema_with(*m.facts, keyword), keyword, "with so many members the count needs too many states");
  }
  const size_t places = states;
  if (m.one_of_others) states *= 2;  // in the second half one has come
  std::vector<std::vector<RuleId>> rest(states);
  for (auto& row : rest) {
    for (uint64_t c = 0; c <= cap; ++c) row.push_back(automaton_.new_rule("rest of an object", false));
  }
  for (size_t state = 0; state < states; ++state) {
    for (uint64_t c = 0; c <= cap; ++c) {
      uint64_t after = std::min(c + 1, cap);
      std::vector<TermId> ways;
      bool may_end = c >= std::min(m.min, cap) && (!m.one_of_others || state >= places);
      const size_t found = m.one_of_others && state < places ? places : 0;  // from here to the second half
      for (size_t k = 0; k < m.chains.size(); ++k) {
        const auto& chain = m.chains[k];
        size_t at = state % places / strides[k] % (chain.size() + 1);
        for (size_t j = at; j < chain.size(); ++j) {
          ways.push_back(automaton_.cat(
              chain[j].term,
              automaton_.call(rest[state + (j + 1 - at) * strides[k] + (chain[j].counts ? found : 0)][after])));
          if (!chain[j].required) continue;
          may_end = false;
          break;
        }
      }
      if (m.other != kNone) ways.push_back(automaton_.cat(m.other, automaton_.call(rest[state + found][after])));
      TermId more = c < m.max ? automaton_.alt(ways) : kNone;
      more = automaton_.cat(c == 0 ? kEpsilon : comma, more);
      automaton_.define(rest[state][c], may_end ? automaton_.alt({close, more}) : more);
    }
  }
  return automaton_.cat({mark("{"), space_, automaton_.call(rest[0][0])});
}

}  // namespace sgl::grammar
