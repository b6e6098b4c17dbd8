#pragma once
// A model's text → pieces of its answer: the thinking is separated first, the calls of tools are found in the rest.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/reasoning_parser.h"
#include "server/tool_parser.h"

namespace sgl {

/// What is looked for in the texts of a request. Shared by its samples.
struct AnswerFormat {
  std::optional<ReasoningTags> reasoning;    ///< none: thinking stays in the text
  bool stream_reasoning = true;              ///< false: the thinking comes in one piece when it is over
  const ToolFormat* tools_format = nullptr;  ///< null: calls stay in the text
  std::vector<Tool> tools;
  ToolParser::Options tool_options;
};

/// Reads one sample's text.
class AnswerParser {
 public:
  explicit AnswerParser(std::shared_ptr<const AnswerFormat> format) : format_(std::move(format)) {
    if (format_->reasoning) reasoning_.emplace(*format_->reasoning);
    if (format_->tools_format != nullptr) {
      tools_.emplace(*format_->tools_format, format_->tools, format_->tool_options);
    }
  }

  /// Whether the text ended in the arguments of a call that is among the pieces.
  bool call_cut_off() const { return tools_ && tools_->cut_off(); }

  /// Appends to `out` what `text`, which continues the sample's text, makes certain; `ended`: no more text comes.
  void push(std::string_view text, bool ended, std::vector<AnswerPiece>& out) {
    std::string answer;
    if (reasoning_) {
      reasoning_->push(text, thinking_, answer);
      if (ended) reasoning_->finish(thinking_, answer);
      if (format_->stream_reasoning || ended || !answer.empty()) {
        for (const AnswerPiece& piece : thinking_) append_text(out, piece.kind, piece.text);
        thinking_.clear();
      }
    } else {
      answer = text;
    }
    if (tools_) {
      tools_->push(answer, out);
      if (ended) tools_->finish(out);
    } else {
      append_text(out, AnswerPiece::Kind::Content, answer);
    }
  }

 private:
  std::shared_ptr<const AnswerFormat> format_;
  std::optional<ReasoningParser> reasoning_;
  std::optional<ToolParser> tools_;
  std::vector<AnswerPiece> thinking_;  ///< not given out yet
};

}  // namespace sgl
