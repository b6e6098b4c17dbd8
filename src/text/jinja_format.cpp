// "{}".format(x), with Python's format specifications.

#include "text/jinja_format.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_runtime.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

std::string repeat_fill(std::string_view fill, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += fill;
  return out;
}

struct Spec {
  std::string fill = " ";
  char align = '\0', sign = '-', type = '\0', grouping = '\0';
  bool alternate = false, has_fill = false, has_sign = false;
  size_t width = 0;
  std::optional<size_t> precision;
};

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

Spec parse_spec(Runtime& rt, std::string_view s) {
  Spec spec;
  size_t at = 0;
  size_t first = s.empty() ? 0 : char_size(s, 0);
  if (first < s.size() && is_align(s[first])) {
    spec.fill = s.substr(0, first);
    spec.has_fill = true;
    spec.align = s[first];
    at = first + 1;
  } else if (!s.empty() && is_align(s[0])) {
    spec.align = s[at++];
  }
  auto peek = [&] { return at < s.size() ? s[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') {
    spec.sign = s[at++];
    spec.has_sign = true;
  }
  if (peek() == '#') {
    spec.alternate = true;
    ++at;
  }
  if (peek() == '0' && !spec.has_fill) {
    spec.fill.assign(1, '0');
    if (spec.align == '\0') spec.align = '=';
    ++at;
  }
  spec.width = read_size(rt, s, at).value_or(0);
  if (peek() == ',' || peek() == '_') spec.grouping = s[at++];
  if (peek() == '.') {
    ++at;
    spec.precision = read_size(rt, s, at);
    if (!spec.precision) rt.fail("Format specifier missing precision");
  }
  if (at + 1 < s.size()) rt.fail(fmt::format("Invalid format specifier '{}'", s));
  if (at < s.size()) spec.type = s[at];
  return spec;
}

std::string align_text(Runtime& rt, const Spec& spec, std::string_view prefix, std::string_view body,
                       char default_align) {
  size_t size = prefix.size() + length(body);
  size_t missing = spec.width > size ? spec.width - size : 0;
  rt.check_size(missing * spec.fill.size() + size);
  char align = spec.align == '\0' ? default_align : spec.align;
  size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before = repeat_fill(spec.fill, left), after = repeat_fill(spec.fill, missing - left);
  if (align == '=') return fmt::format("{}{}{}", prefix, before, body);
  return fmt::format("{}{}{}{}", before, prefix, body, after);
}

// Separators into the digits before the point; with zeros as fill they count for the width.
std::string group_digits(const Spec& spec, std::string number, size_t prefix_size, size_t group) {
  if (spec.grouping == '\0') return number;
  size_t whole = number.find_first_not_of("0123456789abcdefABCDEF");
  if (spec.type != 'x' && spec.type != 'X') whole = number.find_first_not_of("0123456789");
  std::string rest = whole == std::string::npos ? "" : number.substr(whole);
  std::string digits = number.substr(0, whole), out;
  bool zeros = spec.fill == "0" && (spec.align == '=' || spec.align == '\0');
  for (size_t i = 0; i < digits.size() || (zeros && prefix_size + out.size() + rest.size() < spec.width); ++i) {
    if (i > 0 && i % group == 0) out += spec.grouping;
    out += i < digits.size() ? digits[digits.size() - 1 - i] : '0';
  }
  std::reverse(out.begin(), out.end());
  return out + rest;
}

std::string sign_text(const Spec& spec, bool negative) {
  return negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_float(Runtime& rt, double d, const Spec& spec) {
  std::string prefix = sign_text(spec, std::signbit(d) && !std::isnan(d)), number;
  double magnitude = std::abs(d);
  char type = spec.type;
  if (type == '\0' && !spec.precision) {
    number = float_repr(magnitude);
  } else if (type == '\0') {
    // As 'g', but with at least one digit after the point and exponents one earlier.
    std::string general = format_double(rt, magnitude, 'g', std::max<size_t>(*spec.precision, 1), false);
    size_t p = std::max<size_t>(*spec.precision, 1);
    number = general;
    if (std::isfinite(magnitude) && general.find_first_of(".e") == std::string::npos) {
      number = general.size() >= p ? format_double(rt, magnitude, 'e', p - 1, false) : general + ".0";
      if (general.size() >= p && number.find('.') != std::string::npos) {
        size_t e = number.find('e'), end = number.find_last_not_of('0', e - 1);
        number.erase(number[end] == '.' ? end : end + 1, e - (number[end] == '.' ? end : end + 1));
      }
    }
  } else if (type == '%') {
    number = format_double(rt, magnitude * 100, 'f', spec.precision.value_or(6), spec.alternate) + "%";
  } else {
    number = format_double(rt, magnitude, type == 'n' ? 'g' : type, spec.precision.value_or(6), spec.alternate);
  }
  number = group_digits(spec, number, prefix.size(), 3);
  return align_text(rt, spec, prefix, number, '>');
}

std::string format_integer(Runtime& rt, const Value& v, const Spec& spec) {
  int64_t i = v.as_int();
  switch (spec.type) {
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%':
      return format_float(rt, static_cast<double>(i), spec);
    default:
      break;
  }
  if (spec.precision) rt.fail("Precision not allowed in integer format specifier");
  if (spec.type == 'c') {
    if (spec.has_sign || i < 0 || i >= 0x110000 || (i >= 0xD800 && i < 0xE000))
      rt.fail("%c arg not in range(0x110000)");
    std::string text;
    append_utf8(text, static_cast<char32_t>(i));
    return align_text(rt, spec, "", text, '<');
  }
  unsigned base = spec.type == 'b' ? 2 : spec.type == 'o' ? 8 : spec.type == 'x' || spec.type == 'X' ? 16 : 10;
  if (base != 10 && spec.grouping == ',') rt.fail(fmt::format("Cannot specify ',' with '{}'.", spec.type));
  std::string prefix = sign_text(spec, i < 0);
  if (spec.alternate && base != 10) prefix += {'0', spec.type};
  std::string digits = to_base(magnitude_of(i), base, spec.type == 'X');
  return align_text(rt, spec, prefix, group_digits(spec, digits, prefix.size(), base == 10 ? 3 : 4), '>');
}

// "{}".format
// -----------------------------------------------------------------------------------------------------------

class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, bool markup, const Args& args) : rt_(rt), markup_(markup), args_(args) {}

  std::string run(std::string_view s, int depth = 2) {
    if (depth < 0) rt_.fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < s.size();) {
      char c = s[at];
      bool doubled = at + 1 < s.size() && s[at + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out += c;
        at += 2;
      } else if (c == '}') {
        rt_.fail("Single '}' encountered in format string");
      } else if (c == '{') {
        out += field(s, at, depth);
        rt_.check_size(out.size());
      } else {
        out += c;
        ++at;
      }
    }
    rt_.charge_text(out.size());
    return out;
  }

 private:
  // {name!conversion:spec}, from the brace at `at`.
  std::string field(std::string_view s, size_t& at, int depth) {
    size_t begin = ++at;
    int open = 1, brackets = 0;
    size_t name_end = std::string_view::npos;
    for (; at < s.size(); ++at) {
      char c = s[at];
      if (name_end == std::string_view::npos) {
        if (c == '[') brackets = 1;
        if (c == ']') brackets = 0;
        if (brackets == 0 && (c == '!' || c == ':')) name_end = at;
        if (brackets == 0 && c == '{') rt_.fail("unexpected '{' in field name");
      }
      if (brackets == 0) open += c == '{' ? 1 : c == '}' ? -1 : 0;
      if (open == 0) break;
    }
    if (open != 0)
      rt_.fail(begin >= s.size() ? "Single '{' encountered in format string" : "expected '}' before end of string");
    std::string_view whole = s.substr(begin, at - begin);
    ++at;
    std::string_view name = name_end == std::string_view::npos ? whole : whole.substr(0, name_end - begin);
    std::string_view rest = whole.substr(name.size());
    char conversion = '\0';
    if (rest.starts_with('!')) {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) rt_.fail("expected ':' after conversion specifier");
      conversion = rest[1];
      rest.remove_prefix(2);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    Value v = convert(lookup(name), conversion);
    std::string spec = run(rest, depth - 1);
    return finish(v, spec);
  }

  std::string finish(const Value& v, const std::string& spec) {
    if (!markup_) return format_spec(rt_, v, spec);
    if (v.is(Kind::String) && v.markup) {
      if (!spec.empty()) rt_.fail("Unsupported format specification for Markup.");
      return std::string(v.as_string());
    }
    return std::string(escape(rt_, rt_.heap.string(format_spec(rt_, v, spec))).as_string());
  }

  Value convert(const Value& v, char conversion) {
    std::string text;
    switch (conversion) {
      case '\0':
        return v;
      case 's':
        return to_str(rt_, v);
      case 'r':
        append_repr(rt_, text, v);
        return rt_.heap.string(text);
      case 'a':
        return rt_.heap.string(ascii_repr(rt_, v));
      default:
        rt_.fail(fmt::format("Unknown conversion specifier '{}'", conversion));
    }
  }

  static bool all_digits(std::string_view s) {
    return !s.empty() && s.find_first_not_of("0123456789") == std::string_view::npos;
  }

  Value positional(std::string_view digits) {
    size_t index = digits.size() > 6 ? SIZE_MAX : static_cast<size_t>(std::stoul(std::string(digits)));
    if (index >= args_.positional.size()) {
      rt_.fail(fmt::format("Replacement index {} out of range for positional args tuple", digits));
    }
    return args_.positional[index];
  }

  // The name with its .attributes and [items].
  Value lookup(std::string_view name) {
    std::string automatic;
    if (name.empty()) {
      if (numbering_ == Numbering::Manual)
        rt_.fail("cannot switch from manual field specification to automatic field numbering");
      numbering_ = Numbering::Automatic;
      automatic = std::to_string(next_++);
      name = automatic;
    } else if (all_digits(name)) {
      if (numbering_ == Numbering::Automatic)
        rt_.fail("cannot switch from automatic field numbering to manual field specification");
      numbering_ = Numbering::Manual;
    }
    size_t end = std::min(name.find_first_of(".["), name.size());
    Value v = first(name.substr(0, end));
    while (end < name.size()) {
      if (name[end] == '.') {
        size_t next = std::min(name.find_first_of(".[", end + 1), name.size());
        if (next == end + 1) rt_.fail("Empty attribute in format string");
        v = get_attribute(rt_, v, rt_.heap.copy(name.substr(end + 1, next - end - 1)));
        end = next;
      } else if (name[end] == '[') {
        size_t close = name.find(']', end);
        if (close == std::string_view::npos) rt_.fail("Missing ']' in format string");
        std::string_view key = name.substr(end + 1, close - end - 1);
        if (key.empty()) rt_.fail("Empty attribute in format string");
        bool number = all_digits(key) && key.size() < 18;
        v = get_item(rt_, v, number ? Value::integer(std::stoll(std::string(key))) : rt_.heap.string(key));
        end = close + 1;
      } else {
        rt_.fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return v;
  }

  Value first(std::string_view name) {
    if (all_digits(name)) return positional(name);
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    rt_.fail(fmt::format("KeyError: '{}'", name));
  }

  Runtime& rt_;
  bool markup_;
  const Args& args_;
  enum class Numbering { Unknown, Automatic, Manual } numbering_ = Numbering::Unknown;
  size_t next_ = 0;
};

}  // namespace

