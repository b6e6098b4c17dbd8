// Statements and control flow of a rendering. Expressions: jinja_eval.cpp.

#include "text/jinja_runtime.h"

#include <algorithm>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/jinja_library.h"

namespace sgl::jinja {

// What is written while it lives goes to its own text: bodies of macros, blocks and recursive loops.
class Runtime::Capture {
 public:
  explicit Capture(Runtime& rt) : rt_(rt), outer_(rt.out_) { rt.out_ = &text_; }
  ~Capture() { rt_.out_ = outer_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  Value text() { return rt_.heap.string(text_); }

 private:
  Runtime& rt_;
  std::string* outer_;
  std::string text_;
};

void Runtime::fail(std::string_view message) const {
  throw Error(ErrorKind::InvalidArgument, fmt::format("chat template, line {}: {}", line_, message));
}

void Runtime::fail_steps() const {
  fail(fmt::format("rendering takes more than {} steps: a loop without end, or a conversation that is too long",
                   options.max_steps));
}
void Runtime::fail_size() const { fail(fmt::format("the text is larger than {} MiB", options.max_output_bytes >> 20)); }
void Runtime::fail_depth() const { fail("maximum recursion depth exceeded"); }

void Runtime::fail_undefined(const Value& v) const {
  const UndefinedInfo* info = v.undefined();
  if (info == nullptr) fail("a value is undefined");
  if (!info->hint.empty()) fail(info->hint);
  std::string name;
  if (!info->is_element) append_string_repr(name, info->name);
  if (info->owner.empty()) fail(fmt::format("{} is undefined", name));
  if (info->is_element) fail(fmt::format("{} has no element {}", info->owner, info->name));
  fail(fmt::format("'{}' has no attribute {}", info->owner, name));
}

Value Runtime::undefined(std::string_view hint) {
  return Value::object(Kind::Undefined, &heap.make<UndefinedInfo>(hint));
}

// As jinja2's object_type_repr: types that are not built into Python come with their module.
std::string_view Runtime::owner_name(const Value& object) {
  if (object.is(Kind::None)) return "None";
  std::string_view module;
  if (object.is(Kind::Macro) || object.is(Kind::Loop)) module = "jinja2.runtime.";
  if (object.is(Kind::Cycler) || object.is(Kind::Joiner) || object.is(Kind::Namespace)) module = "jinja2.utils.";
  if (object.is(Kind::String) && object.markup) module = "markupsafe.";
  std::string_view type = object.is(Kind::Function) ? "builtin_function_or_method" : type_name(object);
  return heap.copy(fmt::format("{}{} object", module, type));
}

Value Runtime::undefined(const Value& object, const Value& name) {
  auto& info = heap.make<UndefinedInfo>();
  info.owner = owner_name(object);
  info.is_element = !name.is(Kind::String);
  if (info.is_element) {
    std::string repr;
    append_repr(*this, repr, name);
    info.name = heap.copy(repr);
  } else {
    info.name = name.as_string();
  }
  return Value::object(Kind::Undefined, &info);
}

Value Runtime::unsafe(const Value& object, std::string_view name) {
  std::string repr;
  append_string_repr(repr, name);
  auto& info = heap.make<UndefinedInfo>();
  info.hint = heap.copy(fmt::format("access to attribute {} of '{}' object is unsafe.", repr, type_name(object)));
  info.unsafe = true;
  return Value::object(Kind::Undefined, &info);
}

std::string Runtime::run(Variables variables) {
  for (const std::string& name : ast_.context_names) {
    auto it = std::find_if(variables.begin(), variables.end(), [&](const auto& v) { return v.first == name; });
    if (it != variables.end()) {
      context_.push_back(it->second);
    } else if (Native f = find_function(name)) {
      context_.push_back(Value::object(Kind::Function, &heap.make<Function>(name, f, Value())));
    } else {
      context_.emplace_back();
    }
  }
  std::string out;
  out_ = &out;
  activation_ = &new_activation(ast_.code, nullptr);
  enter(ast_.scope, *activation_);
  exec(ast_.body);
  return out;
}

Activation& Runtime::new_activation(const FunctionCode& code, Activation* outer) {
  auto* slots =
      static_cast<Value*>(heap.memory()->allocate(sizeof(Value) * std::max(code.num_slots, 1U), alignof(Value)));
  std::uninitialized_fill_n(slots, code.num_slots, Value());
  return heap.make<Activation>(outer, slots);
}

void Runtime::enter(const ScopeCode& scope, Activation& activation) {
  for (const VariableLoad& l : scope.loads) {
    Value& v = activation.slots[l.slot];
    switch (l.from) {
      case VariableLoad::From::Nothing:
        v = Value();
        break;
      case VariableLoad::From::Context:
        v = context_[l.context_index];
        break;
      case VariableLoad::From::Outer: {
        const Activation* a = &activation;
        for (uint32_t i = 0; i < l.outer.hops; ++i) a = a->outer;
        v = a->slots[l.outer.slot];
        break;
      }
    }
  }
}

void Runtime::leave(const ScopeCode& scope) {
  for (uint32_t s : scope.slots) activation_->slots[s] = Value();
}

void Runtime::write(std::string_view text) {
  check_size(out_->size() + text.size());
  charge_text(text.size());
  out_->append(text);
}

Runtime::Flow Runtime::exec(const Body& body) {
  for (const StmtPtr& s : body) {
    if (Flow flow = exec(*s); flow != Flow::Normal) return flow;
  }
  return Flow::Normal;
}

Runtime::Flow Runtime::exec(const Stmt& s) {
  Nested nested(*this);
  charge();
  line_ = s.line;
  switch (s.type) {
    case Stmt::Type::Output:
      exec_output(static_cast<const Output&>(s));
      break;
    case Stmt::Type::For:
      return exec_for(static_cast<const For&>(s));
    case Stmt::Type::If:
      return exec_if(static_cast<const If&>(s));
    case Stmt::Type::Assign:
      exec_assign(static_cast<const Assign&>(s));
      break;
    case Stmt::Type::AssignBlock:
      return exec_assign_block(static_cast<const AssignBlock&>(s));
    case Stmt::Type::Macro: {
      const auto& m = static_cast<const Macro&>(s);
      slot(m.ref) = Value::object(Kind::Macro, &heap.make<MacroObject>(&m.macro, activation_));
      break;
    }
    case Stmt::Type::CallBlock:
      exec_call_block(static_cast<const CallBlock&>(s));
      break;
    case Stmt::Type::FilterBlock:
      return exec_filter_block(static_cast<const FilterBlock&>(s));
    case Stmt::Type::With:
      return exec_with(static_cast<const With&>(s));
    case Stmt::Type::Break:
      return Flow::Break;
    case Stmt::Type::Continue:
      return Flow::Continue;
  }
  return Flow::Normal;
}

void Runtime::exec_output(const Output& node) {
  for (const ExprPtr& e : node.items) {
    Value v = eval(*e);
    if (v.is(Kind::String)) {
      write(v.as_string());
    } else {
      std::string text;
      append_str(*this, text, v);
      write(text);
    }
  }
}

Runtime::Flow Runtime::exec_if(const If& node) {
  for (const auto& [test, body] : node.branches) {
    if (truthy(eval(*test))) return exec(body);
  }
  return exec(node.otherwise);
}

void Runtime::exec_assign(const Assign& node) { assign(*node.target, eval(*node.value)); }

Runtime::Flow Runtime::exec_assign_block(const AssignBlock& node) {
  Value text;
  {
    Capture capture(*this);
    enter(node.scope, *activation_);
    if (Flow flow = exec(node.body); flow != Flow::Normal) return flow;
    text = capture.text();
  }
  if (node.filter) text = eval_apply(static_cast<const Apply&>(*node.filter), &text);
  assign(*node.target, text);
  leave(node.scope);
  return Flow::Normal;
}

void Runtime::exec_call_block(const CallBlock& node) {
  auto& macro = heap.make<MacroObject>(&node.macro, activation_);
  if (!node.call) return write(call_macro(macro, {}).as_string());
  const auto& call_node = static_cast<const Call&>(*node.call);
  Value callee = eval(*call_node.callee);
  Args args = eval_arguments(call_node.arguments);
  args.named.emplace_back("caller", Value::object(Kind::Macro, &macro));
  std::string text;
  append_str(*this, text, call(callee, args));
  write(text);
}

Runtime::Flow Runtime::exec_filter_block(const FilterBlock& node) {
  Value text;
  enter(node.scope, *activation_);
  {
    Capture capture(*this);
    if (Flow flow = exec(node.body); flow != Flow::Normal) return flow;
    text = capture.text();
  }
  text = eval_apply(static_cast<const Apply&>(*node.filter), &text);
  std::string filtered;
  append_str(*this, filtered, text);
  write(filtered);
  leave(node.scope);
  return Flow::Normal;
}

Runtime::Flow Runtime::exec_with(const With& node) {
  enter(node.scope, *activation_);
  for (size_t i = 0; i < node.targets.size(); ++i) assign(*node.targets[i], eval(*node.values[i]));
  if (Flow flow = exec(node.body); flow != Flow::Normal) return flow;
  leave(node.scope);
  return Flow::Normal;
}

// Loops ---------------------------------------------------------------------------------------------------------------

namespace {

// The items that pass a loop's test. Lazy: the test of an item runs when the loop gets to it.
struct FilteredItems : Iterator {
  FilteredItems(const For& f, Cursor c, Activation& a) : node(f), cursor(c), activation(a) {}
  const For& node;
  Cursor cursor;
  Activation& activation;

