// Operators of the language: Python's numbers, comparisons and membership. Integers are 64 bits: where Python would go
// on with a longer one, this fails.

#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "text/jinja_library.h"
#include "text/jinja_runtime.h"

namespace sgl::jinja {
namespace {

std::string_view symbol(Op op) {
  switch (op) {
    case Op::Add:
      return "+";
    case Op::Sub:
      return "-";
    case Op::Mul:
      return "*";
    case Op::Div:
      return "/";
    case Op::FloorDiv:
      return "//";
    case Op::Mod:
      return "%";
    case Op::Pow:
      return "** or pow()";
    case Op::Lt:
      return "<";
    case Op::Le:
      return "<=";
    case Op::Gt:
      return ">";
    default:
      return ">=";
  }
}

[[noreturn]] void fail_overflow(const Runtime& rt) { rt.fail("an integer is too large: beyond 64 bits"); }

double to_double(const Value& v) { return v.is(Kind::Float) ? v.as_double() : static_cast<double>(v.as_int()); }

Value divide_floor(const Runtime& rt, int64_t a, int64_t b) {
  if (b == 0) rt.fail("integer division or modulo by zero");
  if (a == INT64_MIN && b == -1) fail_overflow(rt);
  int64_t q = a / b;
  return Value::integer(a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q);
}

// The result has the sign of the divisor.
Value modulo(const Runtime& rt, int64_t a, int64_t b) {
  if (b == 0) rt.fail("integer modulo by zero");
  if (b == -1) return Value::integer(0);
  int64_t r = a % b;
  return Value::integer(r != 0 && (r < 0) != (b < 0) ? r + b : r);
}

double modulo(double a, double b) {
  double r = std::fmod(a, b);
  if (r == 0) return std::copysign(0.0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

Value power(Runtime& rt, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) rt.fail("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (uint64_t e = static_cast<uint64_t>(exponent); e != 0; e >>= 1) {
    if ((e & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow(rt);
    if (e > 1 && __builtin_mul_overflow(base, base, &base)) fail_overflow(rt);
  }
  return Value::integer(result);
}

Value integer_arithmetic(Runtime& rt, Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (op) {
    case Op::Add:
      if (__builtin_add_overflow(a, b, &r)) fail_overflow(rt);
      return Value::integer(r);
    case Op::Sub:
      if (__builtin_sub_overflow(a, b, &r)) fail_overflow(rt);
      return Value::integer(r);
    case Op::Mul:
      if (__builtin_mul_overflow(a, b, &r)) fail_overflow(rt);
      return Value::integer(r);
    case Op::Div:
      if (b == 0) rt.fail("division by zero");
      return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Op::FloorDiv:
      return divide_floor(rt, a, b);
    case Op::Mod:
      return modulo(rt, a, b);
    default:
      return power(rt, a, b);
  }
}

Value float_arithmetic(Runtime& rt, Op op, double a, double b) {
  switch (op) {
    case Op::Add:
      return Value::real(a + b);
    case Op::Sub:
      return Value::real(a - b);
    case Op::Mul:
      return Value::real(a * b);
    case Op::Div:
      if (b == 0) rt.fail("float division by zero");
      return Value::real(a / b);
    case Op::FloorDiv: {
      if (b == 0) rt.fail("float floor division by zero");
      double whole = (a - modulo(a, b)) / b;
      double q = std::floor(whole);
      if (whole - q > 0.5) q += 1;
      return Value::real(whole == 0 ? std::copysign(0.0, a / b) : q);
    }
    case Op::Mod:
      if (b == 0) rt.fail("float modulo");
      return Value::real(modulo(a, b));
    default: {
      if (a == 0 && b < 0) rt.fail("0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(b) && b != std::floor(b)) rt.fail("the result would be a complex number");
      double r = std::pow(a, b);
      if (std::isinf(r) && std::isfinite(a) && std::isfinite(b)) rt.fail("(34, 'Numerical result out of range')");
      return Value::real(r);
    }
  }
}

Value concatenate(Runtime& rt, const Value& a, const Value& b) {
  if (a.is(Kind::String)) {
    // Markup escapes what it meets.
    bool markup = a.markup || b.markup;
    std::string_view x = (markup && !a.markup ? escape(rt, a) : a).as_string();
    std::string_view y = (markup && !b.markup ? escape(rt, b) : b).as_string();
    rt.check_size(x.size() + y.size());
    rt.charge_text(y.size());
    return Value::string(rt.heap.join(x, y), markup);
  }
  const auto &x = a.list().items, &y = b.list().items;
  rt.charge(x.size() + y.size());
  std::pmr::vector<Value> items = rt.heap.values();
  items.reserve(x.size() + y.size());
  items.assign(x.begin(), x.end());
  items.insert(items.end(), y.begin(), y.end());
  return a.is(Kind::List) ? rt.heap.list(std::move(items)) : rt.heap.tuple(std::move(items));
}

Value repeat(Runtime& rt, const Value& v, int64_t times) {
  auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (v.is(Kind::String) ? v.as_string().empty() : v.list().items.empty()) n = 0;  // nothing, however often
  if (v.is(Kind::String)) {
    std::string_view s = v.as_string();
    if (n != 0 && s.size() > rt.options.max_output_bytes / n) rt.check_size(SIZE_MAX);
    rt.charge_text(s.size() * n);
    char* text = rt.heap.bytes(s.size() * n);
    for (size_t i = 0; i < n; ++i) s.copy(text + i * s.size(), s.size());
    return Value::string({text, s.size() * n}, v.markup);
  }
  const auto& source = v.list().items;
  if (n != 0 && source.size() > rt.options.max_output_bytes / sizeof(Value) / n) rt.check_size(SIZE_MAX);
  rt.charge(source.size() * n);
  std::pmr::vector<Value> items = rt.heap.values();
  items.reserve(source.size() * n);
  for (size_t i = 0; i < n; ++i) items.insert(items.end(), source.begin(), source.end());
  return v.is(Kind::List) ? rt.heap.list(std::move(items)) : rt.heap.tuple(std::move(items));
}

bool ordered(Op op, int c) {  // c: −1, 0, 1
  switch (op) {
    case Op::Lt:
      return c < 0;
    case Op::Le:
      return c <= 0;
    case Op::Gt:
      return c > 0;
    default:
      return c >= 0;
  }
}

bool equal_dicts(Runtime& rt, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(key);
    if (other == nullptr || !equals(rt, value, *other)) return false;
  }
  return true;
}

bool equal_ranges(const RangeObject& a, const RangeObject& b) {
  int64_t n = a.size();
  if (n != b.size()) return false;
  return n == 0 || (a.start == b.start && (n == 1 || a.step == b.step));
}

}  // namespace

bool equals(Runtime& rt, const Value& a, const Value& b) {
  rt.charge();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::Missing:
    case Kind::Undefined:
    case Kind::None:
      return true;
    case Kind::String:
      rt.charge_text(a.as_string().size());
      return a.as_string() == b.as_string();
    case Kind::List:
    case Kind::Tuple: {
      const auto &x = a.list().items, &y = b.list().items;
      if (x.size() != y.size()) return false;
      for (size_t i = 0; i < x.size(); ++i) {
        if (!equals(rt, x[i], y[i])) return false;
      }
      return true;
    }
    case Kind::Dict:
      return equal_dicts(rt, a.dict(), b.dict());
    case Kind::Range:
      return equal_ranges(a.as<RangeObject>(), b.as<RangeObject>());
    case Kind::View: {
      const View &x = a.as<View>(), &y = b.as<View>();
      if (x.of != y.of || x.of == View::Of::Values) return false;
      if (x.of == View::Of::Items) return equal_dicts(rt, *x.dict, *y.dict);
      if (x.dict->entries.size() != y.dict->entries.size()) return false;
      for (const auto& [key, value] : x.dict->entries) {
        if (y.dict->find(key) == nullptr) return false;
      }
      return true;
    }
    case Kind::Function: {
      const auto &x = a.as<Function>(), &y = b.as<Function>();
      return x.call == y.call && x.self.kind == y.self.kind && x.self.address() == y.self.address();
    }
    default:
      return a.address() == b.address();
  }
}

bool compare(Runtime& rt, Op op, const Value& a, const Value& b) {
  rt.charge();
  if (a.is_number() && b.is_number()) {
    int c = compare_numbers(a, b);
    return c != 2 && ordered(op, c);
  }
  if (a.is(Kind::Undefined)) rt.fail_undefined(a);
  if (b.is(Kind::Undefined)) rt.fail_undefined(b);
  if (a.is(Kind::String) && b.is(Kind::String)) {
    int c = a.as_string().compare(b.as_string());  // the order of UTF-8 bytes is that of code points
    return ordered(op, c < 0 ? -1 : c > 0 ? 1 : 0);
  }
  if (a.is_sequence() && a.kind == b.kind) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equals(rt, x[i], y[i])) return compare(rt, op, x[i], y[i]);
    }
    return ordered(op, x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0);
  }
  rt.fail(fmt::format("'{}' not supported between instances of '{}' and '{}'", symbol(op), type_name(a), type_name(b)));
}

