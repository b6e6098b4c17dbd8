// The methods of str. Where the text is Markup the result is, too.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

std::string_view text_of(Runtime& rt, const Value& self) {
  rt.charge_text(self.as_string().size());
  return self.as_string();
}

// A part of the text of `self`, or a text made from it.
Value part(const Value& self, std::string_view text) { return Value::string(text, self.markup); }
Value made(Runtime& rt, const Value& self, const std::string& text) {
  rt.check_size(text.size());
  rt.charge_text(text.size());
  return rt.heap.string(text, self.markup);
}

template <std::string (*map)(std::string_view)>
Value mapped(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "this method");
  return made(rt, self, map(text_of(rt, self)));
}

template <bool left, bool right>
Value stripped(Runtime& rt, const Value& self, const Args& args) {
  auto [chars] = bind_args(rt, args, "strip", {""});
  std::string_view s = text_of(rt, self);
  if (chars.is(Kind::Missing) || chars.is(Kind::None)) return part(self, strip(s, Ends{left, right}));
  std::string_view set = string_argument(rt, chars, "strip arg");
  rt.charge(s.size() / 64 * (1 + set.size() / 64));
  return part(self, strip(s, set, Ends{left, right}));
}

// The part of `s` between two indices as methods take them (start, end: characters; negative ones from the end).
// Sets `valid` to false where start is beyond the end: not even an empty text is found there.
std::string_view window(Runtime& rt, std::string_view s, const Value& start, const Value& end, size_t& offset,
                        bool& valid) {
  offset = 0;
  valid = true;
  auto given = [](const Value& v) { return !v.is(Kind::Missing) && !v.is(Kind::None); };
  if (!given(start) && !given(end)) return s;
  auto size = static_cast<int64_t>(length(s));
  auto index = [&](const Value& v, int64_t fallback) {
    int64_t i = given(v) ? int_argument(rt, v, 0) : fallback;
    return i < 0 ? std::max<int64_t>(i + size, 0) : i;
  };
  int64_t first = index(start, 0), last = std::min(index(end, size), size);
  valid = first <= last;
  if (!valid) return {};
  offset = byte_offset(s, static_cast<size_t>(first));
  return s.substr(offset, byte_offset(s.substr(offset), static_cast<size_t>(last - first)));
}

enum class Search { Find, RFind, Index, RIndex };

template <Search how>
Value find(Runtime& rt, const Value& self, const Args& args) {
  auto [sub, start, end] = bind_args(rt, args, "find", {"", "", ""}, 1);
  std::string_view s = text_of(rt, self), what = string_argument(rt, sub, "find's argument");
  size_t offset = 0;
  bool valid = true;
  std::string_view in = window(rt, s, start, end, offset, valid);
  bool from_right = how == Search::RFind || how == Search::RIndex;
  size_t at = !valid ? kNotFound : from_right ? in.rfind(what) : in.find(what);
  if (at != kNotFound) return Value::integer(static_cast<int64_t>(length(s.substr(0, offset + at))));
  if (how == Search::Index || how == Search::RIndex) rt.fail("substring not found");
  return Value::integer(-1);
}

Value count(Runtime& rt, const Value& self, const Args& args) {
  auto [sub, start, end] = bind_args(rt, args, "count", {"", "", ""}, 1);
  std::string_view what = string_argument(rt, sub, "count's argument");
  size_t offset = 0;
  bool valid = true;
  std::string_view in = window(rt, text_of(rt, self), start, end, offset, valid);
  if (!valid) return Value::integer(0);
  if (what.empty()) return Value::integer(static_cast<int64_t>(length(in)) + 1);
  int64_t n = 0;
  for (size_t at = in.find(what); at != kNotFound; at = in.find(what, at + what.size())) ++n;
  return Value::integer(n);
}

