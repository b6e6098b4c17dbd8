#pragma once
// Separates a model's thinking, which stands between two tags at the beginning of its text, from its answer.
//
// As in tool_parser.h, decisions depend on the bytes alone, not on how the text is cut. White space at both ends of the
// thinking and before the answer is dropped.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/answer_piece.h"

namespace sgl {

struct ReasoningTags {
  std::string begin, end;  ///< the tags
  /// The prompt ends with the begin tag: the text begins inside of the thinking (and may repeat the tag).
  bool begins_inside = false;
  bool special_tokens = false;  ///< the tags are special tokens, which the text must show
};

/// By a name of SGLang's --reasoning-parser, or a pair of tags with a comma in between: "<think>,</think>".
std::optional<ReasoningTags> find_reasoning_tags(std::string_view name);
std::vector<std::string> reasoning_parser_names();

class ReasoningParser {
 public:
  /// Keeps a reference to `format`.
  explicit ReasoningParser(const ReasoningTags& format) : format_(format) {}

  /// Appends the thinking in `text`, which continues the model's text, to `out`, and the rest to `answer`.
  void push(std::string_view text, std::vector<AnswerPiece>& out, std::string& answer);
  /// The text has ended: gives out what was held back.
  void finish(std::vector<AnswerPiece>& out, std::string& answer);

 private:
  enum class At { Start, BeforeThinking, Thinking, BeforeAnswer, Answer };
  void run(bool ended, std::vector<AnswerPiece>& out, std::string& answer);
  bool read_start(bool ended);
  bool read_thinking(bool ended, std::vector<AnswerPiece>& out);

  const ReasoningTags& format_;
  At at_ = At::Start;
  std::string held_;
};

}  // namespace sgl
