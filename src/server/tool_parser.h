#pragma once
// Finds calls of tools in a model's text while it is written.
//
//   free text ──head of a call──► body ──complete──► call ──► behind a call ──► free text
//       ▲                          │                            (tails, another call)
//       └────── broken: given back as text ──┘
//
// Every decision depends on the bytes alone, never on where one push ends and the next begins: text that could still
// become a tag is held back. So the pieces, joined, are the same however the text is cut.
//
// A call counts when its JSON (or Python) is complete and names one of the tools; anything else is text, to the last
// byte. White space before a call, and tags around it, are no text.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/answer_piece.h"
#include "server/tag_text.h"
#include "server/tool_call_reader.h"
#include "server/tool_format.h"

namespace sgl {

class ToolParser {
 public:
  struct Options {
    /// The text is constrained to well-formed calls: name and arguments of the first one are given out while they are
    /// written. Any other call is held back until it is complete, since a broken one, or one that the limit on tokens
    /// cuts off, is text.
    bool constrained = false;
  };
  /// Keeps references to `format` and `tools`.
  ToolParser(const ToolFormat& format, const std::vector<Tool>& tools, Options options);

  /// Appends what `text`, which continues the model's text, makes certain.
  void push(std::string_view text, std::vector<AnswerPiece>& out);
  /// The text has ended: appends what was held back.
  void finish(std::vector<AnswerPiece>& out);
  /// Whether the arguments of a call that was given out while it was written are not whole: the text ended in them, or
  /// they turned out broken.
  bool cut_off() const { return cut_off_; }

 private:
  // A pattern with the name of one of the tools, if it wants one.
  struct Opening {
    CallPattern::Where where;
    std::string tag;
    const Tool* tool;
  };

  void run(bool ended, std::vector<AnswerPiece>& out);
  bool read_text(bool ended, std::vector<AnswerPiece>& out);
  bool read_behind_call(bool ended, bool& moved);
  bool read_body(bool ended, std::vector<AnswerPiece>& out);
  TagMatch match_openings(CallPattern::Where where, size_t at);
  void begin_body(const Opening& opening, size_t begin, size_t length);
  void give_back(std::vector<AnswerPiece>& out);
  bool is_tool(const std::string& name) const;
  void send_call(std::vector<AnswerPiece>& out);

  const ToolFormat& format_;
  const std::vector<Tool>& tools_;
  const Options options_;
  std::vector<Opening> openings_;
  std::string first_bytes_;  ///< of the openings that stand anywhere

  HeldText held_;             ///< text that has not been given out
  bool at_start_ = true;      ///< nothing but white space has come
  bool behind_call_ = false;  ///< held_ begins behind a call
  bool cut_off_ = false;
  size_t broken_bytes_ = 0;  ///< of the calls that turned out broken
  int calls_ = 0;

  // The call that is being read.
  std::unique_ptr<ToolCallReader> body_;
  CallPattern::Where where_ = CallPattern::Where::Anywhere;
  size_t opening_begin_ = 0, body_begin_ = 0;  ///< in held_
  bool call_sent_ = false;
  size_t sent_ = 0;  ///< bytes of its arguments that have been given out
};

/// All pieces of a whole text.
std::vector<AnswerPiece> parse_tool_calls(const ToolFormat& format, const std::vector<Tool>& tools,
                                          std::string_view text);

}  // namespace sgl
