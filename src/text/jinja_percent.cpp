// "%s" % x, after printf.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "text/jinja_format.h"
#include "text/jinja_library.h"
#include "text/jinja_runtime.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

constexpr size_t kMaxPrecision = 1000;  // of numbers; Python would go on

class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, std::string_view format, bool markup, const Value& args)
      : rt_(rt), s_(format), markup_(markup), args_(args) {
    mapping_ = args.is(Kind::Dict) || args.is(Kind::List) || args.is(Kind::Range) || args.is(Kind::Undefined);
  }

  std::string run() {
    while (at_ < s_.size()) {
      size_t percent = std::min(s_.find('%', at_), s_.size());
      out_ += s_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < s_.size()) conversion();
      rt_.check_size(out_.size());
    }
    size_t given = args_.is(Kind::Tuple) ? args_.list().items.size() : 1;
    if (!mapping_ && used_ < given) rt_.fail("not all arguments converted during string formatting");
    rt_.charge_text(out_.size());
    return std::move(out_);
  }

 private:
  Value next_argument() {
    bool is_tuple = args_.is(Kind::Tuple);
    if (used_ >= (is_tuple ? args_.list().items.size() : 1)) rt_.fail("not enough arguments for format string");
    ++used_;
    return is_tuple ? args_.list().items[used_ - 1] : args_;
  }

  // A width or precision: digits, or an argument for '*'.
  std::optional<int64_t> size() {
    if (at_ < s_.size() && s_[at_] == '*') {
      ++at_;
      Value v = next_argument();
      if (!v.is_integral()) rt_.fail("* wants int");
      if (std::abs(static_cast<double>(v.as_int())) > 1e9) rt_.fail("a width or precision is too large");
      return v.as_int();
    }
    std::optional<size_t> n = read_size(rt_, s_, at_);
    return n ? std::optional(static_cast<int64_t>(*n)) : std::nullopt;
  }

  void read_key() {
    if (!mapping_) rt_.fail("format requires a mapping");
    int open = 1;
    size_t begin = ++at_;
    for (; at_ < s_.size() && open > 0; ++at_) open += s_[at_] == '(' ? 1 : s_[at_] == ')' ? -1 : 0;
    if (open > 0) rt_.fail("incomplete format key");
    Value key = Value::string(s_.substr(begin, at_ - 1 - begin));
    const Value* v = args_.is(Kind::Dict) ? args_.dict().find(key) : nullptr;
    if (v == nullptr) rt_.fail(fmt::format("KeyError: '{}'", key.as_string()));
    keyed_ = *v;
  }

  void conversion() {
    ++at_;
    keyed_ = Value();
    left_ = plus_ = space_ = alternate_ = zero_ = false;
    if (at_ < s_.size() && s_[at_] == '(') read_key();
    for (; at_ < s_.size(); ++at_) {
      char c = s_[at_];
      if (c == '-')
        left_ = true;
      else if (c == '+')
        plus_ = true;
      else if (c == ' ')
        space_ = true;
      else if (c == '#')
        alternate_ = true;
      else if (c == '0')
        zero_ = true;
      else
        break;
    }
    int64_t width = size().value_or(0);
    if (width < 0) {
      left_ = true;
      width = -width;
    }
    precision_ = std::nullopt;
    if (at_ < s_.size() && s_[at_] == '.') {
      ++at_;
      precision_ = std::max<int64_t>(size().value_or(0), 0);
    }
    if (at_ < s_.size() && (s_[at_] == 'h' || s_[at_] == 'l' || s_[at_] == 'L')) ++at_;
    if (at_ >= s_.size()) rt_.fail("incomplete format");
    char type = s_[at_++];
    if (type == '%') {
      out_ += '%';
      return;
    }
    Value v = keyed_.is(Kind::Missing) ? next_argument() : keyed_;
    convert(type, v, static_cast<size_t>(width));
  }

  void convert(char type, const Value& v, size_t width) {
    switch (type) {
      case 's':
      case 'r':
      case 'a':
      case 'c':
        return pad("", text(type, v), width, false);
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return integer(type, v, width);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return real(type, v, width);
      default:
        rt_.fail(fmt::format("unsupported format character '{}' at index {}", s_.substr(at_ - 1, 1), at_ - 1));
    }
  }

  std::string text(char type, const Value& v) {
    std::string t;
    if (type == 'c') {
      if (v.is_integral() && v.as_int() >= 0 && v.as_int() < 0x110000 && (v.as_int() < 0xD800 || v.as_int() > 0xDFFF)) {
        append_utf8(t, static_cast<char32_t>(v.as_int()));
      } else if (v.is(Kind::String) && length(v.as_string()) == 1) {
        t = v.as_string();
      } else {
        rt_.fail("%c requires int or char");
      }
      return t;
    }
    if (markup_ && type == 's') {
      t = escape(rt_, v).as_string();
    } else if (type == 's') {
      append_str(rt_, t, v);
    } else {
      t = type == 'a' ? ascii_repr(rt_, v) : std::string();
      if (type == 'r') append_repr(rt_, t, v);
      if (markup_) t = escape(rt_, rt_.heap.string(t)).as_string();
    }
    if (precision_) t.resize(byte_offset(t, static_cast<size_t>(*precision_)));
    return t;
  }

  void integer(char type, const Value& v, size_t width) {
    bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (v.is(Kind::Undefined)) rt_.fail_undefined(v);
    int64_t i = 0;
    if (v.is_integral()) {
      i = v.as_int();
    } else if (decimal && v.is(Kind::Float)) {
      if (!(std::abs(v.as_double()) < 0x1p63)) rt_.fail("cannot convert float infinity or NaN to integer");
      i = static_cast<int64_t>(v.as_double());
    } else {
      rt_.fail(fmt::format("%{} format: {} is required, not {}", type, decimal ? "a real number" : "an integer",
                           type_name(v)));
    }
    std::string digits = to_base(magnitude_of(i), decimal ? 10 : type == 'o' ? 8 : 16, type == 'X');
    if (precision_ && static_cast<size_t>(*precision_) > digits.size()) {
      rt_.check_size(static_cast<size_t>(*precision_));
      digits.insert(0, static_cast<size_t>(*precision_) - digits.size(), '0');
    }
    std::string prefix = sign(i < 0);
    if (alternate_ && !decimal) prefix += type == 'o' ? "0o" : type == 'x' ? "0x" : "0X";
    pad(prefix, digits, width, true);
  }

  void real(char type, const Value& v, size_t width) {
    if (v.is(Kind::Undefined)) rt_.fail_undefined(v);
    if (!v.is_integral() && !v.is(Kind::Float)) rt_.fail(fmt::format("must be real number, not {}", type_name(v)));
    double d = v.is(Kind::Float) ? v.as_double() : static_cast<double>(v.as_int());
    size_t precision = static_cast<size_t>(precision_.value_or(6));
    pad(sign(std::signbit(d) && !std::isnan(d)), format_double(rt_, std::abs(d), type, precision, alternate_), width,
        true);
  }

  std::string sign(bool negative) const { return negative ? "-" : plus_ ? "+" : space_ ? " " : ""; }

  void pad(const std::string& prefix, const std::string& body, size_t width, bool numeric) {
    size_t size = prefix.size() + length(body);
    size_t missing = width > size ? width - size : 0;
    rt_.check_size(out_.size() + missing);
    if (left_) {
      out_ += prefix + body + std::string(missing, ' ');
    } else if (numeric && zero_) {
      out_ += prefix + std::string(missing, '0') + body;
    } else {
      out_ += std::string(missing, ' ') + prefix + body;
    }
  }

  Runtime& rt_;
  std::string_view s_;
  bool markup_;
  const Value& args_;
  bool mapping_ = false;
  std::string out_;
  size_t at_ = 0, used_ = 0;
  Value keyed_;
  bool left_ = false, plus_ = false, space_ = false, alternate_ = false, zero_ = false;
  std::optional<int64_t> precision_;
};

}  // namespace

