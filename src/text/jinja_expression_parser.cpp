#include "text/jinja_expression_parser.h"

#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "text/jinja_library.h"

namespace sgl::jinja {
namespace {

// Nested brackets, operators and blocks. Far above what people write, far below what the stack holds: a level of
// parentheses is a dozen calls here.
constexpr int kMaxParseDepth = 200;
// Levels of an expression's tree; a chain a + b + c + … has one for each operator.
constexpr int kMaxHeight = 300;

using OpToken = std::pair<TokenType, Op>;
constexpr OpToken kComparisons[] = {{TokenType::Eq, Op::Eq}, {TokenType::Ne, Op::Ne}, {TokenType::Lt, Op::Lt},
                                    {TokenType::Le, Op::Le}, {TokenType::Gt, Op::Gt}, {TokenType::Ge, Op::Ge}};
constexpr OpToken kProducts[] = {{TokenType::Mul, Op::Mul},
                                 {TokenType::Div, Op::Div},
                                 {TokenType::FloorDiv, Op::FloorDiv},
                                 {TokenType::Mod, Op::Mod}};

template <size_t n>
bool find_op(const OpToken (&table)[n], TokenType type, Op& op) {
  const OpToken* found = std::find_if(table, table + n, [&](const OpToken& t) { return t.first == type; });
  if (found == table + n) return false;
  op = found->second;
  return true;
}

}  // namespace

// Tokens --------------------------------------------------------------------------------------------------------------

Token& ExpressionParser::next() {
  Token& t = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return t;
}

bool ExpressionParser::skip_if(TokenType type) {
  if (!at(type)) return false;
  next();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}

Token& ExpressionParser::expect(TokenType type) {
  if (!at(type)) fail_expected(describe(type));
  return next();
}

Token& ExpressionParser::expect_name(std::string_view name) {
  if (!at_name(name)) fail_expected(name);
  return next();
}

void ExpressionParser::fail_expected(std::string_view what) const {
  if (at(TokenType::End)) fail(fmt::format("unexpected end of template, expected '{}'.", what));
  fail(fmt::format("expected token '{}', got '{}'", what, describe(current())));
}

ExpressionParser::Depth::Depth(ExpressionParser& p) : parser(p) {
  if (++parser.depth_ > kMaxParseDepth) parser.fail("nested too deeply");
}

ExprPtr ExpressionParser::finish(std::unique_ptr<Expr> e, std::initializer_list<const Expr*> children) const {
  for (const Expr* c : children) {
    if (c != nullptr) e->height = std::max(e->height, c->height + 1);
  }
  if (e->height > kMaxHeight) fail("an expression is nested too deeply");
  return e;
}

// Targets of assignments ----------------------------------------------------------------------------------------------

std::unique_ptr<Name> ExpressionParser::parse_name_target() {
  Token& t = expect(TokenType::Name);
  auto name = std::make_unique<Name>(t.line, t.text);
  name->use = Name::Use::Store;
  check_target(*name);
  return name;
}

ExprPtr ExpressionParser::parse_target(TupleOptions options) {
  options.names_only = true;
  ExprPtr target = parse_tuple(options);
  set_use(*target, Name::Use::Store);
  check_target(*target);
  return target;
}

void ExpressionParser::set_use(Expr& e, Name::Use use) {
  if (e.type == Expr::Type::Name) static_cast<Name&>(e).use = use;
  if (e.type != Expr::Type::Tuple) return;
  for (ExprPtr& item : static_cast<SequenceExpr&>(e).items) set_use(*item, use);
}

void ExpressionParser::check_target(const Expr& e) const {
  switch (e.type) {
    case Expr::Type::NamespaceRef:
      return;
    case Expr::Type::Name: {
      const std::string& name = static_cast<const Name&>(e).name;
      if (name != "true" && name != "false" && name != "none" && name != "True" && name != "False" && name != "None")
        return;
      break;
    }
    case Expr::Type::Tuple:
      for (const ExprPtr& item : static_cast<const SequenceExpr&>(e).items) check_target(*item);
      return;
    default:
      break;
  }
  syntax_error(e.line, "can't assign to this expression");
}

// Expressions, by rising precedence -----------------------------------------------------------------------------------
ExprPtr ExpressionParser::parse_expression(bool with_condition) {
  return with_condition ? parse_condition() : parse_or();
}

ExprPtr ExpressionParser::parse_condition() {
  Depth depth(*this);
  int line = current().line;
  ExprPtr e = parse_or();
  while (skip_name("if")) {
    auto node = std::make_unique<Conditional>(line);
    node->then = std::move(e);
    node->test = parse_or();
    if (skip_name("else")) node->otherwise = parse_condition();
    node->hint =
        fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", line);
    const Expr *test = node->test.get(), *then = node->then.get(), *otherwise = node->otherwise.get();
    e = finish(std::move(node), {test, then, otherwise});
    line = current().line;
  }
  return e;
}

ExprPtr ExpressionParser::make_binary(int line, Op op, ExprPtr left, ExprPtr right) const {
  auto node = std::make_unique<Binary>(line, op);
  node->left = std::move(left);
  node->right = std::move(right);
  const Expr *l = node->left.get(), *r = node->right.get();
  return finish(std::move(node), {l, r});
}

ExprPtr ExpressionParser::parse_or() {
  int line = current().line;
  ExprPtr left = parse_and();
  while (skip_name("or")) left = make_binary(line, Op::Or, std::move(left), parse_and());
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  int line = current().line;
  ExprPtr left = parse_not();
  while (skip_name("and")) left = make_binary(line, Op::And, std::move(left), parse_not());
  return left;
}

ExprPtr ExpressionParser::make_unary(int line, Op op, ExprPtr operand) const {
  auto node = std::make_unique<Unary>(line, op);
  node->operand = std::move(operand);
  const Expr* o = node->operand.get();
  return finish(std::move(node), {o});
}

ExprPtr ExpressionParser::parse_not() {
  if (!at_name("not")) return parse_compare();
  Depth depth(*this);
  int line = next().line;
  return make_unary(line, Op::Not, parse_not());
}

bool ExpressionParser::next_comparison(Op& op) {
  if (find_op(kComparisons, current().type, op)) {
    next();
    return true;
  }
  if (skip_name("in")) {
    op = Op::In;
    return true;
  }
  if (!at_name("not") || look().type != TokenType::Name || look().text != "in") return false;
  next();
  next();
  op = Op::NotIn;
  return true;
}

ExprPtr ExpressionParser::parse_compare() {
  int line = current().line;
  ExprPtr first = parse_sum();
  Op op{};
  if (!next_comparison(op)) return first;
  auto node = std::make_unique<Compare>(line);
  node->height = first->height + 1;
  node->first = std::move(first);
  do {
    node->rest.emplace_back(op, parse_sum());
    node->height = std::max(node->height, node->rest.back().second->height + 1);
  } while (next_comparison(op));
  return finish(std::move(node), {});
}

ExprPtr ExpressionParser::parse_sum() {
  int line = current().line;
  ExprPtr left = parse_concat();
  while (at(TokenType::Add) || at(TokenType::Sub)) {
    Op op = next().type == TokenType::Add ? Op::Add : Op::Sub;
    left = make_binary(line, op, std::move(left), parse_concat());
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  int line = current().line;
  ExprPtr first = parse_product();
  if (!at(TokenType::Tilde)) return first;
  auto node = std::make_unique<SequenceExpr>(Expr::Type::Concat, line);
  node->items.push_back(std::move(first));
  while (skip_if(TokenType::Tilde)) node->items.push_back(parse_product());
  return finish_items(std::move(node));
}

ExprPtr ExpressionParser::finish_items(std::unique_ptr<SequenceExpr> node) const {
  for (const ExprPtr& item : node->items) node->height = std::max(node->height, item->height + 1);
  return finish(std::move(node), {});
}

ExprPtr ExpressionParser::parse_product() {
  int line = current().line;
  ExprPtr left = parse_power();
  for (Op op{}; find_op(kProducts, current().type, op);) {
    next();
    left = make_binary(line, op, std::move(left), parse_power());
  }
  return left;
}

ExprPtr ExpressionParser::parse_power() {
  int line = current().line;
  ExprPtr left = parse_unary(true);
  while (skip_if(TokenType::Pow)) left = make_binary(line, Op::Pow, std::move(left), parse_unary(true));
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  Depth depth(*this);
  int line = current().line;
  ExprPtr e;
  if (skip_if(TokenType::Sub)) {
    e = make_unary(line, Op::Neg, parse_unary(false));
  } else if (skip_if(TokenType::Add)) {
    e = make_unary(line, Op::Pos, parse_unary(false));
  } else {
    e = parse_primary(false);
  }
  e = parse_postfix(std::move(e));
  return with_filter ? parse_filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr ExpressionParser::make_data() {
  Token& t = next();
  auto node = std::make_unique<Constant>(t.line);
  node->text = std::move(t.text);
  node->value = Value::string(node->text);
  node->is_data = true;
  return node;
}

ExprPtr ExpressionParser::make_constant(int line, Value value) {
  auto node = std::make_unique<Constant>(line);
  node->value = value;
  return node;
}

ExprPtr ExpressionParser::parse_primary(bool with_namespace) {
  const Token& t = current();
  switch (t.type) {
    case TokenType::Name:
      return parse_name(with_namespace);
    case TokenType::String: {
      auto node = std::make_unique<Constant>(t.line);
      while (at(TokenType::String)) node->text += next().text;
      node->value = Value::string(node->text);
      return node;
    }
    case TokenType::Integer:
    case TokenType::Float:
      return parse_number();
    case TokenType::LeftParen: {
      next();
      ExprPtr e = parse_tuple({.in_parentheses = true});
      expect(TokenType::RightParen);
      return e;
    }
    case TokenType::LeftBracket:
      return parse_list();
    case TokenType::LeftBrace:
      return parse_dict();
    default:
      fail(fmt::format("unexpected '{}'", describe(t)));
  }
}

ExprPtr ExpressionParser::parse_name(bool with_namespace) {
  Token& t = next();
  const std::string& n = t.text;
  if (n == "true" || n == "True") return make_constant(t.line, Value::boolean(true));
  if (n == "false" || n == "False") return make_constant(t.line, Value::boolean(false));
  if (n == "none" || n == "None") return make_constant(t.line, Value::none());
  if (with_namespace && skip_if(TokenType::Dot)) {
    return std::make_unique<NamespaceRef>(t.line, n, expect(TokenType::Name).text);
  }
  return std::make_unique<Name>(t.line, n);
}

ExprPtr ExpressionParser::parse_number() {
  Token& t = next();
  if (t.type == TokenType::Float) return make_constant(t.line, Value::real(std::strtod(t.text.c_str(), nullptr)));
  int64_t i = 0;
  auto [end, error] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), i);
  if (error == std::errc()) return make_constant(t.line, Value::integer(i));
  auto node = std::make_unique<Constant>(t.line);
  node->text = t.text;
  node->value = Value::big_integer(node->text);
  return node;
}

ExprPtr ExpressionParser::parse_list() {
  auto node = std::make_unique<SequenceExpr>(Expr::Type::List, next().line);
  while (!at(TokenType::RightBracket)) {
    if (!node->items.empty()) expect(TokenType::Comma);
    if (at(TokenType::RightBracket)) break;
    node->items.push_back(parse_expression());
  }
  next();
  return finish_items(std::move(node));
}

ExprPtr ExpressionParser::parse_dict() {
  auto node = std::make_unique<DictExpr>(next().line);
  while (!at(TokenType::RightBrace)) {
    if (!node->items.empty()) expect(TokenType::Comma);
    if (at(TokenType::RightBrace)) break;
    ExprPtr key = parse_expression();
    expect(TokenType::Colon);
    ExprPtr value = parse_expression();
    node->height = std::max({node->height, key->height + 1, value->height + 1});
    node->items.emplace_back(std::move(key), std::move(value));
  }
  next();
  return finish(std::move(node), {});
}

bool ExpressionParser::at_tuple_end(const TupleOptions& options) const {
  return at(TokenType::VariableEnd) || at(TokenType::BlockEnd) || at(TokenType::RightParen) ||
         (!options.end.empty() && at_name(options.end));
}

ExprPtr ExpressionParser::parse_tuple(const TupleOptions& options) {
  Depth depth(*this);
  int line = current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect(TokenType::Comma);
    if (at_tuple_end(options)) break;
    items.push_back(options.names_only ? parse_primary(options.with_namespace)
                                       : parse_expression(options.with_condition));
    if (!at(TokenType::Comma)) break;
    is_tuple = true;
    line = current().line;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!options.in_parentheses) fail(fmt::format("Expected an expression, got '{}'", describe(current())));
  }
  auto node = std::make_unique<SequenceExpr>(Expr::Type::Tuple, line);
  node->items = std::move(items);
  return finish_items(std::move(node));
}

