#include "text/jinja_scope.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "text/jinja_lexer.h"

namespace sgl::jinja {
namespace {

// The storage of one function while it is laid out.
struct Function {
  Function(Function* o, FunctionCode& c) : outer(o), code(c), copied(o != nullptr ? o->copied : root_copied) {}
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;
  Function* outer;
  FunctionCode& code;
  size_t root_copied = 0;
  size_t& copied;  // variables copied to look into branches, in the whole template
  std::map<std::pair<int, std::string>, uint32_t> slots;  // (level of the scope, name)

  uint32_t slot(int level, const std::string& name) {
    auto [it, is_new] = slots.emplace(std::pair(level, name), code.num_slots);
    if (is_new) ++code.num_slots;
    return it->second;
  }
};

// The variables of one scope. Copies are made to look into the branches of an `if`.
struct Scope {
  enum class Load { Parameter, Context, Outer, Nothing };
  const Scope* outer = nullptr;
  Function* function = nullptr;
  int level = 0;
  std::map<std::string, Load> variables;
  std::set<std::string> stores;

  Scope(const Scope* o, Function& f) : outer(o), function(&f), level(o != nullptr ? o->level + 1 : 0) {}

  const Scope* owner(const std::string& name) const {
    for (const Scope* s = this; s != nullptr; s = s->outer) {
      if (s->variables.contains(name)) return s;
    }
    return nullptr;
  }
  bool known_outside(const std::string& name) const { return outer != nullptr && outer->owner(name) != nullptr; }

