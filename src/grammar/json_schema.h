#pragma once
// JSON Schema → rules. Internal to json_schema*.cpp.
//
// A place in the instance must satisfy a set of schemas, each as it is or negated: a Demand. anyOf, oneOf, not and if
// are multiplied out into alternatives, each a list of Facts that no longer choose; then a term is built for each type.
// What a member or an item must satisfy is again a Demand, and every Demand becomes one rule, so recursion ends by
// itself (a tableau, as in modal logics). Contradictions need no care: such rules derive nothing and are pruned.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/char_set.h"
#include "grammar/grammar.h"
#include "grammar/json_text.h"
#include "grammar/number_terms.h"
#include "grammar/regex_syntax.h"

namespace sgl::grammar {

/// A schema that holds, or that does not.
struct Literal {
  const JsonValue* schema;
  bool holds;
  auto operator<=>(const Literal&) const = default;
};
using Demand = std::vector<Literal>;  // sorted, each once

/// What is known of an instance without alternatives.
struct Fact {
  enum class Kind : uint8_t {
    All,      ///< all keywords of `schema` that do not choose hold
    Not,      ///< the keyword `name` of `schema` does not
    Present,  ///< it is an object with the member `name`, which satisfies `demand`
    Limited,  ///< it is an object, and if it has the member `name`, this satisfies `demand`
    Absent,   ///< if it is an object, it has no member `name`; with `index` 1 it is one
    Other,    ///< it is an object with a member that `properties` of `schema` does not name, which satisfies `demand`
    Longer,   ///< it is an array with an item at `index`, which satisfies `demand`
    Count,    ///< it is an array of which `index` to `most` items satisfy `demand`, a single literal
  } kind;
  const JsonValue* schema = nullptr;
  std::string name;
  Demand demand;  ///< of All with unevaluatedProperties: the schemas whose keywords evaluated members
  size_t index = 0;
  uint64_t most = kUnbounded;
  auto operator<=>(const Fact&) const = default;
};
using Facts = std::vector<Fact>;

/// A pattern's term, and what is known of the lengths of its matches, in characters.
struct Pattern {
  TermId term = kNone;
  uint64_t shortest = 0, longest = kUnbounded;
  bool counts = false;  ///< it is a repetition of one character, so that its counts are lengths
};

enum JsonType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kNumber = 4,
  kString = 8,
  kArray = 16,
  kObject = 32,
  kAllTypes = 63
};

inline unsigned type_of(const JsonValue& value) {
  constexpr unsigned kTypes[] = {kNull, kBoolean, kNumber, kString, kArray, kObject};
  return kTypes[static_cast<size_t>(value.type)];
}

class SchemaCompiler {
 public:
  SchemaCompiler(CharTerms& chars, const JsonValue& root, const GrammarOptions& options);
  /// The term of a whole text.
  TermId compile();
  /// Any JSON value, in the same spelling.
  TermId any_value();
  TermId space() const { return space_; }

 private:
  // json_schema_resolve.cpp
  struct Where {  // where a value of the document is
    const JsonValue* parent = nullptr;
    std::string_view name;              // of a member
    size_t index = 0;                   // of an item
    const std::string* base = nullptr;  // the URI that references in it start from
  };
  void index(const JsonValue& value, Where where, bool is_schema);
  const std::string* new_base(std::string uri);
  const JsonValue* resolve(const JsonValue& schema, const std::string& reference, std::string_view keyword);
  std::string place(const JsonValue& schema, std::string_view keyword = {}) const;
  [[noreturn]] void refuse(const JsonValue& schema, std::string_view keyword, const std::string& why) const;
  [[noreturn]] void malformed(const JsonValue& schema, std::string_view keyword, const std::string& expected) const;