// What follows an expression: .a [b] (c) | filter is test -------------------------------------------------------------
ExprPtr ExpressionParser::parse_postfix(ExprPtr e) {
  while (true) {
    if (at(TokenType::Dot) || at(TokenType::LeftBracket)) {
      e = parse_subscript(std::move(e));
    } else if (at(TokenType::LeftParen)) {
      e = parse_call(std::move(e));
    } else {
      return e;
    }
  }
}

ExprPtr ExpressionParser::make_item(int line, ExprPtr object, ExprPtr key) const {
  auto node = std::make_unique<Item>(line);
  node->object = std::move(object);
  node->key = std::move(key);
  const Expr *o = node->object.get(), *k = node->key.get();
  return finish(std::move(node), {o, k});
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr object) {
  int line = current().line;
  if (next().type == TokenType::Dot) {
    if (at(TokenType::Integer)) return make_item(line, std::move(object), parse_number());
    if (!at(TokenType::Name)) fail("expected name or number");
    auto node = std::make_unique<Attribute>(line);
    node->name = next().text;
    node->object = std::move(object);
    const Expr* o = node->object.get();
    return finish(std::move(node), {o});
  }
  std::vector<ExprPtr> keys;
  while (!at(TokenType::RightBracket)) {
    if (!keys.empty()) expect(TokenType::Comma);
    keys.push_back(parse_key());
  }
  next();
  if (keys.size() == 1) return make_item(line, std::move(object), std::move(keys[0]));
  for (const ExprPtr& key : keys) {
    if (key->type == Expr::Type::Slice) syntax_error(line, "a slice must be the only index");
  }
  auto tuple = std::make_unique<SequenceExpr>(Expr::Type::Tuple, line);
  tuple->items = std::move(keys);
  return make_item(line, std::move(object), finish_items(std::move(tuple)));
}

