// Filters on lists, dicts and other iterable values. As in Jinja, map, select and their like give an iterator that
// works when it is gone through.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_unicode.h"

namespace sgl::jinja {
namespace {

// Goes through items that are there already.
struct ItemIterator : Iterator {
  explicit ItemIterator(std::pmr::vector<Value> v) : items(std::move(v)) {}
  std::pmr::vector<Value> items;
  size_t at = 0;
  bool next(Runtime&, Value& out) override {
    if (at >= items.size()) return false;
    out = items[at++];
    return true;
  }
};

template <typename T, typename... A>
Value make_iterator(Runtime& rt, A&&... args) {
  void* place = rt.heap.memory()->allocate(sizeof(T), alignof(T));
  return Value::object(Kind::Iterator, static_cast<Iterator*>(new (place) T(std::forward<A>(args)...)));
}

// "a.b.0" → the keys a, b, 0. An attribute getter of jinja2.filters.
struct Path {
  std::pmr::vector<Value> parts;
  Value fallback;  // Missing: none

  Path(Runtime& rt, const Value& attribute) : parts(rt.heap.memory()) {
    if (attribute.is(Kind::None) || attribute.is(Kind::Missing)) return;
    if (!attribute.is(Kind::String)) {
      parts.push_back(attribute);
      return;
    }
    std::string_view s = attribute.as_string();
    while (true) {
      size_t dot = std::min(s.find('.'), s.size());
      parts.push_back(part(s.substr(0, dot)));
      if (dot == s.size()) return;
      s.remove_prefix(dot + 1);
    }
  }

  Value get(Runtime& rt, Value item) const {
    for (const Value& p : parts) {
      item = get_item(rt, item, p);
      if (!fallback.is(Kind::Missing) && !fallback.is(Kind::None) && item.is(Kind::Undefined)) item = fallback;
    }
    return item;
  }

 private:
  static Value part(std::string_view s) {
    bool number = !s.empty() && s.size() < 18 && s.find_first_not_of("0123456789") == std::string_view::npos;
    return number ? Value::integer(std::stoll(std::string(s))) : Value::string(s);
  }
};

Value ignore_case(Runtime& rt, const Value& v) {
  if (!v.is(Kind::String)) return v;
  rt.charge_text(v.as_string().size());
  return rt.heap.string(to_lower(v.as_string()));
}

// Values with what they are ordered by.
struct Keyed {
  Value value;
  std::vector<Value> keys;
};

// A single key is compared as it is, several as Python compares lists: the first pair that is not equal decides. (Not
// the same: None < None raises, [None] < [None] does not.)
bool less(Runtime& rt, const std::vector<Value>& a, const std::vector<Value>& b, bool as_lists) {
  if (!as_lists) return compare(rt, Op::Lt, a[0], b[0]);
  for (size_t i = 0; i < a.size(); ++i) {
    if (!equals(rt, a[i], b[i])) return compare(rt, Op::Lt, a[i], b[i]);
  }
  return false;
}

void sort_keyed(Runtime& rt, std::vector<Keyed>& items, bool reverse, bool as_lists) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(rt, b.keys, a.keys, as_lists) : less(rt, a.keys, b.keys, as_lists);
  });
}

std::vector<Keyed> keyed_by(Runtime& rt, const Value& v, const std::vector<Path>& paths, bool case_sensitive) {
  std::vector<Keyed> items;
  Cursor cursor(rt, v);
  for (Value item; cursor.next(rt, item);) {
    Keyed k{item, {}};
    for (const Path& p : paths) {
      Value key = p.get(rt, item);
      k.keys.push_back(case_sensitive ? key : ignore_case(rt, key));
    }
    items.push_back(std::move(k));
  }
  return items;
}

Value list_of(Runtime& rt, const std::vector<Keyed>& items) {
  std::pmr::vector<Value> values = rt.heap.values();
  for (const Keyed& k : items) values.push_back(k.value);
  return rt.heap.list(std::move(values));
}

// Lengths and ends ----------------------------------------------------------------------------------------------------

Value length_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "length");
  int64_t n = length_of(rt, v);
  if (n < 0) rt.fail(fmt::format("object of type '{}' has no len()", type_name(v)));
  return Value::integer(n);
}

