// Global functions, tests, and how arguments are read.

#include "text/jinja_library.h"

#include <algorithm>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

Native find_in(std::span<const Named> table, std::string_view name) {
  auto it = std::find_if(table.begin(), table.end(), [&](const Named& n) { return n.name == name; });
  return it == table.end() ? nullptr : it->function;
}

// Functions -----------------------------------------------------------------------------------------------------------

Value make_range(Runtime& rt, const Value&, const Args& args) {
  auto [a, b, c] = bind_args(rt, args, "range", {"", "", ""}, 1);
  auto integer = [&](const Value& v) {
    if (v.is(Kind::Undefined)) rt.fail_undefined(v);
    if (!v.is_integral()) rt.fail(fmt::format("'{}' object cannot be interpreted as an integer", type_name(v)));
    return v.as_int();
  };
  RangeObject r{0, integer(a), 1};
  if (!b.is(Kind::Missing)) r = {r.stop, integer(b), 1};
  if (!c.is(Kind::Missing)) r.step = integer(c);
  if (r.step == 0) rt.fail("range() arg 3 must not be zero");
  constexpr int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE
  if (int64_t n = r.size(); n > kMaxRange || n < 0) {
    rt.fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  }
  return Value::object(Kind::Range, &rt.heap.make<RangeObject>(r));
}

// dict(mapping or pairs, **named)
Dict& fill_dict(Runtime& rt, const Args& args, std::string_view function) {
  if (args.positional.size() > 1) {
    rt.fail(fmt::format("{} expected at most 1 argument, got {}", function, args.positional.size()));
  }
  Dict& dict = rt.heap.dict();
  if (!args.positional.empty() && args.positional[0].is(Kind::Undefined)) rt.fail_undefined(args.positional[0]);
  if (!args.positional.empty() && args.positional[0].is(Kind::Dict)) {
    for (const auto& [key, value] : args.positional[0].dict().entries) dict.set(key, value);
  } else if (!args.positional.empty()) {
    Cursor items(rt, args.positional[0]);
    for (Value item; items.next(rt, item);) {
      if (!is_iterable(item)) rt.fail("cannot convert dictionary update sequence element to a sequence");
      std::pmr::vector<Value> pair = to_list(rt, item);
      if (pair.size() != 2) {
        rt.fail(fmt::format("dictionary update sequence element has length {}; 2 is required", pair.size()));
      }
      check_key(rt, pair[0]);
      dict.set(pair[0], pair[1]);
    }
  }
  for (const auto& [key, value] : args.named) dict.set(Value::string(key), value);
  return dict;
}

Value make_dict(Runtime& rt, const Value&, const Args& args) { return to_value(fill_dict(rt, args, "dict")); }

Value make_namespace(Runtime& rt, const Value&, const Args& args) {
  Dict& dict = fill_dict(rt, args, "namespace");
  for (const auto& [key, value] : dict.entries) {
    if (key.is(Kind::String) && key.as_string().starts_with('_')) {
      rt.fail(
          fmt::format("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{}'. "
                      "Please rename the attribute.",
                      key.as_string()));
    }
  }
  return Value::object(Kind::Namespace, &rt.heap.make<Namespace>(std::move(dict)));
}

Value raise_exception(Runtime& rt, const Value&, const Args& args) {
  auto [message] = bind_args(rt, args, "raise_exception", {"message"}, 1);
  rt.fail(to_str(rt, message).as_string());
}

Value strftime_now(Runtime& rt, const Value&, const Args& args) {
  auto [format] = bind_args(rt, args, "strftime_now", {"format"}, 1);
  std::tm now = rt.options.now ? rt.options.now() : fmt::localtime(std::time(nullptr));
  std::string_view text = string_argument(rt, format, "strftime_now's format");
  rt.charge_text(16 * text.size());
  return rt.heap.string(format_time(now, text));
}

