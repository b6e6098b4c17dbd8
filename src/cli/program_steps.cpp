// Runs the steps of a program file: each is a few lines of the language in include/sgl/program.h.

#include <exception>
#include <regex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "cli/program_file.h"
#include "sgl/error.h"

namespace sgl::cli {
namespace {

using Arguments = std::map<std::string, Value>;

/// An error that has its place already.
class Located : public Error {
 public:
  Located(const Error& error, const std::string& message) : Error(error.kind(), message, error.status(), error.rid()) {}
};

/// Runs `f`; what it throws gets its place.
template <class F>
void at(const ProgramFile& program, int line, F f) {
  try {
    f();
  } catch (const Located&) {
    throw;
  } catch (const Error& error) {
    throw Located(error, fmt::format("{}:{}: {}", program.path, line, error.what()));
  }
}

class Executor {
 public:
  Executor(const ProgramFile& program, const std::function<void(const std::string&)>& print)
      : program_(program), print_(print) {}

  void run(const std::vector<Step>& steps, State& s, const Arguments& env) const {
    for (const Step& step : steps) at(program_, step.line, [&] { run(step, s, env); });
  }

  /// Waits for what was appended. A call that failed is told by its variable.
  void finish(const State& s) const {
    try {
      s.sync();
    } catch (const Error&) {
      const Step* step = find_failed(program_.steps, s);
      if (step == nullptr) throw;
      at(program_, step->line, [&] { s[step->name].list(); });
    }
  }

  /// For what a step appends: variables of the program stay lazy, so nothing waits.
  static Expr expr(const Template& text, const State& s, const Arguments& env) {
    Expr out;
    for (const Template::Part& part : text.parts) {
      if (part.name.empty())
        out += part.text;
      else if (env.contains(part.name) || part.index >= 0)
        out += value(part, s, env);
      else
        out += variable(s[part.name]);
    }
    return out;
  }

  /// For what a step decides by: waits.
  static std::string text(const Template& text, const State& s, const Arguments& env) {
    std::string out;
    for (const Template::Part& part : text.parts) out += part.name.empty() ? part.text : value(part, s, env);
    return out;
  }

 private:
  static Var variable(Var var) {
    if (var.ready() && var.error() == nullptr && var.is_list()) {
      throw Error(ErrorKind::WrongType,
                  fmt::format("{0} is a list; write {{{0}[0]}}, or use it in 'each'", var.name()));
    }
    return var;
  }

  /// The first step whose variable became an error.
  static const Step* find_failed(const std::vector<Step>& steps, const State& s) {
    for (const Step& step : steps) {
      const bool calls = step.kind == Step::Kind::Gen || step.kind == Step::Kind::Select;
      if (calls && s.contains(step.name) && s[step.name].error() != nullptr) return &step;
      for (const std::vector<Step>* inner : {&step.steps, &step.otherwise}) {
        if (const Step* found = find_failed(*inner, s)) return found;
      }
    }
    return nullptr;
  }

  static std::string value(const Template::Part& part, const State& s, const Arguments& env) {
    const auto it = env.find(part.name);
    if (it == env.end()) return part.index < 0 ? s[part.name].str() : s[part.name][static_cast<size_t>(part.index)];
    if (const auto* one = std::get_if<std::string>(&it->second); one != nullptr && part.index < 0) return *one;
    const auto* list = std::get_if<std::vector<std::string>>(&it->second);
    if (list == nullptr || part.index < 0) {
      throw Error(ErrorKind::InvalidArgument,
                  list == nullptr ? fmt::format("{} is a text, not a list", part.name)
                                  : fmt::format("{0} is a list; write {{{0}[0]}}, or use it in 'each'", part.name));
    }
    if (static_cast<size_t>(part.index) >= list->size()) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("{}[{}]: the list has {} elements", part.name, part.index, list->size()));
    }
    return (*list)[static_cast<size_t>(part.index)];
  }

  static std::vector<std::string> elements(const Step& step, const State& s, const Arguments& env) {
    std::vector<std::string> out;
    for (int i = 0; i < step.times; ++i) out.push_back(std::to_string(i));
    for (const Template& item : step.list) out.push_back(text(item, s, env));
    if (step.list_name.empty()) return out;
    const auto it = env.find(step.list_name);
    if (it == env.end()) return s.list(step.list_name);
    if (const auto* list = std::get_if<std::vector<std::string>>(&it->second)) return *list;
    throw Error(ErrorKind::InvalidArgument, fmt::format("each: {} is a text, not a list", step.list_name));
  }