Value first(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "first");
  Cursor cursor(rt, v);
  Value item;
  return cursor.next(rt, item) ? item : rt.undefined("No first item, sequence was empty.");
}

// reversed(v): Missing where Python has none.
Value reversed(Runtime& rt, const Value& v) {
  if (!is_iterable(v) || v.is(Kind::Iterator) || v.is(Kind::Loop)) return {};
  std::pmr::vector<Value> items = to_list(rt, v);
  std::reverse(items.begin(), items.end());
  return make_iterator<ItemIterator>(rt, std::move(items));
}

Value last(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "last");
  if (v.is_sequence() && !v.list().items.empty()) return v.list().items.back();
  Value items = reversed(rt, v);
  if (items.is(Kind::Missing)) rt.fail(fmt::format("'{}' object is not reversible", type_name(v)));
  Value item;
  return items.as<Iterator>().next(rt, item) ? item : rt.undefined("No last item, sequence was empty.");
}

Value reverse(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "reverse");
  if (v.is(Kind::String)) return get_slice(rt, v, Value::none(), Value::none(), Value::integer(-1));
  if (v.is(Kind::Iterator) || v.is(Kind::Loop)) {
    std::pmr::vector<Value> items = to_list(rt, v);
    std::reverse(items.begin(), items.end());
    return rt.heap.list(std::move(items));
  }
  Value items = reversed(rt, v);
  if (items.is(Kind::Missing)) rt.fail("argument must be iterable");
  return items;
}

Value list_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "list");
  return rt.heap.list(to_list(rt, v));
}

Value join(Runtime& rt, const Value& v, const Args& args) {
  auto [separator_value, attribute] = bind_args(rt, args, "join", {"d", "attribute"});
  Path path(rt, attribute);
  std::string_view separator = separator_value.is(Kind::Missing) ? "" : to_str(rt, separator_value).as_string();
  std::string out;
  Cursor cursor(rt, v);
  bool is_first = true;
  for (Value item; cursor.next(rt, item);) {
    if (!std::exchange(is_first, false)) out += separator;
    append_str(rt, out, path.get(rt, item));
    rt.check_size(out.size());
  }
  rt.charge_text(out.size());
  return rt.heap.string(out);
}

Value default_filter(Runtime& rt, const Value& v, const Args& args) {
  auto [fallback, boolean] = bind_args(rt, args, "default", {"default_value", "boolean"});
  if (!v.is(Kind::Undefined) && !(bool_argument(boolean, false) && !truthy(v))) return v;
  return fallback.is(Kind::Missing) ? Value::string("") : fallback;
}

Value attr(Runtime& rt, const Value& v, const Args& args) {
  auto [name] = bind_args(rt, args, "attr", {"name"}, 1);
  std::string_view text = string_argument(rt, name, "attribute name");
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  // Attributes only, no items: the same name on an empty dict is a method or nothing.
  Value object = v.is(Kind::Dict) ? to_value(rt.heap.dict()) : v;
  Value found = get_attribute(rt, object, text);
  if (found.is(Kind::Function) && v.is(Kind::Dict)) return get_attribute(rt, v, text);
  return found;
}

// Order ---------------------------------------------------------------------------------------------------------------

Value sort(Runtime& rt, const Value& v, const Args& args) {
  auto [reverse_value, case_sensitive, attribute] =
      bind_args(rt, args, "sort", {"reverse", "case_sensitive", "attribute"});
  std::vector<Path> paths;
  if (attribute.is(Kind::String)) {
    for (std::string_view s = attribute.as_string();;) {
      size_t comma = std::min(s.find(','), s.size());
      paths.emplace_back(rt, Value::string(s.substr(0, comma)));
      if (comma == s.size()) break;
      s.remove_prefix(comma + 1);
    }
  } else {
    paths.emplace_back(rt, attribute);
  }
  std::vector<Keyed> items = keyed_by(rt, v, paths, bool_argument(case_sensitive, false));
  sort_keyed(rt, items, bool_argument(reverse_value, false), true);
  return list_of(rt, items);
}

