// Getting at the parts of a value: attributes, items, slices, iteration, lengths.
//
// `a.b` looks for an attribute first (a method, a field of `loop`), then for an item; `a["b"]` the other way round.
// What is not there is Undefined, not an error. Attributes that begin with an underscore, and methods that would change
// a list or dict, are there but unsafe: their use is refused.

#include <algorithm>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_runtime.h"
#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

bool changes_its_object(const Value& object, std::string_view name) {
  constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  constexpr std::string_view kList[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  if (object.is(Kind::Dict)) return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return object.is(Kind::List) && std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
}

Value loop_cycle(Runtime& rt, const Value& self, const Args& args) {
  if (args.positional.empty()) rt.fail("no items for cycling given");
  return args.positional[static_cast<size_t>(self.as<LoopObject>().index0) % args.positional.size()];
}

Value loop_changed(Runtime& rt, const Value& self, const Args& args) {
  std::pmr::vector<Value> values = rt.heap.values();
  values.assign(args.positional.begin(), args.positional.end());
  Value now = rt.heap.tuple(std::move(values));
  Value& last = self.as<LoopObject>().changed;
  if (!last.is(Kind::Missing) && equals(rt, last, now)) return Value::boolean(false);
  last = now;
  return Value::boolean(true);
}

Value cycler_next(Runtime&, const Value& self, const Args&) {
  auto& c = self.as<Cycler>();
  Value v = c.items.items[c.position];
  c.position = (c.position + 1) % c.items.items.size();
  return v;
}

Value cycler_reset(Runtime&, const Value& self, const Args&) {
  self.as<Cycler>().position = 0;
  return Value::none();
}

Value make_method(Runtime& rt, std::string_view name, Native f, const Value& self) {
  return Value::object(Kind::Function, &rt.heap.make<Function>(name, f, self));
}

// Each of these returns Missing where there is no such attribute.

Value loop_attribute(Runtime& rt, const Value& object, std::string_view name) {
  auto& loop = object.as<LoopObject>();
  auto item = [&](const Value& v, bool present, std::string_view hint) { return present ? v : rt.undefined(hint); };
  if (name == "index") return Value::integer(loop.index0 + 1);
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(!loop.peek(rt));
  if (name == "length") return Value::integer(loop.get_length(rt));
  if (name == "revindex") return Value::integer(loop.get_length(rt) - loop.index0);
  if (name == "revindex0") return Value::integer(loop.get_length(rt) - loop.index0 - 1);
  if (name == "previtem") return item(loop.before, loop.index0 != 0, "there is no previous item");
  if (name == "nextitem") {
    bool more = loop.peek(rt);
    return item(loop.after, more, "there is no next item");
  }
  if (name == "depth") return Value::integer(loop.depth0 + 1);
  if (name == "depth0") return Value::integer(loop.depth0);
  if (name == "cycle") return make_method(rt, name, loop_cycle, object);
  if (name == "changed") return make_method(rt, name, loop_changed, object);
  return {};
}

Value number_attribute(const Value& v, std::string_view name) {
  bool is_float = v.is(Kind::Float);
  if (name == "real") return v.is(Kind::Bool) ? Value::integer(v.as_int()) : v;
  if (name == "imag") return is_float ? Value::real(0) : Value::integer(0);
  if (is_float) return {};
  if (name == "numerator") return v.is(Kind::Bool) ? Value::integer(v.as_int()) : v;
  if (name == "denominator") return Value::integer(1);
  return {};
}

Value range_attribute(Runtime& rt, const Value& object, std::string_view name) {
  const auto& r = object.as<RangeObject>();
  if (name == "start") return Value::integer(r.start);
  if (name == "stop") return Value::integer(r.stop);
  if (name == "step") return Value::integer(r.step);
  Native f = find_method(Kind::Range, name);
  return f != nullptr ? make_method(rt, name, f, object) : Value();
}

Value macro_attribute(Runtime& rt, const Value& object, std::string_view name) {
  const MacroCode& m = *object.as<const MacroObject>().code;
  if (name == "name") return m.name.empty() ? Value::none() : Value::string(m.name);
  if (name == "catch_kwargs") return Value::boolean(m.wants_kwargs);
  if (name == "catch_varargs") return Value::boolean(m.wants_varargs);
  if (name == "caller") return Value::boolean(m.wants_caller);
  if (name != "arguments") return {};
  std::pmr::vector<Value> names = rt.heap.values();
  for (const auto& p : m.parameters) names.push_back(Value::string(p->name));
  return rt.heap.tuple(std::move(names));
}

Value find_attribute(Runtime& rt, const Value& object, std::string_view name) {
  switch (object.kind) {
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
      if (Native f = find_method(object.kind, name)) return make_method(rt, name, f, object);
      if (object.is(Kind::Tuple) && object.list().is_group && (name == "grouper" || name == "list")) {
        return object.list().items[name == "grouper" ? 0 : 1];
      }
      return {};
    case Kind::Loop:
      return loop_attribute(rt, object, name);
    case Kind::Namespace: {
      const Value* v = object.as<Namespace>().attributes.find(name);
      return v != nullptr ? *v : Value();
    }
    case Kind::Bool:
    case Kind::Int:
    case Kind::Float:
      return number_attribute(object, name);
    case Kind::Range:
      return range_attribute(rt, object, name);
    case Kind::Macro:
      return macro_attribute(rt, object, name);
    case Kind::Cycler: {
      const auto& c = object.as<Cycler>();
      if (name == "current") return c.items.items[c.position];
      if (name == "next") return make_method(rt, name, cycler_next, object);
      if (name == "reset") return make_method(rt, name, cycler_reset, object);
      return {};
    }
    case Kind::Joiner:
      if (name == "sep") return object.as<Joiner>().separator;
      return name == "used" ? Value::boolean(object.as<Joiner>().used) : Value();
    default:
      return {};
  }
}

// As getattr() in the sandbox.
Value safe_attribute(Runtime& rt, const Value& object, std::string_view name) {
  // Every object has such names in Python, and its sandbox hides them all.
  bool dunder = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
  if ((dunder && !object.is(Kind::Namespace)) || changes_its_object(object, name)) return rt.unsafe(object, name);
  return find_attribute(rt, object, name);
}

int64_t sequence_size(const Value& v) {
  if (v.is(Kind::String)) return static_cast<int64_t>(length(v.as_string()));
  if (v.is(Kind::Range)) return v.as<RangeObject>().size();
  return static_cast<int64_t>(v.list().items.size());
}

Value item_at(const Value& object, int64_t i) {
  if (object.is(Kind::Range)) return Value::integer(object.as<RangeObject>().start + i * object.as<RangeObject>().step);
  if (object.is_sequence()) return object.list().items[static_cast<size_t>(i)];
  std::string_view s = object.as_string();
  size_t at = byte_offset(s, static_cast<size_t>(i));
  return Value::string(s.substr(at, char_size(s, at)), object.markup);
}

// object[key] of Python; Missing where that raises TypeError or LookupError.
Value find_item(Runtime& rt, const Value& object, const Value& key) {
  switch (object.kind) {
    case Kind::Dict: {
      if (!is_hashable(key)) return {};
      check_key(rt, key);
      const Value* v = object.dict().find(key);
      return v != nullptr ? *v : Value();
    }
    case Kind::String:
      rt.charge_text(object.as_string().size());
      [[fallthrough]];
    case Kind::List:
    case Kind::Tuple:
    case Kind::Range: {
      if (!key.is_integral()) return {};
      int64_t size = sequence_size(object), i = key.as_int();
      if (i < 0) i += size;
      return i >= 0 && i < size ? item_at(object, i) : Value();
    }
    default:
      return {};
  }
}

// The items start, start + step, … of a slice, `count` of them, before `end`.
struct SliceBounds {
  int64_t start, end, step, count;
};

SliceBounds slice_bounds(Runtime& rt, int64_t size, const Value& start, const Value& stop, const Value& step) {
  auto check = [&](const Value& v) {
    if (v.is(Kind::Undefined)) rt.fail("slice indices must be integers or None or have an __index__ method");
    if (!v.is(Kind::None) && !v.is_integral() && !v.is(Kind::BigInt)) {
      rt.fail("slice indices must be integers or None or have an __index__ method");
    }
  };
  check(step);
  check(start);
  check(stop);
  auto as_int = [](const Value& v) {
    if (v.is(Kind::BigInt)) return v.as_string().starts_with('-') ? INT64_MIN : INT64_MAX;
    return v.as_int();
  };
  int64_t by = step.is(Kind::None) ? 1 : std::max(as_int(step), -INT64_MAX);
  if (by == 0) rt.fail("slice step cannot be zero");
  int64_t lowest = by < 0 ? -1 : 0, highest = by < 0 ? size - 1 : size;
  auto clip = [&](const Value& v, int64_t fallback) {
    if (v.is(Kind::None)) return fallback;
    int64_t i = as_int(v);
    if (i < 0) i = i < -size ? lowest : i + size;
    return std::clamp(i, lowest, highest);
  };
  int64_t first = clip(start, by < 0 ? highest : lowest), end = clip(stop, by < 0 ? lowest : highest);
  return {first, end, by, RangeObject{first, end, by}.size()};
}

Value slice_string(Runtime& rt, const Value& object, const SliceBounds& b) {
  std::string_view s = object.as_string();
  rt.charge_text(2 * s.size());
  if (b.count == 0) return Value::string({}, object.markup);
  if (b.step == 1) {
    size_t begin = byte_offset(s, static_cast<size_t>(b.start));
    size_t size = byte_offset(s.substr(begin), static_cast<size_t>(b.count));
    return Value::string(s.substr(begin, size), object.markup);
  }
  std::vector<std::string_view> chars;
  for_each_char(s, [&, at = size_t{0}](char32_t, uint32_t size) mutable {
    chars.push_back(s.substr(at, size));
    at += size;
  });
  std::string text;
  for (int64_t i = 0; i < b.count; ++i) text += chars[static_cast<size_t>(b.start + i * b.step)];
  return rt.heap.string(text, object.markup);
}

}  // namespace

