#pragma once
// What an expression is made of. Immutable once made, shared by all expressions that hold it.

#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <variant>
#include <vector>

#include "sgl/program_expr.h"

namespace sgl::lang {

class Slot;
struct ReasoningFormat;

struct Text {
  std::string text;
};
struct Reference {
  std::shared_ptr<Slot> slot;
};
struct Gen {
  std::string name;
  GenOptions options;
  bool typed = false;  ///< the constraint is that of a Key's type
  const ReasoningFormat* reasoning = nullptr;
};
struct Select {
  std::string name;
  Choices choices;
  ChoiceMethod method;
};
struct RoleBegin {
  std::string role;
};
struct RoleEnd {
  std::string role;
};
struct CaptureBegin {
  std::string name;
};
struct CaptureEnd {
  std::string name;
};
struct Media {
  std::string base64;  ///< of a video: with "video:" before it
  bool is_video = false;
};
/// Asks the backend to compute the text so far; what fork() does.
struct Commit {};

struct Node {
  std::variant<Text, Reference, Gen, Select, RoleBegin, RoleEnd, CaptureBegin, CaptureEnd, Media, Commit> what;
};

template <class T>
Expr make_expr(T what) {
  return Expr(std::make_shared<const Node>(Node{std::move(what)}));
}

}  // namespace sgl::lang
