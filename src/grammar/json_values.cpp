#include "grammar/json_values.h"

#include "grammar/number_terms.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;

TermId string_term(CharTerms& chars, const std::string& text) {
  Automaton& a = chars.automaton();
  return a.cat({a.literal("\""), chars.text(text, Spelling::Json), a.literal("\"")});
}

}  // namespace

TermId value_term(CharTerms& chars, const JsonValue& value, TermId space) {
  Automaton& a = chars.automaton();
  const TermId comma = a.cat(a.literal(","), space);
  switch (value.type) {
    case Type::Null:
      return a.literal("null");
    case Type::Boolean:
      return a.literal(value.boolean ? "true" : "false");
    case Type::String:
      return string_term(chars, value.text);
    case Type::Number: {
      NumberRange only;
      only.low = only.high = Bound{to_decimal(value.text), false};
      return number_term(a, only);
    }
    case Type::Array: {
      TermId items = a.literal("]");
      for (size_t i = value.items.size(); i-- > 0;) {
        items = a.cat({i == 0 ? kEpsilon : comma, value_term(chars, value.items[i], space), space, items});
      }
      return a.cat({a.literal("["), space, items});
    }
    case Type::Object:
      break;
  }
  // As many members as it has, and each of them: an intersection instead of all orders.
  std::vector<TermId> members;
  for (const JsonMember& member : value.members) {
    if (value.find(member.name) != &member.value) continue;  // a later one of this name counts
    members.push_back(a.cat({string_term(chars, member.name), space, a.literal(":"), space,
                             value_term(chars, member.value, space), space}));
  }
  const TermId open = a.cat(a.literal("{"), space), close = a.literal("}"), any = a.alt(members);
  if (members.size() < 2) return a.cat({open, any == kNone ? kEpsilon : any, close});
  const TermId before = a.star(a.cat(any, comma)), after = a.star(a.cat(comma, any));
  const uint64_t others = members.size() - 1;
  std::vector<TermId> all = {a.cat({open, any, a.repeat(a.cat(comma, any), others, others), close})};
  for (TermId member : members) all.push_back(a.cat({open, before, member, after, close}));
  return a.both(all);
}

}  // namespace sgl::grammar
