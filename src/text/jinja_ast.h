#pragma once
// The syntax tree of a template, and where each of its variables lives.
//
// Variables are resolved once, at parse time, as Jinja's compiler does it (jinja_scope.h): a template is a set of
// functions (the template itself, each macro, each call block, …), a function has numbered slots, a Name knows its slot
// and how many functions out it is. So a rendering looks nothing up by name but what the caller passed in.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace sgl::jinja {

/// A variable: slot `slot` of the function `hops` functions out from where the reference stands.
struct VariableRef {
  uint32_t hops = 0;
  uint32_t slot = 0;
};

/// How a scope sets up one of its variables when it is entered.
struct VariableLoad {
  enum class From { Context, Outer, Nothing } from = From::Nothing;
  uint32_t slot = 0;
  uint32_t context_index = 0;  ///< Context: index in Ast::context_names
  VariableRef outer{};         ///< Outer: the variable it begins as a copy of
};

/// What happens on entering a scope (loads) and on leaving it (all `slots` become Missing).
struct ScopeCode {
  std::vector<VariableLoad> loads;
  std::vector<uint32_t> slots;
};

/// Storage of one function of the template.
struct FunctionCode {
  uint32_t num_slots = 0;
  bool has_inner = false;  ///< functions in it refer to its slots, so these must outlive the call
};

// Expressions ---------------------------------------------------------------------------------------------------------

struct Expr {
  enum class Type : uint8_t {
    Constant,
    Name,
    NamespaceRef,
    List,
    Tuple,
    Dict,
    Unary,
    Binary,
    Concat,
    Compare,
    Conditional,
    Attribute,
    Item,
    Slice,
    Call,
    Filter,
    Test
  };
  Expr(Type t, int line_number) : type(t), line(line_number) {}
  virtual ~Expr() = default;

  Type type;
  int line;
  int height = 1;  ///< levels of the tree below; bounded by the parser, so that walking it can recurse
};
using ExprPtr = std::unique_ptr<Expr>;

struct Constant : Expr {
  explicit Constant(int line_number) : Expr(Type::Constant, line_number) {}
  Value value;
  std::string text;      ///< what a String or BigInt points to
  bool is_data = false;  ///< text outside of any tag
};

struct Name : Expr {
  enum class Use : uint8_t { Load, Store, Parameter };
  Name(int line_number, std::string n) : Expr(Type::Name, line_number), name(std::move(n)) {}
  std::string name;
  Use use = Use::Load;
  VariableRef ref{};
};

/// `ns.attribute` as the target of an assignment.
struct NamespaceRef : Expr {
  NamespaceRef(int line_number, std::string n, std::string a)
      : Expr(Type::NamespaceRef, line_number), name(std::move(n)), attribute(std::move(a)) {}
  std::string name, attribute;
  VariableRef ref{};
};

/// List, Tuple and Concat (a ~ b ~ c).
struct SequenceExpr : Expr {
  using Expr::Expr;
  std::vector<ExprPtr> items;
};

struct DictExpr : Expr {
  explicit DictExpr(int line_number) : Expr(Type::Dict, line_number) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

enum class Op : uint8_t {
  Not,
  Neg,
  Pos,  // unary
  Add,
  Sub,
  Mul,
  Div,
  FloorDiv,
  Mod,
  Pow,
  And,
  Or,  // binary
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge,
  In,
  NotIn  // comparison
};

struct Unary : Expr {
  Unary(int line_number, Op o) : Expr(Type::Unary, line_number), op(o) {}
  Op op;
  ExprPtr operand;
};

struct Binary : Expr {
  Binary(int line_number, Op o) : Expr(Type::Binary, line_number), op(o) {}
  Op op;
  ExprPtr left, right;
};

/// a < b <= c …
struct Compare : Expr {
  explicit Compare(int line_number) : Expr(Type::Compare, line_number) {}
  ExprPtr first;
  std::vector<std::pair<Op, ExprPtr>> rest;
};

/// `then if test else otherwise`
struct Conditional : Expr {
  explicit Conditional(int line_number) : Expr(Type::Conditional, line_number) {}
  ExprPtr test, then, otherwise;  ///< otherwise: may be null
  std::string hint;               ///< of the undefined value that a missing `else` gives
};

struct Attribute : Expr {
  explicit Attribute(int line_number) : Expr(Type::Attribute, line_number) {}
  ExprPtr object;
  std::string name;
};

struct Item : Expr {
  explicit Item(int line_number) : Expr(Type::Item, line_number) {}
  ExprPtr object, key;
};

struct Slice : Expr {
  explicit Slice(int line_number) : Expr(Type::Slice, line_number) {}
  ExprPtr start, stop, step;  ///< each may be null
};

struct ArgumentExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;  ///< may be null
};