template <bool at_start>
Value has_affix(Runtime& rt, const Value& self, const Args& args) {
  auto [affix, start, end] = bind_args(rt, args, at_start ? "startswith" : "endswith", {"", "", ""}, 1);
  size_t offset = 0;
  bool valid = true;
  std::string_view in = window(rt, self.as_string(), start, end, offset, valid);
  auto has = [&](const Value& v) {
    if (v.is(Kind::Undefined)) rt.fail_undefined(v);
    if (!v.is(Kind::String)) {
      rt.fail(fmt::format("{} first arg must be str or a tuple of str, not {}", at_start ? "startswith" : "endswith",
                          type_name(v)));
    }
    return valid && (at_start ? in.starts_with(v.as_string()) : in.ends_with(v.as_string()));
  };
  if (!affix.is(Kind::Tuple)) return Value::boolean(has(affix));
  const auto& options = affix.list().items;
  return Value::boolean(std::any_of(options.begin(), options.end(), has));
}

template <bool prefix>
Value remove_affix(Runtime& rt, const Value& self, const Args& args) {
  auto [affix] = bind_args(rt, args, "removeprefix", {""}, 1);
  std::string_view s = self.as_string(), a = string_argument(rt, affix, "the argument");
  if (prefix && s.starts_with(a)) s.remove_prefix(a.size());
  if (!prefix && s.ends_with(a)) s.remove_suffix(a.size());
  return part(self, s);
}

Value replace(Runtime& rt, const Value& self, const Args& args) {
  auto [from, to, limit] = bind_args(rt, args, "replace", {"", "", ""}, 2);
  string_argument(rt, from, "replace() argument 1");
  if (!self.markup) string_argument(rt, to, "replace() argument 2");
  Value with = self.markup ? escape(rt, to) : to;
  return made(rt, self,
              replace_text(rt, text_of(rt, self), from.as_string(), with.as_string(), int_argument(rt, limit, -1)));
}

Value make_list(Runtime& rt, const Value& self, const std::vector<std::string_view>& parts) {
  rt.charge(parts.size());
  std::pmr::vector<Value> items = rt.heap.values();
  items.reserve(parts.size());
  for (std::string_view p : parts) items.push_back(part(self, p));
  return rt.heap.list(std::move(items));
}