Value make_cycler(Runtime& rt, const Value&, const Args& args) {
  if (args.positional.empty()) rt.fail("at least one item has to be provided");
  std::pmr::vector<Value> items = rt.heap.values();
  items.assign(args.positional.begin(), args.positional.end());
  return Value::object(Kind::Cycler, &rt.heap.make<Cycler>(List{std::move(items)}));
}

Value make_joiner(Runtime& rt, const Value&, const Args& args) {
  auto [separator] = bind_args(rt, args, "joiner", {"sep"});
  if (separator.is(Kind::Missing)) separator = Value::string(", ");
  return Value::object(Kind::Joiner, &rt.heap.make<Joiner>(separator));
}

constexpr Named kFunctions[] = {
    {"range", make_range},          {"dict", make_dict},
    {"namespace", make_namespace},  {"raise_exception", raise_exception},
    {"strftime_now", strftime_now}, {"cycler", make_cycler},
    {"joiner", make_joiner},
};

// Tests ---------------------------------------------------------------------------------------------------------------

// A test of the value alone.
template <bool (*test)(const Value&)>
Value simple_test(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "this test");
  return Value::boolean(test(v));
}

bool is_defined(const Value& v) { return !v.is(Kind::Undefined); }
bool is_undefined(const Value& v) { return v.is(Kind::Undefined); }
bool is_none(const Value& v) { return v.is(Kind::None); }
bool is_boolean(const Value& v) { return v.is(Kind::Bool); }
bool is_true(const Value& v) { return v.is(Kind::Bool) && v.as_bool(); }
bool is_false(const Value& v) { return v.is(Kind::Bool) && !v.as_bool(); }
bool is_integer(const Value& v) { return v.is(Kind::Int) || v.is(Kind::BigInt); }
bool is_float(const Value& v) { return v.is(Kind::Float); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is(Kind::String); }
bool is_mapping(const Value& v) { return v.is(Kind::Dict); }
bool is_escaped(const Value& v) { return v.is(Kind::String) && v.markup; }
bool is_sequence(const Value& v) {
  return v.is_sequence() || v.is(Kind::String) || v.is(Kind::Dict) || v.is(Kind::Range) || v.is(Kind::Undefined);
}
bool is_callable(const Value& v) {
  return v.is(Kind::Function) || v.is(Kind::Macro) || v.is(Kind::Loop) || v.is(Kind::Joiner) || v.is(Kind::Undefined);
}

template <bool (*right)(char32_t), bool (*wrong)(char32_t)>
Value case_test(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "this test");
  std::string_view text = to_str(rt, v).as_string();
  rt.charge_text(text.size());
  bool any = false, all = true;
  for_each_char(text, [&](char32_t c, uint32_t) {
    any = any || right(c);
    all = all && !wrong(c) && !jinja::is_title(c);
  });
  return Value::boolean(any && all);
}

template <int remainder>
Value parity_test(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "this test");
  return Value::boolean(equals(rt, arithmetic(rt, Op::Mod, v, Value::integer(2)), Value::integer(remainder)));
}

Value divisible_test(Runtime& rt, const Value& v, const Args& args) {
  auto [number] = bind_args(rt, args, "divisibleby", {"num"}, 1);
  return Value::boolean(equals(rt, arithmetic(rt, Op::Mod, v, number), Value::integer(0)));
}

template <Op op>
Value comparison_test(Runtime& rt, const Value& v, const Args& args) {
  auto [other] = bind_args(rt, args, "this test", {""}, 1);
  if (op == Op::Eq) return Value::boolean(equals(rt, v, other));
  if (op == Op::Ne) return Value::boolean(!equals(rt, v, other));
  return Value::boolean(compare(rt, op, v, other));
}

Value in_test(Runtime& rt, const Value& v, const Args& args) {
  auto [container] = bind_args(rt, args, "in", {"seq"}, 1);
  return Value::boolean(contains(rt, container, v));
}

