#pragma once
// Editing one message in a terminal: keys in, text and screen updates out. No system calls here: bytes are fed in and
// what is to be drawn comes back as a string, so that all of it can be tested.
//
// The text stands in one row that scrolls sideways around the cursor; line ends in it show as ↵.

#include <cstddef>
#include <string>
#include <vector>

namespace sgl::cli {

/// The editor's state between two keys. Keys: arrows, Home, End, Delete, Backspace; Ctrl-A E B F P N K U W D L;
/// Alt-B, Alt-F; Alt-Enter or Ctrl-J: a line end in the text; pasted text (bracketed paste) keeps its line ends.
class LineEditor {
 public:
  enum class Event {
    None,       ///< redraw
    Submit,     ///< Enter: take text()
    Interrupt,  ///< Ctrl-C
    End,        ///< Ctrl-D with an empty text
  };

  /// Takes one byte of the terminal's input.
  Event feed(unsigned char byte);

  const std::string& text() const { return text_; }
  /// Begins a new, empty message; the submitted one becomes part of the history unless it repeats the last.
  void accept();
  /// Drops what is typed.
  void clear();

  /// Escape sequences that draw prompt and text into the present row of a terminal `columns` wide, cursor placed.
  std::string draw(const std::string& prompt, int columns) const;

 private:
  Event feed_plain(unsigned char byte);
  Event feed_sequence(char final);
  void insert(char c);
  void erase(size_t from, size_t to);
  void recall(size_t position);
  size_t before(size_t at) const;
  size_t after(size_t at) const;
  size_t word_before(size_t at) const;
  size_t word_after(size_t at) const;

  std::string text_;   ///< UTF-8
  size_t cursor_ = 0;  ///< byte offset, at a character's start
  std::vector<std::string> history_;
  size_t recalled_ = 0;  ///< index in history_; its size: the message being written
  std::string draft_;    ///< that message, while an older one is shown

  enum class State { Plain, Escape, Sequence, Single } state_ = State::Plain;
  std::string parameters_;  ///< of a sequence ESC [ … that is not finished
  bool pasting_ = false;
};

/// Columns that a UTF-8 text takes in a terminal.
int display_width(const std::string& text);

}  // namespace sgl::cli
