// Facts → terms: types, constants, numbers, strings, and the rules that tie them together.

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/json_formats.h"
#include "grammar/json_schema.h"
#include "grammar/json_values.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;
constexpr int kDeepestSchema = 400;
constexpr uint64_t kRuleSteps = 50;  // what a rule costs, beside its terms

uint64_t stable_name(std::string_view name) {
  uint64_t h = 0xCBF29CE484222325;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return h | 1;
}

}  // namespace

SchemaCompiler::SchemaCompiler(CharTerms& chars, const JsonValue& root, const GrammarOptions& options)
    : chars_(chars),
      automaton_(chars.automaton()),
      root_(root),
      options_(options),
      spelling_(options.compact ? Spelling::JsonShort : Spelling::Json) {
  ByteSet blank;
  for (char c : std::string_view(" \t\n\r")) blank.set(static_cast<unsigned char>(c));
  uint64_t most = options.compact ? 0 : options.max_whitespace ? *options.max_whitespace : kUnbounded;
  space_ = automaton_.repeat(automaton_.bytes(blank), 0, most);
}

TermId SchemaCompiler::compile() {
  by_uri_[""] = &root_;
  if (const JsonValue* draft = member_if(root_, "$schema", Type::String)) {
    auto says = [&](std::string_view part) { return draft->text.find(part) != std::string::npos; };
    draft_3_ = says("draft-03");
    old_draft_ = draft_3_ || says("draft-04");
    ref_stands_alone_ = old_draft_ || says("draft-06") || says("draft-07");
    // Dialects of the drafts with vocabularies may switch keywords off, and what they say lies elsewhere.
    if (!says("json-schema.org") && says("://") && (says("2019-09") || says("2020-12"))) {
      refuse(root_, "$schema",
             fmt::format("the dialect '{}' is not known here; it may switch keywords off", draft->text));
    }
  }
  index(root_, {nullptr, {}, 0, new_base("")}, true);
  TermId value = value_of({{&root_, true}});
  return automaton_.cat({space_, value, space_});
}

TermId SchemaCompiler::value_of(Demand demand) {
  std::sort(demand.begin(), demand.end());
  demand.erase(std::unique(demand.begin(), demand.end()), demand.end());
  std::erase_if(demand, [](const Literal& l) {  // what always holds
    const JsonValue& s = *l.schema;
    return (s.is(Type::Boolean) && s.boolean == l.holds) || (l.holds && s.is(Type::Object) && s.members.empty());
  });
  if (demand.empty()) return any_value();
  if (auto known = rules_.find(demand); known != rules_.end()) return automaton_.call(known->second);
  if (++depth_ > kDeepestSchema) {
    refuse(*demand[0].schema, "properties", fmt::format("schemas nested more than {} levels deep", kDeepestSchema));
  }
  automaton_.budget().spend(kRuleSteps + demand.size());
  RuleId rule = automaton_.new_rule(place(*demand[0].schema), true);
  rules_[demand] = rule;
  std::vector<TermId> options;
  // A lone $ref or anyOf leads to rules that others use as well.
  const JsonValue& schema = *demand[0].schema;
  auto alone = [&](std::string_view keyword) {
    if (demand.size() != 1 || !demand[0].holds || schema.find(keyword) == nullptr) return false;
    return std::all_of(schema.members.begin(), schema.members.end(), [&](const auto& m) {
      return m.name == keyword || m.name == "title" || m.name == "description" || m.name == "default" ||
             m.name == "$defs" || m.name == "definitions" || m.name == "$schema" || m.name == "$comment";
    });
  };
  auto here = [&](std::string_view keyword, const JsonValue& next) {
    if (open_here_.contains(&next)) {
      refuse(schema, keyword,
             fmt::format("by way of {} it leads back to itself without a member or an item in between, and so says "
                         "nothing",
                         place(next)));
    }
    options.push_back(value_of({{&next, true}}));
  };
  if (alone("$ref") && schema.find("$ref")->is(Type::String)) {
    open_here_.insert(&schema);
    here("$ref", *resolve(schema, schema.find("$ref")->text, "$ref"));
    open_here_.erase(&schema);
  } else if (alone("anyOf") && schema.find("anyOf")->is(Type::Array)) {
    open_here_.insert(&schema);
    for (const JsonValue& s : schema.find("anyOf")->items) here("anyOf", s);
    open_here_.erase(&schema);
  } else {
    std::set<const JsonValue*> above;
    above.swap(open_here_);
    for (const Facts& facts : expand(demand)) options.push_back(build(facts));
    above.swap(open_here_);
  }
  TermId body = automaton_.alt(options);
  automaton_.define(rule, body);
  automaton_.set_stable(rule, automaton_.term(body).stable);
  --depth_;
  return automaton_.call(rule);
}

