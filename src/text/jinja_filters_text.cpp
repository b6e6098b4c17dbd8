// Filters that make text or numbers.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

Value made(Runtime& rt, const std::string& text, bool markup = false) {
  rt.check_size(text.size());
  rt.charge_text(text.size());
  return rt.heap.string(text, markup);
}

template <std::string (*map)(std::string_view)>
Value mapped(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "this filter");
  Value s = soft_str(rt, v);
  rt.charge_text(s.as_string().size());
  return made(rt, map(s.as_string()), s.markup);
}

// Unlike str.title(): words begin after white space and - ( { [ <, not after any character that is no letter.
std::string title_words(std::string_view s) {
  std::string out;
  size_t word = 0;
  auto flush = [&](size_t end) {
    if (word == end) return;
    size_t first = char_size(s, word);
    out += to_upper(s.substr(word, first)) + to_lower(s.substr(word + first, end - word - first));
  };
  for (size_t at = 0; at < s.size();) {
    Utf8Char c = decode_utf8(s, at);
    if (is_space(c.code) ||
        (c.code < 0x80 && std::string_view("-({[<").find(static_cast<char>(c.code)) != std::string_view::npos)) {
      flush(at);
      out += s.substr(at, c.size);
      word = at + c.size;
    }
    at += c.size;
  }
  flush(s.size());
  return out;
}

// The only one of its kind that forgets that its input is Markup.
Value title(Runtime& rt, const Value& v, const Args& args) {
  Value s = mapped<title_words>(rt, v, args);
  s.markup = false;
  return s;
}

Value trim(Runtime& rt, const Value& v, const Args& args) {
  auto [chars] = bind_args(rt, args, "trim", {"chars"});
  Args strip_args;
  strip_args.positional.push_back(chars.is(Kind::Missing) ? Value::none() : chars);
  return find_method(Kind::String, "strip")(rt, soft_str(rt, v), strip_args);
}

Value replace(Runtime& rt, const Value& v, const Args& args) {
  auto [from, to, count] = bind_args(rt, args, "replace", {"old", "new", "count"}, 2);
  int64_t limit = count.is(Kind::None) ? -1 : int_argument(rt, count, -1);
  std::string_view s = to_str(rt, v).as_string();
  rt.charge_text(s.size());
  return made(rt, replace_text(rt, s, to_str(rt, from).as_string(), to_str(rt, to).as_string(), limit));
}

Value string_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "string");
  return soft_str(rt, v);
}

Value safe(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "safe");
  Value s = soft_str(rt, v);
  s.markup = true;
  return s;
}

Value escape_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "escape");
  return escape(rt, v);
}

Value force_escape(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "forceescape");
  return escape(rt, to_str(rt, v));
}

Value format(Runtime& rt, const Value& v, const Args& args) {
  if (!args.positional.empty() && !args.named.empty()) {
    rt.fail("can't handle positional and keyword arguments at the same time");
  }
  if (!args.named.empty()) {
    Dict& dict = rt.heap.dict();
    for (const auto& [key, value] : args.named) dict.set(Value::string(key), value);
    return format_percent(rt, soft_str(rt, v), to_value(dict));
  }
  std::pmr::vector<Value> items = rt.heap.values();
  items.assign(args.positional.begin(), args.positional.end());
  return format_percent(rt, soft_str(rt, v), rt.heap.tuple(std::move(items)));
}

Value indent(Runtime& rt, const Value& v, const Args& args) {
  auto [width, first, blank] = bind_args(rt, args, "indent", {"width", "first", "blank"});
  std::string indentation;
  if (width.is(Kind::String)) {
    indentation = width.as_string();
  } else {
    int64_t n = std::max<int64_t>(int_argument(rt, width, 4), 0);
    rt.check_size(static_cast<size_t>(n));
    indentation.assign(static_cast<size_t>(n), ' ');
  }
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  std::string text(string_argument(rt, v, "the text to indent"));
  rt.charge_text(text.size());
  text += '\n';  // as in Jinja: a text without lines has one empty line
  std::vector<std::string_view> lines = split_lines(text, false);
  std::string out = bool_argument(first, false) ? indentation : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (!lines[i].empty() || bool_argument(blank, false))) out += indentation;
    out += lines[i];
    rt.check_size(out.size());
  }
  return made(rt, out, v.markup);
}

Value center(Runtime& rt, const Value& v, const Args& args) {
  auto [width] = bind_args(rt, args, "center", {"width"});
  Args method_args;
  method_args.positional.push_back(width.is(Kind::Missing) ? Value::integer(80) : width);
  return find_method(Kind::String, "center")(rt, soft_str(rt, v), method_args);
}

