// GBNF, the dialect of EBNF that llama.cpp made and SGLang's users write:
//   root  ::= "{" ws pair ("," ws pair)* "}"     # a comment
//   pair  ::= [a-z_]+ ":" number{1,3}
// A rule ends at a line end that is not inside of parentheses and not followed by a continuation.

#include <map>
#include <string>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/compile.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

constexpr int kDeepestGroup = 400;

class Reader {
 public:
  Reader(CharTerms& chars, std::string_view text) : chars_(chars), a_(chars.automaton()) {
    if (!is_valid_utf8(text)) throw Error(ErrorKind::InvalidArgument, "the EBNF grammar is not valid UTF-8");
    for_each_char(text, [&](char32_t c, uint32_t) { text_.push_back(c); });
  }

  TermId read() {
    skip(true);
    while (!at_end()) {
      std::string name = read_name();
      skip(true);
      if (!take(U"::=")) fail("'::='");
      RuleId rule = find_rule(name);
      if (rules_[name].defined) complain(fmt::format("the rule '{}' is defined twice", name));
      rules_[name].defined = true;
      skip(true);
      a_.define(rule, alternatives(0));
      skip(true);
    }
    for (const auto& [name, rule] : rules_) {
      if (!rule.defined) {
        throw Error(ErrorKind::InvalidArgument,
                    fmt::format("EBNF: the rule '{}' is used in line {} and not defined", name, rule.line));
      }
    }
    auto root = rules_.find("root");
    if (root == rules_.end())
      throw Error(ErrorKind::InvalidArgument, "EBNF: the rule 'root' is missing: the text is what it derives");
    return a_.call(root->second.id);
  }

 private:
  struct Known {
    RuleId id;
    bool defined = false;
    size_t line = 0;
  };