  static Expr gen_of(const Step& step) {
    Expr out;
    if (step.type == "int")
      out = gen(Key<int64_t>{step.name}, step.options);
    else if (step.type == "float")
      out = gen(Key<double>{step.name}, step.options);
    else if (step.type == "bool")
      out = gen(Key<bool>{step.name}, step.options);
    else
      out = gen(step.name, step.options);
    return step.reasoning.empty() ? out : separate_reasoning(out, step.reasoning);
  }

  static const ChoiceMethod& method_of(const std::string& name) {
    if (name == choice::greedy_token_selection.name) return choice::greedy_token_selection;
    if (name == choice::unconditional_likelihood_normalized.name) return choice::unconditional_likelihood_normalized;
    return choice::token_length_normalized;
  }

  static bool holds(const Step& step, const State& s, const Arguments& env) {
    const std::string value = text(step.text, s, env), operand = text(step.operand, s, env);
    if (step.method == "equals") return value == operand;
    if (step.method == "contains") return value.find(operand) != std::string::npos;
    try {
      return std::regex_search(value, std::regex(operand));
    } catch (const std::regex_error& error) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("matches: '{}' is no regular expression: {}", operand, error.what()));
    }
  }

  void run(const Step& step, State& s, const Arguments& env) const {
    switch (step.kind) {
      case Step::Kind::Text:
        s += expr(step.text, s, env);
        break;
      case Step::Kind::Gen:
        s += gen_of(step);
        break;
      case Step::Kind::Select: {
        std::vector<std::string> choices;
        for (const Template& choice : step.list) choices.push_back(text(choice, s, env));
        s += select(step.name, choices, {.method = method_of(step.method)});
        break;
      }
      case Step::Kind::Turn: {
        auto turn = s.role(step.name);
        run(step.steps, s, env);
        break;
      }
      case Step::Kind::Capture: {
        auto scope = s.capture(step.name);
        run(step.steps, s, env);
        break;
      }
      case Step::Kind::Fork:
        fork(step, s, env);
        break;
      case Step::Kind::For:
        for (const std::string& element : elements(step, s, env)) {
          Arguments inner = env;
          inner[step.name] = element;
          run(step.steps, s, inner);
        }
        break;
      case Step::Kind::If:
        run(holds(step, s, env) != step.negated ? step.steps : step.otherwise, s, env);
        break;
      case Step::Kind::Set:
        s.set(step.name, text(step.text, s, env));
        break;
      case Step::Kind::Print:
        print_(text(step.text, s, env));
        break;
    }
  }

  void fork(const Step& step, State& s, const Arguments& env) const {
    const std::vector<std::string> all = elements(step, s, env);
    if (all.empty()) return;
    if (all.size() > static_cast<size_t>(kMostBranches)) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("fork: at most {} branches at once, got {}", kMostBranches, all.size()));
    }
    Forks forks = s.fork(static_cast<int>(all.size()));
    // Steps that wait for a value (if, set) would hold the other branches up, so each branch has a thread of its own.
    std::vector<std::exception_ptr> thrown(all.size());
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < all.size(); ++i) {
        threads.emplace_back([&, i] {
          try {
            Arguments inner = env;
            inner[step.name] = all[i];
            run(step.steps, forks[i], inner);
            finish(forks[i]);
          } catch (...) {
            thrown[i] = std::current_exception();
          }
        });
      }
    }
    for (const std::exception_ptr& e : thrown) {
      if (e) std::rethrow_exception(e);
    }
    if (step.method == "text")
      forks.join_text();
    else
      forks.join();
  }

  const ProgramFile& program_;
  const std::function<void(const std::string&)>& print_;
};

}  // namespace

void execute(const ProgramFile& program, const Arguments& arguments, State& state,
             const std::function<void(const std::string&)>& print) {
  const Executor executor(program, print);
  executor.run(program.steps, state, arguments);
  executor.finish(state);
}

std::string expand_output(const ProgramFile& program, const Arguments& arguments, const State& state) {
  std::string out;
  at(program, program.output_line, [&] { out = Executor::text(program.output, state, arguments); });
  return out;
}

}  // namespace sgl::cli