  void load(const std::string& name) {
    if (owner(name) == nullptr) variables[name] = Load::Context;
  }
  void store(const std::string& name) {
    stores.insert(name);
    if (!variables.contains(name)) variables[name] = known_outside(name) ? Load::Outer : Load::Nothing;
  }
  void parameter(const std::string& name) {
    stores.insert(name);
    variables[name] = Load::Parameter;
  }
  // After an `if`: what only some branches assign has, otherwise, the outer value.
  void merge_branches(const std::vector<Scope>& branches) {
    std::set<std::string> assigned;
    for (const Scope& b : branches) {
      for (const std::string& name : b.stores) {
        if (!stores.contains(name)) assigned.insert(name);
      }
    }
    for (const Scope& b : branches) {
      for (const auto& [name, l] : b.variables) variables[name] = l;
      stores.insert(b.stores.begin(), b.stores.end());
    }
    for (const std::string& name : assigned) variables[name] = known_outside(name) ? Load::Outer : Load::Context;
  }
};

// Calls f(child) for the subexpressions in the order in which they are evaluated.
template <typename F>
void for_each_argument(ArgumentExprs& args, F& f) {
  for (ExprPtr& a : args.positional) f(*a);
  for (auto& [name, a] : args.named) f(*a);
  if (args.star) f(*args.star);
  if (args.star_star) f(*args.star_star);
}

template <typename F>
void for_each_child(Expr& e, F f) {
  auto optional = [&](ExprPtr& child) {
    if (child) f(*child);
  };
  switch (e.type) {
    case Expr::Type::Constant:
    case Expr::Type::Name:
    case Expr::Type::NamespaceRef:
      return;
    case Expr::Type::List:
    case Expr::Type::Tuple:
    case Expr::Type::Concat:
      for (ExprPtr& item : static_cast<SequenceExpr&>(e).items) f(*item);
      return;
    case Expr::Type::Dict:
      for (auto& [key, value] : static_cast<DictExpr&>(e).items) {
        f(*key);
        f(*value);
      }
      return;
    case Expr::Type::Unary:
      return f(*static_cast<Unary&>(e).operand);
    case Expr::Type::Binary:
      f(*static_cast<Binary&>(e).left);
      return f(*static_cast<Binary&>(e).right);
    case Expr::Type::Compare:
      f(*static_cast<Compare&>(e).first);
      for (auto& [op, operand] : static_cast<Compare&>(e).rest) f(*operand);
      return;
    case Expr::Type::Conditional: {
      auto& c = static_cast<Conditional&>(e);
      f(*c.test);
      f(*c.then);
      return optional(c.otherwise);
    }
    case Expr::Type::Attribute:
      return f(*static_cast<Attribute&>(e).object);
    case Expr::Type::Item:
      f(*static_cast<Item&>(e).object);
      return f(*static_cast<Item&>(e).key);
    case Expr::Type::Slice: {
      auto& s = static_cast<Slice&>(e);
      optional(s.start);
      optional(s.stop);
      return optional(s.step);
    }
    case Expr::Type::Call:
      f(*static_cast<Call&>(e).callee);
      return for_each_argument(static_cast<Call&>(e).arguments, f);
    case Expr::Type::Filter:
    case Expr::Type::Test:
      optional(static_cast<Apply&>(e).input);
      return for_each_argument(static_cast<Apply&>(e).arguments, f);
  }
}

// Step 1: what names does a scope load and store? ---------------------------------------------------------------------

void collect(Expr& e, Scope& scope, bool as_parameter = false) {
  if (e.type == Expr::Type::Name) {
    auto& n = static_cast<Name&>(e);
    if (as_parameter || n.use == Name::Use::Parameter) return scope.parameter(n.name);
    return n.use == Name::Use::Store ? scope.store(n.name) : scope.load(n.name);
  }
  if (e.type == Expr::Type::NamespaceRef) return scope.load(static_cast<NamespaceRef&>(e).name);
  for_each_child(e, [&](Expr& child) { collect(child, scope, as_parameter); });
}

void collect(Body& body, Scope& scope);

void collect_if(If& node, size_t branch, Scope& scope) {
  collect(*node.branches[branch].first, scope);
  // Quadratic: a hostile template could have thousands of variables and of branches.
  constexpr size_t kMaxCopied = 500'000;
  scope.function->copied += 3 * scope.variables.size();
  if (scope.function->copied > kMaxCopied) syntax_error(node.line, "too many variables and branches");
  Scope taken = scope, next = scope, otherwise = scope;
  collect(node.branches[branch].second, taken);
  if (branch == 0) {  // each `elif` counts as an `if` of its own, without more branches
    for (size_t i = 1; i < node.branches.size(); ++i) collect_if(node, i, next);
    collect(node.otherwise, otherwise);
  }
  scope.merge_branches({std::move(taken), std::move(next), std::move(otherwise)});
}

// Bodies of loops, macros and blocks are scopes of their own: only what belongs to this one is visited.
void collect(Stmt& s, Scope& scope) {
  switch (s.type) {
    case Stmt::Type::Output:
      for (ExprPtr& e : static_cast<Output&>(s).items) collect(*e, scope);
      return;
    case Stmt::Type::For:
      return collect(*static_cast<For&>(s).iterable, scope);
    case Stmt::Type::If:
      return collect_if(static_cast<If&>(s), 0, scope);
    case Stmt::Type::Assign:
      collect(*static_cast<Assign&>(s).value, scope);
      return collect(*static_cast<Assign&>(s).target, scope);
    case Stmt::Type::AssignBlock:
      return collect(*static_cast<AssignBlock&>(s).target, scope);
    case Stmt::Type::Macro:
      return scope.store(static_cast<Macro&>(s).macro.name);
    case Stmt::Type::CallBlock:
      if (auto& node = static_cast<CallBlock&>(s); node.call) collect(*node.call, scope);
      return;
    case Stmt::Type::FilterBlock:
      return collect(*static_cast<FilterBlock&>(s).filter, scope);
    case Stmt::Type::With:
      for (ExprPtr& e : static_cast<With&>(s).values) collect(*e, scope);
      return;
    case Stmt::Type::Break:
    case Stmt::Type::Continue:
      return;
  }
}

void collect(Body& body, Scope& scope) {
  for (StmtPtr& s : body) collect(*s, scope);
}

// Which of some special names does a body use without having assigned them before? Looks into inner scopes.
class UsedNames {
 public:
  explicit UsedNames(std::set<std::string> names) : wanted_(std::move(names)) {}
  bool used(const std::string& name) const { return used_.contains(name); }

