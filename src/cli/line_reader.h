#pragma once
// Where a chat's messages come from: a person at a terminal, or lines of a stream.

#include <iosfwd>
#include <string>

#include "cli/line_editor.h"

namespace sgl::cli {

class LineReader {
 public:
  virtual ~LineReader() = default;
  struct Line {
    enum class Kind {
      Text,
      Interrupt,  ///< Ctrl-C at an empty prompt
      End,        ///< Ctrl-D, or no more input
    } kind;
    std::string text;  ///< without its line end; may hold others inside
  };
  virtual Line read(const std::string& prompt) = 0;
};

/// Lines of a stream; a backslash at a line's end joins the next one with a line end between. Prints no prompt.
class StreamLineReader final : public LineReader {
 public:
  explicit StreamLineReader(std::istream& in) : in_(in) {}
  Line read(const std::string& prompt) override;

 private:
  std::istream& in_;
};

/// Messages typed at the terminal, with a LineEditor.
class TerminalLineReader final : public LineReader {
 public:
  explicit TerminalLineReader(std::ostream& out) : out_(out) {}
  Line read(const std::string& prompt) override;

 private:
  std::ostream& out_;
  LineEditor editor_;
};

}  // namespace sgl::cli
