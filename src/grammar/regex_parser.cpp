// Patterns → syntax trees. One recursive descent for both dialects; where they differ it says so.

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <string>

#include <fmt/format.h>

#include <sgl/error.h>

#include "grammar/regex_syntax.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::grammar {
namespace {

using Kind = RegexNode::Kind;
constexpr int kDeepestGroup = 200;
constexpr uint64_t kMostRepeats = 1'000'000'000'000'000'000;

class Parser {
 public:
  Parser(std::string_view pattern, RegexDialect dialect) : python_(dialect == RegexDialect::Python) {
    if (!is_valid_utf8(pattern)) throw Error(ErrorKind::InvalidArgument, "the regular expression is not valid UTF-8");
    for_each_char(pattern, [&](char32_t c, uint32_t) { text_.push_back(c); });
  }

  RegexNode parse() {
    RegexNode node = alternatives(0);
    if (!at_end()) fail("unbalanced ')'");
    return node;
  }

 private:
  struct Flags {
    bool ignore_case = false, dot_all = false, verbose = false, ascii = false;
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
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the regular expression is malformed at character {}: {}", at_, what));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::Unsupported,
                fmt::format("the regular expression uses {} at character {}, which is not supported", what, at_));
  }

  RegexNode alternatives(int depth) {
    if (depth > kDeepestGroup) refuse(fmt::format("groups nested more than {} deep", kDeepestGroup));
    first_ = depth == 0;
    Flags outer = flags_;
    RegexNode alt;
    alt.kind = Kind::Alt;
    do {
      alt.children.push_back(sequence(depth));
      first_ = false;
    } while (take(U'|'));
    flags_ = outer;
    if (alt.children.size() == 1) return std::move(alt.children[0]);
    return alt;
  }

  RegexNode sequence(int depth) {
    RegexNode cat;
    while (!at_end() && peek() != '|' && peek() != ')') {
      if (flags_.verbose && skip_verbose()) continue;
      const bool in_group = peek() == '(';
      std::optional<RegexNode> item = atom(depth);
      if (item) first_ = false;
      const bool is_anchor = item && !in_group && (item->kind == Kind::Start || item->kind == Kind::End);
      if (item) cat.children.push_back(quantified(std::move(*item), is_anchor));
    }
    if (cat.children.size() == 1) return std::move(cat.children[0]);
    return cat;
  }

  bool skip_verbose() {
    char32_t c = peek();
    if (c == ' ' || (c >= 9 && c <= 13)) {
      ++at_;
      return true;
    }
    if (c != '#') return false;
    while (!at_end() && peek() != '\n') ++at_;
    return true;
  }

  static bool is_surrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

  static RegexNode set_node(CharSet set) {
    RegexNode node;
    node.kind = Kind::Set;
    node.set = std::move(set);
    return node;
  }
  RegexNode char_node(char32_t c) const {
    CharSet set = CharSet::of(c);
    return set_node(folded(set));
  }
  CharSet folded(const CharSet& set) const { return flags_.ignore_case ? set.fold_case(flags_.ascii) : set; }
  static RegexNode anchor(Kind kind) {
    RegexNode node;
    node.kind = kind;
    return node;
  }

  // Empty: something without effect, as a comment.
  std::optional<RegexNode> atom(int depth) {
    char32_t c = peek();
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return set_node(char_class());
      case '^':
        ++at_;
        return anchor(Kind::Start);
      case '$': {
        ++at_;
        RegexNode end = anchor(Kind::End);
        end.or_newline = python_;
        return end;
      }
      case '.': {
        ++at_;
        if (flags_.dot_all) return set_node(CharSet::all());
        return set_node(python_ ? ~CharSet::of('\n') : ~CharSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
      }
      case '*':
      case '+':
      case '?':
        fail("nothing to repeat");
      case '\\':
        return escape_outside();
      default:
        break;
    }
    if (c == '{') {
      uint64_t min, max;
      size_t start = at_;
      if (counts(min, max)) fail("nothing to repeat");
      at_ = start;
    }
    ++at_;
    return char_node(c);
  }