  void visit(Body& body) {
    for (StmtPtr& s : body) visit(*s);
  }

 private:
  void visit(Expr& e) {
    if (e.type == Expr::Type::Name) {
      auto& n = static_cast<Name&>(e);
      if (n.use == Name::Use::Load && wanted_.contains(n.name)) {
        used_.insert(n.name);
      } else {
        wanted_.erase(n.name);
      }
    }
    for_each_child(e, [&](Expr& child) { visit(child); });
  }
  void visit(ExprPtr& e) {
    if (e) visit(*e);
  }
  void visit(MacroCode& m) {
    for (auto& p : m.parameters) visit(*p);
    for (ExprPtr& d : m.defaults) visit(d);
    visit(m.body);
  }
  void visit(Stmt& s);

  std::set<std::string> wanted_, used_;
};

void UsedNames::visit(Stmt& s) {
  switch (s.type) {
    case Stmt::Type::Output:
      for (ExprPtr& e : static_cast<Output&>(s).items) visit(e);
      return;
    case Stmt::Type::For: {
      auto& n = static_cast<For&>(s);
      visit(n.target);
      visit(n.iterable);
      visit(n.body);
      visit(n.otherwise);
      return visit(n.test);
    }
    case Stmt::Type::If: {
      auto& n = static_cast<If&>(s);
      for (auto& [test, body] : n.branches) {
        visit(test);
        visit(body);
      }
      return visit(n.otherwise);
    }
    case Stmt::Type::Assign:
      visit(static_cast<Assign&>(s).target);
      return visit(static_cast<Assign&>(s).value);
    case Stmt::Type::AssignBlock:
      visit(static_cast<AssignBlock&>(s).target);
      visit(static_cast<AssignBlock&>(s).filter);
      return visit(static_cast<AssignBlock&>(s).body);
    case Stmt::Type::Macro:
      return visit(static_cast<Macro&>(s).macro);
    case Stmt::Type::CallBlock:
      visit(static_cast<CallBlock&>(s).call);
      return visit(static_cast<CallBlock&>(s).macro);
    case Stmt::Type::FilterBlock:
      visit(static_cast<FilterBlock&>(s).body);
      return visit(static_cast<FilterBlock&>(s).filter);
    case Stmt::Type::With:
      for (ExprPtr& e : static_cast<With&>(s).targets) visit(e);
      for (ExprPtr& e : static_cast<With&>(s).values) visit(e);
      return visit(static_cast<With&>(s).body);
    case Stmt::Type::Break:
    case Stmt::Type::Continue:
      return;
  }
}

// Step 2: fill in the references --------------------------------------------------------------------------------------

class Resolver {
 public:
  explicit Resolver(Ast& ast) : ast_(ast) {}

  void run() {
    Function root(nullptr, ast_.code);
    Scope scope(nullptr, root);
    collect(ast_.body, scope);
    ast_.scope = code_of(scope);
    resolve(ast_.body, {scope, root, false});
  }

 private:
  // Where code stands. In an `if` (soft) an unknown filter is an error only when it is reached.
  struct Place {
    const Scope& scope;
    Function& function;
    bool soft;
  };

  VariableRef ref(const std::string& name, const Scope& scope, Function& function, int line) const {
    const Scope* owner = scope.owner(name);
    if (owner == nullptr) syntax_error(line, fmt::format("the variable '{}' cannot be used here", name));
    VariableRef r;
    for (Function* f = &function; f != owner->function; f = f->outer) ++r.hops;
    r.slot = owner->function->slot(owner->level, name);
    return r;
  }

  uint32_t context_index(const std::string& name) {
    auto [it, is_new] = context_indices_.emplace(name, static_cast<uint32_t>(ast_.context_names.size()));
    if (is_new) ast_.context_names.push_back(name);
    return it->second;
  }

