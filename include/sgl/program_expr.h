#pragma once
// Expressions: what is appended to a state. A value, cheap to copy, free of any state or backend.

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include "sgl/program_json.h"
#include "sgl/program_options.h"

namespace sgl {

class Var;

namespace lang {
struct Node;
using NodePtr = std::shared_ptr<const Node>;
}  // namespace lang

/// A sequence of texts, generations, choices, turns and pictures; `+` joins. Made from text and variables implicitly.
class Expr {
 public:
  Expr() = default;
  // NOLINTBEGIN(google-explicit-constructor)
  Expr(const char* text);
  Expr(std::string text);
  Expr(std::string_view text);
  Expr(const Var& var);  ///< the variable's text; whoever appends does not wait for it, the state does
  // NOLINTEND(google-explicit-constructor)
  explicit Expr(lang::NodePtr node) : nodes_{std::move(node)} {}

  Expr& operator+=(const Expr& other);
  const std::vector<lang::NodePtr>& nodes() const { return nodes_; }

 private:
  std::vector<lang::NodePtr> nodes_;
};

// Not hidden friends: "text" + s["x"] has no argument of type Expr.
Expr operator+(Expr a, const Expr& b);

/// A text from texts and numbers.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  auto add = [&out]<class P>(const P& part) {
    if constexpr (std::is_same_v<P, char>)
      out += part;
    else if constexpr (std::is_same_v<P, bool>)
      out += part ? "true" : "false";
    else if constexpr (std::is_arithmetic_v<P>)
      out += std::to_string(part);
    else
      out += std::string_view(part);
  };
  (add(parts), ...);
  return out;
}

/// The model goes on; the new text is appended and becomes the variable `name`. Throws InvalidArgument if options
/// contradict each other or lie outside of their ranges.
Expr gen(std::string_view name, GenOptions options = {});
/// The same without a name: the text cannot be read back alone.
Expr gen(GenOptions options = {});

namespace lang {
Expr gen_typed(std::string_view name, GenOptions options, Constraint constraint, const std::string& type);
struct Choices {
  std::vector<std::string> texts;
  std::shared_ptr<const void> values;  ///< std::vector<T>
  std::type_index type;
};
Expr select_typed(std::string_view name, Choices choices, SelectOptions options);
}  // namespace lang

/// A generation whose text is a T: constrained where the backend can (elsewhere say in the prompt what is wanted),
/// parsed by s[key].
template <class T>
Expr gen(const Key<T>& key, GenOptions options = {}) {
  if constexpr (std::same_as<T, std::string>)
    return gen(key.name, std::move(options));
  else
    return lang::gen_typed(key.name, std::move(options), lang::constraint_of<T>(), lang::type_name<T>());
}

/// The model chooses: the likeliest of `choices` is appended and becomes the variable `name`. Ties: the first. Throws
/// InvalidArgument if there is no choice, an empty one, or two of the same.
Expr select(std::string_view name, const Strings& choices, SelectOptions options = {});

/// The choices' texts and what they mean: s[key] is the value of the chosen one.
template <class T>
Expr select(const Key<T>& key, std::vector<std::pair<std::string, std::type_identity_t<T>>> choices,
            SelectOptions options = {}) {  // NOLINT(performance-unnecessary-value-param): moved below
  auto values = std::make_shared<std::vector<T>>();
  std::vector<std::string> texts;
  for (auto& [text, value] : choices) {
    texts.push_back(std::move(text));
    values->push_back(std::move(value));
  }
  return lang::select_typed(key.name, {std::move(texts), std::move(values), typeid(T)}, std::move(options));
}

// A turn of a conversation: begin, content, end. Write sgl::system, always qualified: unqualified it may be the C
// function that runs a shell.
Expr system(const Expr& content);
Expr user(const Expr& content);
Expr assistant(const Expr& content);
Expr role(std::string_view name, const Expr& content);

/// A picture: a path, or the bytes of a PNG or JPEG file. Reads the file now; throws NotFound, InvalidArgument.
Expr image(std::string_view path_or_bytes);
/// A video: `path` is a folder of PNG frames or a file of PNG frames run together (what a decoder writes with
/// `-c:v png -f image2pipe`); `num_frames` of them are taken, evenly spaced. Throws NotFound, InvalidArgument.
Expr video(const std::string& path, int num_frames);

/// `expr`, with the thoughts of each named generation taken apart: the variable and the text keep the answer,
/// Var::reasoning() and the variable NAME_reasoning_content the thoughts. `model_type` says how they are marked:
/// "qwen3", "deepseek-r1", "kimi", "glm45", "gpt-oss". Throws InvalidArgument for another.
Expr separate_reasoning(const Expr& expr, std::string_view model_type);

}  // namespace sgl