Value format_braces(Runtime& rt, const Value& format, const Args& args) {
  return rt.heap.string(BraceFormatter(rt, format.markup, args).run(format.as_string()), format.markup);
}

std::string format_spec(Runtime& rt, const Value& v, std::string_view text) {
  std::string out;
  if (text.empty()) {
    append_str(rt, out, v);
    return out;
  }
  bool is_number = v.is_integral() || v.is(Kind::Float);
  if (!is_number && !v.is(Kind::String)) {
    rt.fail(fmt::format("unsupported format string passed to {}.__format__", type_name(v)));
  }
  Spec spec = parse_spec(rt, text);
  std::string_view types = v.is(Kind::String) ? "s" : v.is(Kind::Float) ? "eEfFgGn%" : "bcdoxXneEfFgG%";
  if (spec.type != '\0' && types.find(spec.type) == std::string_view::npos) {
    rt.fail(fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, type_name(v)));
  }
  if (v.is(Kind::Float)) return format_float(rt, v.as_double(), spec);
  if (is_number) return format_integer(rt, v, spec);
  if (spec.has_sign || spec.align == '=' || spec.alternate || spec.grouping != '\0') {
    bool zero_only = spec.align == '=' && !spec.has_fill && spec.fill == "0" && !spec.has_sign && !spec.alternate;
    if (!zero_only || text.find('=') != std::string_view::npos || spec.grouping != '\0') {
      rt.fail(fmt::format("the format specifier '{}' is not allowed for a string", text));
    }
    spec.align = '<';
  }
  std::string_view s = v.as_string();
  if (spec.precision) s = s.substr(0, byte_offset(s, *spec.precision));
  return align_text(rt, spec, "", s, '<');
}

}  // namespace sgl::jinja
