#pragma once
// Values of the template language: Python's types, as far as a chat template can meet them.
//
// A Value is 24 bytes, copied freely, and owns nothing. Strings point into the template's source, the caller's messages
// or a Heap; everything with parts (lists, dicts, macros, …) lives on the Heap of one rendering and goes with it. So a
// hostile template can neither leak by reference cycles nor overflow the stack by freeing a deep structure, and a
// substring costs nothing. Lists and dicts never change once built: templates run as in Jinja's ImmutableSandboxed-
// Environment. Only namespaces, loops and iterators have state.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory_resource>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sgl::jinja {

class Runtime;
struct List;
struct Dict;
struct UndefinedInfo;

enum class Kind : uint8_t {
  Missing,    ///< no value: an argument that was not passed, a variable that was never set
  Undefined,  ///< Jinja's Undefined; undefined() tells why
  None,
  Bool,
  Int,
  BigInt,  ///< an integer beyond int64: kept as decimal digits; can be printed and compared, not computed with
  Float,
  String,
  List,
  Tuple,
  Dict,
  Range,
  View,      ///< dict.keys(), .values(), .items()
  Iterator,  ///< what filters such as map and select return: can be gone through once
  Function,  ///< a function or method of ours
  Macro,
  Loop,  ///< the variable `loop`
  Namespace,
  Cycler,
  Joiner,
};

struct Value {
  Value() = default;
  static Value none() { return Value(Kind::None); }
  static Value boolean(bool b) { return Value(Kind::Bool, b ? 1 : 0); }
  static Value integer(int64_t i) { return Value(Kind::Int, i); }
  static Value real(double d) {
    Value v(Kind::Float);
    v.double_ = d;
    return v;
  }
  /// Valid UTF-8 that outlives the value.
  static Value string(std::string_view s, bool is_markup = false) {
    Value v(Kind::String);
    v.pointer_ = s.data();
    v.size_ = s.size();
    v.markup = is_markup;
    return v;
  }
  static Value big_integer(std::string_view digits) {
    Value v = string(digits);
    v.kind = Kind::BigInt;
    return v;
  }
  /// An object on the heap; `kind` must be the one that `object`'s type stands for.
  static Value object(Kind kind, const void* object) {
    Value v(kind);
    v.pointer_ = object;
    return v;
  }

  bool is(Kind k) const { return kind == k; }
  bool is_integral() const { return kind == Kind::Int || kind == Kind::Bool; }  ///< that fits int64
  bool is_number() const { return is_integral() || kind == Kind::Float || kind == Kind::BigInt; }
  bool is_sequence() const { return kind == Kind::List || kind == Kind::Tuple; }

  bool as_bool() const { return int_ != 0; }
  int64_t as_int() const { return int_; }  ///< Int, Bool
  double as_double() const { return double_; }
  std::string_view as_string() const { return {static_cast<const char*>(pointer_), size_}; }  ///< String, BigInt
  template <typename T>
  T& as() const {
    return *static_cast<T*>(const_cast<void*>(pointer_));
  }
  const List& list() const { return as<const List>(); }  ///< List, Tuple
  const Dict& dict() const { return as<const Dict>(); }
  const UndefinedInfo* undefined() const { return static_cast<const UndefinedInfo*>(pointer_); }
  const void* address() const { return pointer_; }

  Kind kind = Kind::Missing;
  bool markup = false;  ///< a String that is MarkupSafe's Markup: operations with it escape the other side

 private:
  explicit Value(Kind k, int64_t i = 0) : kind(k), int_(i) {}

  size_t size_ = 0;
  union {
    int64_t int_ = 0;
    double double_;
    const void* pointer_;
  };
};

/// Why a value is undefined. The message is Jinja's: the hint, else "'name' is undefined", else "'dict object' has no
/// attribute 'name'".
struct UndefinedInfo {
  std::string_view hint{};
  std::string_view owner{};  ///< type of the object that lacks it ("dict object"); empty: a variable
  std::string_view name{};
  bool is_element = false;  ///< looked up by something else than a string; `name` is its repr
  bool unsafe = false;      ///< the sandbox hides it: `hint` says so
};

/// Lists, tuples and dicts may be nested this deep, so that what walks them can recurse. Beyond: InvalidArgument.
constexpr uint32_t kMaxNesting = 500;

/// List and Tuple. Made by Heap::list() and Heap::tuple().
struct List {
  std::pmr::vector<Value> items;
  uint32_t depth = 1;
  uint32_t weight = 1;    ///< values in it, nested tuples' included; saturates
  bool is_group = false;  ///< a Tuple made by groupby: has the attributes grouper and list
};