  std::optional<RegexNode> group(int depth) {
    if (looks()) return look(depth);
    ++at_;
    if (take(U"?:")) {
    } else if (skip_comment()) {
      return std::nullopt;
    } else if (peek() == '?' && peek(1) == '>') {
      refuse("an atomic group");
    } else if (peek() == '?' && peek(1) == '(') {
      refuse("a conditional group");
    } else if (take(U"?P=")) {
      refuse("a back-reference");
    } else if (take(python_ ? U"?P<" : U"?<")) {
      std::string name;
      while (!at_end() && peek() != '>') append_utf8(name, text_[at_++]);
      if (!take(U'>')) fail("a group's name without its end");
      if (python_ && !jinja::is_identifier(name)) fail(fmt::format("the group's name '{}' is no identifier", name));
      if (python_ && !names_.insert(name).second) fail(fmt::format("the group's name '{}' comes twice", name));
    } else if (take(U'?')) {
      Flags inner = flags_;
      bool on = true;
      std::u32string turned[2];  // off, on
      for (; !at_end() && peek() != ')' && peek() != ':'; ++at_) {
        turned[on].push_back(peek());
        switch (peek()) {
          case '-':
            if (!on) fail("an unknown extension of '('");
            on = false;
            turned[1].pop_back();
            break;
          case 'i':
            inner.ignore_case = on;
            break;
          case 's':
            inner.dot_all = on;
            break;
          case 'x':
            inner.verbose = on;
            break;
          case 'a':
            inner.ascii = on;
            break;
          case 'u':
            inner.ascii = false;
            break;
          case 'm':
            refuse("the flag m");
          case 'L':
            refuse("the flag L");
          default:
            fail("an unknown extension of '('");
        }
      }
      check_flags(turned[0], turned[1], on);
      if (take(U')')) {
        // Python's are global, so that they could only change what was read already.
        if (!first_ || depth > 0) fail("flags for the whole pattern that do not stand at its start");
        if (!on) fail("flags are turned off for a group only, (?-i:…)");
        flags_ = inner;
        return std::nullopt;
      }
      if (!take(U':')) fail("a group of flags without its end");
      Flags outer = flags_;
      flags_ = inner;
      RegexNode body = alternatives(depth + 1);
      flags_ = outer;
      if (!take(U')')) fail("missing ')'");
      return body;
    }
    RegexNode body = alternatives(depth + 1);
    if (!take(U')')) fail("missing ')'");
    return body;
  }

  // Whether lookaround begins here.
  bool looks() const {
    const size_t sign = peek(2) == '<' ? 3 : 2;
    return peek() == '(' && peek(1) == '?' && (peek(sign) == '=' || peek(sign) == '!');
  }

  RegexNode look(int depth) {
    at_ += 2;
    RegexNode node = anchor(Kind::Look);
    node.behind = take(U'<');
    node.negative = text_[at_++] == '!';
    node.children.push_back(alternatives(depth + 1));
    if (!take(U')')) fail("missing ')'");
    const auto [least, most] = lengths_of(node.children[0]);
    if (python_ && node.behind && least != most) fail("a lookbehind of several lengths");
    return node;
  }

  void check_flags(const std::u32string& off, const std::u32string& on, bool all_on) const {
    auto has = [](const std::u32string& flags, char32_t c) { return flags.find(c) != std::u32string::npos; };
    if (on.empty() && off.empty()) fail("an unknown extension of '('");
    if (!all_on && off.empty()) fail("no flag follows '-'");
    if (has(on, 'a') && has(on, 'u')) fail("the flags a and u exclude each other");
    if (has(off, 'a') || has(off, 'u')) fail("the flags a and u cannot be turned off");
    for (char32_t c : off) {
      if (has(on, c)) fail("a flag is turned on and off");
    }
  }

  bool number(uint64_t& value) {
    size_t start = at_;
    value = 0;
    while (!at_end() && peek() >= '0' && peek() <= '9') {
      value = value * 10 + (peek() - '0');
      if (value > kMostRepeats) refuse(fmt::format("a count above {}", kMostRepeats));
      ++at_;
    }
    return at_ > start;
  }

  // {n}, {n,}, {n,m}, and Python's {,m}. False, and nothing taken: this '{' is a character.
  bool counts(uint64_t& min, uint64_t& max) {
    size_t start = at_;
    auto give_up = [&] {
      at_ = start;
      return false;
    };
    if (!take(U'{')) return false;
    bool has_min = number(min);
    if (!has_min && !python_) return give_up();
    if (!has_min) min = 0;
    max = min;
    if (take(U',')) {
      if (!number(max)) max = kUnbounded;
    } else if (!has_min) {
      return give_up();
    }
    if (!take(U'}')) return give_up();
    if (max < min) fail("the smaller count must come first");
    return true;
  }