ExprPtr ExpressionParser::parse_key() {
  int line = current().line;
  ExprPtr start;
  if (!at(TokenType::Colon)) {
    start = parse_expression();
    if (!at(TokenType::Colon)) return start;
  }
  auto ends = [&] { return at(TokenType::RightBracket) || at(TokenType::Comma); };
  next();
  auto node = std::make_unique<Slice>(line);
  node->start = std::move(start);
  if (!at(TokenType::Colon) && !ends()) node->stop = parse_expression();
  if (skip_if(TokenType::Colon) && !ends()) node->step = parse_expression();
  const Expr *a = node->start.get(), *b = node->stop.get(), *c = node->step.get();
  return finish(std::move(node), {a, b, c});
}

int ExpressionParser::parse_arguments(ArgumentExprs& args) {
  int line = expect(TokenType::LeftParen).line, height = 0;
  auto ensure = [&](bool ok) {
    if (!ok) syntax_error(line, "invalid syntax for function call expression");
  };
  auto measure = [&](ExprPtr e) {
    height = std::max(height, e->height);
    return e;
  };
  for (bool first = true; !at(TokenType::RightParen); first = false) {
    if (!first) {
      expect(TokenType::Comma);
      if (at(TokenType::RightParen)) break;
    }
    if (skip_if(TokenType::Mul)) {
      ensure(!args.star && !args.star_star);
      args.star = measure(parse_expression());
    } else if (skip_if(TokenType::Pow)) {
      ensure(!args.star_star);
      args.star_star = measure(parse_expression());
    } else if (at(TokenType::Name) && look().type == TokenType::Assign) {
      ensure(!args.star_star);
      std::string name = next().text;
      next();
      for (const auto& other : args.named) {
        if (other.first == name) syntax_error(line, fmt::format("keyword argument repeated: {}", name));
      }
      args.named.emplace_back(std::move(name), measure(parse_expression()));
    } else {
      ensure(!args.star && !args.star_star && args.named.empty());
      args.positional.push_back(measure(parse_expression()));
    }
  }
  next();
  return height;
}

