#include "text/jinja_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/jinja_lexer.h"
#include "text/jinja_library.h"
#include "text/jinja_scope.h"

namespace sgl::jinja {
namespace {

using Tags = std::initializer_list<std::string_view>;

// Nested brackets, operators and blocks. Far above what people write, far below what the stack holds: a level of
// parentheses is a dozen calls here.
constexpr int kMaxParseDepth = 200;
// Levels of an expression's tree; a chain a + b + c + … has one for each operator.
constexpr int kMaxHeight = 300;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Body run() {
    Body body = parse_body({});
    return body;
  }

 private:
  // Tokens ----------------------------------------------------------------

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool at(TokenType type) const { return current().type == type; }
  bool at_name(std::string_view name) const { return at(TokenType::Name) && current().text == name; }
  Token& next() {
    Token& t = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }
  bool skip_if(TokenType type) { return at(type) ? (next(), true) : false; }
  bool skip_name(std::string_view name) { return at_name(name) ? (next(), true) : false; }
  [[noreturn]] void fail(std::string_view message) const { syntax_error(current().line, message); }
  [[noreturn]] void fail_expected(std::string_view what) const {
    if (at(TokenType::End)) fail(fmt::format("unexpected end of template, expected '{}'.", what));
    fail(fmt::format("expected token '{}', got '{}'", what, describe(current())));
  }
  Token& expect(TokenType type) {
    if (!at(type)) fail_expected(describe(type));
    return next();
  }
  Token& expect_name(std::string_view name) {
    if (!at_name(name)) fail_expected(name);
    return next();
  }

  struct Depth {
    explicit Depth(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxParseDepth) parser.fail("nested too deeply");
    }
    ~Depth() { --parser.depth_; }
    Parser& parser;
  };

  // Sets the height of `e` from its children's.
  template <typename E>
  ExprPtr finish(std::unique_ptr<E> e, std::initializer_list<const Expr*> children) const {
    for (const Expr* c : children) {
      if (c != nullptr) e->height = std::max(e->height, c->height + 1);
    }
    if (e->height > kMaxHeight) fail("an expression is nested too deeply");
    return e;
  }

  // Statements ------------------------------------------------------------

  // Statements up to a tag of `end` (which is then current), or, with none, to the end of the template.
  Body parse_body(Tags end) {
    Depth depth(*this);
    Body body;
    std::unique_ptr<Output> output;
    auto print = [&](ExprPtr e) {
      if (!output) output = std::make_unique<Output>(e->line);
      output->items.push_back(std::move(e));
    };
    auto flush = [&] {
      if (output) body.push_back(std::move(output));
    };
    while (!at(TokenType::End)) {
      if (at(TokenType::Data)) {
        print(make_data());
      } else if (at(TokenType::VariableBegin)) {
        next();
        print(parse_tuple());
        expect(TokenType::VariableEnd);
      } else {
        flush();
        expect(TokenType::BlockBegin);
        if (at(TokenType::Name) && std::find(end.begin(), end.end(), current().text) != end.end()) return body;
        body.push_back(parse_statement(end));
        expect(TokenType::BlockEnd);
      }
    }
    flush();
    if (end.size() != 0) fail(fmt::format("Unexpected end of template. Jinja was looking for '{}'.", *end.begin()));
    return body;
  }

  // The body of a tag: from the tag's own end up to a tag of `end`.
  Body parse_block(Tags end) {
    skip_if(TokenType::Colon);
    expect(TokenType::BlockEnd);
    return parse_body(end);
  }
  Body parse_whole_block(std::string_view end) {
    Body body = parse_block({end});
    next();
    return body;
  }

  StmtPtr parse_statement(Tags end) {
    if (!at(TokenType::Name)) fail("tag name expected");
    Token tag = next();
    const std::string& name = tag.text;
    if (name == "for") return parse_for(tag.line);
    if (name == "if") return parse_if(tag.line);
    if (name == "set") return parse_set(tag.line);
    if (name == "macro") return parse_macro(tag.line);
    if (name == "call") return parse_call_block(tag.line);
    if (name == "filter") return parse_filter_block(tag.line);
    if (name == "with") return parse_with(tag.line);
    if (name == "print") return parse_print(tag.line);
    if (name == "generation") return parse_generation(tag.line);
    if (name == "break") return loop_control(Stmt::Type::Break, tag.line);
    if (name == "continue") return loop_control(Stmt::Type::Continue, tag.line);
    for (std::string_view other : {"include", "import", "from", "extends", "block", "autoescape"}) {
      if (name != other) continue;
      throw Error(ErrorKind::Unsupported,
                  fmt::format("chat template, line {}: the tag '{}' is not supported: a chat template stands alone; "
                              "inline what it refers to",
                              tag.line, name));
    }
    std::string expected = end.size() == 0 ? "" : fmt::format(" Jinja was looking for '{}'.", *end.begin());
    syntax_error(tag.line, fmt::format("Encountered unknown tag '{}'.{}", name, expected));
  }