  // A comment, whose parenthesis was read.
  bool skip_comment() {
    if (!take(U"?#")) return false;
    while (!at_end() && peek() != ')') ++at_;
    if (!take(U')')) fail("a comment without its end");
    return true;
  }

  // Comments between an item and its quantifier are none to Python.
  bool skip_group_comment() {
    if (!python_ || peek() != '(' || peek(1) != '?' || peek(2) != '#') return false;
    ++at_;
    return skip_comment();
  }

  // `is_anchor`: by itself, which cannot be repeated as a group can.
  RegexNode quantified(RegexNode item, bool is_anchor) {
    uint64_t min = 0, max = 0;
    while (!at_end() && (skip_group_comment() || (flags_.verbose && skip_verbose()))) {
    }
    if (take(U'*')) {
      max = kUnbounded;
    } else if (take(U'+')) {
      min = 1;
      max = kUnbounded;
    } else if (take(U'?')) {
      max = 1;
    } else if (!counts(min, max)) {
      return item;
    }
    if (is_anchor) fail("nothing to repeat");
    if (peek() == '+' && python_) refuse("a possessive quantifier");
    take(U'?');  // lazy or greedy, the texts are the same
    if (peek() == '*' || peek() == '+' || peek() == '?') fail("multiple repeat");
    size_t start = at_;
    uint64_t ignored_min, ignored_max;
    if (counts(ignored_min, ignored_max)) {
      at_ = start;
      fail("multiple repeat");
    }
    RegexNode node;
    node.kind = Kind::Repeat;
    node.min = min;
    node.max = max;
    node.children.push_back(std::move(item));
    return node;
  }

  static bool is_octal(char32_t c) { return c >= '0' && c <= '7'; }

  CharSet named_class(char32_t letter) const {
    bool unicode = python_ && !flags_.ascii;
    switch (letter) {
      case 'd':
        return digit_class(unicode);
      case 'D':
        return ~digit_class(unicode);
      case 'w':
        return word_class(unicode);
      case 'W':
        return ~word_class(unicode);
      case 's':
        return python_ && flags_.ascii ? CharSet({{9, 13}, {32, 32}}) : space_class(unicode);
      case 'S':
        return ~(python_ && flags_.ascii ? CharSet({{9, 13}, {32, 32}}) : space_class(unicode));
      default:
        return {};
    }
  }

  RegexNode escape_outside() {
    char32_t c = peek(1);
    if (c == 'b' || c == 'B') refuse("a word boundary");
    bool octal = python_ && c >= '1' && c <= '3' && is_octal(peek(2)) && is_octal(peek(3));
    if (c >= '1' && c <= '9' && !octal) refuse("a back-reference");
    if (!python_ && c == 'k') refuse("a back-reference");
    // ECMAScript has no such escapes; who writes one in a schema means what other dialects do.
    if (c == 'A') {
      at_ += 2;
      return anchor(Kind::Start);
    }
    if (c == 'Z') {
      at_ += 2;
      return anchor(Kind::End);
    }
    std::optional<char32_t> single;
    CharSet set = escape(single);
    return set_node(single ? folded(set) : set);
  }