unsigned SchemaCompiler::named_types(const JsonValue& schema, const JsonValue& type, bool& integer) {
  unsigned types = 0;
  bool number = false;
  auto add = [&](const JsonValue& name) {
    constexpr std::pair<std::string_view, unsigned> kNames[] = {
        {"null", kNull},   {"boolean", kBoolean}, {"number", kNumber}, {"string", kString},
        {"array", kArray}, {"object", kObject},   {"integer", kNumber}};
    for (auto [known, bit] : kNames) {
      if (!name.is(Type::String) || name.text != known) continue;
      types |= bit;
      number |= name.text == "number";
      return;
    }
    malformed(schema, "type", "one of null, boolean, integer, number, string, array, object, or a list of them");
  };
  if (type.is(Type::Array)) {
    for (const JsonValue& name : type.items) add(name);
  } else {
    add(type);
  }
  integer = (types & kNumber) != 0 && !number;
  return types;
}

unsigned SchemaCompiler::types_of(const Facts& facts, bool& integer, bool& no_integer) {
  unsigned types = kAllTypes;
  for (const Fact& fact : facts) {
    switch (fact.kind) {
      case Fact::Kind::All:
        if (const JsonValue* type = fact.schema->find("type")) {
          bool only_integer = false;
          unsigned named = named_types(*fact.schema, *type, only_integer);
          const JsonValue* nullable = member_if(*fact.schema, "nullable", Type::Boolean);
          if (nullable != nullptr && nullable->boolean) named |= kNull;
          types &= named;
          integer |= only_integer;
        }
        break;
      case Fact::Kind::Not: {
        const std::string& k = fact.name;
        auto one_of = [&](std::initializer_list<std::string_view> names) {
          return std::find(names.begin(), names.end(), k) != names.end();
        };
        if (k == "type") {
          bool only_integer = false;
          unsigned named = named_types(*fact.schema, *fact.schema->find("type"), only_integer);
          types &= ~(only_integer ? named & ~kNumber : named);
          no_integer |= only_integer;
        } else if (one_of({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) {
          types &= kNumber;
        } else if (one_of({"minLength", "maxLength", "pattern", "format"})) {
          types &= kString;
        } else if (one_of({"items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains",
                           "unevaluatedItems"})) {
          types &= kArray;
        } else if (one_of({"patternProperties", "additionalProperties", "propertyNames", "minProperties",
                           "maxProperties", "unevaluatedProperties"})) {
          types &= kObject;
        } else if (!one_of({"enum", "const"})) {
          types = 0;  // an unknown keyword never fails
        }
        break;
      }
      case Fact::Kind::Present:
      case Fact::Kind::Limited:
      case Fact::Kind::Other:
        types &= kObject;
        break;
      case Fact::Kind::Absent:
        if (fact.index == 1) types &= kObject;
        break;
      case Fact::Kind::Longer:
      case Fact::Kind::Count:
        types &= kArray;
        break;
    }
  }
  return types;
}

// The values that enum and const leave, before other keywords are asked.
std::optional<std::vector<const JsonValue*>> SchemaCompiler::listed_values(const Facts& facts) {
  for (const Fact& fact : facts) {
    if (fact.kind != Fact::Kind::All) continue;
    if (const JsonValue* value = fact.schema->find("const")) return std::vector<const JsonValue*>{value};
    const JsonValue* list = fact.schema->find("enum");
    if (list == nullptr) continue;
    if (!list->is(Type::Array)) malformed(*fact.schema, "enum", "an array");
    std::vector<const JsonValue*> values;
    for (const JsonValue& v : list->items) values.push_back(&v);
    return values;
  }
  return std::nullopt;
}

TermId SchemaCompiler::build(const Facts& facts) {
  automaton_.budget().spend(facts.size() + 1);
  if (auto values = listed_values(facts)) {
    std::vector<TermId> options;
    auto from = std::find_if(facts.begin(), facts.end(), [](const Fact& fact) {
      return fact.kind == Fact::Kind::All && fact.schema->find("const") == nullptr &&
             fact.schema->find("enum") != nullptr;
    });
    for (const JsonValue* value : *values) {
      values_from_ = from != facts.end() && from->schema->find("enum")->items.data() == values->front()
                         ? from->schema->find("enum")
                         : nullptr;
      bool fits = valid(*value, facts);
      values_from_ = nullptr;
      if (!fits) continue;
      bool integer = false, no_integer = false;
      TermId term = constant(*value);
      if (old_draft_ && value->is(Type::Number) && types_of(facts, integer, no_integer) != 0) {
        if (integer) term = automaton_.both({term, written_integers()});
        if (no_integer) term = automaton_.both({term, automaton_.negate(written_integers())});
      }
      options.push_back(term);
    }
    return automaton_.alt(options);
  }
  bool integer = false, no_integer = false;
  unsigned types = types_of(facts, integer, no_integer);
  std::vector<TermId> options;
  JsonValue value;
  if ((types & kNull) != 0 && valid(value, facts)) options.push_back(mark("null"));
  value.type = Type::Boolean;
  for (bool b : {false, true}) {
    value.boolean = b;
    if ((types & kBoolean) != 0 && valid(value, facts)) options.push_back(mark(b ? "true" : "false"));
  }
  if ((types & kNumber) != 0) options.push_back(build_number(facts, integer, no_integer));
  if ((types & kString) != 0) options.push_back(build_string(facts));
  if ((types & kArray) != 0) options.push_back(build_array(facts));
  if ((types & kObject) != 0) options.push_back(build_object(facts));
  return automaton_.alt(options);
}

TermId SchemaCompiler::any_value() {
  if (any_rule_ == UINT32_MAX) {
    any_rule_ = automaton_.new_rule("any value", true,
                                    stable_name(fmt::format("any value {}", automaton_.term(space_).stable)));
    NumberRange all;
    automaton_.define(any_rule_,
                      automaton_.alt({mark("null"), mark("true"), mark("false"), number_term(automaton_, all),
                                      any_string(), any_array(), any_object()}));
  }
  return automaton_.call(any_rule_);
}

TermId SchemaCompiler::any_array() {
  TermId item = automaton_.cat(any_value(), space_);
  TermId more = automaton_.star(automaton_.cat({mark(","), space_, item}));
  return automaton_.cat({mark("["), space_, automaton_.optional(automaton_.cat(item, more)), mark("]")});
}

TermId SchemaCompiler::any_object() {
  TermId member = automaton_.cat({any_string(), space_, mark(":"), space_, any_value(), space_});
  TermId more = automaton_.star(automaton_.cat({mark(","), space_, member}));
  return automaton_.cat({mark("{"), space_, automaton_.optional(automaton_.cat(member, more)), mark("}")});
}

TermId SchemaCompiler::constant(const JsonValue& value) {
  return value_term(chars_, value, {space_, spelling_, options_.plain_integers, false});
}

// Numbers that are integers: by value, and in drafts 3 and 4 by their text.
TermId SchemaCompiler::written_integers() {
  NumberRange whole;
  whole.integer = true;
  whole.digits_only = old_draft_;
  return number_term(automaton_, whole);
}

uint64_t SchemaCompiler::count(const JsonValue& schema, std::string_view keyword, const JsonValue& value) {
  uint64_t n = 0;
  if (!to_count(value, n)) malformed(schema, keyword, "a whole number, 0 or more");
  return n;
}

Decimal SchemaCompiler::number(const JsonValue& schema, std::string_view keyword, const JsonValue& value) {
  if (!value.is(Type::Number)) malformed(schema, keyword, "a number");
  return to_decimal(value.text);
}

TermId SchemaCompiler::build_number(const Facts& facts, bool integer, bool no_integer) {
  if (integer && no_integer) return kNone;
  NumberRange range;
  range.integer = integer;
  range.digits_only = options_.plain_integers || old_draft_;
  std::vector<TermId> multiples, excluded;
  bool exponents = true;  // the excluded terms hold all their numbers that are written with an exponent
  auto exactly = [&](const Decimal& d) {
    NumberRange only;
    only.low = only.high = Bound{d, false};
    return number_term(automaton_, only);
  };
  for (const Fact& fact : facts) {
    if (fact.schema == nullptr) continue;
    const JsonValue& s = *fact.schema;
    bool holds = fact.kind == Fact::Kind::All;
    for (const auto& [k, value] : s.members) {
      if (!holds && k != fact.name) continue;
      auto flag = [&](std::string_view name) {
        const JsonValue* f = member_if(s, name, Type::Boolean);
        return f != nullptr && f->boolean;
      };
      bool minimum = k == "minimum", maximum = k == "maximum";
      bool above = k == "exclusiveMinimum" && !value.is(Type::Boolean),
           below = k == "exclusiveMaximum" && !value.is(Type::Boolean);
      if (minimum || above) {
        Bound bound{number(s, k, value), above || flag("exclusiveMinimum")};
        if (holds) {
          range.at_least(bound);
        } else {
          range.at_most({bound.value, !bound.exclusive});
        }
      } else if (maximum || below) {
        Bound bound{number(s, k, value), below || flag("exclusiveMaximum")};
        if (holds) {
          range.at_most(bound);
        } else {
          range.at_least({bound.value, !bound.exclusive});
        }
      } else if (k == "multipleOf") {
        Decimal divisor = number(s, k, value);
        if (divisor.is_zero() || divisor.negative) malformed(s, k, "a number above 0");
        try {
          (holds ? multiples : excluded).push_back(multiple_term(automaton_, divisor));
          exponents &= holds || multiples_have_exponents(divisor);
        } catch (const Error& e) {
          refuse(s, k, e.what());
        }
      } else if (!holds && k == "const" && value.is(Type::Number)) {
        excluded.push_back(exactly(to_decimal(value.text)));
      } else if (!holds && k == "enum") {
        for (const JsonValue& v : value.items) {
          if (v.is(Type::Number)) excluded.push_back(exactly(to_decimal(v.text)));
        }
      }
    }
  }
  if (no_integer) {
    excluded.push_back(written_integers());
  }
  std::vector<TermId> all = multiples;
  all.push_back(number_term(automaton_, range));
  for (TermId t : excluded) all.push_back(automaton_.negate(t));
  // A term need not list every spelling of its numbers, so what it does not list may be excluded as well.
  if (!excluded.empty()) all.push_back(complete_spellings(automaton_, exponents));
  TermId term = automaton_.both(all);
  RuleId rule = automaton_.new_rule("number", true, automaton_.term(term).stable);
  automaton_.define(rule, term);
  return automaton_.call(rule);
}

TermId SchemaCompiler::string_rule(TermId content) {
  if (content == kNone) return kNone;
  TermId body = automaton_.cat({mark("\""), content, mark("\"")});
  RuleId rule = automaton_.new_rule("string", true, automaton_.term(body).stable);
  automaton_.define(rule, body);
  return automaton_.call(rule);
}

// Any string in any spelling, halves of surrogate pairs included, which JSON's grammar allows.
TermId SchemaCompiler::any_content() {
  ByteSet hex, letters;
  for (char c : std::string_view("0123456789abcdefABCDEF")) hex.set(static_cast<unsigned char>(c));
  for (char c : std::string_view("\"\\/bfnrt")) letters.set(static_cast<unsigned char>(c));
  TermId escaped = automaton_.cat(
      mark("\\"), automaton_.alt({automaton_.bytes(letters),
                                  automaton_.cat(mark("u"), automaton_.repeat(automaton_.bytes(hex), 4, 4))}));
  TermId bare = chars_.of(~CharSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}), Spelling::Plain);
  return automaton_.star(automaton_.alt({bare, escaped}));
}

