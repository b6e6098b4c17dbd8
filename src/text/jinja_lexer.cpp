// A hand-written scanner for the rules that Jinja writes as regular expressions. Its states: text (root), inside a tag,
// inside {% raw %}.

#include "text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

constexpr std::array<std::pair<std::string_view, TokenType>, 26> kOperators = {{
    // longest first
    {"//", TokenType::FloorDiv},   {"**", TokenType::Pow},         {"==", TokenType::Eq},
    {"!=", TokenType::Ne},         {">=", TokenType::Ge},          {"<=", TokenType::Le},
    {"+", TokenType::Add},         {"-", TokenType::Sub},          {"/", TokenType::Div},
    {"*", TokenType::Mul},         {"%", TokenType::Mod},          {"~", TokenType::Tilde},
    {"[", TokenType::LeftBracket}, {"]", TokenType::RightBracket}, {"(", TokenType::LeftParen},
    {")", TokenType::RightParen},  {"{", TokenType::LeftBrace},    {"}", TokenType::RightBrace},
    {">", TokenType::Gt},          {"<", TokenType::Lt},           {"=", TokenType::Assign},
    {".", TokenType::Dot},         {":", TokenType::Colon},        {"|", TokenType::Pipe},
    {",", TokenType::Comma},       {";", TokenType::Semicolon},
}};

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }

// \r\n and \r become \n; one newline at the very end is dropped.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

// Digits with single underscores between them, from `at`; returns their end, or `at` if there are none.
template <typename IsDigit>
size_t skip_digits(std::string_view s, size_t at, IsDigit is_digit_of_base) {
  size_t end = at;
  while (end < s.size()) {
    size_t next = end > at && s[end] == '_' ? end + 1 : end;
    if (next >= s.size() || !is_digit_of_base(s[next])) break;
    end = next + 1;
  }
  return end;
}