  char32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      char32_t c = peek();
      uint32_t d;
      if (c >= '0' && c <= '9') {
        d = c - '0';
      } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
        d = (c | 32) - 'a' + 10;
      } else {
        fail(fmt::format("expected {} hexadecimal digits", digits));
      }
      value = value << 4 | d;
    }
    return value;
  }

  // An escape that is a character or a set of them, inside of a class or outside.
  CharSet escape(std::optional<char32_t>& single) {
    ++at_;
    if (at_end()) fail("a '\\' at the end");
    char32_t c = text_[at_++];
    // Half of a surrogate pair is a code to ECMAScript, but no text has it.
    auto one = [&](char32_t code) {
      if (code > kLastChar || (python_ && is_surrogate(code))) fail("a code that is no character");
      single = code;
      return CharSet::of(code);
    };
    switch (c) {
      case 'd':
      case 'D':
      case 'w':
      case 'W':
      case 's':
      case 'S':
        return named_class(c);
      case 'n':
        return one('\n');
      case 't':
        return one('\t');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(hex(2));
      case 'u': {
        if (!python_ && take(U'{')) {
          uint32_t value = 0;
          while (peek() != '}') {
            if (value > kLastChar) fail("a code that is no character");
            value = value << 4 | hex(1);
          }
          ++at_;
          return one(value);
        }
        char32_t code = hex(4);
        if (code >= 0xD800 && code <= 0xDBFF && !python_ && peek() == '\\' && peek(1) == 'u' && peek(2) != '{') {
          const size_t start = at_;
          at_ += 2;
          const char32_t second = hex(4);
          const bool is_pair = second >= 0xDC00 && second <= 0xDFFF;
          if (is_pair) code = 0x10000 + ((code & 0x3FF) << 10 | (second & 0x3FF));
          if (!is_pair) at_ = start;
        }
        return one(code);
      }
      default:
        break;
    }
    if (python_) {
      if (c == 'a') return one('\a');
      if (c == 'U') return one(hex(8));
      if (c >= '0' && c <= '7') {  // octal: \0, \07, \123
        uint32_t value = c - '0';
        for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) value = value * 8 + (text_[at_++] - '0');
        if (value > 0377) fail("an octal escape above \\377");
        return one(value);
      }
      if (c == 'N') refuse("a character by its name");
    } else {
      if (c == '0') return one(0);
      if (c == 'c' && ((peek() | 32) >= 'a' && (peek() | 32) <= 'z')) return one(text_[at_++] & 31);
      if ((c == 'p' || c == 'P') && take(U'{')) {
        std::string name;
        while (!at_end() && peek() != '}') append_utf8(name, text_[at_++]);
        if (!take(U'}')) fail("a property without its '}'");
        CharSet set = unicode_category(name);
        if (set.empty()) refuse(fmt::format("the Unicode property '{}'", name));
        return c == 'p' ? set : ~set;
      }
    }
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) {
      --at_;
      fail("a bad escape");
    }
    return one(c);
  }

  CharSet char_class() {
    ++at_;
    bool negated = take(U'^');
    std::vector<CharSet::Range> ranges;
    CharSet plain;  // named classes, which are not folded as ranges and characters are
    auto add = [&](const CharSet& set, bool fold) {
      if (fold) {
        ranges.insert(ranges.end(), set.ranges().begin(), set.ranges().end());
      } else {
        plain = plain | set;
      }
    };
    bool first = true;
    while (true) {
      if (at_end()) fail("a class without its ']'");
      if (peek() == ']' && !(first && python_)) break;
      first = false;
      std::optional<char32_t> low;
      CharSet set = class_item(low);
      if (peek() == '-' && peek(1) != ']' && at_ + 1 < text_.size()) {
        if (!low) {
          if (python_) fail("a class such as \\d cannot begin a range");
          add(set, false);
          continue;
        }
        ++at_;
        std::optional<char32_t> high;
        CharSet end = class_item(high);
        if (!high) {
          if (python_) fail("a class such as \\d cannot end a range");
          add(set, true);
          add(CharSet::of('-'), true);
          add(end, false);
          continue;
        }
        if (*high < *low) fail("a range whose end comes before its start");
        add(CharSet::range(*low, *high), true);
      } else {
        add(set, low.has_value());
      }
    }
    ++at_;
    CharSet all = folded(CharSet(std::move(ranges))) | plain;
    return negated ? ~all : all;
  }

  CharSet class_item(std::optional<char32_t>& single) {
    if (peek() == '\\') {
      if (peek(1) == 'b') {
        at_ += 2;
        single = '\b';
        return CharSet::of('\b');
      }
      if (!python_ && peek(1) == '-') {
        at_ += 2;
        single = '-';
        return CharSet::of('-');
      }
      return escape(single);
    }
    single = text_[at_++];
    return CharSet::of(*single);
  }

  std::u32string text_;
  size_t at_ = 0;
  bool python_;
  bool first_ = true;  // nothing but flags and comments was read
  Flags flags_;
  std::set<std::string> names_;  // of groups
};

}  // namespace

RegexNode parse_regex(std::string_view pattern, RegexDialect dialect) { return Parser(pattern, dialect).parse(); }

}  // namespace sgl::grammar
