// Expressions of a rendering, and assignment to targets.

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_runtime.h"

namespace sgl::jinja {

Value Runtime::eval(const Expr& e) {
  Nested nested(*this);
  charge();
  line_ = e.line;
  switch (e.type) {
    case Expr::Type::Constant:
      return static_cast<const Constant&>(e).value;
    case Expr::Type::Name:
      return load(static_cast<const Name&>(e));
    case Expr::Type::List:
    case Expr::Type::Tuple:
      return eval_items(static_cast<const SequenceExpr&>(e));
    case Expr::Type::Concat:
      return eval_concat(static_cast<const SequenceExpr&>(e));
    case Expr::Type::Dict:
      return eval_dict(static_cast<const DictExpr&>(e));
    case Expr::Type::Unary:
      return eval_unary(static_cast<const Unary&>(e));
    case Expr::Type::Binary:
      return eval_binary(static_cast<const Binary&>(e));
    case Expr::Type::Compare:
      return eval_compare(static_cast<const Compare&>(e));
    case Expr::Type::Conditional:
      return eval_conditional(static_cast<const Conditional&>(e));
    case Expr::Type::Attribute: {
      const auto& a = static_cast<const Attribute&>(e);
      Value object = eval(*a.object);
      line_ = e.line;
      return get_attribute(*this, object, a.name);
    }
    case Expr::Type::Item:
      return eval_item(static_cast<const Item&>(e));
    case Expr::Type::Call:
      return eval_call(static_cast<const Call&>(e));
    case Expr::Type::Filter:
    case Expr::Type::Test:
      return eval_apply(static_cast<const Apply&>(e), nullptr);
    case Expr::Type::Slice:
    case Expr::Type::NamespaceRef:
      break;  // never evaluated on their own
  }
  fail("an expression cannot be evaluated");
}

Value Runtime::load(const Name& name) {
  const Value& v = slot(name.ref);
  if (!v.is(Kind::Missing)) return v;
  auto& info = heap.make<UndefinedInfo>();
  info.name = name.name;
  return Value::object(Kind::Undefined, &info);
}

Value Runtime::eval_items(const SequenceExpr& e) {
  std::pmr::vector<Value> items = heap.values();
  items.reserve(e.items.size());
  for (const ExprPtr& item : e.items) items.push_back(eval(*item));
  return e.type == Expr::Type::List ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

Value Runtime::eval_concat(const SequenceExpr& e) {
  std::string_view text;
  for (const ExprPtr& item : e.items) {
    std::string_view part = to_str(*this, eval(*item)).as_string();
    check_size(text.size() + part.size());
    charge_text(part.size());
    text = heap.join(text, part);
  }
  return Value::string(text);
}

Value Runtime::eval_dict(const DictExpr& e) {
  Dict& dict = heap.dict();
  for (const auto& [key_expr, value_expr] : e.items) {
    Value key = eval(*key_expr);
    check_key(*this, key);
    dict.set(key, eval(*value_expr));
  }
  return to_value(dict);
}

Value Runtime::eval_unary(const Unary& e) {
  Value v = eval(*e.operand);
  line_ = e.line;
  if (e.op == Op::Not) return Value::boolean(!truthy(v));
  if (v.is(Kind::Undefined)) fail_undefined(v);
  if (e.op == Op::Neg) return negate(*this, v);
  if (!v.is_number()) fail(fmt::format("bad operand type for unary +: '{}'", type_name(v)));
  return v.is(Kind::Bool) ? Value::integer(v.as_int()) : v;
}

Value Runtime::eval_binary(const Binary& e) {
  Value left = eval(*e.left);
  if (e.op == Op::And) return truthy(left) ? eval(*e.right) : left;
  if (e.op == Op::Or) return truthy(left) ? left : eval(*e.right);
  Value right = eval(*e.right);
  line_ = e.line;
  return arithmetic(*this, e.op, left, right);
}

Value Runtime::eval_compare(const Compare& e) {
  Value left = eval(*e.first);
  for (const auto& [op, operand] : e.rest) {
    Value right = eval(*operand);
    line_ = e.line;
    bool holds = false;
    switch (op) {
      case Op::Eq:
        holds = equals(*this, left, right);
        break;
      case Op::Ne:
        holds = !equals(*this, left, right);
        break;
      case Op::In:
        holds = contains(*this, right, left);
        break;
      case Op::NotIn:
        holds = !contains(*this, right, left);
        break;
      default:
        holds = compare(*this, op, left, right);
    }
    if (!holds) return Value::boolean(false);
    left = right;
  }
  return Value::boolean(true);
}

Value Runtime::eval_conditional(const Conditional& e) {
  if (truthy(eval(*e.test))) return eval(*e.then);
  return e.otherwise ? eval(*e.otherwise) : undefined(e.hint);
}

Value Runtime::eval_item(const Item& e) {
  Value object = eval(*e.object);
  if (e.key->type == Expr::Type::Slice) {
    const auto& s = static_cast<const Slice&>(*e.key);
    auto bound = [&](const ExprPtr& b) { return b ? eval(*b) : Value::none(); };
    Value start = bound(s.start), stop = bound(s.stop), step = bound(s.step);
    line_ = e.line;
    return get_slice(*this, object, start, stop, step);
  }
  Value key = eval(*e.key);
  line_ = e.line;
  return get_item(*this, object, key);
}

Value Runtime::eval_call(const Call& e) {
  Value callee = eval(*e.callee);
  Args args = eval_arguments(e.arguments);
  line_ = e.line;
  return call(callee, args);
}

Value Runtime::eval_apply(const Apply& e, const Value* input) {
  Value v;
  if (input == nullptr) {
    v = eval(*e.input);
  } else {  // a chain of filters whose first one has no input of its own
    v = e.input ? eval_apply(static_cast<const Apply&>(*e.input), input) : *input;
  }
  Args args = eval_arguments(e.arguments);
  line_ = e.line;
  if (e.function == nullptr) {
    fail(fmt::format("No {} named '{}' found.", e.type == Expr::Type::Filter ? "filter" : "test", e.name));
  }
  return e.function(*this, v, args);
}

Args Runtime::eval_arguments(const ArgumentExprs& a) {
  Args args;
  args.positional.reserve(a.positional.size());
  for (const ExprPtr& e : a.positional) args.positional.push_back(eval(*e));
  for (const auto& [name, e] : a.named) args.named.emplace_back(name, eval(*e));
  if (a.star || a.star_star) eval_star_arguments(a, args);
  return args;
}

void Runtime::eval_star_arguments(const ArgumentExprs& a, Args& args) {
  if (a.star) {
    Cursor items(*this, eval(*a.star));
    for (Value v; items.next(*this, v);) args.positional.push_back(v);
    check_size(args.positional.size() * sizeof(Value));
  }
  if (!a.star_star) return;
  Value mapping = eval(*a.star_star);
  if (!mapping.is(Kind::Dict)) fail(fmt::format("argument after ** must be a mapping, not {}", type_name(mapping)));
  for (const auto& [key, value] : mapping.dict().entries) {
    charge();
    if (!key.is(Kind::String)) fail("keywords must be strings");
    for (const auto& named : args.named) {
      if (named.first == key.as_string()) {
        fail(fmt::format("got multiple values for keyword argument '{}'", named.first));
      }
    }
    args.named.emplace_back(key.as_string(), value);
  }
}

void Runtime::assign(const Expr& target, const Value& v) {
  switch (target.type) {
    case Expr::Type::Name:
      slot(static_cast<const Name&>(target).ref) = v;
      return;
    case Expr::Type::NamespaceRef: {
      const auto& ref = static_cast<const NamespaceRef&>(target);
      const Value& object = slot(ref.ref);
      line_ = target.line;
      if (!object.is(Kind::Namespace)) fail("cannot assign attribute on non-namespace object");
      if (ref.attribute.starts_with('_')) {
        fail("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '" + ref.attribute +
             "'. Please rename the attribute.");
      }
      object.as<Namespace>().attributes.set(Value::string(ref.attribute), v);
      return;
    }
    default:
      unpack(static_cast<const SequenceExpr&>(target), v);
  }
}

void Runtime::unpack(const SequenceExpr& targets, const Value& v) {
  Nested nested(*this);
  if (!is_iterable(v)) fail(fmt::format("cannot unpack non-iterable {} object", type_name(v)));
  Cursor cursor(*this, v);
  std::vector<Value> values;
  for (Value item; values.size() <= targets.items.size() && cursor.next(*this, item);) values.push_back(item);
  if (values.size() > targets.items.size()) {
    fail(fmt::format("too many values to unpack (expected {})", targets.items.size()));
  }
  if (values.size() < targets.items.size()) {
    fail(fmt::format("not enough values to unpack (expected {}, got {})", targets.items.size(), values.size()));
  }
  for (size_t i = 0; i < values.size(); ++i) assign(*targets.items[i], values[i]);
}

}  // namespace sgl::jinja
