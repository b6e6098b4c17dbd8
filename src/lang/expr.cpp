#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "lang/media.h"
#include "lang/node.h"
#include "lang/options.h"
#include "lang/reasoning.h"
#include "sgl/error.h"
#include "sgl/program_expr.h"
#include "sgl/program_state.h"

namespace sgl {
namespace {

using lang::make_expr;

Expr make_gen(std::string_view name, GenOptions options, bool typed) {
  const std::string what = lang::call_name("gen", std::string(name));
  lang::check_options(options, what);
  return make_expr(lang::Gen{std::string(name), std::move(options), typed});
}

void check_choices(const std::vector<std::string>& choices, const std::string& what) {
  if (choices.empty()) throw Error(ErrorKind::InvalidArgument, what + ": the list of choices is empty");
  std::set<std::string_view> seen;
  for (const std::string& choice : choices) {
    if (choice.empty()) throw Error(ErrorKind::InvalidArgument, what + ": a choice is empty, so nothing can be scored");
    if (!seen.insert(choice).second) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("{}: the choice \"{}\" is there twice", what, choice));
    }
  }
}

}  // namespace

Expr::Expr(const char* text) {
  if (text == nullptr)
    throw Error(ErrorKind::InvalidArgument, "a null pointer cannot be appended; \"\" is an empty text");
  *this = make_expr(lang::Text{text});
}
Expr::Expr(std::string text) : Expr(make_expr(lang::Text{std::move(text)})) {}
Expr::Expr(std::string_view text) : Expr(std::string(text)) {}
Expr::Expr(const Var& var) : Expr(make_expr(lang::Reference{var.slot()})) {}

Expr& Expr::operator+=(const Expr& other) {
  nodes_.insert(nodes_.end(), other.nodes_.begin(), other.nodes_.end());
  return *this;
}

Expr operator+(Expr a, const Expr& b) { return std::move(a += b); }

Expr gen(std::string_view name, GenOptions options) { return make_gen(name, std::move(options), false); }
Expr gen(GenOptions options) { return make_gen({}, std::move(options), false); }

namespace lang {

Expr gen_typed(std::string_view name, GenOptions options, Constraint constraint, const std::string& type) {
  if (!options.regex.empty() || !options.json_schema.empty() || !options.ebnf.empty()) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{}: its type, {}, says what the text must be, and so does an option; leave one out",
                            call_name("gen", std::string(name)), type));
  }
  options.regex = std::move(constraint.regex);
  options.json_schema = std::move(constraint.json_schema);
  if (!constraint.stop.empty()) {
    std::vector<std::string> stop = options.stop.items();
    for (std::string& s : constraint.stop) {
      if (std::find(stop.begin(), stop.end(), s) == stop.end()) stop.push_back(std::move(s));
    }
    options.stop = std::move(stop);
  }
  return make_gen(name, std::move(options), true);
}

Expr select_typed(std::string_view name, Choices choices, SelectOptions options) {
  const std::string what = call_name("select", std::string(name));
  check_choices(choices.texts, what);
  if (!options.method.decide) throw Error(ErrorKind::InvalidArgument, what + ": the method has no function `decide`");
  return make_expr(Select{std::string(name), std::move(choices), std::move(options.method)});
}

}  // namespace lang

Expr select(std::string_view name, const Strings& choices, SelectOptions options) {
  return lang::select_typed(name, {choices.items(), nullptr, typeid(void)}, std::move(options));
}

Expr role(std::string_view name, const Expr& content) {
  return make_expr(lang::RoleBegin{std::string(name)}) + content + make_expr(lang::RoleEnd{std::string(name)});
}
Expr system(const Expr& content) { return role("system", content); }
Expr user(const Expr& content) { return role("user", content); }
Expr assistant(const Expr& content) { return role("assistant", content); }

Expr image(std::string_view path_or_bytes) { return make_expr(lang::Media{lang::encode_image(path_or_bytes)}); }
Expr video(const std::string& path, int num_frames) {
  return make_expr(lang::Media{lang::encode_video(path, num_frames), true});
}

Expr separate_reasoning(const Expr& expr, std::string_view model_type) {
  const lang::ReasoningFormat& format = lang::find_reasoning_format(model_type);
  Expr out;
  for (const lang::NodePtr& node : expr.nodes()) {
    const auto* gen = std::get_if<lang::Gen>(&node->what);
    if (gen == nullptr) {
      out += Expr(node);
      continue;
    }
    if (gen->name.empty()) {
      throw Error(ErrorKind::InvalidArgument,
                  "separate_reasoning: a gen() in it has no name to keep the thoughts under");
    }
    lang::Gen with = *gen;
    with.reasoning = &format;
    out += make_expr(std::move(with));
  }
  return out;
}

}  // namespace sgl