Value truncate(Runtime& rt, const Value& v, const Args& args) {
  auto [length_value, killwords, end_value, leeway_value] =
      bind_args(rt, args, "truncate", {"length", "killwords", "end", "leeway"});
  std::string_view end = end_value.is(Kind::Missing) ? "..." : string_argument(rt, end_value, "end");
  int64_t limit = int_argument(rt, length_value, 255);
  int64_t leeway = leeway_value.is(Kind::None) ? 5 : int_argument(rt, leeway_value, 5);
  auto end_size = static_cast<int64_t>(length(end));
  if (limit < end_size) rt.fail(fmt::format("expected length >= {}, got {}", end_size, limit));
  if (leeway < 0) rt.fail(fmt::format("expected leeway >= 0, got {}", leeway));
  int64_t size = length_of(rt, v);
  if (size < 0) rt.fail(fmt::format("object of type '{}' has no len()", type_name(v)));
  if (size <= limit || size - limit <= leeway) return v;
  std::string_view s = string_argument(rt, v, "the text to truncate");
  std::string_view kept = s.substr(0, byte_offset(s, static_cast<size_t>(limit - end_size)));
  if (!bool_argument(killwords, false)) kept = kept.substr(0, kept.rfind(' '));
  return made(rt, std::string(kept).append(end), v.markup);
}

Value wordcount(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "wordcount");
  int64_t words = 0;
  bool in_word = false;
  std::string_view s = soft_str(rt, v).as_string();
  rt.charge_text(s.size());
  for_each_char(s, [&](char32_t c, uint32_t) {
    bool word = is_word(c);
    words += word && !in_word ? 1 : 0;
    in_word = word;
  });
  return Value::integer(words);
}

Value urlencode(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "urlencode");
  auto quote = [&](const Value& part, bool query) {
    std::string out;
    for (char c : to_str(rt, part).as_string()) {
      auto b = static_cast<unsigned char>(c);
      bool plain = b < 0x80 && (is_word(b) || c == '-' || c == '.' || c == '~' || (c == '/' && !query));
      if (plain) {
        out += c;
      } else if (c == ' ' && query) {
        out += '+';
      } else {
        out += fmt::format("%{:02X}", b);
      }
    }
    return out;
  };
  if (v.is(Kind::String) || !is_iterable(v)) return made(rt, quote(v, false));
  Value pairs = v;
  if (v.is(Kind::Dict)) pairs = Value::object(Kind::View, &rt.heap.make<View>(View::Of::Items, &v.dict()));
  std::string out;
  Cursor cursor(rt, pairs);
  for (Value item; cursor.next(rt, item);) {
    std::pmr::vector<Value> pair = to_list(rt, item);
    if (pair.size() != 2) rt.fail("urlencode wants pairs");
    if (!out.empty()) out += '&';
    out += quote(pair[0], true) + "=" + quote(pair[1], true);
    rt.check_size(out.size());
  }
  return made(rt, out);
}

// Numbers -------------------------------------------------------------------------------------------------------------

// Without underscores between digits; nothing where they stand elsewhere.
std::optional<std::string> without_underscores(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') {
      out += s[i];
      continue;
    }
    auto alnum = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    if (i == 0 || i + 1 >= s.size() || !alnum(s[i - 1]) || !alnum(s[i + 1])) return std::nullopt;
  }
  return out;
}

// int(text, base) of Python; nothing where that raises ValueError.
std::optional<Value> parse_int(Runtime& rt, std::string_view text, int64_t base) {
  std::optional<std::string> digits = without_underscores(strip(text));
  if (!digits) return std::nullopt;
  std::string_view s = *digits;
  bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.remove_prefix(1);
  char letter = s.size() > 2 && s[0] == '0' ? static_cast<char>(s[1] | 0x20) : '\0';
  int64_t prefix_base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
    base = prefix_base;
    s.remove_prefix(2);
  } else if (base == 0) {
    base = 10;
    if (s.size() > 1 && s[0] == '0' && s.find_first_not_of('0') != std::string_view::npos) return std::nullopt;
  }
  uint64_t n = 0;
  if (s.empty() || s[0] == '-' || s[0] == '+') return std::nullopt;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n, static_cast<int>(base));
  if (end != s.data() + s.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range || n > INT64_MAX) {
    if (base != 10) rt.fail("an integer is too large: beyond 64 bits");
    s.remove_prefix(std::min(s.find_first_not_of('0'), s.size() - 1));
    return Value::big_integer(negative ? rt.heap.join(rt.heap.copy("-"), rt.heap.copy(s)) : rt.heap.copy(s));
  }
  return Value::integer(negative ? -static_cast<int64_t>(n) : static_cast<int64_t>(n));
}