Value dictsort(Runtime& rt, const Value& v, const Args& args) {
  auto [case_value, by, reverse_value] = bind_args(rt, args, "dictsort", {"case_sensitive", "by", "reverse"});
  std::string_view what = by.is(Kind::Missing) ? "key" : by.is(Kind::String) ? by.as_string() : "";
  if (what != "key" && what != "value") rt.fail("You can only sort by either \"key\" or \"value\"");
  if (v.is(Kind::Undefined)) rt.fail_undefined(v);
  if (!v.is(Kind::Dict)) rt.fail(fmt::format("'{}' object has no attribute 'items'", type_name(v)));
  std::vector<Keyed> items;
  for (const auto& [key, value] : v.dict().entries) {
    const Value& order = what == "key" ? key : value;
    items.push_back({rt.heap.tuple({key, value}), {bool_argument(case_value, false) ? order : ignore_case(rt, order)}});
  }
  sort_keyed(rt, items, bool_argument(reverse_value, false), false);
  return list_of(rt, items);
}

template <bool want_max>
Value extreme(Runtime& rt, const Value& v, const Args& args) {
  auto [case_value, attribute] = bind_args(rt, args, want_max ? "max" : "min", {"case_sensitive", "attribute"});
  Path path(rt, attribute);
  Cursor cursor(rt, v);
  Value best, best_key;
  for (Value item; cursor.next(rt, item);) {
    Value key = path.get(rt, item);
    if (!bool_argument(case_value, false)) key = ignore_case(rt, key);
    if (best.is(Kind::Missing) || compare(rt, want_max ? Op::Gt : Op::Lt, key, best_key)) {
      best = item;
      best_key = key;
    }
  }
  return best.is(Kind::Missing) ? rt.undefined("No aggregated item, sequence was empty.") : best;
}

Value sum(Runtime& rt, const Value& v, const Args& args) {
  auto [attribute, start] = bind_args(rt, args, "sum", {"attribute", "start"});
  Path path(rt, attribute);
  Value total = start.is(Kind::Missing) ? Value::integer(0) : start;
  if (total.is(Kind::String)) rt.fail("sum() can't sum strings [use ''.join(seq) instead]");
  Cursor cursor(rt, v);
  for (Value item; cursor.next(rt, item);) total = arithmetic(rt, Op::Add, total, path.get(rt, item));
  return total;
}

Value groupby(Runtime& rt, const Value& v, const Args& args) {
  auto [attribute, fallback, case_value] =
      bind_args(rt, args, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  bool case_sensitive = bool_argument(case_value, false);
  std::vector<Path> paths;
  paths.emplace_back(rt, attribute);
  paths[0].fallback = fallback;
  std::vector<Keyed> items = keyed_by(rt, v, paths, case_sensitive);
  sort_keyed(rt, items, false, false);
  std::pmr::vector<Value> groups = rt.heap.values();
  for (size_t i = 0; i < items.size();) {
    std::pmr::vector<Value> members = rt.heap.values();
    size_t begin = i;
    for (; i < items.size() && equals(rt, items[i].keys[0], items[begin].keys[0]); ++i)
      members.push_back(items[i].value);
    // The key as the first member has it, not lowered.
    Value key = case_sensitive ? items[begin].keys[0] : paths[0].get(rt, members[0]);
    Value group = rt.heap.tuple({key, rt.heap.list(std::move(members))});
    group.as<List>().is_group = true;
    groups.push_back(group);
    if (i == begin) ++i;  // a key that does not equal itself
  }
  return rt.heap.list(std::move(groups));
}

// Iterators -----------------------------------------------------------------------------------------------------------

// On the heap, its memory included: iterators are never destroyed.
const Args& copy_args(Runtime& rt, const Args& args, size_t skip) {
  Args copy{std::pmr::vector<Value>(rt.heap.memory()), decltype(Args::named)(rt.heap.memory())};
  copy.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(skip), args.positional.end());
  copy.named.assign(args.named.begin(), args.named.end());
  return rt.heap.make<Args>(std::move(copy));
}

[[noreturn]] void fail_unknown(Runtime& rt, std::string_view what, const Value& name) {
  std::string repr;
  append_repr(rt, repr, name);
  rt.fail(fmt::format("No {} named {}.", what, repr));
}

