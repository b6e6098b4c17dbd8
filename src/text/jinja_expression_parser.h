#pragma once
// Recursive descent over expressions. Statements: jinja_parser.cpp.

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace sgl::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view source) : tokens_(tokenize(source)) {}

 protected:
  // Tokens. The last one is End and never passed.
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool at(TokenType type) const { return current().type == type; }
  bool at_name(std::string_view name) const { return at(TokenType::Name) && current().text == name; }
  Token& next();
  bool skip_if(TokenType type);
  bool skip_name(std::string_view name);
  Token& expect(TokenType type);
  Token& expect_name(std::string_view name);
  /// Where the parser stands, and back to there.
  size_t position() const { return at_; }
  void rewind(size_t position) { at_ = position; }

  [[noreturn]] void fail(std::string_view message) const { syntax_error(current().line, message); }
  [[noreturn]] void fail_expected(std::string_view what) const;

  /// Guards the recursion of the parser.
  struct Depth {
    explicit Depth(ExpressionParser& p);
    ~Depth() { --parser.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    ExpressionParser& parser;
  };

  struct TupleOptions {
    bool with_condition = true;  ///< x if y else z is allowed
    bool names_only = false;     ///< a target
    bool with_namespace = false;
    bool in_parentheses = false;
    std::string_view end{};  ///< a name that ends the tuple
  };

  ExprPtr parse_expression(bool with_condition = true);
  /// One expression, or several separated by commas: a tuple.
  ExprPtr parse_tuple() { return parse_tuple(TupleOptions{}); }
  ExprPtr parse_tuple(const TupleOptions& options);
  /// `e | a | b(…)`; with `is_tag` the name of the first filter is current, without a bar.
  ExprPtr parse_filters(ExprPtr e, bool is_tag);
  /// What an assignment, a loop or a macro's parameter writes to.
  ExprPtr parse_target(TupleOptions options);
  std::unique_ptr<Name> parse_name_target();
  static void set_use(Expr& e, Name::Use use);
  ExprPtr make_data();

 private:
  // Sets the height of a node from its children's.
  ExprPtr finish(std::unique_ptr<Expr> e, std::initializer_list<const Expr*> children) const;
  ExprPtr finish_items(std::unique_ptr<SequenceExpr> node) const;
  ExprPtr make_binary(int line, Op op, ExprPtr left, ExprPtr right) const;
  ExprPtr make_unary(int line, Op op, ExprPtr operand) const;
  ExprPtr make_item(int line, ExprPtr object, ExprPtr key) const;
  static ExprPtr make_constant(int line, Value value);
  void check_target(const Expr& e) const;

  // By rising precedence.
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  bool next_comparison(Op& op);
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary(bool with_namespace);
  ExprPtr parse_name(bool with_namespace);
  ExprPtr parse_number();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  bool at_tuple_end(const TupleOptions& options) const;

  // What follows an expression.
  ExprPtr parse_postfix(ExprPtr e);
  ExprPtr parse_subscript(ExprPtr object);
  ExprPtr parse_key();  // an index, or a slice start:stop:step
  ExprPtr parse_call(ExprPtr callee);
  int parse_arguments(ArgumentExprs& args);  // returns the height of the highest one
  ExprPtr parse_filters_and_tests(ExprPtr e);
  ExprPtr parse_test(ExprPtr input);
  bool at_test_argument() const;
  std::string parse_dotted_name();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace sgl::jinja