  StmtPtr loop_control(Stmt::Type type, int line) {
    if (loop_depth_ == 0) syntax_error(line, "break and continue are only allowed in a loop");
    return std::make_unique<Stmt>(type, line);
  }

  StmtPtr parse_for(int line) {
    auto node = std::make_unique<For>(line);
    size_t target_at = at_;
    node->target = parse_target({.end = "in"});
    size_t after_target = at_;
    expect_name("in");
    node->iterable = parse_tuple({.with_condition = false, .end = "recursive"});
    if (skip_name("if")) {
      node->test = parse_expression();
      size_t after_test = at_;  // the test's function resolves the target anew
      at_ = target_at;
      node->test_target = parse_target({.end = "in"});
      if (at_ != after_target) fail("internal error in a loop's target");
      at_ = after_test;
    }
    node->recursive = skip_name("recursive");
    ++loop_depth_;
    node->body = parse_block({"endfor", "else"});
    --loop_depth_;
    if (next().text == "else") {
      int outer = node->recursive ? std::exchange(loop_depth_, 0) : loop_depth_;  // a recursive loop is a function
      node->otherwise = parse_whole_block("endfor");
      loop_depth_ = outer;
    }
    return node;
  }

  StmtPtr parse_if(int line) {
    auto node = std::make_unique<If>(line);
    while (true) {
      ExprPtr test = parse_tuple({.with_condition = false});
      Body body = parse_block({"elif", "else", "endif"});
      node->branches.emplace_back(std::move(test), std::move(body));
      const std::string& tag = next().text;
      if (tag == "elif") continue;
      if (tag == "else") node->otherwise = parse_whole_block("endif");
      return node;
    }
  }

  StmtPtr parse_set(int line) {
    ExprPtr target = parse_target({.with_namespace = true});
    if (skip_if(TokenType::Assign)) {
      auto node = std::make_unique<Assign>(line);
      node->target = std::move(target);
      node->value = parse_tuple();
      return node;
    }
    auto node = std::make_unique<AssignBlock>(line);
    node->target = std::move(target);
    if (at(TokenType::Pipe)) node->filter = parse_filters(nullptr, false);
    node->body = parse_whole_block("endset");
    return node;
  }

  // Loops do not reach into functions: a break in a macro must have its own loop there.
  Body parse_function_block(std::string_view end) {
    int outer = std::exchange(loop_depth_, 0);
    Body body = parse_whole_block(end);
    loop_depth_ = outer;
    return body;
  }

  StmtPtr parse_macro(int line) {
    auto node = std::make_unique<Macro>(line);
    node->macro.name = parse_name_target()->name;
    parse_signature(node->macro);
    node->macro.body = parse_function_block("endmacro");
    return node;
  }

  StmtPtr parse_call_block(int line) {
    auto node = std::make_unique<CallBlock>(line);
    if (at(TokenType::LeftParen)) parse_signature(node->macro);
    node->call = parse_expression();
    if (node->call->type != Expr::Type::Call) syntax_error(line, "expected call");
    node->macro.body = parse_function_block("endcall");
    return node;
  }

  StmtPtr parse_generation(int line) {
    auto node = std::make_unique<CallBlock>(line);
    node->macro.body = parse_function_block("endgeneration");
    return node;
  }