// The filter of a list that is not empty. What is wrong with the arguments shows only when it is gone through.
struct LazyFilter : Iterator {
  LazyFilter(Runtime& rt, const Value& v, const Args& a) : input(v), args(copy_args(rt, a, 0)) {}
  Value input;
  const Args& args;
  bool started = false, empty = false;
  Cursor cursor;

  virtual void start(Runtime& rt) = 0;
  bool next_input(Runtime& rt, Value& item) {
    if (!std::exchange(started, true)) {
      empty = !truthy(input);
      if (!empty) {
        start(rt);
        cursor = Cursor(rt, input);
      }
    }
    return !empty && cursor.next(rt, item);
  }
};

struct Map : LazyFilter {
  using LazyFilter::LazyFilter;
  const Path* path = nullptr;
  Native filter = nullptr;
  const Args* filter_args = nullptr;

  void start(Runtime& rt) override {
    auto named = [&](std::string_view name) {
      auto it = std::find_if(args.named.begin(), args.named.end(), [&](const auto& a) { return a.first == name; });
      return it == args.named.end() ? Value() : it->second;
    };
    if (args.positional.empty() && !named("attribute").is(Kind::Missing)) {
      for (const auto& [name, value] : args.named) {
        if (name != "attribute" && name != "default") rt.fail(fmt::format("Unexpected keyword argument '{}'", name));
      }
      Path& p = rt.heap.make<Path>(rt, named("attribute"));
      p.fallback = named("default");
      path = &p;
      return;
    }
    if (args.positional.empty()) rt.fail("map requires a filter argument");
    const Value& name = args.positional[0];
    filter = name.is(Kind::String) ? find_filter(name.as_string()) : nullptr;
    if (filter == nullptr) fail_unknown(rt, "filter", name);
    filter_args = &copy_args(rt, args, 1);
  }

  bool next(Runtime& rt, Value& out) override {
    Value item;
    if (!next_input(rt, item)) return false;
    out = path != nullptr ? path->get(rt, item) : filter(rt, item, *filter_args);
    return true;
  }
};

struct Select : LazyFilter {
  Select(Runtime& rt, const Value& v, const Args& a, bool keep_if, bool by_attribute)
      : LazyFilter(rt, v, a), keep(keep_if), attribute(by_attribute) {}
  bool keep, attribute;
  const Path* path = nullptr;
  Native test = nullptr;
  const Args* test_args = nullptr;

  void start(Runtime& rt) override {
    size_t skip = attribute ? 1 : 0;
    if (args.positional.size() < skip) rt.fail("Missing parameter for attribute name");
    if (attribute) path = &rt.heap.make<Path>(rt, args.positional[0]);
    if (args.positional.size() == skip) return;
    const Value& name = args.positional[skip];
    test = name.is(Kind::String) ? find_test(name.as_string()) : nullptr;
    if (test == nullptr) fail_unknown(rt, "test", name);
    test_args = &copy_args(rt, args, skip + 1);
  }

  bool next(Runtime& rt, Value& out) override {
    for (Value item; next_input(rt, item);) {
      Value subject = path != nullptr ? path->get(rt, item) : item;
      if (truthy(test != nullptr ? test(rt, subject, *test_args) : subject) != keep) continue;
      out = item;
      return true;
    }
    return false;
  }
};

Value map(Runtime& rt, const Value& v, const Args& args) { return make_iterator<Map>(rt, rt, v, args); }

template <bool keep, bool attribute>
Value select(Runtime& rt, const Value& v, const Args& args) {
  return make_iterator<Select>(rt, rt, v, args, keep, attribute);
}

struct Unique : Iterator {
  Unique(Runtime& rt, const Value& v, bool with_case, const Value& attribute)
      : input(v), case_sensitive(with_case), path(rt, attribute), seen(rt.heap.dict()) {}
  Value input;
  bool case_sensitive, started = false;
  Path path;
  Dict& seen;
  Cursor cursor;

