#pragma once
// One rendering: walks the syntax tree and writes text.
//
// Semantics are those of Python's jinja2 3.1 in an ImmutableSandboxedEnvironment with the settings of transformers'
// apply_chat_template, quirks included, because templates were written against it. Where Python would raise, so do we.
// Templates come with model files and may be hostile: steps, memory, output and recursion are limited.

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace sgl::jinja {

struct RenderOptions {
  int64_t max_steps = 20'000'000;  ///< nodes evaluated, items gone through, 64-byte blocks of text
  size_t max_output_bytes = size_t{64} << 20;
  std::function<std::tm()> now{};  ///< local time for strftime_now; empty: the machine's
};

using Variables = std::span<const std::pair<std::string_view, Value>>;

/// The slots of one function that is being executed.
struct Activation {
  Activation* outer;
  Value* slots;
};

struct MacroObject {
  const MacroCode* code;
  Activation* definition;  ///< where it was defined: what its free variables refer to
};

/// Goes through any iterable value. Trivially destructible, so it may live on the heap.
class Cursor {
 public:
  Cursor() = default;
  /// Throws if `v` is not iterable.
  Cursor(const Runtime& rt, const Value& v);
  bool next(Runtime& rt, Value& out);

 private:
  Value source_;
  size_t at_ = 0;
};

/// The variable `loop`.
struct LoopObject {
  const For* node;
  Value iterable;
  Cursor cursor;
  Activation* definition;  ///< of a recursive loop: where its function was defined
  int64_t depth0;
  int64_t index0 = -1;
  int64_t length = -1;                 ///< −1: not known yet
  Value before{}, current{}, after{};  ///< Missing: none; after: drawn already because the body asked for it
  Value changed{};                     ///< arguments of the last loop.changed()

  bool next(Runtime& rt, Value& out);
  bool peek(Runtime& rt);  ///< fills `after`; false at the end
  int64_t get_length(Runtime& rt);
};

class Runtime {
 public:
  Runtime(const Ast& ast, Heap& its_heap, const RenderOptions& its_options)
      : heap(its_heap), options(its_options), ast_(ast), steps_left_(its_options.max_steps) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Once per object. Throws InvalidArgument with the template's line.
  std::string run(Variables variables);

  Heap& heap;
  const RenderOptions& options;

  // For filters, tests and functions ------------------------------------------------------------------------------

  [[noreturn]] void fail(std::string_view message) const;
  /// UndefinedError (or SecurityError) of an undefined value.
  [[noreturn]] void fail_undefined(const Value& v) const;
  /// Counts work: `n` steps.
  void charge(size_t n = 1) {
    if ((steps_left_ -= static_cast<int64_t>(n)) < 0) fail_steps();
  }
  void charge_text(size_t bytes) { charge(1 + bytes / 64); }
  /// Checks that a text of this size may be made.
  void check_size(size_t bytes) const {
    if (bytes > options.max_output_bytes) fail_size();
  }
  /// Guards a recursion of this program.
  struct Nested {
    explicit Nested(Runtime& r) : rt(r) {
      if (++rt.depth_ > kMaxDepth) rt.fail_depth();
    }
    ~Nested() { --rt.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Runtime& rt;
  };

  Value call(const Value& callee, const Args& args);
  Value call_macro(const MacroObject& macro, const Args& args);
  Value undefined(std::string_view hint);
  /// What obj.name or obj[name] gives where there is nothing.
  Value undefined(const Value& object, const Value& name);
  Value unsafe(const Value& object, std::string_view name);

  // For iterators that belong to loops ------------------------------------------------------------------------------

  Value eval_test_of(const For& node, Activation& activation, const Value& item, bool& passed);
  Activation& new_activation(const FunctionCode& code, Activation* outer);
  void enter(const ScopeCode& scope, Activation& activation);
  Value loop_again(const LoopObject& loop, const Value& iterable);

 private:
  enum class Flow { Normal, Break, Continue };
  class Capture;

  // Evaluation nests expressions, statements and calls. The deepest ones fit a stack of 1 MiB, with sanitizers 2 MiB
  // (Jinja.Deep* under ulimit -s). A macro that calls itself takes 5 levels a call.
  static constexpr int kMaxDepth = 1200;

  std::string_view owner_name(const Value& object);

  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_size() const;
  [[noreturn]] void fail_depth() const;

  Flow exec(const Body& body);
  Flow exec(const Stmt& s);
  void exec_output(const Output& node);
  Flow exec_for(const For& node);
  Flow run_loop(const For& node, const Value& iterable, int64_t depth0, Activation* definition);
  Flow run_else(const For& node);
  Value run_recursive(const For& node, const Value& iterable, int64_t depth0, Activation* definition);
  Flow exec_if(const If& node);
  void exec_assign(const Assign& node);
  Flow exec_assign_block(const AssignBlock& node);
  void exec_call_block(const CallBlock& node);
  Flow exec_filter_block(const FilterBlock& node);
  Flow exec_with(const With& node);

  Value eval(const Expr& e);
  Value eval_dict(const DictExpr& e);
  Value eval_items(const SequenceExpr& e);
  Value eval_concat(const SequenceExpr& e);
  Value eval_unary(const Unary& e);
  Value eval_binary(const Binary& e);
  Value eval_compare(const Compare& e);
  Value eval_conditional(const Conditional& e);
  Value eval_item(const Item& e);
  Value eval_call(const Call& e);
  /// `input`: the text of a block that the filter, or the first of a chain, is applied to; null: it has its own.
  Value eval_apply(const Apply& e, const Value* input);
  Args eval_arguments(const ArgumentExprs& a);
  void eval_star_arguments(const ArgumentExprs& a, Args& args);

  Value& slot(VariableRef ref) {
    Activation* a = activation_;
    for (uint32_t i = 0; i < ref.hops; ++i) a = a->outer;
    return a->slots[ref.slot];
  }
  Value load(const Name& name);
  void assign(const Expr& target, const Value& v);
  void unpack(const SequenceExpr& targets, const Value& v);
  void leave(const ScopeCode& scope);
  void bind_parameters(const MacroCode& m, const Args& args);
  void write(std::string_view text);

  const Ast& ast_;
  std::vector<Value> context_;  // by index in ast_.context_names
  Activation* activation_ = nullptr;
  std::string* out_ = nullptr;
  int64_t steps_left_;
  int depth_ = 0;
  int line_ = 1;
};

// Operations on values. Each throws where Python raises
// ----------------------------------------------------------------

bool equals(Runtime& rt, const Value& a, const Value& b);
/// a < b, a <= b, a > b, a >= b for Op::Lt, Le, Gt, Ge.
bool compare(Runtime& rt, Op op, const Value& a, const Value& b);
/// `item in container`
bool contains(Runtime& rt, const Value& container, const Value& item);
Value arithmetic(Runtime& rt, Op op, const Value& a, const Value& b);
Value negate(Runtime& rt, const Value& v);

/// object.name
Value get_attribute(Runtime& rt, const Value& object, std::string_view name);
/// object[key]
Value get_item(Runtime& rt, const Value& object, const Value& key);
/// object[start:stop:step]; each bound an integer or None.
Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop, const Value& step);

bool is_iterable(const Value& v);
/// len(v), or −1 where it has none.
int64_t length_of(Runtime& rt, const Value& v);
std::pmr::vector<Value> to_list(Runtime& rt, const Value& v);
/// Throws if `v` cannot be the key of a dict.
void check_key(Runtime& rt, const Value& v);

/// str(v): never Markup.
Value to_str(Runtime& rt, const Value& v);
/// As str(), but leaves Markup as it is.
Value soft_str(Runtime& rt, const Value& v);
void append_str(Runtime& rt, std::string& out, const Value& v);
void append_repr(Runtime& rt, std::string& out, const Value& v);
void append_string_repr(std::string& out, std::string_view s);
std::string float_repr(double d);
/// HTML-escaped text of `v`, as Markup.
Value escape(Runtime& rt, const Value& v);

}  // namespace sgl::jinja
