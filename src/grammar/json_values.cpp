#include "grammar/json_values.h"

#include "grammar/number_terms.h"

namespace sgl::grammar {
namespace {

using Type = JsonValue::Type;

TermId string_term(CharTerms& chars, const std::string& text, const ValueForm& form) {
  Automaton& a = chars.automaton();
  return a.cat({a.literal("\""), chars.text(text, form.strings), a.literal("\"")});
}

TermId member_term(CharTerms& chars, const JsonMember& member, const ValueForm& form) {
  Automaton& a = chars.automaton();
  return a.cat({string_term(chars, member.name, form), form.space, a.literal(":"), form.space,
                value_term(chars, member.value, form), form.space});
}

}  // namespace

TermId value_term(CharTerms& chars, const JsonValue& value, const ValueForm& form) {
  Automaton& a = chars.automaton();
  const TermId space = form.space, comma = a.cat(a.literal(","), space);
  switch (value.type) {
    case Type::Null:
      return a.literal("null");
    case Type::Boolean:
      return a.literal(value.boolean ? "true" : "false");
    case Type::String:
      return string_term(chars, value.text, form);
    case Type::Number: {
      const Decimal number = to_decimal(value.text);
      NumberRange only;
      only.low = only.high = Bound{number, false};
      only.integer = only.digits_only = form.plain_integers && number.is_integer();
      return number_term(a, only);
    }
    case Type::Array: {
      TermId items = a.literal("]");
      for (size_t i = value.items.size(); i-- > 0;) {
        items = a.cat({i == 0 ? kEpsilon : comma, value_term(chars, value.items[i], form), space, items});
      }
      return a.cat({a.literal("["), space, items});
    }
    case Type::Object:
      break;
  }
  if (!form.any_order) {
    TermId rest = a.literal("}");
    for (size_t i = value.members.size(); i-- > 0;) {
      rest = a.cat({i == 0 ? kEpsilon : comma, member_term(chars, value.members[i], form), rest});
    }
    return a.cat({a.literal("{"), space, rest});
  }
  // As many members as it has, and each of them: an intersection instead of all orders.
  std::vector<TermId> members;
  for (const JsonMember& member : value.members) {
    if (value.find(member.name) != &member.value) continue;  // a later one of this name counts
    members.push_back(member_term(chars, member, form));
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