TermId SchemaCompiler::any_string() { return string_rule(any_content()); }

namespace {

// Whether the expression, anchors aside, is one character repeated.
bool repeats_one_character(const RegexNode& node) {
  if (node.kind == RegexNode::Kind::Repeat) return lengths_of(node.children[0]) == std::pair<uint64_t, uint64_t>(1, 1);
  if (node.kind != RegexNode::Kind::Cat) return false;
  const RegexNode* only = nullptr;
  for (const RegexNode& child : node.children) {
    if (child.kind == RegexNode::Kind::Start || child.kind == RegexNode::Kind::End) continue;
    if (only != nullptr) return false;
    only = &child;
  }
  return only != nullptr && repeats_one_character(*only);
}

}  // namespace

const Pattern& SchemaCompiler::pattern_term(const JsonValue& schema, std::string_view keyword,
                                            const std::string& pattern, bool search) {
  auto [at, added] = patterns_.try_emplace({pattern, search});
  if (added) {
    try {
      RegexNode regex = parse_regex(pattern, RegexDialect::Ecma);
      Pattern& made = at->second;
      made.term = search ? search_term(chars_, regex, spelling_) : full_match_term(chars_, regex, spelling_);
      if (!search || is_anchored(regex)) {
        std::tie(made.shortest, made.longest) = lengths_of(regex);
        made.counts = repeats_one_character(regex) && automaton_.term(made.term).kind == Automaton::Kind::Repeat &&
                      automaton_.bounds(made.term) == std::pair(made.shortest, made.longest);
      }
    } catch (const Error& e) {
      patterns_.erase(at);
      if (e.kind() == ErrorKind::InvalidArgument) {
        throw Error(e.kind(), fmt::format("JSON Schema: {} at {}: {}", keyword, place(schema, keyword), e.what()));
      }
      refuse(schema, keyword, e.what());
    }
  }
  return at->second;
}

