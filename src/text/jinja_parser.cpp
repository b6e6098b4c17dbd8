#include "text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/jinja_expression_parser.h"
#include "text/jinja_scope.h"

namespace sgl::jinja {
namespace {

using Tags = std::initializer_list<std::string_view>;

class Parser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body run() { return parse_body({}); }

 private:
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
    size_t target_at = position();
    node->target = parse_target({.end = "in"});
    size_t after_target = position();
    expect_name("in");
    node->iterable = parse_tuple({.with_condition = false, .end = "recursive"});
    if (skip_name("if")) {
      node->test = parse_expression();
      size_t after_test = position();  // the test's function resolves the target anew
      rewind(target_at);
      node->test_target = parse_target({.end = "in"});
      if (position() != after_target) fail("internal error in a loop's target");
      rewind(after_test);
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

  int loop_depth_ = 0;  // loops around the current statement, in the same function
};

}  // namespace

Ast parse(std::string_view source) {
  Ast ast;
  ast.body = Parser(source).run();
  resolve_variables(ast);
  return ast;
}

}  // namespace sgl::jinja