ExprPtr ExpressionParser::parse_call(ExprPtr callee) {
  auto node = std::make_unique<Call>(current().line);
  node->height = parse_arguments(node->arguments) + 1;
  node->callee = std::move(callee);
  const Expr* c = node->callee.get();
  return finish(std::move(node), {c});
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr e) {
  while (true) {
    if (at(TokenType::Pipe)) {
      e = parse_filters(std::move(e), false);
    } else if (at_name("is")) {
      e = parse_test(std::move(e));
    } else if (at(TokenType::LeftParen)) {
      e = parse_call(std::move(e));
    } else {
      return e;
    }
  }
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect(TokenType::Name).text;
  while (skip_if(TokenType::Dot)) name += "." + expect(TokenType::Name).text;
  return name;
}

ExprPtr ExpressionParser::parse_filters(ExprPtr e, bool is_tag) {
  while (is_tag || at(TokenType::Pipe)) {
    if (!is_tag) next();
    is_tag = false;
    auto node = std::make_unique<Apply>(Expr::Type::Filter, current().line);
    node->name = parse_dotted_name();
    node->function = find_filter(node->name);
    if (at(TokenType::LeftParen)) node->height = parse_arguments(node->arguments) + 1;
    node->input = std::move(e);
    const Expr* input = node->input.get();
    e = finish(std::move(node), {input});
  }
  return e;
}