  // json_schema_expand.cpp
  std::vector<Facts> expand(const Demand& demand);
  struct Branch;
  struct Option {  // of a choice
    std::vector<Literal> open;
    Facts facts;
  };
  struct Choices;
  bool is_known(const Option& option, const Branch& branch, const Choices& choices);
  std::vector<Option> subsets(const std::vector<JsonValue>& schemas);
  bool settle(Branch& branch, Choices& choices);
  void add_fact(Branch& branch, Fact fact, Choices& choices);
  Fact simplified(Fact fact, const Facts& facts);
  Demand known_of(const Facts& facts, const std::string& name);
  std::set<std::string> required_names(const Facts& facts) const;
  bool contradictory(const Facts& facts);
  [[noreturn]] void refuse_cases(const JsonValue& schema, std::string_view keyword) const;
  void expand_holding(const JsonValue& schema, Branch& branch, Choices& choices);
  bool expand_failing(const JsonValue& schema, Branch& branch, Choices& choices);
  void note_evaluated(Branch& branch);

  // json_schema_disjoint.cpp
  /// True only if no instance satisfies the demand; looks a few levels deep.
  bool surely_empty(const Demand& demand, int depth);
  bool surely_empty(const Facts& facts, int depth);
  bool bounds_exclude_all(const Facts& facts, unsigned types);
  bool array_needs_item(const Facts& facts);
  bool surely_disjoint(const JsonValue& a, const JsonValue& b);
  struct Outline;
  void outline(const JsonValue& schema, Outline& out, int depth);
  /// For each of the schemas, the others that an instance may satisfy with it.
  std::vector<std::vector<const JsonValue*>> overlaps(const std::vector<JsonValue>& schemas);

  // json_schema_check.cpp
  bool valid(const JsonValue& value, const JsonValue& schema, int depth = 0);
  bool valid(const JsonValue& value, const Literal& literal) { return valid(value, *literal.schema) == literal.holds; }
  bool valid(const JsonValue& value, const Facts& facts);
  bool check(const JsonValue& value, const JsonValue& schema, int depth);
  bool members_violate(const JsonValue& value, const Facts& facts, int depth);
  bool violates(const JsonValue& value, const JsonValue& schema, std::string_view keyword, const JsonValue& argument,
                int depth);

  // json_schema_build.cpp
  TermId value_of(Demand demand);
  TermId build(const Facts& facts);
  unsigned types_of(const Facts& facts, bool& integer, bool& no_integer);
  unsigned named_types(const JsonValue& schema, const JsonValue& type, bool& integer);
  std::optional<std::vector<const JsonValue*>> listed_values(const Facts& facts);
  TermId constant(const JsonValue& value);
  TermId written_integers();
  TermId build_number(const Facts& facts, bool integer, bool no_integer);
  TermId build_string(const Facts& facts);
  TermId string_content(const Facts& facts);
  TermId name_content(const Demand& demand);
  const Pattern& pattern_term(const JsonValue& schema, std::string_view keyword, const std::string& pattern,
                              bool search);
  Pattern format_term(const JsonValue& schema, const std::vector<std::vector<std::string>>& formats);
  TermId string_rule(TermId content);
  TermId any_string();
  TermId any_content();
  TermId any_object();
  TermId any_array();