Value same_as_test(Runtime& rt, const Value& v, const Args& args) {
  auto [other] = bind_args(rt, args, "sameas", {"other"}, 1);
  if (v.kind != other.kind) return Value::boolean(false);
  bool by_value = v.is_number() || v.is(Kind::None);
  return Value::boolean(by_value ? equals(rt, v, other) : v.address() == other.address());
}

template <Native (*find)(std::string_view)>
Value exists_test(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "this test");
  check_key(rt, v);
  return Value::boolean(v.is(Kind::String) && find(v.as_string()) != nullptr);
}

constexpr Named kTests[] = {
    {"defined", simple_test<is_defined>},
    {"undefined", simple_test<is_undefined>},
    {"none", simple_test<is_none>},
    {"string", simple_test<is_string>},
    {"mapping", simple_test<is_mapping>},
    {"iterable", simple_test<is_iterable>},
    {"sequence", simple_test<is_sequence>},
    {"boolean", simple_test<is_boolean>},
    {"true", simple_test<is_true>},
    {"false", simple_test<is_false>},
    {"number", simple_test<is_number>},
    {"integer", simple_test<is_integer>},
    {"float", simple_test<is_float>},
    {"callable", simple_test<is_callable>},
    {"escaped", simple_test<is_escaped>},
    {"lower", case_test<jinja::is_lower, jinja::is_upper>},
    {"upper", case_test<jinja::is_upper, jinja::is_lower>},
    {"odd", parity_test<1>},
    {"even", parity_test<0>},
    {"divisibleby", divisible_test},
    {"in", in_test},
    {"sameas", same_as_test},
    {"filter", exists_test<find_filter>},
    {"test", exists_test<find_test>},
    {"==", comparison_test<Op::Eq>},
    {"eq", comparison_test<Op::Eq>},
    {"equalto", comparison_test<Op::Eq>},
    {"!=", comparison_test<Op::Ne>},
    {"ne", comparison_test<Op::Ne>},
    {">", comparison_test<Op::Gt>},
    {"gt", comparison_test<Op::Gt>},
    {"greaterthan", comparison_test<Op::Gt>},
    {">=", comparison_test<Op::Ge>},
    {"ge", comparison_test<Op::Ge>},
    {"<", comparison_test<Op::Lt>},
    {"lt", comparison_test<Op::Lt>},
    {"lessthan", comparison_test<Op::Lt>},
    {"<=", comparison_test<Op::Le>},
    {"le", comparison_test<Op::Le>},
};

// Methods of lists, tuples and dicts ----------------------------------------------------------------------------------

Value list_index(Runtime& rt, const Value& self, const Args& args) {
  auto [value, start, stop] = bind_args(rt, args, "index", {"", "", ""}, 1);
  const auto& items = self.list().items;
  auto size = static_cast<int64_t>(items.size());
  auto clip = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  int64_t end = clip(int_argument(rt, stop, size));
  for (int64_t i = clip(int_argument(rt, start, 0)); i < end; ++i) {
    if (equals(rt, items[static_cast<size_t>(i)], value)) return Value::integer(i);
  }
  rt.fail(fmt::format("a value is not in {}", type_name(self)));
}

Value list_count(Runtime& rt, const Value& self, const Args& args) {
  auto [value] = bind_args(rt, args, "count", {""}, 1);
  const auto& items = self.list().items;
  return Value::integer(
      std::count_if(items.begin(), items.end(), [&, v = value](const Value& i) { return equals(rt, i, v); }));
}

Value range_index(Runtime& rt, const Value& self, const Args& args) {
  auto [value] = bind_args(rt, args, "index", {""}, 1);
  Cursor cursor(rt, self);
  Value item;
  for (int64_t i = 0; cursor.next(rt, item); ++i) {
    if (equals(rt, item, value)) return Value::integer(i);
  }
  rt.fail("a value is not in range");
}