bool ExpressionParser::at_test_argument() const {
  switch (current().type) {
    case TokenType::Name:
      return !at_name("else") && !at_name("or") && !at_name("and");
    case TokenType::String:
    case TokenType::Integer:
    case TokenType::Float:
    case TokenType::LeftBracket:
    case TokenType::LeftBrace:
      return true;
    default:
      return false;
  }
}

ExprPtr ExpressionParser::parse_test(ExprPtr input) {
  int line = next().line;
  bool negated = skip_name("not");
  auto node = std::make_unique<Apply>(Expr::Type::Test, line);
  node->name = parse_dotted_name();
  node->function = find_test(node->name);
  if (at(TokenType::LeftParen)) {
    node->height = parse_arguments(node->arguments) + 1;
  } else if (at_test_argument()) {
    if (at_name("is")) fail("You cannot chain multiple tests with is");
    Depth depth(*this);
    node->arguments.positional.push_back(parse_postfix(parse_primary(false)));
    node->height = node->arguments.positional[0]->height + 1;
  }
  node->input = std::move(input);
  const Expr* i = node->input.get();
  ExprPtr e = finish(std::move(node), {i});
  return negated ? make_unary(line, Op::Not, std::move(e)) : std::move(e);
}

}  // namespace sgl::jinja
