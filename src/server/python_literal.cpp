#include "server/python_literal.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "server/json_reader.h"
#include "server/json_scanner.h"
#include "server/json_writer.h"
#include "server/tag_text.h"

namespace sgl {
namespace {

bool is_word(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

// Recursive descent; every function is false where the text is wrong.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool only_value() { return value(0) && at_end(); }
  bool only_arguments() {
    out_ = '{';
    std::vector<std::string> names;
    while (!at_end()) {
      if (!names.empty()) {
        if (!take(',')) return false;
        if (at_end()) break;  // a comma behind the last one is allowed
      }
      const std::string name(word());
      skip();
      if (name.empty() || std::find(names.begin(), names.end(), name) != names.end() || !take('=')) return false;
      if (!names.empty()) out_ += ", ";
      append_json_string(out_, name);
      out_ += ": ";
      names.push_back(name);
      if (!value(0)) return false;
    }
    out_ += '}';
    return true;
  }
  std::string take_json() { return std::move(out_); }

 private:
  void skip() { at_ = skip_space(text_, at_); }
  bool at_end() {
    skip();
    return at_ == text_.size();
  }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  bool value(int depth) {
    if (at_end() || depth > kDeepestJson) return false;
    const char c = text_[at_];
    if (c == '"' || c == '\'') {
      std::string text;
      if (!string(text)) return false;
      append_json_string(out_, text);
      return true;
    }
    if (c == '[') return list('[', ']', depth);
    if (c == '(') return list('(', ')', depth);
    if (c == '{') return dict(depth);
    return scalar();
  }

  bool scalar() {
    const size_t begin = at_;
    while (at_ < text_.size() && (is_word(text_[at_]) || std::string_view("+-.").find(text_[at_]) < 3)) ++at_;
    const std::string_view token = text_.substr(begin, at_ - begin);
    if (token == "True" || token == "true") {
      out_ += "true";
    } else if (token == "False" || token == "false") {
      out_ += "false";
    } else if (token == "None" || token == "null") {
      out_ += "null";
    } else {
      // What is left is a number, of any size.
      const std::string item = '[' + std::string(token) + ']';
      if (token.empty() || JsonScanner('[').scan(item) != Scan::Done) return false;
      out_ += token;
    }
    return true;
  }

  bool list(char open, char close, int depth) {
    take(open);
    out_ += '[';
    for (bool first = true; !take(close); first = false) {
      if (!first && !take(',')) return false;
      if (!first && take(close)) break;
      if (!first) out_ += ", ";
      if (!value(depth + 1)) return false;
    }
    out_ += ']';
    return true;
  }

  bool dict(int depth) {
    take('{');
    out_ += '{';
    for (bool first = true; !take('}'); first = false) {
      if (!first && !take(',')) return false;
      if (!first && take('}')) break;
      if (!first) out_ += ", ";
      std::string key;
      if (at_end() || !string(key) || !take(':')) return false;
      append_json_string(out_, key);
      out_ += ": ";
      if (!value(depth + 1)) return false;
    }
    out_ += '}';
    return true;
  }

  bool string(std::string& text) {
    const char quote = text_[at_];
    if (quote != '"' && quote != '\'') return false;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == quote) {
        ++at_;
        return true;
      }
      if (c != '\\') {
        text += c;
      } else if (!escape(text)) {
        return false;
      }
    }
    return false;
  }

  // at_ is on the backslash, and after it on the last character of the escape.
  bool escape(std::string& text) {
    if (++at_ == text_.size()) return false;
    constexpr std::string_view kFrom = "ntrbfav0\\'\"", kTo("\n\t\r\b\f\a\v\0\\'\"", 11);
    const char c = text_[at_];
    const size_t plain = kFrom.find(c);
    if (plain != std::string_view::npos) {
      text += kTo[plain];
      return true;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {  // Python keeps the backslash
      text += '\\';
      text += c;
      return true;
    }
    uint32_t code = 0;
    if (!hex(digits, code)) return false;
    // JSON's way to write characters beyond 16 bits: two halves.
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_ + 1, 2) == "\\u") {
      at_ += 2;
      uint32_t low = 0;
      if (!hex(4, low) || low < 0xDC00 || low > 0xDFFF) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    append_utf8(text, code);
    return true;
  }

  bool hex(size_t digits, uint32_t& code) {
    for (size_t i = 0; i < digits; ++i) {
      if (++at_ >= text_.size()) return false;
      const size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(text_[at_] | 0x20));
      if (digit > 15) return false;
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::optional<std::string> python_literal_to_json(std::string_view text) {
  Reader reader(text);
  return reader.only_value() ? std::optional(reader.take_json()) : std::nullopt;
}

std::optional<std::string> python_arguments_to_json(std::string_view text) {
  Reader reader(text);
  return reader.only_arguments() ? std::optional(reader.take_json()) : std::nullopt;
}

}  // namespace sgl
