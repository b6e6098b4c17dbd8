#include "text/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::jinja {
namespace {

int sign(int64_t x) { return x < 0 ? -1 : x > 0 ? 1 : 0; }

// Exact, unlike converting the integer: 2^53 + 1 is not 2^53.
int compare_int_double(int64_t i, double d) {
  if (std::isnan(d)) return 2;
  if (d >= 0x1p63) return -1;
  if (d < -0x1p63) return 1;
  auto whole = static_cast<int64_t>(d);  // truncates toward zero
  if (i != whole) return i < whole ? -1 : 1;
  double rest = d - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

bool negative(std::string_view digits) { return digits.starts_with('-'); }

// Both without leading zeros, as the lexer and JSON have them.
int compare_digits(std::string_view a, std::string_view b) {
  if (negative(a) != negative(b)) return negative(a) ? -1 : 1;
  int by_size = a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : sign(a.compare(b));
  return negative(a) ? -by_size : by_size;
}

double approximate(const Value& v) {
  if (v.is(Kind::Float)) return v.as_double();
  if (v.is_integral()) return static_cast<double>(v.as_int());
  return std::strtod(std::string(v.as_string()).c_str(), nullptr);
}

// Classes of keys that are never equal to each other.
int key_class(const Value& v) {
  if (v.is_number()) return 0;
  return 1 + static_cast<int>(v.kind);
}

int compare_keys(const Value& a, const Value& b) {
  int ka = key_class(a), kb = key_class(b);
  if (ka != kb) return ka < kb ? -1 : 1;
  if (a.is_number()) {
    int c = compare_numbers(a, b);
    if (c != 2) return c;  // all NaN are one key, below the numbers
    bool a_nan = a.is(Kind::Float) && std::isnan(a.as_double()), b_nan = b.is(Kind::Float) && std::isnan(b.as_double());
    return a_nan && b_nan ? 0 : a_nan ? -1 : 1;
  }
  if (a.is(Kind::String)) return sign(a.as_string().compare(b.as_string()));
  if (a.is(Kind::None) || a.is(Kind::Undefined)) return 0;
  if (a.is(Kind::Tuple)) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (int c = compare_keys(x[i], y[i]); c != 0) return c;
    }
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  return a.address() < b.address() ? -1 : a.address() > b.address() ? 1 : 0;
}

constexpr uint64_t kMaxWeight = std::numeric_limits<uint32_t>::max();

// Depth of something that would hold `v`.
uint32_t depth_around(const Value& v) {
  uint32_t inside = v.is_sequence() ? v.list().depth : v.is(Kind::Dict) ? v.dict().depth : 0;
  if (v.is(Kind::View)) inside = v.as<View>().dict->depth + 1;
  if (inside < kMaxNesting) return inside + 1;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("a list or dict in the chat template is nested deeper than {} levels", kMaxNesting));
}

}  // namespace

bool KeyLess::operator()(const Value& a, const Value& b) const { return compare_keys(a, b) < 0; }

const Value* Dict::find(const Value& key) const {
  if (!index.empty()) {
    auto it = index.find(key);
    return it == index.end() ? nullptr : &entries[it->second].second;
  }
  for (const Entry& e : entries) {
    if (compare_keys(e.first, key) == 0) return &e.second;
  }
  return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
  if (const Value* old = find(key)) {
    depth = std::max(depth, depth_around(value));
    const_cast<Value&>(*old) = value;
    return;
  }
  depth = std::max({depth, depth_around(value), depth_around(key)});
  entries.emplace_back(key, value);
  if (!index.empty()) {
    index.emplace(key, entries.size() - 1);
  } else if (entries.size() > kLinear) {
    for (size_t i = 0; i < entries.size(); ++i) index.emplace(entries[i].first, i);
  }
}

int64_t RangeObject::size() const {
  // Unsigned differences: the distance of two int64 can be beyond int64.
  if (step > 0 && start < stop) {
    return static_cast<int64_t>((static_cast<uint64_t>(stop) - static_cast<uint64_t>(start) - 1) /
                                static_cast<uint64_t>(step)) +
           1;
  }
  if (step < 0 && start > stop) {
    return static_cast<int64_t>((static_cast<uint64_t>(start) - static_cast<uint64_t>(stop) - 1) /
                                (0 - static_cast<uint64_t>(step))) +
           1;
  }
  return 0;
}

void* Heap::Limit::do_allocate(size_t bytes, size_t alignment) {
  if (bytes > left) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("rendering the chat template needs more than {} MiB of memory; shorten the conversation or "
                            "use another template",
                            total >> 20));
  }
  left -= bytes;
  return std::pmr::new_delete_resource()->allocate(bytes, alignment);
}

void Heap::Limit::do_deallocate(void* p, size_t bytes, size_t alignment) {
  left += bytes;
  std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
}

Heap::Heap(size_t limit_bytes) : limit_(limit_bytes), arena_(16 * 1024, &limit_) {}