  bool next(Runtime& rt, Value& out) override {
    for (Value item; cursor.next(rt, item);) {
      bool passed = false;
      out = rt.eval_test_of(node, activation, item, passed);
      if (passed) return true;
    }
    return false;
  }
};

}  // namespace

// What the target holds: Jinja yields the loop variables again, so an unpacked list has become a tuple.
Value Runtime::eval_test_of(const For& node, Activation& activation, const Value& item, bool& passed) {
  Activation* saved = std::exchange(activation_, &activation);
  assign(*node.test_target, item);
  passed = truthy(eval(*node.test));
  Value v = passed ? eval(*node.test_target) : Value();
  activation_ = saved;
  return v;
}

Runtime::Flow Runtime::exec_for(const For& node) {
  Value iterable = eval(*node.iterable);
  if (!node.recursive) return run_loop(node, iterable, 0, activation_);
  write(run_recursive(node, iterable, 0, activation_).as_string());
  return Flow::Normal;
}

Value Runtime::run_recursive(const For& node, const Value& iterable, int64_t depth0, Activation* definition) {
  Nested nested(*this);
  Activation* saved = std::exchange(activation_, &new_activation(node.recursive_code, definition));
  Capture capture(*this);
  run_loop(node, iterable, depth0, definition);
  activation_ = saved;
  return capture.text();
}

Value Runtime::loop_again(const LoopObject& loop, const Value& iterable) {
  if (!loop.node->recursive) fail("The loop must have the 'recursive' marker to be called recursively.");
  return run_recursive(*loop.node, iterable, loop.depth0 + 1, loop.definition);
}

Runtime::Flow Runtime::run_loop(const For& node, const Value& iterable, int64_t depth0, Activation* definition) {
  Value source = iterable;
  if (node.test) {
    Activation& a = new_activation(node.test_code, definition);
    enter(node.test_scope, a);
    source = Value::object(Kind::Iterator,
                           static_cast<Iterator*>(&heap.make<FilteredItems>(node, Cursor(*this, iterable), a)));
  }
  LoopObject local{
      .node = &node, .iterable = source, .cursor = Cursor(*this, source), .definition = definition, .depth0 = depth0};
  LoopObject& loop = node.has_loop ? heap.make<LoopObject>(local) : local;
  bool completed = false;  // as in Jinja, `else` runs unless the body was gone through to its end at least once
  Value item;
  while (node.has_loop ? loop.next(*this, item) : loop.cursor.next(*this, item)) {
    charge();
    assign(*node.target, item);
    if (node.has_loop) slot(node.loop) = Value::object(Kind::Loop, &loop);
    enter(node.body_scope, *activation_);
    Flow flow = exec(node.body);
    if (flow == Flow::Break) break;
    if (flow == Flow::Normal) completed = true;
  }
  leave(node.body_scope);
  return completed ? Flow::Normal : run_else(node);
}

Runtime::Flow Runtime::run_else(const For& node) {
  if (node.otherwise.empty()) return Flow::Normal;
  enter(node.else_scope, *activation_);
  Flow flow = exec(node.otherwise);
  leave(node.else_scope);
  return flow;
}

bool LoopObject::next(Runtime& rt, Value& out) {
  if (!after.is(Kind::Missing)) {
    out = std::exchange(after, Value());
  } else if (!cursor.next(rt, out)) {
    return false;
  }
  ++index0;
  before = std::exchange(current, out);
  return true;
}

bool LoopObject::peek(Runtime& rt) { return !after.is(Kind::Missing) || cursor.next(rt, after); }

int64_t LoopObject::get_length(Runtime& rt) {
  if (length >= 0) return length;
  length = length_of(rt, iterable);
  if (length >= 0) return length;
  // No length: draw the rest and go on with that.
  std::pmr::vector<Value> rest = rt.heap.values();
  for (Value v; cursor.next(rt, v);) rest.push_back(v);
  length = static_cast<int64_t>(rest.size()) + index0 + 1 + (after.is(Kind::Missing) ? 0 : 1);
  cursor = Cursor(rt, rt.heap.list(std::move(rest)));
  return length;
}

// Calls ---------------------------------------------------------------------------------------------------------------

Value Runtime::call(const Value& callee, const Args& args) {
  Nested nested(*this);
  charge();
  switch (callee.kind) {
    case Kind::Function: {
      const auto& f = callee.as<const Function>();
      return f.call(*this, f.self, args);
    }
    case Kind::Macro:
      return call_macro(callee.as<const MacroObject>(), args);
    case Kind::Loop: {
      auto [iterable] = bind_args(*this, args, "loop", {"iterable"}, 1);
      return loop_again(callee.as<const LoopObject>(), iterable);
    }
    case Kind::Joiner: {
      no_args(*this, args, "joiner");
      auto& joiner = callee.as<Joiner>();
      return std::exchange(joiner.used, true) ? joiner.separator : Value::string("");
    }
    case Kind::Missing:
    case Kind::Undefined:
      fail_undefined(callee);
    default:
      fail(fmt::format("'{}' object is not callable", type_name(callee)));
  }
}

Value Runtime::call_macro(const MacroObject& macro, const Args& args) {
  Nested nested(*this);
  const MacroCode& m = *macro.code;
  Activation* saved = activation_;
  // Slots that nothing can refer to later are given back after the call, the others live as long as the rendering.
  std::vector<Value> local;
  Activation on_stack{macro.definition, nullptr};
  if (m.code.has_inner) {
    activation_ = &new_activation(m.code, macro.definition);
  } else {
    local.resize(m.code.num_slots);
    on_stack.slots = local.data();
    activation_ = &on_stack;
  }
  int saved_line = line_;
  bind_parameters(m, args);
  enter(m.scope, *activation_);
  size_t without_default = m.parameters.size() - m.defaults.size();
  for (size_t i = 0; i < m.parameters.size(); ++i) {
    Value& v = slot(m.parameters[i]->ref);
    if (!v.is(Kind::Missing)) continue;
    if (i >= without_default) {
      v = eval(*m.defaults[i - without_default]);
    } else {
      v = undefined(heap.copy(fmt::format("parameter '{}' was not provided", m.parameters[i]->name)));
    }
  }
  Capture capture(*this);
  exec(m.body);
  activation_ = saved;
  line_ = saved_line;
  return capture.text();
}

void Runtime::bind_parameters(const MacroCode& m, const Args& args) {
  std::string_view name = m.name.empty() ? "caller" : std::string_view(m.name);
  size_t taken = std::min(args.positional.size(), m.parameters.size());
  for (size_t i = 0; i < taken; ++i) slot(m.parameters[i]->ref) = args.positional[i];
  bool found_caller = false;
  std::vector<bool> used(args.named.size());
  auto pop = [&](std::string_view key) {
    for (size_t k = 0; k < args.named.size(); ++k) {
      if (args.named[k].first != key) continue;
      used[k] = true;
      return args.named[k].second;
    }
    return Value();
  };
  for (size_t i = 0; i < m.parameters.size(); ++i) {
    const Name& p = *m.parameters[i];
    if (p.name == "caller" && (i >= taken || taken == m.parameters.size())) found_caller = true;
    if (i >= taken) slot(p.ref) = pop(p.name);
  }
  if (m.wants_caller && !found_caller) {
    Value caller = pop("caller");
    slot(m.caller) = caller.is(Kind::Missing) || caller.is(Kind::None) ? undefined("No caller defined") : caller;
  }
  Dict* kwargs = m.wants_kwargs ? &heap.dict() : nullptr;
  for (size_t k = 0; k < args.named.size(); ++k) {
    if (used[k]) continue;
    const auto& [key, value] = args.named[k];
    if (kwargs == nullptr && key == "caller") {
      fail(
          fmt::format("macro '{}' was invoked with two values for the special caller argument. This is most likely a "
                      "bug.",
                      name));
    }
    if (kwargs == nullptr) fail(fmt::format("macro '{}' takes no keyword argument '{}'", name, key));
    kwargs->set(Value::string(key), value);
  }
  if (kwargs != nullptr) slot(m.kwargs) = to_value(*kwargs);
  if (m.wants_varargs) {
    std::pmr::vector<Value> rest = heap.values();
    rest.assign(args.positional.begin() + static_cast<ptrdiff_t>(taken), args.positional.end());
    slot(m.varargs) = heap.tuple(std::move(rest));
  } else if (args.positional.size() > taken) {
    fail(fmt::format("macro '{}' takes not more than {} argument(s)", name, m.parameters.size()));
  }
}

}  // namespace sgl::jinja