/// An order on hashable values that makes Python-equal ones equal (1 == 1.0 == True).
struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

/// Keys in the order of insertion. Small ones are searched from the front, large ones by a tree: keys come from
/// requests, and a hash table would let a request choose its collisions.
struct Dict {
  using Entry = std::pair<Value, Value>;
  std::pmr::vector<Entry> entries;
  std::pmr::map<Value, size_t, KeyLess> index;  ///< only with more than kLinear entries
  uint32_t depth = 1;

  explicit Dict(std::pmr::memory_resource* memory) : entries(memory), index(memory) {}
  /// Null if absent. The key must be hashable.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const { return find(Value::string(key)); }
  /// Adds or replaces. The key must be hashable, the value complete: its own parts must not change any more.
  void set(const Value& key, const Value& value);

  static constexpr size_t kLinear = 8;
};

struct RangeObject {
  int64_t start, stop, step;
  int64_t size() const;
};

struct View {
  enum class Of { Keys, Values, Items } of;
  const Dict* dict;
};

/// A source of values that is drawn from lazily, like a Python generator. Lives on the heap, is never destroyed.
struct Iterator {
  virtual ~Iterator() = default;
  /// Writes the next value and returns true, or returns false at the end.
  virtual bool next(Runtime& rt, Value& out) = 0;
  const char* type_name = "generator";
};

/// Arguments of a call: Python's *args and **kwargs.
struct Args {
  std::pmr::vector<Value> positional;
  std::pmr::vector<std::pair<std::string_view, Value>> named;
};

/// A function or method written in C++. `self` is what a method was taken from.
using Native = Value (*)(Runtime& rt, const Value& self, const Args& args);
struct Function {
  std::string_view name;
  Native call;
  Value self;
};

struct Namespace {
  Dict attributes;
};
struct Cycler {
  List items;
  size_t position = 0;
};
struct Joiner {
  Value separator;
  bool used = false;
};

/// Memory of one rendering: everything is given back at once. Throws InvalidArgument beyond its limit.
class Heap {
 public:
  explicit Heap(size_t limit_bytes);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  std::pmr::memory_resource* memory() { return &arena_; }
  /// Constructs an object whose destructor is never run.
  template <typename T, typename... A>
  T& make(A&&... args) {
    void* place = arena_.allocate(sizeof(T), alignof(T));
    return *new (place) T{std::forward<A>(args)...};
  }

  /// `size` bytes to write to.
  char* bytes(size_t size);
  std::string_view copy(std::string_view text);
  /// `a` followed by `b`. Where `a` is itself the result of a recent join, its buffer is extended in place, so that
  /// building a text piece by piece is linear.
  std::string_view join(std::string_view a, std::string_view b);

  Value string(std::string_view text, bool markup = false) { return Value::string(copy(text), markup); }
  Value list(std::pmr::vector<Value> items) { return sequence(Kind::List, std::move(items)); }
  Value tuple(std::pmr::vector<Value> items) { return sequence(Kind::Tuple, std::move(items)); }
  Value tuple(std::initializer_list<Value> items) { return tuple(std::pmr::vector<Value>(items, memory())); }
  std::pmr::vector<Value> values() { return std::pmr::vector<Value>(memory()); }
  Dict& dict() { return make<Dict>(memory()); }

 private:
  struct Limit : std::pmr::memory_resource {
    explicit Limit(size_t bytes) : left(bytes), total(bytes) {}
    void* do_allocate(size_t bytes, size_t alignment) override;
    void do_deallocate(void* p, size_t bytes, size_t alignment) override;
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    size_t left, total;
  };
  struct Growing {
    char* begin = nullptr;
    size_t used = 0, capacity = 0;
  };
  Value sequence(Kind kind, std::pmr::vector<Value> items);

  Limit limit_;
  std::pmr::monotonic_buffer_resource arena_;
  Growing growing_[4];
  size_t next_growing_ = 0;
};

inline Value to_value(const Dict& dict) { return Value::object(Kind::Dict, &dict); }

/// Three-way comparison of two numbers by value: negative, 0, positive; a NaN is unordered: 2.
int compare_numbers(const Value& a, const Value& b);

/// False for undefined, none, false, 0, and what is empty.
bool truthy(const Value& v);
/// Python's name of the type: "str", "dict", "NoneType".
std::string_view type_name(const Value& v);
bool is_hashable(const Value& v);

}  // namespace sgl::jinja