struct Call : Expr {
  explicit Call(int line_number) : Expr(Type::Call, line_number) {}
  ExprPtr callee;
  ArgumentExprs arguments;
};

/// A filter (`input | name(arguments)`) or a test (`input is name(arguments)`).
struct Apply : Expr {
  using Expr::Expr;
  ExprPtr input;  ///< null in a filter block or a block assignment: its body's text
  std::string name;
  ArgumentExprs arguments;
  Native function = nullptr;  ///< null: unknown, an error only when reached
};

// Statements ----------------------------------------------------------------------------------------------------------

struct Stmt {
  enum class Type : uint8_t {
    Output,
    For,
    If,
    Assign,
    AssignBlock,
    Macro,
    CallBlock,
    FilterBlock,
    With,
    Break,
    Continue
  };
  Stmt(Type t, int line_number) : type(t), line(line_number) {}
  virtual ~Stmt() = default;

  Type type;
  int line;
};
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Output : Stmt {
  explicit Output(int line_number) : Stmt(Type::Output, line_number) {}
  std::vector<ExprPtr> items;
};

struct For : Stmt {
  explicit For(int line_number) : Stmt(Type::For, line_number) {}
  ExprPtr target, iterable, test;  ///< test: may be null
  Body body, otherwise;
  bool recursive = false;

  bool has_loop = false;  ///< the body mentions `loop`
  VariableRef loop{};
  ScopeCode body_scope, else_scope, test_scope;
  FunctionCode test_code;       ///< the test is a function of its own: it is evaluated while the loop runs
  ExprPtr test_target;          ///< the target, resolved in the test's function
  FunctionCode recursive_code;  ///< with `recursive` the loop is a function
};

struct If : Stmt {
  explicit If(int line_number) : Stmt(Type::If, line_number) {}
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};

struct Assign : Stmt {
  explicit Assign(int line_number) : Stmt(Type::Assign, line_number) {}
  ExprPtr target, value;
};

/// {% set target | filter %}body{% endset %}
struct AssignBlock : Stmt {
  explicit AssignBlock(int line_number) : Stmt(Type::AssignBlock, line_number) {}
  ExprPtr target, filter;  ///< filter: may be null
  Body body;
  ScopeCode scope;
};

/// The callable part of macros and call blocks.
struct MacroCode {
  std::string name;  ///< empty: a call block's `caller`
  std::vector<std::unique_ptr<Name>> parameters;
  std::vector<ExprPtr> defaults;  ///< of the last parameters
  Body body;

  bool wants_caller = false, wants_kwargs = false, wants_varargs = false;
  VariableRef caller{}, kwargs{}, varargs{};
  ScopeCode scope;
  FunctionCode code;
};

struct Macro : Stmt {
  explicit Macro(int line_number) : Stmt(Type::Macro, line_number) {}
  MacroCode macro;
  VariableRef ref{};
};

/// {% call(parameters) call %}body{% endcall %}; without `call` it is {% generation %}, which only marks its body.
struct CallBlock : Stmt {
  explicit CallBlock(int line_number) : Stmt(Type::CallBlock, line_number) {}
  ExprPtr call;
  MacroCode macro;
};

struct FilterBlock : Stmt {
  explicit FilterBlock(int line_number) : Stmt(Type::FilterBlock, line_number) {}
  ExprPtr filter;
  Body body;
  ScopeCode scope;
};

struct With : Stmt {
  explicit With(int line_number) : Stmt(Type::With, line_number) {}
  std::vector<ExprPtr> targets, values;
  Body body;
  ScopeCode scope;
};

struct Ast {
  Body body;
  ScopeCode scope;
  FunctionCode code;
  std::vector<std::string> context_names;  ///< names that are looked up in what the caller passed in
};

}  // namespace sgl::jinja