  bool at_end() const { return at_ >= text_.size(); }
  char32_t peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0; }
  bool take(char32_t c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view s) {
    if (text_.compare(at_, s.size(), s) != 0) return false;
    at_ += s.size();
    return true;
  }
  // Counted on from where it was asked last: rules are many.
  size_t line() const {
    size_t here = std::min(at_, text_.size());
    if (here < counted_to_) counted_to_ = lines_ = 0;
    for (; counted_to_ < here; ++counted_to_) lines_ += text_[counted_to_] == '\n' ? 1 : 0;
    return lines_ + 1;
  }
  [[noreturn]] void complain(const std::string& what) const {
    throw Error(ErrorKind::InvalidArgument, fmt::format("EBNF, line {}: {}", line(), what));
  }
  [[noreturn]] void fail(std::string_view expected) const {
    std::string got = "the end";
    if (!at_end()) {
      got.clear();
      append_utf8(got, text_[at_]);
      got = "'" + got + "'";
    }
    complain(fmt::format("expected {}, got {}", expected, got));
  }

  // White space and comments; `lines`: line ends as well.
  void skip(bool lines) {
    while (!at_end()) {
      char32_t c = peek();
      if (c == '#') {
        while (!at_end() && peek() != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        break;
      }
    }
  }

  static bool is_name(char32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  }
  static bool starts_name(char32_t c) { return is_name(c) && c != '.' && c != '-'; }

  std::string read_name() {
    if (!starts_name(peek())) fail("a rule's name");
    std::string name;
    while (!at_end() && is_name(peek())) name.push_back(static_cast<char>(text_[at_++]));
    return name;
  }

  RuleId find_rule(const std::string& name) {
    auto [at, added] = rules_.try_emplace(name);
    if (added) at->second = {a_.new_rule(name, true), false, line()};
    return at->second.id;
  }

  // Whether here a line ends and a new rule begins after it.
  bool rule_begins() {
    size_t start = at_;
    skip(true);
    bool begins = at_end();
    if (!begins && starts_name(peek())) {
      while (!at_end() && is_name(peek())) ++at_;
      skip(true);
      begins = take(U"::=");
    }
    at_ = start;
    return begins;
  }

  TermId alternatives(int depth) {
    if (depth > kDeepestGroup) {
      throw Error(ErrorKind::Unsupported,
                  fmt::format("EBNF, line {}: groups nested more than {} deep", line(), kDeepestGroup));
    }
    std::vector<TermId> options = {sequence(depth)};
    while (true) {
      skip(true);
      if (!take(U'|')) break;
      options.push_back(sequence(depth));
    }
    return a_.alt(options);
  }

  TermId sequence(int depth) {
    std::vector<TermId> items;
    while (true) {
      skip(false);
      if (at_end() || peek() == '|' || peek() == ')') break;
      if (peek() == '\n' || peek() == '\r') {
        if (rule_begins()) break;
        skip(true);
        continue;
      }
      if (starts_name(peek()) && rule_begins()) break;
      items.push_back(quantified(atom(depth)));
    }
    TermId t = kEpsilon;
    for (size_t i = items.size(); i-- > 0;) t = a_.cat(items[i], t);
    return t;
  }

  TermId atom(int depth) {
    char32_t c = peek();
    if (c == '"' || c == '\'') return literal(c);
    if (c == '[') return char_class();
    if (c == '.') {
      ++at_;
      return chars_.of(CharSet::all(), Spelling::Plain);
    }
    if (c == '(') {
      ++at_;
      TermId inside = alternatives(depth + 1);
      skip(true);
      if (!take(U')')) fail("')'");
      return inside;
    }
    if (starts_name(c)) return a_.call(find_rule(read_name()));
    fail("a literal, a class, a group or a rule's name");
  }

  uint64_t number() {
    if (peek() < '0' || peek() > '9') fail("a number");
    uint64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      n = n * 10 + (peek() - '0');
      if (n > 1'000'000'000'000'000'000) complain("a count above 10^18");
    }
    return n;
  }

  TermId quantified(TermId item) {
    while (true) {
      skip(false);
      if (take(U'*')) {
        item = a_.star(item);
      } else if (take(U'+')) {
        item = a_.repeat(item, 1, kUnbounded);
      } else if (take(U'?')) {
        item = a_.optional(item);
      } else if (peek() == '{') {
        ++at_;
        skip(false);
        uint64_t min = peek() == ',' ? 0 : number(), max = min;
        skip(false);
        if (take(U',')) {
          skip(false);
          max = peek() == '}' ? kUnbounded : number();
          skip(false);
        }
        if (!take(U'}')) fail("'}'");
        if (max < min) complain("the smaller count must come first");
        item = a_.repeat(item, min, max);
      } else {
        return item;
      }
    }
  }

  char32_t escape() {
    if (at_end()) fail("an escape");
    char32_t c = text_[at_++];
    auto hex = [&](int digits) {
      char32_t value = 0;
      for (int i = 0; i < digits; ++i, ++at_) {
        char32_t h = peek();
        if (h >= '0' && h <= '9') {
          value = value << 4 | (h - '0');
        } else if ((h | 32) >= 'a' && (h | 32) <= 'f') {
          value = value << 4 | ((h | 32) - 'a' + 10);
        } else {
          fail("a hexadecimal digit");
        }
      }
      if (value > kLastChar || (value >= 0xD800 && value <= 0xDFFF)) complain("an escape that is no character");
      return value;
    };
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'b':
        return '\b';
      case '0':
        return 0;
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      default:
        break;
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) {
      --at_;
      fail("an escape: \\n \\t \\r \\f \\v \\b \\0 \\xHH \\uHHHH \\UHHHHHHHH or a sign");
    }
    return c;
  }

  TermId literal(char32_t quote) {
    ++at_;
    std::string text;
    while (!take(quote)) {
      if (at_end() || peek() == '\n') fail("the literal's end");
      char32_t c = text_[at_++];
      append_utf8(text, c == '\\' ? escape() : c);
    }
    return a_.literal(text);
  }

  TermId char_class() {
    ++at_;
    bool negated = take(U'^');
    std::vector<CharSet::Range> ranges;
    while (!take(U']')) {
      if (at_end()) fail("']'");
      auto one = [&] {
        char32_t c = text_[at_++];
        return c == '\\' ? escape() : c;
      };
      char32_t low = one(), high = low;
      if (peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size()) {
        ++at_;
        high = one();
        if (high < low) complain("a range whose end comes before its start");
      }
      ranges.emplace_back(low, high);
    }
    CharSet set(std::move(ranges));
    return chars_.of(negated ? ~set : set, Spelling::Plain);
  }

  CharTerms& chars_;
  Automaton& a_;
  std::u32string text_;
  size_t at_ = 0;
  mutable size_t counted_to_ = 0, lines_ = 0;  // line ends before counted_to_
  std::map<std::string, Known> rules_;
};

}  // namespace

TermId compile_ebnf(CharTerms& chars, std::string_view text) { return Reader(chars, text).read(); }

}  // namespace sgl::grammar