  bool next(Runtime& rt, Value& out) override {
    if (!std::exchange(started, true)) cursor = Cursor(rt, input);
    while (cursor.next(rt, out)) {
      Value key = path.get(rt, out);
      if (!case_sensitive) key = ignore_case(rt, key);
      check_key(rt, key);
      if (seen.find(key) != nullptr) continue;
      seen.set(key, Value::none());
      return true;
    }
    return false;
  }
};

Value unique(Runtime& rt, const Value& v, const Args& args) {
  auto [case_sensitive, attribute] = bind_args(rt, args, "unique", {"case_sensitive", "attribute"});
  return make_iterator<Unique>(rt, rt, v, bool_argument(case_sensitive, false), attribute);
}

Value items_filter(Runtime& rt, const Value& v, const Args& args) {
  no_args(rt, args, "items");
  if (v.is(Kind::Undefined)) return make_iterator<ItemIterator>(rt, rt.heap.values());
  if (!v.is(Kind::Dict)) rt.fail("Can only get item pairs from a mapping.");
  return make_iterator<ItemIterator>(
      rt, to_list(rt, Value::object(Kind::View, &rt.heap.make<View>(View::Of::Items, &v.dict()))));
}

Value batch(Runtime& rt, const Value& v, const Args& args) {
  auto [size, fill] = bind_args(rt, args, "batch", {"linecount", "fill_with"}, 1);
  int64_t n = int_argument(rt, size, 0);
  if (n > 0) rt.check_size(static_cast<size_t>(n));
  std::pmr::vector<Value> rows = rt.heap.values(), row = rt.heap.values();
  Cursor cursor(rt, v);
  for (Value item; cursor.next(rt, item);) {
    if (static_cast<int64_t>(row.size()) == n) rows.push_back(rt.heap.list(std::exchange(row, rt.heap.values())));
    row.push_back(item);
  }
  if (!row.empty()) {
    bool fills = !fill.is(Kind::Missing) && !fill.is(Kind::None);
    while (fills && static_cast<int64_t>(row.size()) < n) {
      rt.charge();
      row.push_back(fill);
    }
    rows.push_back(rt.heap.list(std::move(row)));
  }
  return make_iterator<ItemIterator>(rt, std::move(rows));
}

Value slice(Runtime& rt, const Value& v, const Args& args) {
  auto [count, fill] = bind_args(rt, args, "slice", {"slices", "fill_with"}, 1);
  std::pmr::vector<Value> all = to_list(rt, v);
  int64_t n = int_argument(rt, count, 0), size = static_cast<int64_t>(all.size());
  if (n == 0) rt.fail("integer division or modulo by zero");
  bool fills = !fill.is(Kind::Missing) && !fill.is(Kind::None);
  std::pmr::vector<Value> columns = rt.heap.values();
  int64_t begin = 0;
  for (int64_t i = 0; i < n; ++i) {
    rt.charge();
    int64_t end = begin + size / n + (i < size % n ? 1 : 0);
    std::pmr::vector<Value> column = rt.heap.values();
    column.assign(all.begin() + begin, all.begin() + end);
    if (fills && i >= size % n) column.push_back(fill);
    columns.push_back(rt.heap.list(std::move(column)));
    begin = end;
  }
  return make_iterator<ItemIterator>(rt, std::move(columns));
}

Value unsupported(Runtime& rt, const Value&, const Args&) { rt.fail("this filter is not supported"); }

constexpr Named kFilters[] = {
    {"length", length_filter},
    {"count", length_filter},
    {"first", first},
    {"last", last},
    {"list", list_filter},
    {"join", join},
    {"default", default_filter},
    {"d", default_filter},
    {"items", items_filter},
    {"map", map},
    {"select", select<true, false>},
    {"reject", select<false, false>},
    {"selectattr", select<true, true>},
    {"rejectattr", select<false, true>},
    {"sort", sort},
    {"dictsort", dictsort},
    {"unique", unique},
    {"reverse", reverse},
    {"min", extreme<false>},
    {"max", extreme<true>},
    {"sum", sum},
    {"groupby", groupby},
    {"batch", batch},
    {"slice", slice},
    {"attr", attr},
    {"random", unsupported},  // a prompt is the same each time
};

}  // namespace

std::span<const Named> sequence_filters() { return kFilters; }

}  // namespace sgl::jinja