  void parse_signature(MacroCode& macro) {
    expect(TokenType::LeftParen);
    std::set<std::string> seen;
    while (!at(TokenType::RightParen)) {
      if (!macro.parameters.empty()) expect(TokenType::Comma);
      std::unique_ptr<Name> parameter = parse_name_target();
      parameter->use = Name::Use::Parameter;
      if (!seen.insert(parameter->name).second) fail(fmt::format("duplicate argument '{}'", parameter->name));
      if (skip_if(TokenType::Assign)) {
        macro.defaults.push_back(parse_expression());
      } else if (!macro.defaults.empty()) {
        fail("non-default argument follows default argument");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    expect(TokenType::RightParen);
  }

  StmtPtr parse_filter_block(int line) {
    auto node = std::make_unique<FilterBlock>(line);
    node->filter = parse_filters(nullptr, true);
    node->body = parse_whole_block("endfilter");
    return node;
  }

  StmtPtr parse_with(int line) {
    auto node = std::make_unique<With>(line);
    while (!at(TokenType::BlockEnd)) {
      if (!node->targets.empty()) expect(TokenType::Comma);
      ExprPtr target = parse_target({});
      set_use(*target, Name::Use::Parameter);
      node->targets.push_back(std::move(target));
      expect(TokenType::Assign);
      node->values.push_back(parse_expression());
    }
    node->body = parse_whole_block("endwith");
    return node;
  }

  StmtPtr parse_print(int line) {
    auto node = std::make_unique<Output>(line);
    while (!at(TokenType::BlockEnd)) {
      if (!node->items.empty()) expect(TokenType::Comma);
      node->items.push_back(parse_expression());
    }
    return node;
  }

  // Targets of assignments ------------------------------------------------

  struct TupleOptions {
    bool with_condition = true;  // x if y else z is allowed
    bool names_only = false;     // a target
    bool with_namespace = false;
    bool in_parentheses = false;
    std::string_view end{};  // a name that ends the tuple
  };

  std::unique_ptr<Name> parse_name_target() {
    Token& t = expect(TokenType::Name);
    auto name = std::make_unique<Name>(t.line, t.text);
    name->use = Name::Use::Store;
    check_target(*name);
    return name;
  }

  ExprPtr parse_target(TupleOptions options) {
    options.names_only = true;
    ExprPtr target = parse_tuple(options);
    set_use(*target, Name::Use::Store);
    check_target(*target);
    return target;
  }

  static void set_use(Expr& e, Name::Use use) {
    if (e.type == Expr::Type::Name) static_cast<Name&>(e).use = use;
    if (e.type != Expr::Type::Tuple) return;
    for (ExprPtr& item : static_cast<SequenceExpr&>(e).items) set_use(*item, use);
  }

  void check_target(const Expr& e) const {
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

  // Expressions, by rising precedence -------------------------------------

  ExprPtr parse_expression(bool with_condition = true) { return with_condition ? parse_condition() : parse_or(); }

  ExprPtr parse_condition() {
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

  ExprPtr make_binary(int line, Op op, ExprPtr left, ExprPtr right) const {
    auto node = std::make_unique<Binary>(line, op);
    node->left = std::move(left);
    node->right = std::move(right);
    const Expr *l = node->left.get(), *r = node->right.get();
    return finish(std::move(node), {l, r});
  }

  ExprPtr parse_or() {
    int line = current().line;
    ExprPtr left = parse_and();
    while (skip_name("or")) left = make_binary(line, Op::Or, std::move(left), parse_and());
    return left;
  }

  ExprPtr parse_and() {
    int line = current().line;
    ExprPtr left = parse_not();
    while (skip_name("and")) left = make_binary(line, Op::And, std::move(left), parse_not());
    return left;
  }

  ExprPtr make_unary(int line, Op op, ExprPtr operand) const {
    auto node = std::make_unique<Unary>(line, op);
    node->operand = std::move(operand);
    const Expr* o = node->operand.get();
    return finish(std::move(node), {o});
  }

  ExprPtr parse_not() {
    if (!at_name("not")) return parse_compare();
    Depth depth(*this);
    int line = next().line;
    return make_unary(line, Op::Not, parse_not());
  }

  bool next_comparison(Op& op) {
    switch (current().type) {
      case TokenType::Eq:
        op = Op::Eq;
        break;
      case TokenType::Ne:
        op = Op::Ne;
        break;
      case TokenType::Lt:
        op = Op::Lt;
        break;
      case TokenType::Le:
        op = Op::Le;
        break;
      case TokenType::Gt:
        op = Op::Gt;
        break;
      case TokenType::Ge:
        op = Op::Ge;
        break;
      default:
        if (at_name("in")) {
          op = Op::In;
          break;
        }
        if (!at_name("not") || look().type != TokenType::Name || look().text != "in") return false;
        next();
        op = Op::NotIn;
    }
    next();
    return true;
  }

  ExprPtr parse_compare() {
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

  ExprPtr parse_sum() {
    int line = current().line;
    ExprPtr left = parse_concat();
    while (at(TokenType::Add) || at(TokenType::Sub)) {
      Op op = next().type == TokenType::Add ? Op::Add : Op::Sub;
      left = make_binary(line, op, std::move(left), parse_concat());
    }
    return left;
  }

  ExprPtr parse_concat() {
    int line = current().line;
    ExprPtr first = parse_product();
    if (!at(TokenType::Tilde)) return first;
    auto node = std::make_unique<SequenceExpr>(Expr::Type::Concat, line);
    node->items.push_back(std::move(first));
    while (skip_if(TokenType::Tilde)) node->items.push_back(parse_product());
    return finish_items(std::move(node));
  }

  ExprPtr finish_items(std::unique_ptr<SequenceExpr> node) const {
    for (const ExprPtr& item : node->items) node->height = std::max(node->height, item->height + 1);
    return finish(std::move(node), {});
  }

  ExprPtr parse_product() {
    int line = current().line;
    ExprPtr left = parse_power();
    while (true) {
      Op op{};
      switch (current().type) {
        case TokenType::Mul:
          op = Op::Mul;
          break;
        case TokenType::Div:
          op = Op::Div;
          break;
        case TokenType::FloorDiv:
          op = Op::FloorDiv;
          break;
        case TokenType::Mod:
          op = Op::Mod;
          break;
        default:
          return left;
      }
      next();
      left = make_binary(line, op, std::move(left), parse_power());
    }
  }

  ExprPtr parse_power() {
    int line = current().line;
    ExprPtr left = parse_unary(true);
    while (skip_if(TokenType::Pow)) left = make_binary(line, Op::Pow, std::move(left), parse_unary(true));
    return left;
  }

  ExprPtr parse_unary(bool with_filter) {
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

  ExprPtr make_data() {
    Token& t = next();
    auto node = std::make_unique<Constant>(t.line);
    node->text = std::move(t.text);
    node->value = Value::string(node->text);
    node->is_data = true;
    return node;
  }

  static ExprPtr make_constant(int line, Value value) {
    auto node = std::make_unique<Constant>(line);
    node->value = value;
    return node;
  }

  ExprPtr parse_primary(bool with_namespace) {
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
      case TokenType::LeftBracket: {
        auto node = std::make_unique<SequenceExpr>(Expr::Type::List, next().line);
        while (!at(TokenType::RightBracket)) {
          if (!node->items.empty()) expect(TokenType::Comma);
          if (at(TokenType::RightBracket)) break;
          node->items.push_back(parse_expression());
        }
        next();
        return finish_items(std::move(node));
      }
      case TokenType::LeftBrace:
        return parse_dict();
      default:
        fail(fmt::format("unexpected '{}'", describe(t)));
    }
  }

  ExprPtr parse_name(bool with_namespace) {
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

  ExprPtr parse_number() {
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

  ExprPtr parse_dict() {
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

  bool at_tuple_end(const TupleOptions& options) const {
    return at(TokenType::VariableEnd) || at(TokenType::BlockEnd) || at(TokenType::RightParen) ||
           (!options.end.empty() && at_name(options.end));
  }

  // One expression, or several separated by commas: a tuple.
  ExprPtr parse_tuple() { return parse_tuple(TupleOptions{}); }
  ExprPtr parse_tuple(const TupleOptions& options) {
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

  // What follows an expression: .a [b] (c) | filter is test -----------------

  ExprPtr parse_postfix(ExprPtr e) {
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

  ExprPtr make_item(int line, ExprPtr object, ExprPtr key) const {
    auto node = std::make_unique<Item>(line);
    node->object = std::move(object);
    node->key = std::move(key);
    const Expr *o = node->object.get(), *k = node->key.get();
    return finish(std::move(node), {o, k});
  }

  ExprPtr parse_subscript(ExprPtr object) {
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

  // An index, or a slice start:stop:step.
  ExprPtr parse_key() {
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

  // Returns the height of the highest argument.
  int parse_arguments(ArgumentExprs& args) {
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

  ExprPtr parse_call(ExprPtr callee) {
    auto node = std::make_unique<Call>(current().line);
    node->height = parse_arguments(node->arguments) + 1;
    node->callee = std::move(callee);
    const Expr* c = node->callee.get();
    return finish(std::move(node), {c});
  }

  ExprPtr parse_filters_and_tests(ExprPtr e) {
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

  std::string parse_dotted_name() {
    std::string name = expect(TokenType::Name).text;
    while (skip_if(TokenType::Dot)) name += "." + expect(TokenType::Name).text;
    return name;
  }

  // `e | a | b(…)`; with `is_tag` the name of the first filter is current, without a bar.
  ExprPtr parse_filters(ExprPtr e, bool is_tag) {
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

  bool at_test_argument() const {
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

  ExprPtr parse_test(ExprPtr input) {
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

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loop_depth_ = 0;
};

}  // namespace

Ast parse(std::string_view source) {
  Ast ast;
  ast.body = Parser(source).run();
  resolve_variables(ast);
  return ast;
}

}  // namespace sgl::jinja
