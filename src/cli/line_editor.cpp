#include "cli/line_editor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <utf8proc.h>

namespace sgl::cli {
namespace {

constexpr unsigned char key(char letter) { return static_cast<unsigned char>(letter & 0x1f); }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }
bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t'; }

/// Columns of the character at `at`, and its length in bytes.
struct Cell {
  int width;
  size_t bytes;
};

Cell cell(const std::string& text, size_t at) {
  utf8proc_int32_t point = 0;
  auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                            static_cast<utf8proc_ssize_t>(text.size() - at), &point);
  if (n <= 0) return {1, 1};
  return {point < 0x20 ? 1 : utf8proc_charwidth(point), static_cast<size_t>(n)};
}

}  // namespace

int display_width(const std::string& text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    Cell c = cell(text, at);
    width += c.width;
    at += c.bytes;
  }
  return width;
}

LineEditor::Event LineEditor::feed(unsigned char byte) {
  switch (state_) {
    case State::Plain:
      return feed_plain(byte);
    case State::Escape:
      state_ = State::Plain;
      if (byte == '[') {
        state_ = State::Sequence;
        parameters_.clear();
      } else if (byte == 'O') {
        state_ = State::Single;
      } else if (byte == '\r' || byte == '\n') {
        insert('\n');
      } else if (byte == 'b') {
        cursor_ = word_before(cursor_);
      } else if (byte == 'f') {
        cursor_ = word_after(cursor_);
      }
      return Event::None;
    case State::Sequence:
      if (byte >= 0x40 && byte <= 0x7e) {
        state_ = State::Plain;
        return feed_sequence(static_cast<char>(byte));
      }
      if (parameters_.size() < 16) parameters_ += static_cast<char>(byte);
      return Event::None;
    case State::Single:
      state_ = State::Plain;
      return feed_sequence(static_cast<char>(byte));
  }
  return Event::None;
}

LineEditor::Event LineEditor::feed_plain(unsigned char byte) {
  if (byte == 0x1b) {
    state_ = State::Escape;
    return Event::None;
  }
  if (pasting_) {
    insert(byte == '\r' ? '\n' : static_cast<char>(byte));
    return Event::None;
  }
  switch (byte) {
    case '\r':
      return Event::Submit;
    case '\n':
      insert('\n');
      break;
    case key('C'):
      return Event::Interrupt;
    case key('D'):
      if (text_.empty()) return Event::End;
      erase(cursor_, after(cursor_));
      break;
    case key('H'):
    case 0x7f:
      erase(before(cursor_), cursor_);
      break;
    case key('A'):
      cursor_ = 0;
      break;
    case key('E'):
      cursor_ = text_.size();
      break;
    case key('B'):
      cursor_ = before(cursor_);
      break;
    case key('F'):
      cursor_ = after(cursor_);
      break;
    case key('P'):
      if (recalled_ > 0) recall(recalled_ - 1);
      break;
    case key('N'):
      recall(recalled_ + 1);
      break;
    case key('K'):
      erase(cursor_, text_.size());
      break;
    case key('U'):
      erase(0, cursor_);
      break;
    case key('W'):
      erase(word_before(cursor_), cursor_);
      break;
    default:
      if (byte >= 0x20 || byte == '\t') insert(static_cast<char>(byte));
  }
  return Event::None;
}

/// The end of ESC [ parameters final, or ESC O final.
LineEditor::Event LineEditor::feed_sequence(char final) {
  std::string parameters = std::exchange(parameters_, {});
  switch (final) {
    case 'A':
      return feed_plain(key('P'));
    case 'B':
      return feed_plain(key('N'));
    case 'C':
      cursor_ = parameters.ends_with(";5") ? word_after(cursor_) : after(cursor_);
      break;
    case 'D':
      cursor_ = parameters.ends_with(";5") ? word_before(cursor_) : before(cursor_);
      break;
    case 'H':
      cursor_ = 0;
      break;
    case 'F':
      cursor_ = text_.size();
      break;
    case '~':
      if (parameters == "3") erase(cursor_, after(cursor_));
      if (parameters == "1" || parameters == "7") cursor_ = 0;
      if (parameters == "4" || parameters == "8") cursor_ = text_.size();
      if (parameters == "200") pasting_ = true;
      if (parameters == "201") pasting_ = false;
      break;
    default:
      break;
  }
  return Event::None;
}

void LineEditor::insert(char c) { text_.insert(text_.begin() + static_cast<std::ptrdiff_t>(cursor_++), c); }

void LineEditor::erase(size_t from, size_t to) {
  text_.erase(from, to - from);
  cursor_ = from;
}

void LineEditor::recall(size_t position) {
  if (position > history_.size()) return;
  if (recalled_ == history_.size()) draft_ = text_;
  recalled_ = position;
  text_ = position == history_.size() ? draft_ : history_[position];
  cursor_ = text_.size();
}

void LineEditor::accept() {
  if (!text_.empty() && (history_.empty() || history_.back() != text_)) history_.push_back(text_);
  clear();
}

void LineEditor::clear() {
  text_.clear();
  draft_.clear();
  cursor_ = 0;
  recalled_ = history_.size();
  pasting_ = false;
}

size_t LineEditor::before(size_t at) const {
  while (at > 0 && is_continuation(text_[--at])) {
  }
  return at;
}

size_t LineEditor::after(size_t at) const {
  if (at < text_.size()) ++at;
  while (at < text_.size() && is_continuation(text_[at])) ++at;
  return at;
}

size_t LineEditor::word_before(size_t at) const {
  while (at > 0 && is_space(text_[at - 1])) --at;
  while (at > 0 && !is_space(text_[at - 1])) --at;
  return at;
}

size_t LineEditor::word_after(size_t at) const {
  while (at < text_.size() && is_space(text_[at])) ++at;
  while (at < text_.size() && !is_space(text_[at])) ++at;
  return at;
}

std::string LineEditor::draw(const std::string& prompt, int columns) const {
  const int room = std::max(columns - display_width(prompt) - 1, 8);
  // The window begins so far left of the cursor that the cursor stays inside of it.
  size_t begin = cursor_;
  int left = 0;
  while (begin > 0) {
    size_t previous = before(begin);
    int width = cell(text_, previous).width;
    if (left + width >= room) break;
    left += width;
    begin = previous;
  }
  std::string shown;
  int width = 0;
  for (size_t at = begin; at < text_.size();) {
    Cell c = cell(text_, at);
    if (width + c.width > room) break;
    if (text_[at] == '\n') {
      shown += "↵";
    } else if (static_cast<unsigned char>(text_[at]) < 0x20) {
      shown += ' ';
    } else {
      shown.append(text_, at, c.bytes);
    }
    width += c.width;
    at += c.bytes;
  }
  std::string out = fmt::format("\r\x1b[K{}{}\r", prompt, shown);
  int column = display_width(prompt) + left;
  if (column > 0) out += fmt::format("\x1b[{}C", column);
  return out;
}

}  // namespace sgl::cli