// Decimal digits of an integer written in `base`, however large.
std::string to_decimal(std::string_view digits, int base) {
  if (base == 10) {
    size_t zeros = std::min(digits.find_first_not_of('0'), digits.size() - 1);
    return std::string(digits.substr(zeros));
  }
  std::string decimal = "0";  // least significant first
  for (char c : digits) {
    int carry = std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : (c | 0x20) - 'a' + 10;
    for (char& d : decimal) {
      int x = (d - '0') * base + carry;
      d = static_cast<char>('0' + x % 10);
      carry = x / 10;
    }
    for (; carry > 0; carry /= 10) decimal += static_cast<char>('0' + carry % 10);
  }
  std::reverse(decimal.begin(), decimal.end());
  return decimal;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)), s_(source_) {}

  std::vector<Token> run() {
    while (at_ < s_.size()) lex_text();
    tokens_.push_back({TokenType::End, line_, {}});
    return std::move(tokens_);
  }

 private:
  bool starts(std::string_view what) const { return s_.substr(at_).starts_with(what); }
  size_t skip_space(size_t from) const {
    std::string_view rest = s_.substr(from);
    return from + (rest.size() - strip(rest, {.right = false}).size());
  }
  void advance(size_t to) {
    line_ += static_cast<int>(
        std::count(s_.begin() + static_cast<ptrdiff_t>(at_), s_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void push(TokenType type, std::string text = {}) { tokens_.push_back({type, line_, std::move(text)}); }

  // The text [at_, tag) before a tag whose sign is '-', '+' or 0, as much of it as stays.
  void emit_text(size_t tag, char sign, bool is_variable) {
    std::string_view text = s_.substr(at_, tag - at_);
    std::string_view kept = text;
    if (sign == '-') {
      kept = strip(text, {.left = false});
    } else if (sign != '+' && !is_variable) {
      size_t line_begin = text.rfind('\n') + 1;  // 0 if there is none
      bool whole_line = line_begin > 0 || line_starting_;
      if (whole_line && strip(text.substr(line_begin)).empty()) kept = text.substr(0, line_begin);
    }
    if (!kept.empty()) push(TokenType::Data, std::string(kept));
    advance(tag);
  }

  char sign_at(size_t i) const { return i < s_.size() && (s_[i] == '-' || s_[i] == '+') ? s_[i] : '\0'; }

  // The end of "%}" with what it swallows, for a tag's end at `i`; 0 if there is none.
  //   +%} keeps what follows, -%} takes all white space, %} one newline.
  size_t block_end(size_t i, std::string_view close = "%}") const {
    std::string_view rest = s_.substr(i);
    if (rest.starts_with('+') && rest.substr(1).starts_with(close)) return i + 3;
    if (rest.starts_with('-') && rest.substr(1).starts_with(close)) return skip_space(i + 3);
    if (!rest.starts_with(close)) return 0;
    return rest.substr(2).starts_with('\n') ? i + 3 : i + 2;
  }

  void finish_tag(size_t end) {
    advance(end);
    line_starting_ = s_[end - 1] == '\n';
  }

  void lex_text() {
    size_t tag = at_;
    while (true) {
      tag = s_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= s_.size()) {
        push(TokenType::Data, std::string(s_.substr(at_)));
        return advance(s_.size());
      }
      if (s_[tag + 1] == '%' || s_[tag + 1] == '{' || s_[tag + 1] == '#') break;
      ++tag;
    }
    char kind = s_[tag + 1];
    char sign = sign_at(tag + 2);
    emit_text(tag, sign, kind == '{');
    line_starting_ = false;
    if (kind == '#') return lex_comment(tag + (sign ? 3 : 2));
    if (kind == '%' && lex_raw(tag)) return;
    push(kind == '{' ? TokenType::VariableBegin : TokenType::BlockBegin);
    advance(tag + (sign ? 3 : 2));
    lex_tag(kind == '{');
  }

  void lex_comment(size_t begin) {
    size_t end = s_.find("#}", begin);
    if (begin >= s_.size()) return advance(s_.size());  // Jinja misses the end only of a comment with a text
    if (end == std::string_view::npos) syntax_error(line_, "Missing end of comment tag");
    if (end > begin && sign_at(end - 1) != '\0') --end;
    finish_tag(block_end(end, "#}"));
  }

  // {% raw %} … {% endraw %}; false if the tag at `tag` is another one.
  bool lex_raw(size_t tag) {
    auto word_tag = [&](size_t open, std::string_view word) -> size_t {  // where the tag's closing part begins, or 0
      size_t i = skip_space(open + 2 + (sign_at(open + 2) ? 1 : 0));
      if (!s_.substr(i).starts_with(word)) return 0;
      return skip_space(i + word.size());
    };
    size_t close = word_tag(tag, "raw");
    if (close == 0) return false;
    size_t end = s_.substr(close).starts_with("-%}")  ? skip_space(close + 3)
                 : s_.substr(close).starts_with("%}") ? close + 2
                                                      : 0;
    if (end == 0) return false;
    finish_tag(end);
    for (size_t open = s_.find("{%", at_); open != std::string_view::npos; open = s_.find("{%", open + 1)) {
      size_t inner_close = word_tag(open, "endraw");
      size_t inner_end = inner_close != 0 ? block_end(inner_close) : 0;
      if (inner_end == 0) continue;
      emit_text(open, sign_at(open + 2), false);
      finish_tag(inner_end);
      return true;
    }
    if (at_ >= s_.size()) return true;
    syntax_error(line_, "Missing end of raw directive");
  }

  void lex_tag(bool is_variable) {
    std::string open_brackets;
    while (true) {
      if (open_brackets.empty()) {
        size_t end = is_variable ? variable_end() : block_end(at_);
        if (end != 0) {
          push(is_variable ? TokenType::VariableEnd : TokenType::BlockEnd);
          return finish_tag(end);
        }
      }
      if (at_ >= s_.size()) return;  // the parser sees the End and says what it wanted
      size_t after_space = skip_space(at_);
      if (after_space != at_) {
        advance(after_space);
        continue;
      }
      if (!lex_number() && !lex_name() && !lex_string()) lex_operator(open_brackets);
    }
  }

  size_t variable_end() const {
    if (starts("-}}")) return skip_space(at_ + 3);
    return starts("}}") ? at_ + 2 : 0;
  }

  bool lex_number() {
    if (!is_digit_char(s_[at_])) return false;
    size_t whole = skip_digits(s_, at_, is_digit_char);
    if (at_ == 0 || s_[at_ - 1] != '.') {  // in a.1.2 there is no float
      size_t end = whole;
      if (end < s_.size() && s_[end] == '.') end = std::max(end, skip_fraction(end));
      end = skip_exponent(end);
      if (end != whole) {
        std::string text(s_.substr(at_, end - at_));
        std::erase(text, '_');
        push(TokenType::Float, std::move(text));
        advance(end);
        return true;
      }
    }
    lex_integer(whole);
    return true;
  }

  size_t skip_fraction(size_t dot) const {
    size_t end = skip_digits(s_, dot + 1, is_digit_char);
    return end == dot + 1 ? dot : end;
  }
  size_t skip_exponent(size_t i) const {
    if (i >= s_.size() || (s_[i] | 0x20) != 'e') return i;
    size_t digits = i + 1 + (sign_at(i + 1) ? 1 : 0);
    size_t end = skip_digits(s_, digits, is_digit_char);
    return end == digits ? i : end;
  }

  void lex_integer(size_t decimal_end) {
    auto emit = [&](size_t digits_begin, size_t end, int base) {
      std::string digits(s_.substr(digits_begin, end - digits_begin));
      std::erase(digits, '_');
      constexpr size_t kMaxDigits = 1000;  // the conversion is quadratic
      if (digits.size() > kMaxDigits) syntax_error(line_, "an integer with more than 1000 digits");
      push(TokenType::Integer, to_decimal(digits, base));
      advance(end);
    };
    if (s_[at_] != '0') return emit(at_, decimal_end, 10);
    char letter = at_ + 1 < s_.size() ? static_cast<char>(s_[at_ + 1] | 0x20) : '\0';
    int base = letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 10;
    if (base != 10) {
      size_t begin = at_ + 2;
      if (begin < s_.size() && s_[begin] == '_') ++begin;
      size_t end = skip_digits(s_, begin, [&](char c) {
        return base == 16 ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c >= '0' && c < '0' + base;
      });
      if (end != begin) return emit(begin, end, base);
    }
    emit(at_, skip_digits(s_, at_, [](char c) { return c == '0'; }), 10);  // 0, 00, not 01
  }

  bool lex_name() {
    size_t end = at_;
    while (end < s_.size()) {
      Utf8Char c = decode_utf8(s_, end);
      bool part = c.code < 0x80 ? is_word(c.code) : is_word(c.code) || is_combining_mark(c.code) || c.code == 0xB7;
      if (!part) break;
      end += c.size;
    }
    if (end == at_) return false;
    std::string_view name = s_.substr(at_, end - at_);
    if (!is_identifier(name)) syntax_error(line_, "Invalid character in identifier");
    push(TokenType::Name, std::string(name));
    advance(end);
    return true;
  }

  bool lex_string() {
    char quote = s_[at_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = at_ + 1;
    while (end < s_.size() && s_[end] != quote) end += s_[end] == '\\' ? 2 : 1;
    if (end >= s_.size()) return false;
    push(TokenType::String, unescape(s_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
    return true;
  }

  // Python's escapes. As there, an unknown one stays as it is.
  std::string unescape(std::string_view raw) const {
    std::string out;
    out.reserve(raw.size());
    for (size_t i = 0; i < raw.size();) {
      if (raw[i] != '\\') {
        out += raw[i++];
        continue;
      }
      char e = raw[i + 1];  // a string never ends in a lone backslash
      constexpr std::string_view kPlain = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
      if (size_t k = kPlain.find(e); k != std::string_view::npos) {
        out += kMeaning[k];
        i += 2;
      } else if (e == '\n') {
        i += 2;
      } else if (e >= '0' && e <= '7') {
        i = unescape_number(raw, i + 1, 8, 1, 3, out);
      } else if (e == 'x' || e == 'u' || e == 'U') {
        size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : 8;
        i = unescape_number(raw, i + 2, 16, digits, digits, out);
      } else if (e == 'N') {
        syntax_error(line_, "\\N{name} is not supported; write \\u and the character's number");
      } else if (static_cast<unsigned char>(e) >= 0x80) {
        // Jinja turns a non-ASCII character into an escape of its own before it reads the escapes.
        Utf8Char c = decode_utf8(raw, i + 1);
        out += c.code < 0x100     ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c.code))
               : c.code < 0x10000 ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c.code))
                                  : fmt::format("\\U{:08x}", static_cast<uint32_t>(c.code));
        i += 1 + c.size;
      } else {
        out += '\\';
        out += e;
        i += 2;
      }
    }
    return out;
  }

  size_t unescape_number(std::string_view raw, size_t at, int base, size_t min_digits, size_t max_digits,
                         std::string& out) const {
    char32_t code = 0;
    size_t n = 0;
    for (; n < max_digits && at + n < raw.size(); ++n) {
      char c = raw[at + n];
      bool ok = base == 8 ? c >= '0' && c <= '7' : std::isxdigit(static_cast<unsigned char>(c)) != 0;
      if (!ok) break;
      code = code * static_cast<char32_t>(base) +
             static_cast<char32_t>(is_digit_char(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (n < min_digits) syntax_error(line_, "truncated escape in a string");
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) syntax_error(line_, "an escape is no Unicode character");
    append_utf8(out, code);
    return at + n;
  }

  void lex_operator(std::string& open_brackets) {
    for (const auto& [text, type] : kOperators) {
      if (!starts(text)) continue;
      if (text == "{" || text == "(" || text == "[") {
        open_brackets += text == "{" ? '}' : text == "(" ? ')' : ']';
      } else if (text == "}" || text == ")" || text == "]") {
        if (open_brackets.empty()) syntax_error(line_, fmt::format("unexpected '{}'", text));
        if (open_brackets.back() != text[0]) {
          syntax_error(line_, fmt::format("unexpected '{}', expected '{}'", text, open_brackets.back()));
        }
        open_brackets.pop_back();
      }
      push(type);
      return advance(at_ + text.size());
    }
    syntax_error(line_, fmt::format("unexpected char '{}'", s_.substr(at_, char_size(s_, at_))));
  }

  std::string source_;
  std::string_view s_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // nothing but dropped text stands before at_ on its line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

void syntax_error(int line, std::string_view message) {
  throw Error(ErrorKind::CorruptFile, fmt::format("chat template, line {}: {}", line, message));
}

std::string describe(TokenType type) {
  for (const auto& [text, t] : kOperators) {
    if (t == type) return std::string(text);
  }
  switch (type) {
    case TokenType::Data:
      return "template data / text";
    case TokenType::VariableBegin:
      return "begin of print statement";
    case TokenType::VariableEnd:
      return "end of print statement";
    case TokenType::BlockBegin:
      return "begin of statement block";
    case TokenType::BlockEnd:
      return "end of statement block";
    case TokenType::Name:
      return "name";
    case TokenType::String:
      return "string";
    case TokenType::Integer:
      return "integer";
    case TokenType::Float:
      return "float";
    default:
      return "end of template";
  }
}

std::string describe(const Token& token) { return token.type == TokenType::Name ? token.text : describe(token.type); }

}  // namespace sgl::jinja