  ScopeCode code_of(const Scope& scope) {
    ScopeCode code;
    for (const auto& [name, load] : scope.variables) {
      uint32_t slot = scope.function->slot(scope.level, name);
      code.slots.push_back(slot);
      if (load == Scope::Load::Parameter) continue;
      VariableLoad l{.slot = slot};
      if (load == Scope::Load::Context) {
        l.from = VariableLoad::From::Context;
        l.context_index = context_index(name);
      } else if (load == Scope::Load::Outer) {
        l.from = VariableLoad::From::Outer;
        l.outer = ref(name, *scope.outer, *scope.function, 0);
      }
      code.loads.push_back(l);
    }
    return code;
  }

  void resolve(Expr& e, const Place& p) {
    switch (e.type) {
      case Expr::Type::Name: {
        auto& n = static_cast<Name&>(e);
        if (n.use == Name::Use::Store && n.name == "loop" && loops_ > 0) {
          syntax_error(n.line, "Can't assign to special loop variable in for-loop target");
        }
        n.ref = ref(n.name, p.scope, p.function, n.line);
        return;
      }
      case Expr::Type::NamespaceRef: {
        auto& n = static_cast<NamespaceRef&>(e);
        n.ref = ref(n.name, p.scope, p.function, n.line);
        return;
      }
      case Expr::Type::Filter:
      case Expr::Type::Test: {
        auto& n = static_cast<Apply&>(e);
        if (n.function == nullptr && !p.soft) {
          syntax_error(n.line,
                       fmt::format("No {} named '{}'.", e.type == Expr::Type::Filter ? "filter" : "test", n.name));
        }
        break;
      }
      default:
        break;
    }
    Place inner{p.scope, p.function, p.soft || e.type == Expr::Type::Conditional};
    for_each_child(e, [&](Expr& child) { resolve(child, inner); });
  }
  void resolve(ExprPtr& e, const Place& p) {
    if (e) resolve(*e, p);
  }
  void resolve(Body& body, const Place& p) {
    for (StmtPtr& s : body) resolve(*s, p);
  }

  void resolve(Stmt& s, const Place& p) {
    switch (s.type) {
      case Stmt::Type::Output:
        for (ExprPtr& e : static_cast<Output&>(s).items) resolve(e, p);
        return;
      case Stmt::Type::For:
        return resolve_for(static_cast<For&>(s), p);
      case Stmt::Type::If: {
        auto& n = static_cast<If&>(s);
        Place soft{p.scope, p.function, true};
        for (auto& [test, body] : n.branches) {
          resolve(test, soft);
          resolve(body, soft);
        }
        return resolve(n.otherwise, soft);
      }
      case Stmt::Type::Assign:
        resolve(static_cast<Assign&>(s).target, p);
        return resolve(static_cast<Assign&>(s).value, p);
      case Stmt::Type::AssignBlock: {
        auto& n = static_cast<AssignBlock&>(s);
        Scope scope(&p.scope, p.function);
        collect(n.body, scope);
        n.scope = code_of(scope);
        Place inner{scope, p.function, false};
        resolve(n.body, inner);
        resolve(n.target, p);
        return resolve(n.filter, inner);
      }
      case Stmt::Type::Macro: {
        auto& n = static_cast<Macro&>(s);
        resolve_macro(n.macro, p, n.line);
        n.ref = ref(n.macro.name, p.scope, p.function, n.line);
        return;
      }
      case Stmt::Type::CallBlock:
        resolve_macro(static_cast<CallBlock&>(s).macro, p, s.line);
        return resolve(static_cast<CallBlock&>(s).call, p);
      case Stmt::Type::FilterBlock: {
        auto& n = static_cast<FilterBlock&>(s);
        Scope scope(&p.scope, p.function);
        collect(n.body, scope);
        collect(*n.filter, scope);
        n.scope = code_of(scope);
        Place inner{scope, p.function, false};
        resolve(n.body, inner);
        return resolve(n.filter, inner);
      }
      case Stmt::Type::With:
        return resolve_with(static_cast<With&>(s), p);
      case Stmt::Type::Break:
      case Stmt::Type::Continue:
        return;
    }
  }