Value range_count(Runtime& rt, const Value& self, const Args& args) {
  auto [value] = bind_args(rt, args, "count", {""}, 1);
  return Value::integer(contains(rt, self, value) ? 1 : 0);
}

// Nothing changes a list or a dict, so it is its own copy.
Value copy_self(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "copy");
  return self;
}

Value dict_get(Runtime& rt, const Value& self, const Args& args) {
  auto [key, fallback] = bind_args(rt, args, "get", {"", ""}, 1);
  check_key(rt, key);
  if (const Value* v = self.dict().find(key)) return *v;
  return fallback.is(Kind::Missing) ? Value::none() : fallback;
}

template <View::Of of>
Value dict_view(Runtime& rt, const Value& self, const Args& args) {
  no_args(rt, args, "this method");
  return Value::object(Kind::View, &rt.heap.make<View>(of, &self.dict()));
}

constexpr Named kListMethods[] = {{"index", list_index}, {"count", list_count}, {"copy", copy_self}};
constexpr Named kRangeMethods[] = {{"index", range_index}, {"count", range_count}};
constexpr Named kDictMethods[] = {{"get", dict_get},
                                  {"items", dict_view<View::Of::Items>},
                                  {"keys", dict_view<View::Of::Keys>},
                                  {"values", dict_view<View::Of::Values>},
                                  {"copy", copy_self}};

}  // namespace

Native find_filter(std::string_view name) {
  Native f = find_in(text_filters(), name);
  return f != nullptr ? f : find_in(sequence_filters(), name);
}
Native find_test(std::string_view name) { return find_in(kTests, name); }
Native find_function(std::string_view name) { return find_in(kFunctions, name); }

Native find_method(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::String:
      return find_in(string_methods(), name);
    case Kind::List:
      return find_in(kListMethods, name);
    case Kind::Tuple:
      return name == "copy" ? nullptr : find_in(kListMethods, name);
    case Kind::Dict:
      return find_in(kDictMethods, name);
    case Kind::Range:
      return find_in(kRangeMethods, name);
    default:
      return nullptr;
  }
}

void bind_args(Runtime& rt, const Args& args, std::string_view function, std::span<const std::string_view> names,
               size_t required, std::span<Value> out) {
  if (args.positional.size() > names.size()) {
    rt.fail(fmt::format("{}() takes at most {} arguments ({} given)", function, names.size(), args.positional.size()));
  }
  std::copy(args.positional.begin(), args.positional.end(), out.begin());
  for (const auto& [name, value] : args.named) {
    auto it = name.empty() ? names.end() : std::find(names.begin(), names.end(), name);
    if (it == names.end()) rt.fail(fmt::format("{}() got an unexpected keyword argument '{}'", function, name));
    Value& slot = out[static_cast<size_t>(it - names.begin())];
    if (!slot.is(Kind::Missing)) rt.fail(fmt::format("{}() got multiple values for argument '{}'", function, name));
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out[i].is(Kind::Missing)) rt.fail(fmt::format("{}() is missing a required argument", function));
  }
}

void no_args(Runtime& rt, const Args& args, std::string_view function) {
  if (!args.positional.empty() || !args.named.empty()) rt.fail(fmt::format("{}() takes no arguments", function));
}

int64_t int_argument(Runtime& rt, const Value& v, int64_t fallback) {
  if (v.is(Kind::Missing)) return fallback;
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  if (!v.is_integral()) rt.fail(fmt::format("'{}' object cannot be interpreted as an integer", type_name(v)));
  return v.as_int();
}

std::string_view string_argument(Runtime& rt, const Value& v, std::string_view what) {
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  if (!v.is(Kind::String)) rt.fail(fmt::format("{} must be str, not {}", what, type_name(v)));
  return v.as_string();
}

bool bool_argument(const Value& v, bool fallback) { return v.is(Kind::Missing) ? fallback : truthy(v); }

}  // namespace sgl::jinja