Pattern SchemaCompiler::format_term(const JsonValue& schema, const FormatRegex& formats) {
  std::vector<TermId> options;
  Pattern any{kNone, kUnbounded, 0, false};
  for (const auto& together : formats) {
    std::vector<TermId> parts;
    Pattern all;
    for (const std::string& regex : together) {
      const Pattern& one = pattern_term(schema, "format", regex, false);
      parts.push_back(one.term);
      all.shortest = std::max(all.shortest, one.shortest);
      all.longest = std::min(all.longest, one.longest);
    }
    any.shortest = std::min(any.shortest, all.shortest);
    any.longest = std::max(any.longest, all.longest);
    options.push_back(automaton_.both(parts));
  }
  any.term = automaton_.alt(options);
  return any;
}

TermId SchemaCompiler::string_content(const Facts& facts) {
  uint64_t min = 0, max = kUnbounded;
  std::vector<TermId> parts, excluded;
  Pattern single;  // the last of `parts`
  for (const Fact& fact : facts) {
    if (fact.schema == nullptr) continue;
    const JsonValue& s = *fact.schema;
    bool holds = fact.kind == Fact::Kind::All;
    for (const auto& [k, value] : s.members) {
      if (!holds && k != fact.name) continue;
      if (k == "minLength" || k == "maxLength") {
        uint64_t n = count(s, k, value);
        if ((k == "minLength") == holds) {
          min = std::max(min, holds ? n : n + 1);
        } else if (!holds && n == 0) {
          return kNone;
        } else {
          max = std::min(max, holds ? n : n - 1);
        }
      } else if (k == "pattern" || k == "format") {
        if (!value.is(Type::String)) malformed(s, k, "a string");
        Pattern pattern;
        if (k == "pattern") {
          pattern = pattern_term(s, k, value.text, true);
        } else {
          FormatRegex formats;
          FormatSupport support = find_format(value.text, formats);
          if (support == FormatSupport::Unsupported)
            refuse(s, k, fmt::format("the format '{}' is not supported", value.text));
          if (support == FormatSupport::Annotation) {
            if (!holds) return kNone;
            continue;
          }
          pattern = format_term(s, formats);
        }
        if (holds) {
          parts.push_back(pattern.term);
          single = pattern;
        } else {
          excluded.push_back(pattern.term);
        }
      } else if (!holds && k == "const" && value.is(Type::String)) {
        excluded.push_back(chars_.text(value.text, spelling_));
      } else if (!holds && k == "enum") {
        for (const JsonValue& v : value.items) {
          if (v.is(Type::String)) excluded.push_back(chars_.text(v.text, spelling_));
        }
      }
    }
  }
  if (min > max) return kNone;
  bool bounded = min > 0 || max != kUnbounded;
  if (parts.empty() && excluded.empty()) {
    if (!bounded) return any_content();
    return automaton_.repeat(chars_.of(CharSet::all(), Spelling::Json), min, max);
  }
  if (parts.size() == 1) {
    // A single pattern often makes the bounds needless, or is a repetition that takes them over.
    uint64_t low = std::max(single.shortest, min), high = std::min(single.longest, max);
    if (low == single.shortest && high == single.longest) bounded = false;
    if (bounded && single.counts) {
      parts[0] = low > high ? kNone : automaton_.repeat(automaton_.term(single.term).a, low, high);
      bounded = false;
    }
  }
  if (bounded || parts.empty()) {
    parts.push_back(automaton_.repeat(chars_.of(CharSet::all(), spelling_), min, max));
  }
  for (TermId t : excluded) parts.push_back(automaton_.negate(t));
  return automaton_.both(parts);
}

TermId SchemaCompiler::build_string(const Facts& facts) { return string_rule(string_content(facts)); }

// What a member's name may be: as a string's content.
TermId SchemaCompiler::name_content(const Demand& demand) {
  std::vector<TermId> options;
  for (const Facts& facts : expand(demand)) {
    bool integer = false, no_integer = false;
    if (auto values = listed_values(facts)) {
      for (const JsonValue* v : *values) {
        if (v->is(Type::String) && valid(*v, facts)) options.push_back(chars_.text(v->text, spelling_));
      }
    } else if ((types_of(facts, integer, no_integer) & kString) != 0) {
      options.push_back(string_content(facts));
    }
  }
  return automaton_.alt(options);
}

}  // namespace sgl::grammar
