#pragma once
// The filters, tests, functions and methods that templates can use, by name, and how their arguments are read.

#include <array>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace sgl::jinja {

/// Null if there is none of that name. A filter's or test's input is `self`.
Native find_filter(std::string_view name);
Native find_test(std::string_view name);
/// The functions that every template sees: range, dict, namespace, raise_exception, strftime_now, …
Native find_function(std::string_view name);
/// A method of str, list, tuple, dict or range.
Native find_method(Kind kind, std::string_view name);

/// An entry of such a table.
struct Named {
  std::string_view name;
  Native function;
};
std::span<const Named> text_filters();
std::span<const Named> sequence_filters();
std::span<const Named> string_methods();

/// Fills `out` with the arguments in the order of `names`; Missing where not passed. An empty name: positional only.
void bind_args(Runtime& rt, const Args& args, std::string_view function, std::span<const std::string_view> names,
               size_t required, std::span<Value> out);

template <size_t n>
std::array<Value, n> bind_args(Runtime& rt, const Args& args, std::string_view function,
                               const std::string_view (&names)[n], size_t required = 0) {
  std::array<Value, n> out;
  bind_args(rt, args, function, names, required, out);
  return out;
}
void no_args(Runtime& rt, const Args& args, std::string_view function);

// Arguments as C++ values; they throw a TypeError's message where the type is wrong. Missing gives `fallback`.
int64_t int_argument(Runtime& rt, const Value& v, int64_t fallback);
std::string_view string_argument(Runtime& rt, const Value& v, std::string_view what);
bool bool_argument(const Value& v, bool fallback);

/// str % args, with args a tuple, a mapping or a single value.
Value format_percent(Runtime& rt, const Value& format, const Value& args);
/// str.format(*args, **kwargs)
Value format_braces(Runtime& rt, const Value& format, const Args& args);
/// One value in Python's format specification mini-language.
std::string format_spec(Runtime& rt, const Value& v, std::string_view spec);
/// time in Python's strftime notation, in English whatever the locale.
std::string format_time(const std::tm& time, std::string_view format);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  ///< one item a line, indented by `indent`
  std::string indent{};
  std::string item_separator = ", ", key_separator = ": ";
};
void append_json(Runtime& rt, std::string& out, const Value& v, const JsonStyle& style);
/// Parses JSON as Python's json.loads does: order kept, the last of equal keys counts. Throws InvalidArgument.
Value parse_json(Heap& heap, std::string_view json);

/// str.replace; a negative limit: all.
std::string replace_text(Runtime& rt, std::string_view s, std::string_view from, std::string_view to, int64_t limit);
/// str.splitlines
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends);

}  // namespace sgl::jinja