Value get_attribute(Runtime& rt, const Value& object, std::string_view name) {
  if (object.is(Kind::Undefined)) rt.fail_undefined(object);
  Value v = safe_attribute(rt, object, name);
  if (v.is(Kind::Missing)) v = find_item(rt, object, Value::string(name));
  return v.is(Kind::Missing) ? rt.undefined(object, Value::string(name)) : v;
}

Value get_item(Runtime& rt, const Value& object, const Value& key) {
  if (object.is(Kind::Undefined)) rt.fail_undefined(object);
  Value v = find_item(rt, object, key);
  if (v.is(Kind::Missing) && key.is(Kind::String)) v = safe_attribute(rt, object, key.as_string());
  return v.is(Kind::Missing) ? rt.undefined(object, key) : v;
}

Value get_slice(Runtime& rt, const Value& object, const Value& start, const Value& stop, const Value& step) {
  switch (object.kind) {
    case Kind::Undefined:
      rt.fail_undefined(object);
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Range:
      break;
    case Kind::Dict:
      rt.fail("unhashable type: 'slice'");
    default:
      rt.fail(fmt::format("'{}' object is not subscriptable", type_name(object)));
  }
  SliceBounds b = slice_bounds(rt, sequence_size(object), start, stop, step);
  if (object.is(Kind::String)) return slice_string(rt, object, b);
  if (object.is(Kind::Range)) {
    const auto& r = object.as<RangeObject>();
    auto bound = [&](int64_t i) {  // the end may lie beyond int64: then it wraps, and the range is empty or wrong
      return static_cast<int64_t>(static_cast<uint64_t>(r.start) +
                                  static_cast<uint64_t>(i) * static_cast<uint64_t>(r.step));
    };
    int64_t by = 0;
    if (__builtin_mul_overflow(r.step, b.step, &by)) rt.fail("the step of a range is too large");
    return Value::object(Kind::Range, &rt.heap.make<RangeObject>(bound(b.start), bound(b.end), by));
  }
  rt.charge(static_cast<size_t>(b.count));
  std::pmr::vector<Value> items = rt.heap.values();
  items.reserve(static_cast<size_t>(b.count));
  for (int64_t i = 0; i < b.count; ++i) items.push_back(object.list().items[static_cast<size_t>(b.start + i * b.step)]);
  return object.is(Kind::List) ? rt.heap.list(std::move(items)) : rt.heap.tuple(std::move(items));
}