  void resolve_with(With& n, const Place& p) {
    Scope scope(&p.scope, p.function);
    for (ExprPtr& t : n.targets) collect(*t, scope);
    collect(n.body, scope);
    n.scope = code_of(scope);
    Place inner{scope, p.function, false};
    for (ExprPtr& t : n.targets) resolve(t, inner);
    for (ExprPtr& v : n.values) resolve(v, p);
    resolve(n.body, inner);
  }

  void resolve_for(For& n, const Place& p) {
    ++loops_;
    resolve(n.iterable, p);
    if (n.test) {
      Function function(&p.function, n.test_code);
      mark_inner(p.function);
      Scope scope(&p.scope, function);
      collect(*n.test_target, scope, true);
      collect(*n.test, scope);
      n.test_scope = code_of(scope);
      Place inner{scope, function, false};
      resolve(n.test_target, inner);
      resolve(n.test, inner);
    }

    Function own(&p.function, n.recursive_code);
    if (n.recursive) mark_inner(p.function);
    Function& function = n.recursive ? own : p.function;
    UsedNames names({"loop"});
    names.visit(n.body);
    n.has_loop = n.recursive || names.used("loop");
    Scope body(&p.scope, function);
    if (n.has_loop) body.parameter("loop");
    collect(*n.target, body, true);
    collect(n.body, body);
    n.body_scope = code_of(body);
    Place inner{body, function, false};
    if (n.has_loop) n.loop = ref("loop", body, function, n.line);
    resolve(n.target, inner);
    resolve(n.body, inner);

    Scope otherwise(&p.scope, function);
    collect(n.otherwise, otherwise);
    n.else_scope = code_of(otherwise);
    resolve(n.otherwise, {otherwise, function, false});
    --loops_;
  }

  void resolve_macro(MacroCode& m, const Place& p, int line) {
    Function function(&p.function, m.code);
    mark_inner(p.function);
    Scope scope(&p.scope, function);
    auto collect_all = [&] {
      for (auto& parameter : m.parameters) collect(*parameter, scope);
      for (ExprPtr& d : m.defaults) collect(*d, scope);
      collect(m.body, scope);
    };
    collect_all();
    UsedNames names({"caller", "kwargs", "varargs"});
    names.visit(m.body);
    auto position = [&](std::string_view name) {
      auto it = std::find_if(m.parameters.begin(), m.parameters.end(), [&](auto& q) { return q->name == name; });
      return static_cast<size_t>(it - m.parameters.begin());
    };
    size_t n = m.parameters.size();
    m.wants_caller = names.used("caller");
    if (m.wants_caller && position("caller") != n) {
      if (position("caller") + m.defaults.size() < n) {
        syntax_error(line,
                     "When defining macros or call blocks the special \"caller\" argument must be omitted or be "
                     "given a default.");
      }
    } else if (m.wants_caller) {
      scope.parameter("caller");
    }
    m.wants_kwargs = names.used("kwargs") && position("kwargs") == n;
    if (m.wants_kwargs) scope.parameter("kwargs");
    m.wants_varargs = names.used("varargs") && position("varargs") == n;
    if (m.wants_varargs) scope.parameter("varargs");
    collect_all();

    m.scope = code_of(scope);
    Place inner{scope, function, false};
    for (auto& parameter : m.parameters) resolve(*parameter, inner);
    for (ExprPtr& d : m.defaults) resolve(d, inner);
    if (m.wants_caller) m.caller = ref("caller", scope, function, line);
    if (m.wants_kwargs) m.kwargs = ref("kwargs", scope, function, line);
    if (m.wants_varargs) m.varargs = ref("varargs", scope, function, line);
    resolve(m.body, inner);
  }

  static void mark_inner(Function& function) { function.code.has_inner = true; }

  Ast& ast_;
  std::map<std::string, uint32_t> context_indices_;
  int loops_ = 0;  // loops around the current place
};

}  // namespace

void resolve_variables(Ast& ast) { Resolver(ast).run(); }

}  // namespace sgl::jinja
