// Oniguruma's Ruby syntax → PCRE2. Where the two read the same text differently:
//
//   \s \d \w \h \v   other sets of characters (PCRE2's \s has U+180E, its \h and \v are horizontal and vertical space)
//   \p{L}, \p{Nd} …  PCRE2 10.42 knows Unicode 14: characters added since are written out beside it
//   [a[b]]           a nested class is a union; intersections (&&) have no equal
//   {2,3}+           Ruby repeats the whole, PCRE2 reads it as possessive; {,3} is {0,3}
//   (?m)             '.' matches newlines too: PCRE2's (?s)

#include <cctype>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/regex.h"
#include "text/unicode.h"

namespace sgl {
namespace {

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) element();
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(ErrorKind kind, std::string_view why) const {
    throw Error(kind, fmt::format("the pattern '{}' cannot be used: {} (at {})", in_, why, at_));
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  void element() {
    char c = in_[at_];
    if (c == '*' || c == '+' || c == '?') {
      out_ += in_[at_++];
    } else if (c == '{') {
      brace();
    } else if (c == '(') {
      groups_.push_back(out_.size());
      group_start();
    } else if (c == ')') {
      if (groups_.empty()) fail(ErrorKind::CorruptFile, "')' without '('");
      atom_ = groups_.back();
      groups_.pop_back();
      out_ += in_[at_++];
    } else if (c == '[') {
      atom_ = out_.size();
      character_class(0);
    } else if (c == '\\') {
      atom_ = out_.size();
      out_ += escape(false);
    } else {
      if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) atom_ = out_.size();  // the first byte of a character
      out_ += in_[at_++];
    }
  }