  // json_schema_array.cpp, json_schema_object.cpp, json_schema_members.cpp
  TermId build_array(const Facts& facts);
  TermId array_term(const std::vector<TermId>& first, TermId item, uint64_t min, uint64_t max);
  std::optional<std::vector<const JsonValue*>> finite_values(const Demand& demand);
  bool is_endless(const std::vector<Facts>& cases, int depth);
  TermId unique_term(const JsonValue& schema, const Demand& items, uint64_t min, uint64_t max);
  TermId any_unique_term(const JsonValue& schema, const Demand& items, uint64_t min, uint64_t max);
  struct Wanted;
  TermId contains_term(const Wanted& wanted, const Demand& items, uint64_t min, uint64_t max);
  Demand item_demand(const Facts& facts, size_t index);
  TermId build_object(const Facts& facts);
  struct Way {  // to write a member: name and value, with the space after it
    TermId term;
    unsigned sorts;  // bits of the wanted sorts of members that it then is one of
  };
  struct Member {
    std::vector<Way> ways;  // the first takes all that the others do
    bool required;
  };
  struct Members {
    std::vector<std::vector<Member>> chains;  // those of one come in its order, those of several in any
    std::vector<Way> others;                  // any other member; none: there is no other
    std::vector<const Fact*> wanted;          // sorts of members of which there must be one,
    unsigned by_value = 0;                    // the bit of the one that depends on the value, if there is such a one,
    std::vector<uint8_t> start;               // and for each sort 1 if one is there in any case
    uint64_t min = 0, max = kUnbounded;
    const Facts* facts = nullptr;  // for messages
    bool wants() const { return std::count(start.begin(), start.end(), 0) > 0; }
  };
  template <typename TermOf>
  static std::vector<Way> ways_of(const Members& members, unsigned sorts, TermOf&& term_of);
  TermId object_term(const Members& members);
  TermId interleaved_object_term(const Members& members);
  TermId other_member(const Facts& facts, const std::vector<std::string>& names, const Demand& also);
  Demand member_demand(const Facts& facts, const std::string& name);
  const JsonValue* other_members_of(const Fact& fact);
  bool evaluates(const Fact& fact, const std::string& name);
  const JsonValue* other_items_of(const JsonValue& schema, size_t& prefix);
  bool name_matches(const JsonValue& schema, const std::string& pattern, const std::string& name);
  bool text_matches(const std::string& pattern, bool search, const std::string& text);
  TermId other_names(const Facts& facts, const std::vector<std::string>& names);
  TermId other_names_below(std::span<const std::string> names, size_t depth);
  const JsonValue& schema_with(const Facts& facts, std::string_view keyword) const;

  TermId mark(std::string_view text) { return automaton_.literal(text); }
  uint64_t count(const JsonValue& schema, std::string_view keyword, const JsonValue& value);
  std::pair<uint64_t, uint64_t> contained(const JsonValue& schema);
  Decimal number(const JsonValue& schema, std::string_view keyword, const JsonValue& value);

  CharTerms& chars_;
  Automaton& automaton_;
  const JsonValue& root_;
  GrammarOptions options_;
  Spelling spelling_;
  TermId space_;
  RuleId any_rule_ = UINT32_MAX;
  std::map<Demand, RuleId> rules_;
  std::set<const JsonValue*> open_here_;  // schemas that led here without a member or an item in between
  std::map<std::string, const JsonValue*> by_uri_;
  std::set<std::string> bases_;
  std::unordered_map<const JsonValue*, Where> where_;
  std::map<std::pair<std::string, bool>, Pattern> patterns_;
  std::map<std::pair<std::string, bool>, Automaton> matchers_;  // of texts that are at hand
  std::map<std::pair<std::string, std::string>, bool> name_matches_;
  std::map<std::pair<const JsonValue*, const JsonValue*>, bool> checked_;   // value, schema → valid
  std::map<std::pair<const JsonValue*, const JsonValue*>, bool> disjoint_;  // answers of surely_disjoint()
  const JsonValue* values_from_ = nullptr;  // the enum that the values being checked come from: no need to look there
  bool ref_stands_alone_ = false;           // drafts up to 7: what stands beside a $ref is ignored
  bool evaluates_ = false;                  // unevaluatedProperties may depend on which alternatives hold
  std::set<const JsonValue*> unclear_;      // anyOf of which several alternatives may hold unseen
  bool draft_3_ = false;                    // what it alone has is refused
  bool old_draft_ = false;                  // 3 and 4: `id` for $id; 1.0 is no integer
  int depth_ = 0, emptiness_budget_ = 0, disjoint_nesting_ = 0;
};

/// The items of a keyword that this grammar knows, and what kind of value it asks for.
const JsonValue* member_if(const JsonValue& schema, std::string_view name, JsonValue::Type type);

}  // namespace sgl::grammar
