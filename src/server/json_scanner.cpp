#include "server/json_scanner.h"

#include "server/json_reader.h"
#include "server/tag_text.h"

namespace sgl {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

Scan JsonScanner::scan(std::string_view text) {
  while (at_ < text.size()) {
    const Scan result = step(text[at_]);
    if (result == Scan::Broken) return result;
    ++at_;
    if (result == Scan::Done) return result;
  }
  return Scan::More;
}

Scan JsonScanner::step(char c) {
  switch (expect_) {
    case Expect::String:
      if (static_cast<unsigned char>(c) < 0x20) return Scan::Broken;
      if (c == '\\') {
        expect_ = Expect::Escape;
      } else if (c == '"' && in_key_) {
        in_key_ = false;
        expect_ = Expect::Colon;
        return Scan::More;
      } else if (c == '"') {
        return end_value();
      }
      if (in_key_ && open_.size() == 1) members_.back().key += c;
      return Scan::More;
    case Expect::Escape:
      if (std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos) return Scan::Broken;
      hex_ = 4;
      expect_ = c == 'u' ? Expect::Hex : Expect::String;
      if (in_key_ && open_.size() == 1) members_.back().key += c;
      return Scan::More;
    case Expect::Hex:
      if (!is_hex(c)) return Scan::Broken;
      if (--hex_ == 0) expect_ = Expect::String;
      if (in_key_ && open_.size() == 1) members_.back().key += c;
      return Scan::More;
    case Expect::Word:
      if (word_.front() != c) return Scan::Broken;
      word_.remove_prefix(1);
      return word_.empty() ? end_value() : Scan::More;
    case Expect::Number:
      if (step_number(c)) return Scan::More;
      if (!number_may_end()) return Scan::Broken;
      --at_;  // the number ends with the byte before this one
      end_value();
      ++at_;
      return step(c);
    default:
      break;
  }
  if (is_white(c)) return Scan::More;
  switch (expect_) {
    case Expect::FirstItem:
      return c == ']' ? close(c) : begin_value(c);
    case Expect::Value:
      return begin_value(c);
    case Expect::FirstKey:
      if (c == '}') return close(c);
      [[fallthrough]];
    case Expect::Key:
      if (c != '"') return Scan::Broken;
      if (open_.size() == 1) members_.emplace_back();
      in_key_ = true;
      expect_ = Expect::String;
      return Scan::More;
    case Expect::Colon:
      expect_ = Expect::Value;
      return c == ':' ? Scan::More : Scan::Broken;
    default:  // Comma
      if (c != ',') return close(c);
      expect_ = open_.back() == '{' ? Expect::Key : Expect::Value;
      return Scan::More;
  }
}

Scan JsonScanner::begin_value(char c) {
  if (open_.empty() && c != outermost_) return Scan::Broken;
  if (open_.size() == 1) {
    if (outermost_ == '[') members_.emplace_back();
    members_.back().begin = at_;
  }
  switch (c) {
    case '{':
    case '[':
      if (open_.size() >= static_cast<size_t>(kDeepestJson)) return Scan::Broken;
      open_ += c;
      expect_ = c == '{' ? Expect::FirstKey : Expect::FirstItem;
      return Scan::More;
    case '"':
      expect_ = Expect::String;
      return Scan::More;
    case 't':
    case 'f':
    case 'n':
      word_ = c == 't' ? "rue" : c == 'f' ? "alse" : "ull";
      expect_ = Expect::Word;
      return Scan::More;
    default:
      if (c != '-' && !is_digit(c)) return Scan::Broken;
      digits_ = c == '-' ? Digits::Minus : c == '0' ? Digits::Zero : Digits::Integer;
      expect_ = Expect::Number;
      return Scan::More;
  }
}

// A value's last byte stands at at_.
Scan JsonScanner::end_value() {
  if (open_.empty()) return Scan::Done;
  if (open_.size() == 1) members_.back().end = at_ + 1;
  expect_ = Expect::Comma;
  return Scan::More;
}

Scan JsonScanner::close(char c) {
  if (c != (open_.back() == '{' ? '}' : ']')) return Scan::Broken;
  open_.pop_back();
  return end_value();
}

bool JsonScanner::step_number(char c) {
  const bool digit = is_digit(c);
  switch (digits_) {
    case Digits::Minus:
      if (digit) digits_ = c == '0' ? Digits::Zero : Digits::Integer;
      return digit;
    case Digits::Zero:
    case Digits::Integer:
      if (digit && digits_ == Digits::Integer) return true;
      if (c == '.') digits_ = Digits::Point;
      if (c == 'e' || c == 'E') digits_ = Digits::Exponent;
      return c == '.' || c == 'e' || c == 'E';
    case Digits::Point:
    case Digits::Fraction:
      if (digit) digits_ = Digits::Fraction;
      if (digits_ == Digits::Point || digit) return digit;
      if (c == 'e' || c == 'E') digits_ = Digits::Exponent;
      return digits_ == Digits::Exponent;
    case Digits::Exponent:
      if (c == '+' || c == '-') digits_ = Digits::Sign;
      if (digit) digits_ = Digits::Power;
      return digits_ != Digits::Exponent;
    default:  // Sign, Power
      if (digit) digits_ = Digits::Power;
      return digit;
  }
}

bool JsonScanner::number_may_end() const {
  return digits_ == Digits::Zero || digits_ == Digits::Integer || digits_ == Digits::Fraction ||
         digits_ == Digits::Power;
}

}  // namespace sgl