  // {n}, {n,}, {n,m}, {,m}; anything else is literal text in both.
  void brace() {
    size_t end = in_.find('}', at_);
    std::string_view body = end == std::string_view::npos ? "" : in_.substr(at_ + 1, end - at_ - 1);
    if (body.empty() || body == "," || body.find_first_not_of("0123456789,") != std::string_view::npos) {
      atom_ = out_.size();
      out_ += in_[at_++];
      return;
    }
    out_ += body[0] == ',' ? fmt::format("{{0{}}}", body) : fmt::format("{{{}}}", body);
    at_ = end + 1;
    if (peek() == '+') {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
  }

  void group_start() {
    out_ += in_[at_++];
    if (peek() != '?') return;
    out_ += in_[at_++];
    while (at_ < in_.size() && (std::isalpha(static_cast<unsigned char>(in_[at_])) != 0 || in_[at_] == '-')) {
      out_ += in_[at_] == 'm' ? 's' : in_[at_];
      ++at_;
    }
    if (peek() == '<' && peek(1) != '=' && peek(1) != '!') {  // a name: copied, so that its letters are not atoms
      while (at_ < in_.size() && in_[at_] != '>') out_ += in_[at_++];
    }
    if (at_ < in_.size() && std::string_view(":=!>|").find(in_[at_]) != std::string_view::npos) out_ += in_[at_++];
    if (out_.ends_with("?") && peek() == '<') out_ += in_[at_++], out_ += in_[at_++];  // (?<= and (?<!
  }

  // A class, or one nested in another, which is spliced into it.
  void character_class(int depth) {
    if (depth > 50) fail(ErrorKind::CorruptFile, "character classes nested too deeply");
    ++at_;  // '['
    bool negated = peek() == '^';
    if (depth > 0 && negated) fail(ErrorKind::Unsupported, "a negated class within a class is not supported");
    if (depth == 0) out_ += negated ? "[^" : "[";
    if (negated) ++at_;
    if (peek() == ']') out_ += "\\]", ++at_;
    while (peek() != ']') {
      if (at_ >= in_.size()) fail(ErrorKind::CorruptFile, "'[' without ']'");
      if (peek() == '&' && peek(1) == '&') {
        fail(ErrorKind::Unsupported, "intersections of character classes (&&) are not supported");
      }
      if (peek() == '[' && peek(1) == ':') {
        size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) fail(ErrorKind::CorruptFile, "'[:' without ':]'");
        out_ += in_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (peek() == '[') {
        character_class(depth + 1);
      } else if (peek() == '\\') {
        out_ += escape(true);
      } else {
        out_ += in_[at_++];
      }
    }
    ++at_;
    if (depth == 0) out_ += ']';
  }

  // What is inside of the brackets for a general category: its name, and the characters that are newer than PCRE2.
  static std::string category_items(std::string_view name, bool negated = false) {
    std::string items = fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
    if (negated) return items;
    for (auto [first, last] : newer_in_category(name)) {
      items += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", uint32_t{first}, uint32_t{last});
    }
    return items;
  }
  static std::string word_items() {
    // Oniguruma counts ² ³ ¹ ¼ ½ ¾ as word characters.
    return category_items("L") + category_items("M") + category_items("Nd") + category_items("Nl") +
           category_items("Pc") + "\\p{Alphabetic}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
  }

  // Reads an escape; returns its translation, as it stands inside or outside of a class.
  std::string escape(bool in_class) {
    if (at_ + 1 >= in_.size()) fail(ErrorKind::CorruptFile, "it ends with a backslash");
    char c = in_[at_ + 1];
    size_t begin = at_;
    at_ += 2;
    switch (c) {
      case 's':
        return "\\p{White_Space}";
      case 'S':
        return "\\P{White_Space}";
      case 'd':
        return set(category_items("Nd"), false, in_class);
      case 'D':
        return set(category_items("Nd"), true, in_class);
      case 'w':
        return set(word_items(), false, in_class);
      case 'W':
        return set(word_items(), true, in_class);
      case 'h':
        return set("0-9A-Fa-f", false, in_class);
      case 'H':
        return set("0-9A-Fa-f", true, in_class);
      case 'v':
        return "\\x0B";
      case 'u':
        return fmt::format("\\x{{{}}}", take(4));
      case 'p':
      case 'P':
        return property(c == 'P', in_class);
      case 'x':
        if (peek() == '{') take(in_.find('}', at_) == std::string_view::npos ? 0 : in_.find('}', at_) + 1 - at_);
        return std::string(in_.substr(begin, at_ - begin));
      default:
        break;
    }
    return std::string(in_.substr(begin, 2));
  }

  std::string set(const std::string& items, bool negated, bool in_class) const {
    if (!in_class) return (negated ? "[^" : "[") + items + "]";
    if (negated) fail(ErrorKind::Unsupported, "\\D, \\W and \\H within a class are not supported");
    return items;
  }

  std::string take(size_t n) {
    if (n == 0 || at_ + n > in_.size()) fail(ErrorKind::CorruptFile, "an escape is cut off");
    at_ += n;
    return std::string(in_.substr(at_ - n, n));
  }

  std::string property(bool negated, bool in_class) {
    size_t end = in_.find('}', at_);
    if (peek() != '{' || end == std::string_view::npos) fail(ErrorKind::CorruptFile, "\\p without {name}");
    std::string name(in_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    if (name.starts_with('^')) name.erase(0, 1), negated = !negated;
    static constexpr std::pair<std::string_view, std::string_view> kLongNames[] = {
        {"Letter", "L"},          {"Mark", "M"},           {"Number", "N"},        {"Punctuation", "P"},
        {"Punct", "P"},           {"Symbol", "S"},         {"Digit", "Nd"},        {"Separator", "Z"},
        {"Space", "White_Space"}, {"Alpha", "Alphabetic"}, {"Upper", "Uppercase"}, {"Lower", "Lowercase"}};
    for (auto [name_there, name_here] : kLongNames) {
      if (name == name_there) name = name_here;
    }
    bool is_category =
        !name.empty() && name.size() <= 2 && std::string_view("LMNPSZC").find(name[0]) != std::string::npos;
    if (!is_category) return fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', name);
    if (in_class) return category_items(name, negated);
    return (negated ? "[^" : "[") + category_items(name) + "]";
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where the element that a quantifier would repeat begins in out_
  std::vector<size_t> groups_;  // where the open groups begin in out_
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace sgl