// float(text) of Python.
std::optional<double> parse_float(std::string_view text) {
  std::optional<std::string> s = without_underscores(strip(text));
  if (!s || s->empty()) return std::nullopt;
  std::string_view body = *s;
  bool negative = body.starts_with('-');
  if (negative || body.starts_with('+')) body.remove_prefix(1);
  std::string lower = to_lower(body);
  double d = 0;
  if (lower == "inf" || lower == "infinity") {
    d = HUGE_VAL;
  } else if (lower == "nan") {
    d = std::nan("");
  } else {
    bool decimal = !body.empty() && body.find_first_not_of("0123456789.eE+-") == std::string_view::npos;
    if (!decimal || body[0] == '-' || body[0] == '+' || body[0] == 'e' || body[0] == 'E') return std::nullopt;
    std::string number(body);
    char* end = nullptr;
    d = std::strtod(number.c_str(), &end);
    if (end != number.c_str() + number.size()) return std::nullopt;
  }
  return negative ? -d : d;
}

// int(d); nothing for NaN.
std::optional<Value> truncated(Runtime& rt, double d) {
  if (std::isnan(d)) return std::nullopt;
  if (std::isinf(d)) rt.fail("cannot convert float infinity to integer");
  if (std::abs(d) < 0x1p63) return Value::integer(static_cast<int64_t>(d));
  return Value::big_integer(rt.heap.copy(fmt::format("{:.0f}", d)));
}

Value int_filter(Runtime& rt, const Value& v, const Args& args) {
  auto [fallback_value, base_value] = bind_args(rt, args, "int", {"default", "base"});
  Value fallback = fallback_value.is(Kind::Missing) ? Value::integer(0) : fallback_value;
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  if (v.is_integral() || v.is(Kind::BigInt)) return v.is(Kind::BigInt) ? v : Value::integer(v.as_int());
  if (v.is(Kind::Float)) return truncated(rt, v.as_double()).value_or(fallback);
  if (!v.is(Kind::String)) return fallback;
  int64_t base = int_argument(rt, base_value, 10);
  bool base_ok = base == 0 || (base >= 2 && base <= 36);
  if (std::optional<Value> i = base_ok ? parse_int(rt, v.as_string(), base) : std::nullopt) return *i;
  std::optional<double> d = parse_float(v.as_string());
  if (!d || std::isinf(*d)) return fallback;
  return truncated(rt, *d).value_or(fallback);
}

Value float_filter(Runtime& rt, const Value& v, const Args& args) {
  auto [fallback] = bind_args(rt, args, "float", {"default"});
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  std::optional<double> d;
  if (v.is(Kind::Float)) d = v.as_double();
  if (v.is_integral()) d = static_cast<double>(v.as_int());
  if (v.is(Kind::String) || v.is(Kind::BigInt)) d = parse_float(v.as_string());
  if (v.is(Kind::BigInt) && std::isinf(*d)) rt.fail("int too large to convert to float");
  return d ? Value::real(*d) : fallback.is(Kind::Missing) ? Value::real(0) : fallback;
}

Value abs_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "abs");
  if (!v.is_number()) rt.fail(fmt::format("bad operand type for abs(): '{}'", type_name(v)));
  if (v.is(Kind::Float)) return Value::real(std::abs(v.as_double()));
  if (v.is(Kind::BigInt)) return v.as_string().starts_with('-') ? negate(rt, v) : v;
  return v.as_int() < 0 ? negate(rt, v) : Value::integer(v.as_int());
}

// Python's round(): to the nearest decimal, exactly; ties of the binary value to even. printf rounds so, too.
Value round_float(Runtime& rt, double d, int64_t digits) {
  if (!std::isfinite(d) || digits > 400) return Value::real(d);
  if (digits < -400) return Value::real(std::copysign(0.0, d));
  if (digits >= 0) return Value::real(std::strtod(fmt::format("{:.{}f}", d, digits).c_str(), nullptr));
  // Negative digits: round the decimal digits of the whole part; what is behind decides only ties.
  double whole = std::trunc(d), unit = std::pow(10.0, static_cast<double>(-digits));
  if (std::abs(whole) >= 0x1p53) rt.fail("a float is too large to be rounded to tens");
  double q = std::floor(std::abs(whole) / unit), rest = std::abs(whole) - q * unit;
  bool up = rest > unit / 2 || (rest == unit / 2 && (std::abs(d) > std::abs(whole) || std::fmod(q, 2) == 1));
  return Value::real(std::copysign((up ? q + 1 : q) * unit, d));
}