// Without a separator: the words, at most `limit` splits; what is left keeps its inner and outer white space.
std::vector<std::string_view> split_words(std::string_view s, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  while (true) {
    s = strip(s, Ends{!from_right, from_right});
    if (s.empty()) break;
    if (limit-- == 0) {
      parts.push_back(strip(s, Ends{from_right, !from_right}));
      break;
    }
    size_t end = from_right ? s.size() : 0;
    while (from_right ? end > 0 : end < s.size()) {
      Utf8Char c = from_right ? decode_utf8_before(s, end) : decode_utf8(s, end);
      if (is_space(c.code)) break;
      end = from_right ? end - c.size : end + c.size;
    }
    parts.push_back(from_right ? s.substr(end) : s.substr(0, end));
    s = from_right ? s.substr(0, end) : s.substr(end);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_text(std::string_view s, std::string_view separator, int64_t limit,
                                         bool from_right) {
  std::vector<std::string_view> parts;
  while (limit-- != 0) {
    size_t at = from_right ? s.rfind(separator) : s.find(separator);
    if (at == kNotFound) break;
    parts.push_back(from_right ? s.substr(at + separator.size()) : s.substr(0, at));
    s = from_right ? s.substr(0, at) : s.substr(at + separator.size());
  }
  parts.push_back(s);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split(Runtime& rt, const Value& self, const Args& args) {
  auto [separator, maxsplit] = bind_args(rt, args, "split", {"sep", "maxsplit"});
  std::string_view s = text_of(rt, self);
  int64_t limit = std::max<int64_t>(int_argument(rt, maxsplit, -1), -1);
  if (separator.is(Kind::Missing) || separator.is(Kind::None))
    return make_list(rt, self, split_words(s, limit, from_right));
  std::string_view by = string_argument(rt, separator, "the separator");
  if (by.empty()) rt.fail("empty separator");
  return make_list(rt, self, split_text(s, by, limit, from_right));
}

Value splitlines(Runtime& rt, const Value& self, const Args& args) {
  auto [keepends] = bind_args(rt, args, "splitlines", {"keepends"});
  return make_list(rt, self, split_lines(text_of(rt, self), bool_argument(keepends, false)));
}

template <bool from_right>
Value partition(Runtime& rt, const Value& self, const Args& args) {
  auto [separator] = bind_args(rt, args, "partition", {""}, 1);
  std::string_view s = text_of(rt, self), by = string_argument(rt, separator, "the separator");
  if (by.empty()) rt.fail("empty separator");
  size_t at = from_right ? s.rfind(by) : s.find(by);
  Value nothing = part(self, "");
  if (at == kNotFound) {
    return from_right ? rt.heap.tuple({nothing, nothing, part(self, s)})
                      : rt.heap.tuple({part(self, s), nothing, nothing});
  }
  return rt.heap.tuple({part(self, s.substr(0, at)), part(self, by), part(self, s.substr(at + by.size()))});
}

Value join(Runtime& rt, const Value& self, const Args& args) {
  auto [iterable] = bind_args(rt, args, "join", {""}, 1);
  if (!is_iterable(iterable)) rt.fail("can only join an iterable");
  Cursor items(rt, iterable);
  std::string out;
  size_t i = 0;
  for (Value v; items.next(rt, v); ++i) {
    if (!v.is(Kind::String) && !self.markup) {
      rt.fail(fmt::format("sequence item {}: expected str instance, {} found", i, type_name(v)));
    }
    if (i > 0) out += self.as_string();
    out += (self.markup ? escape(rt, v) : v).as_string();
    rt.check_size(out.size());
  }
  return made(rt, self, out);
}

enum class Align { Left, Right, Center };

template <Align align>
Value justified(Runtime& rt, const Value& self, const Args& args) {
  auto [width_value, fill_value] = bind_args(rt, args, "center", {"", ""}, 1);
  std::string_view fill = fill_value.is(Kind::Missing) ? " " : string_argument(rt, fill_value, "The fill character");
  if (length(fill) != 1) rt.fail("The fill character must be exactly one character long");
  auto size = static_cast<int64_t>(length(text_of(rt, self)));
  int64_t width = int_argument(rt, width_value, 0), missing = std::max<int64_t>(width - size, 0);
  if (width > 0) rt.check_size(static_cast<size_t>(width));
  int64_t left = align == Align::Left ? 0 : align == Align::Right ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.as_string();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return made(rt, self, out);
}

Value zfill(Runtime& rt, const Value& self, const Args& args) {
  auto [width_value] = bind_args(rt, args, "zfill", {""}, 1);
  std::string text(text_of(rt, self));
  int64_t missing = std::max<int64_t>(int_argument(rt, width_value, 0), 0) - static_cast<int64_t>(length(text));
  if (missing <= 0) return self;
  rt.check_size(static_cast<size_t>(missing));
  bool sign = text.starts_with('+') || text.starts_with('-');
  text.insert(sign ? 1 : 0, static_cast<size_t>(missing), '0');
  return made(rt, self, text);
}

Value expandtabs(Runtime& rt, const Value& self, const Args& args) {
  auto [size_value] = bind_args(rt, args, "expandtabs", {"tabsize"});
  int64_t tab = int_argument(rt, size_value, 8), column = 0;
  if (tab > 0) rt.check_size(static_cast<size_t>(tab));
  std::string out;
  for_each_char(text_of(rt, self), [&](char32_t c, uint32_t) {
    if (c == '\t') {
      if (tab <= 0) return;
      int64_t n = tab - column % tab;
      rt.check_size(out.size() + static_cast<size_t>(n));
      out.append(static_cast<size_t>(n), ' ');
      column += n;
      return;
    }
    append_utf8(out, c);
    column = c == '\n' || c == '\r' ? 0 : column + 1;
  });
  return made(rt, self, out);
}

Value format_map(Runtime& rt, const Value& self, const Args& args) {
  auto [mapping] = bind_args(rt, args, "format_map", {""}, 1);
  if (!mapping.is(Kind::Dict)) rt.fail(fmt::format("format_map() needs a mapping, not {}", type_name(mapping)));
  Args named;
  for (const auto& [key, value] : mapping.dict().entries) {
    if (key.is(Kind::String)) named.named.emplace_back(key.as_string(), value);
  }
  return format_braces(rt, self, named);
}

// Whether every character (and at least one) is of a class.
template <bool (*of_class)(char32_t), bool empty_is = false>
Value all_of_class(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "this method");
  bool all = !self.as_string().empty() || empty_is;
  for_each_char(text_of(rt, self), [&](char32_t c, uint32_t) { all = all && of_class(c); });
  return Value::boolean(all);
}
bool is_ascii(char32_t c) { return c < 0x80; }
bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }

Value isidentifier(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "isidentifier");
  return Value::boolean(is_identifier(text_of(rt, self)));
}