bool is_iterable(const Value& v) {
  switch (v.kind) {
    case Kind::Undefined:
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
    case Kind::Range:
    case Kind::View:
    case Kind::Iterator:
    case Kind::Loop:
      return true;
    default:
      return false;
  }
}

int64_t length_of(Runtime& rt, const Value& v) {
  switch (v.kind) {
    case Kind::Undefined:
      return 0;
    case Kind::String:
      rt.charge_text(v.as_string().size());
      return sequence_size(v);
    case Kind::List:
    case Kind::Tuple:
    case Kind::Range:
      return sequence_size(v);
    case Kind::Dict:
      return static_cast<int64_t>(v.dict().entries.size());
    case Kind::View:
      return static_cast<int64_t>(v.as<View>().dict->entries.size());
    case Kind::Loop:
      return v.as<LoopObject>().get_length(rt);
    default:
      return -1;
  }
}

Cursor::Cursor(const Runtime& rt, const Value& v) : source_(v) {
  if (!is_iterable(v)) rt.fail(fmt::format("'{}' object is not iterable", type_name(v)));
}

bool Cursor::next(Runtime& rt, Value& out) {
  rt.charge();
  switch (source_.kind) {
    case Kind::String: {
      std::string_view s = source_.as_string();
      if (at_ >= s.size()) return false;
      size_t size = char_size(s, at_);
      out = Value::string(s.substr(at_, size));
      at_ += size;
      return true;
    }
    case Kind::List:
    case Kind::Tuple:
      if (at_ >= source_.list().items.size()) return false;
      out = source_.list().items[at_++];
      return true;
    case Kind::Dict:
      if (at_ >= source_.dict().entries.size()) return false;
      out = source_.dict().entries[at_++].first;
      return true;
    case Kind::Range:
      if (static_cast<int64_t>(at_) >= source_.as<RangeObject>().size()) return false;
      out = item_at(source_, static_cast<int64_t>(at_++));
      return true;
    case Kind::View: {
      const View& view = source_.as<View>();
      if (at_ >= view.dict->entries.size()) return false;
      const auto& [key, value] = view.dict->entries[at_++];
      out = view.of == View::Of::Keys ? key : view.of == View::Of::Values ? value : rt.heap.tuple({key, value});
      return true;
    }
    case Kind::Iterator: {
      Runtime::Nested nested(rt);  // iterators over iterators over …
      return source_.as<Iterator>().next(rt, out);
    }
    case Kind::Loop: {  // drives the loop itself on, as in Jinja
      Runtime::Nested nested(rt);
      Value item;
      if (!source_.as<LoopObject>().next(rt, item)) return false;
      out = rt.heap.tuple({item, source_});
      return true;
    }
    default:
      return false;
  }
}

std::pmr::vector<Value> to_list(Runtime& rt, const Value& v) {
  std::pmr::vector<Value> items = rt.heap.values();
  if (int64_t n = length_of(rt, v); n > 0) items.reserve(static_cast<size_t>(n));
  Cursor cursor(rt, v);
  for (Value item; cursor.next(rt, item);) items.push_back(item);
  return items;
}

}  // namespace sgl::jinja