Value round_int(Runtime& rt, int64_t i, int64_t digits) {
  if (digits >= 0 || i == 0) return Value::integer(i);
  if (digits < -18) return Value::integer(0);
  int64_t unit = 1;
  for (int64_t n = digits; n < 0; ++n) unit *= 10;
  int64_t rest = i % unit, down = i - rest, magnitude = std::abs(rest);
  bool up = magnitude > unit - magnitude || (magnitude == unit - magnitude && down / unit % 2 != 0);
  if (!up) return Value::integer(down);
  return arithmetic(rt, Op::Add, Value::integer(down), Value::integer(i < 0 ? -unit : unit));
}

Value round_filter(Runtime& rt, const Value& v, const Args& args) {
  auto [precision, method_value] = bind_args(rt, args, "round", {"precision", "method"});
  std::string_view method = method_value.is(Kind::String) ? method_value.as_string() : "";
  if (method_value.is(Kind::Missing)) method = "common";
  if (method != "common" && method != "ceil" && method != "floor") rt.fail("method must be common, ceil or floor");
  if (method == "common" && precision.is(Kind::None) && v.is(Kind::Float)) {
    return truncated(rt, std::nearbyint(v.as_double())).value_or(Value());
  }
  int64_t digits = precision.is(Kind::None) && method == "common" ? 0 : int_argument(rt, precision, 0);
  if (!v.is_integral() && !v.is(Kind::Float)) {
    rt.fail(fmt::format("type {} doesn't define __round__ method", type_name(v)));
  }
  if (method == "common") {
    return v.is(Kind::Float) ? round_float(rt, v.as_double(), digits) : round_int(rt, v.as_int(), digits);
  }
  Value unit = arithmetic(rt, Op::Pow, Value::integer(10), Value::integer(digits));
  Value scaled = arithmetic(rt, Op::Mul, v, unit);
  if (scaled.is(Kind::Float)) {
    double d = method == "ceil" ? std::ceil(scaled.as_double()) : std::floor(scaled.as_double());
    if (!std::isfinite(d)) rt.fail("cannot convert float infinity or NaN to integer");
    scaled = Value::real(d == 0 ? 0 : d);
  }
  return arithmetic(rt, Op::Div, scaled, unit);
}

Value tojson(Runtime& rt, const Value& v, const Args& args) {
  auto [ensure_ascii, indent_value, separators, sort_keys] =
      bind_args(rt, args, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bool_argument(ensure_ascii, false);
  style.sort_keys = bool_argument(sort_keys, false);
  if (!indent_value.is(Kind::Missing) && !indent_value.is(Kind::None)) {
    style.pretty = true;
    style.item_separator.assign(1, ',');
    if (indent_value.is(Kind::String)) {
      style.indent = indent_value.as_string();
    } else {
      int64_t n = std::max<int64_t>(int_argument(rt, indent_value, 0), 0);
      rt.check_size(static_cast<size_t>(n));
      style.indent.assign(static_cast<size_t>(n), ' ');
    }
  }
  if (!separators.is(Kind::Missing) && !separators.is(Kind::None)) {
    std::pmr::vector<Value> pair = to_list(rt, separators);
    if (pair.size() != 2) rt.fail("tojson's separators must be a pair");
    style.item_separator = string_argument(rt, pair[0], "a separator");
    style.key_separator = string_argument(rt, pair[1], "a separator");
  }
  std::string out;
  append_json(rt, out, v, style);
  return made(rt, out);
}

Value unsupported(Runtime& rt, const Value&, const Args&) { rt.fail("this filter is not supported"); }

constexpr Named kFilters[] = {
    {"trim", trim},
    {"tojson", tojson},
    {"upper", mapped<to_upper>},
    {"lower", mapped<to_lower>},
    {"capitalize", mapped<capitalize>},
    {"title", title},
    {"replace", replace},
    {"string", string_filter},
    {"safe", safe},
    {"escape", escape_filter},
    {"e", escape_filter},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"center", center},
    {"truncate", truncate},
    {"wordcount", wordcount},
    {"urlencode", urlencode},
    {"int", int_filter},
    {"float", float_filter},
    {"abs", abs_filter},
    {"round", round_filter},
    // Known to Jinja, of no use in a prompt.
    {"filesizeformat", unsupported},
    {"pprint", unsupported},
    {"striptags", unsupported},
    {"urlize", unsupported},
    {"wordwrap", unsupported},
    {"xmlattr", unsupported},
};

}  // namespace

std::span<const Named> text_filters() { return kFilters; }

}  // namespace sgl::jinja
