#pragma once
// What a model's text is made of, once its tags are read: the answer proper, thinking, and calls of tools.

#include <string>
#include <string_view>
#include <vector>

namespace sgl {

struct AnswerPiece {
  enum class Kind {
    Content,    ///< text for the user
    Reasoning,  ///< text from inside of the thinking tags
    Call,       ///< a call begins; `text` is the function's name
    Arguments,  ///< the call goes on: `text` continues the JSON text of its arguments
  } kind = Kind::Content;
  std::string text;
  int call = 0;  ///< Call and Arguments: 0, 1, … in the order of the answer

  bool operator==(const AnswerPiece&) const = default;
};

/// Appends `text` to the last piece if it is of the same kind, so that one push gives few pieces. Empty text adds none.
inline void append_text(std::vector<AnswerPiece>& out, AnswerPiece::Kind kind, std::string_view text, int call = 0) {
  if (text.empty()) return;
  if (out.empty() || out.back().kind != kind || out.back().call != call) out.push_back({kind, "", call});
  out.back().text += text;
}

}  // namespace sgl