// Every letter is upper case after a letter-less character and lower case after a letter; there is one.
Value istitle(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "istitle");
  bool any = false, ok = true, after_letter = false;
  for_each_char(text_of(rt, self), [&](char32_t c, uint32_t) {
    bool upper = is_upper(c) || is_title(c), lower = is_lower(c);
    if (upper) ok = ok && !after_letter;
    if (lower) ok = ok && after_letter;
    any = any || upper || lower;
    after_letter = upper || lower;
  });
  return Value::boolean(any && ok);
}

Value unsupported(Runtime& rt, const Value&, const Args&) { rt.fail("this method of str is not supported"); }

constexpr Named kStringMethods[] = {
    {"strip", stripped<true, true>},
    {"lstrip", stripped<true, false>},
    {"rstrip", stripped<false, true>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"startswith", has_affix<true>},
    {"endswith", has_affix<false>},
    {"replace", replace},
    {"format", [](Runtime& rt, const Value& self, const Args& args) { return format_braces(rt, self, args); }},
    {"format_map", format_map},
    {"upper", mapped<to_upper>},
    {"lower", mapped<to_lower>},
    {"title", mapped<to_title>},
    {"capitalize", mapped<capitalize>},
    {"swapcase", mapped<swap_case>},
    {"casefold", mapped<case_fold>},
    {"find", find<Search::Find>},
    {"rfind", find<Search::RFind>},
    {"index", find<Search::Index>},
    {"rindex", find<Search::RIndex>},
    {"count", count},
    {"join", join},
    {"splitlines", splitlines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"removeprefix", remove_affix<true>},
    {"removesuffix", remove_affix<false>},
    {"ljust", justified<Align::Left>},
    {"rjust", justified<Align::Right>},
    {"center", justified<Align::Center>},
    {"zfill", zfill},
    {"expandtabs", expandtabs},
    {"isalpha", all_of_class<is_alpha>},
    {"isalnum", all_of_class<is_alnum>},
    {"isdigit", all_of_class<is_digit>},
    {"isdecimal", all_of_class<is_decimal>},
    {"isnumeric", all_of_class<is_numeric>},
    {"isspace", all_of_class<is_space>},
    {"isascii", all_of_class<is_ascii, true>},
    {"isprintable", all_of_class<is_printable, true>},
    {"islower", [](Runtime& rt, const Value& self, const Args& args) { return find_test("lower")(rt, self, args); }},
    {"isupper", [](Runtime& rt, const Value& self, const Args& args) { return find_test("upper")(rt, self, args); }},
    {"istitle", istitle},
    {"isidentifier", isidentifier},
    {"encode", unsupported},
    {"translate", unsupported},
    {"maketrans", unsupported},
};

}  // namespace

std::span<const Named> string_methods() { return kStringMethods; }

std::string replace_text(Runtime& rt, std::string_view s, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  size_t at = 0;
  limit = std::max<int64_t>(limit, -1);
  auto check = [&] { rt.check_size(out.size()); };
  while (limit-- != 0) {
    size_t found = from.empty() ? at : s.find(from, at);
    if (found == kNotFound || found > s.size()) break;
    out.append(s.substr(at, found - at)).append(to);
    check();
    at = found + from.size();
    if (!from.empty()) continue;
    if (at >= s.size()) return out;  // an empty pattern is found before every character and at the end
    size_t size = char_size(s, at);
    out.append(s.substr(at, size));
    at += size;
  }
  if (at < s.size()) out.append(s.substr(at));
  check();
  return out;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0, at = 0;
  while (at < s.size()) {
    Utf8Char c = decode_utf8(s, at);
    size_t end = at;
    at += c.size;
    if (!is_line_break(c.code)) continue;
    if (c.code == '\r' && at < s.size() && s[at] == '\n') ++at;
    lines.push_back(s.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < s.size()) lines.push_back(s.substr(begin));
  return lines;
}

}  // namespace sgl::jinja