bool contains(Runtime& rt, const Value& container, const Value& item) {
  switch (container.kind) {
    case Kind::String:
      if (!item.is(Kind::String)) {
        rt.fail(fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
      }
      rt.charge_text(container.as_string().size());
      return container.as_string().find(item.as_string()) != std::string_view::npos;
    case Kind::Dict:
      check_key(rt, item);
      return container.dict().find(item) != nullptr;
    case Kind::View:
      if (container.as<View>().of != View::Of::Keys) break;
      check_key(rt, item);
      return container.as<View>().dict->find(item) != nullptr;
    case Kind::Range: {
      if (!item.is_integral()) break;
      const auto& r = container.as<RangeObject>();
      if (r.size() == 0) return false;
      int64_t i = item.as_int(), last = r.start + (r.size() - 1) * r.step;
      bool inside = r.step > 0 ? i >= r.start && i <= last : i <= r.start && i >= last;
      uint64_t distance = static_cast<uint64_t>(i) - static_cast<uint64_t>(r.start);  // both may be near int64's ends
      auto step = static_cast<uint64_t>(r.step);
      return inside && (r.step > 0 ? distance % step : (0 - distance) % (0 - step)) == 0;
    }
    default:
      if (!is_iterable(container)) {
        rt.fail(fmt::format("argument of type '{}' is not iterable", type_name(container)));
      }
  }
  Cursor cursor(rt, container);
  for (Value v; cursor.next(rt, v);) {
    if (equals(rt, v, item)) return true;
  }
  return false;
}

Value arithmetic(Runtime& rt, Op op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(rt, op, a.as_int(), b.as_int());
  if (op == Op::Mod && a.is(Kind::String)) return format_percent(rt, a, b);
  if (a.is(Kind::Undefined)) rt.fail_undefined(a);
  if (b.is(Kind::Undefined)) rt.fail_undefined(b);
  if (a.is(Kind::BigInt) || b.is(Kind::BigInt)) fail_overflow(rt);
  if (a.is_number() && b.is_number()) return float_arithmetic(rt, op, to_double(a), to_double(b));
  if (op == Op::Add && a.kind == b.kind && (a.is(Kind::String) || a.is_sequence())) return concatenate(rt, a, b);
  if (op == Op::Mul) {
    if ((a.is(Kind::String) || a.is_sequence()) && b.is_integral()) return repeat(rt, a, b.as_int());
    if ((b.is(Kind::String) || b.is_sequence()) && a.is_integral()) return repeat(rt, b, a.as_int());
  }
  if (op == Op::Add && (a.is(Kind::String) || a.is_sequence())) {
    rt.fail(fmt::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(a), type_name(b)));
  }
  rt.fail(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a), type_name(b)));
}

Value negate(Runtime& rt, const Value& v) {
  if (v.is(Kind::Float)) return Value::real(-v.as_double());
  if (v.is(Kind::BigInt)) {
    std::string_view digits = v.as_string();
    if (digits.starts_with('-')) return Value::big_integer(digits.substr(1));
    return Value::big_integer(rt.heap.join(rt.heap.copy("-"), digits));
  }
  if (!v.is_integral()) rt.fail(fmt::format("bad operand type for unary -: '{}'", type_name(v)));
  if (v.as_int() == INT64_MIN) fail_overflow(rt);
  return Value::integer(-v.as_int());
}

void check_key(Runtime& rt, const Value& v) {
  // Keys are compared without counting steps, so they must be small: tuples of tuples can be huge.
  constexpr uint32_t kMaxKey = 1000;
  if (v.is(Kind::Tuple)) {
    if (v.list().weight > kMaxKey) rt.fail("a tuple is too large to be a key");
  }
  if (!is_hashable(v)) rt.fail(fmt::format("unhashable type: '{}'", type_name(v)));
  rt.charge();
}

}  // namespace sgl::jinja