char* Heap::bytes(size_t size) { return static_cast<char*>(arena_.allocate(size == 0 ? 1 : size, 1)); }

std::string_view Heap::copy(std::string_view text) {
  if (text.empty()) return {};
  char* p = bytes(text.size());
  std::memcpy(p, text.data(), text.size());
  return {p, text.size()};
}

std::string_view Heap::join(std::string_view a, std::string_view b) {
  if (b.empty()) return a;
  if (a.empty()) return b;
  constexpr size_t kWorthGrowing = 512;
  size_t size = a.size() + b.size();
  if (size < kWorthGrowing) {
    char* p = bytes(size);
    std::memcpy(p, a.data(), a.size());
    std::memcpy(p + a.size(), b.data(), b.size());
    return {p, size};
  }
  for (Growing& g : growing_) {
    if (g.begin != a.data() || g.used != a.size() || g.capacity - g.used < b.size()) continue;
    std::memcpy(g.begin + g.used, b.data(), b.size());
    g.used += b.size();
    return {g.begin, g.used};
  }
  Growing& g = growing_[next_growing_++ % std::size(growing_)];
  g = {bytes(2 * size), size, 2 * size};
  std::memcpy(g.begin, a.data(), a.size());
  std::memcpy(g.begin + a.size(), b.data(), b.size());
  return {g.begin, size};
}

Value Heap::sequence(Kind kind, std::pmr::vector<Value> items) {
  uint32_t depth = 1;
  uint64_t weight = 1;
  for (const Value& v : items) {
    depth = std::max(depth, depth_around(v));
    weight += v.is(Kind::Tuple) ? v.list().weight : 1;
  }
  return Value::object(kind, &make<List>(std::move(items), depth, static_cast<uint32_t>(std::min(weight, kMaxWeight))));
}

int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  if (a.is_integral() && b.is(Kind::Float)) return compare_int_double(a.as_int(), b.as_double());
  if (a.is(Kind::Float) && b.is_integral()) {
    int c = compare_int_double(b.as_int(), a.as_double());
    return c == 2 ? 2 : -c;
  }
  if (a.is(Kind::BigInt) && b.is(Kind::BigInt)) return compare_digits(a.as_string(), b.as_string());
  if (a.is(Kind::BigInt) && b.is_integral()) return negative(a.as_string()) ? -1 : 1;
  if (a.is_integral()) return negative(b.as_string()) ? 1 : -1;
  double x = approximate(a), y = approximate(b);
  if (std::isnan(x) || std::isnan(y)) return 2;
  return x < y ? -1 : x > y ? 1 : 0;
}

bool truthy(const Value& v) {
  switch (v.kind) {
    case Kind::Missing:
    case Kind::Undefined:
    case Kind::None:
      return false;
    case Kind::Bool:
    case Kind::Int:
      return v.as_int() != 0;
    case Kind::Float:
      return v.as_double() != 0;
    case Kind::String:
      return !v.as_string().empty();
    case Kind::List:
    case Kind::Tuple:
      return !v.list().items.empty();
    case Kind::Dict:
      return !v.dict().entries.empty();
    case Kind::Range:
      return v.as<RangeObject>().size() != 0;
    case Kind::View:
      return !v.as<View>().dict->entries.empty();
    default:
      return true;
  }
}

std::string_view type_name(const Value& v) {
  switch (v.kind) {
    case Kind::Missing:
    case Kind::Undefined:
      return "Undefined";
    case Kind::None:
      return "NoneType";
    case Kind::Bool:
      return "bool";
    case Kind::Int:
    case Kind::BigInt:
      return "int";
    case Kind::Float:
      return "float";
    case Kind::String:
      return v.markup ? "Markup" : "str";
    case Kind::List:
      return "list";
    case Kind::Tuple:
      return "tuple";
    case Kind::Dict:
      return "dict";
    case Kind::Range:
      return "range";
    case Kind::View:
      switch (v.as<View>().of) {
        case View::Of::Keys:
          return "dict_keys";
        case View::Of::Values:
          return "dict_values";
        default:
          return "dict_items";
      }
    case Kind::Iterator:
      return v.as<Iterator>().type_name;
    case Kind::Function:
      return "function";
    case Kind::Macro:
      return "Macro";
    case Kind::Loop:
      return "LoopContext";
    case Kind::Namespace:
      return "Namespace";
    case Kind::Cycler:
      return "Cycler";
    case Kind::Joiner:
      return "Joiner";
  }
  return "object";
}

bool is_hashable(const Value& v) {
  if (v.is(Kind::Tuple)) return std::all_of(v.list().items.begin(), v.list().items.end(), is_hashable);
  return !v.is(Kind::List) && !v.is(Kind::Dict) && !(v.is(Kind::View) && v.as<View>().of != View::Of::Values);
}

}  // namespace sgl::jinja