std::optional<size_t> read_size(Runtime& rt, std::string_view s, size_t& at) {
  size_t begin = at, n = 0;
  for (; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at) {
    n = n * 10 + static_cast<size_t>(s[at] - '0');
    if (n > rt.options.max_output_bytes) rt.fail("a width or precision is too large");
  }
  return at == begin ? std::nullopt : std::optional(n);
}

std::string format_double(Runtime& rt, double magnitude, char type, size_t precision, bool alternate) {
  if (precision > kMaxPrecision) rt.fail("a precision is too large");
  char conversion[] = {'%', '#', '.', '*', type, '\0'};
  if (!alternate) std::copy(conversion + 2, conversion + 6, conversion + 1);
  char buffer[kMaxPrecision + 400];
  int n = std::snprintf(buffer, sizeof(buffer), conversion, static_cast<int>(precision), magnitude);
  return {buffer, static_cast<size_t>(std::clamp<int>(n, 0, sizeof(buffer) - 1))};
}

std::string to_base(uint64_t n, unsigned base, bool upper) {
  std::string digits;
  do {
    unsigned d = static_cast<unsigned>(n % base);
    digits += static_cast<char>(d < 10 ? '0' + d : (upper ? 'A' : 'a') + (d - 10));
    n /= base;
  } while (n != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

uint64_t magnitude_of(int64_t i) { return i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i); }

std::string ascii_repr(Runtime& rt, const Value& v) {
  std::string repr, out;
  append_repr(rt, repr, v);
  for_each_char(repr, [&](char32_t c, uint32_t) {
    auto u = static_cast<uint32_t>(c);
    out += c < 0x80      ? std::string(1, static_cast<char>(c))
           : c < 0x100   ? fmt::format("\\x{:02x}", u)
           : c < 0x10000 ? fmt::format("\\u{:04x}", u)
                         : fmt::format("\\U{:08x}", u);
  });
  return out;
}

Value format_percent(Runtime& rt, const Value& format, const Value& args) {
  return rt.heap.string(PercentFormatter(rt, format.as_string(), format.markup, args).run(), format.markup);
}

}  // namespace sgl::jinja
