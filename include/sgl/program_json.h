#pragma once
// Typed names: a Key<T> says in one place how a generation is constrained and what its text means.
//
//   struct Person { std::string name; int age; };
//   SGL_JSON(Person, name, age)                          // at namespace scope
//   inline constexpr sgl::Key<Person> person{"person"};
//   s += gen(person);   Person p = s[person];
//
// T: std::string, integers, floats, bool, an enum with SGL_ENUM, a struct with SGL_JSON, and in structs also
// std::vector<T> and std::optional<T>.

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sgl {

/// The name of a variable, and its type.
template <class T = std::string>
struct Key {
  std::string_view name;
};

/// How a type asks a model for its text. At most one of the two is set; none: free text.
struct Constraint {
  std::string regex = {};
  std::string json_schema = {};
  std::vector<std::string> stop = {};
};

/// A parsed JSON value, or a part of one. Cheap to copy; keeps the whole alive.
class JsonView {
 public:
  /// Nothing if `text` is not one JSON value. Space around it is allowed.
  static std::optional<JsonView> parse(std::string_view text);

  bool is_null() const;
  std::optional<bool> boolean() const;
  std::optional<int64_t> integer() const;  ///< a whole number: 5 or 5.0
  std::optional<double> number() const;
  std::optional<std::string> string() const;
  std::optional<JsonView> find(std::string_view key) const;  ///< member of an object
  std::optional<size_t> size() const;                        ///< of an array
  JsonView at(size_t i) const;                               ///< Requires: i < *size()

 private:
  JsonView(std::shared_ptr<const void> owner, const void* value) : owner_(std::move(owner)), value_(value) {}
  std::shared_ptr<const void> owner_;
  const void* value_;
};

namespace lang {

std::string json_quote(std::string_view text);
std::string regex_escape(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);
std::string_view trim(std::string_view text);

template <class T>
concept JsonStruct = requires(const T* t) {
  sgl_json_fields(t, [](const char*, auto) {});
};
template <class T>
concept NamedEnum = std::is_enum_v<T> && requires(T t) {
  sgl_enum_names(t);
};

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
concept Described = std::same_as<T, std::string> || std::integral<T> || std::floating_point<T> || NamedEnum<T> ||
    JsonStruct<T> || IsVector<T>::value || IsOptional<T>::value;
template <class T>
constexpr bool kUnsupported = false;

/// JSON Schema of T.
template <class T>
std::string schema_of() {
  if constexpr (std::same_as<T, std::string>) {
    return R"({"type":"string"})";
  } else if constexpr (std::same_as<T, bool>) {
    return R"({"type":"boolean"})";
  } else if constexpr (std::integral<T>) {
    return R"({"type":"integer"})";
  } else if constexpr (std::floating_point<T>) {
    return R"({"type":"number"})";
  } else if constexpr (NamedEnum<T>) {
    std::string out = R"({"enum":[)";
    for (const auto& [name, value] : sgl_enum_names(T{})) out += (out.back() == '[' ? "" : ",") + json_quote(name);
    return out + "]}";
  } else if constexpr (IsVector<T>::value) {
    return R"({"type":"array","items":)" + schema_of<typename T::value_type>() + "}";
  } else if constexpr (IsOptional<T>::value) {
    return R"({"anyOf":[)" + schema_of<typename T::value_type>() + R"(,{"type":"null"}]})";
  } else if constexpr (JsonStruct<T>) {
    std::string properties, required;
    sgl_json_fields(static_cast<const T*>(nullptr), [&]<class M>(const char* name, M T::*) {
      const char* comma = required.empty() ? "" : ",";
      properties += comma + json_quote(name) + ":" + schema_of<M>();
      required += comma + json_quote(name);
    });
    return R"({"type":"object","properties":{)" + properties + R"(},"required":[)" + required +
           R"(],"additionalProperties":false})";
  } else {
    static_assert(kUnsupported<T>, "give the type SGL_JSON(Type, fields…) or SGL_ENUM(Type, names…) in its namespace");
  }
}

/// The value of a JSON text, if it has the form of T.
template <class T>
std::optional<T> from_json(const JsonView& json) {
  if constexpr (std::same_as<T, std::string>) {
    return json.string();
  } else if constexpr (std::same_as<T, bool>) {
    return json.boolean();
  } else if constexpr (std::integral<T>) {
    std::optional<int64_t> n = json.integer();
    return n && std::in_range<T>(*n) ? std::optional(static_cast<T>(*n)) : std::nullopt;
  } else if constexpr (std::floating_point<T>) {
    std::optional<double> x = json.number();
    return x ? std::optional(static_cast<T>(*x)) : std::nullopt;
  } else if constexpr (NamedEnum<T>) {
    std::optional<std::string> text = json.string();
    for (const auto& [name, value] : sgl_enum_names(T{})) {
      if (text && *text == name) return value;
    }
    return std::nullopt;
  } else if constexpr (IsVector<T>::value) {
    std::optional<size_t> size = json.size();
    if (!size) return std::nullopt;
    T out;
    for (size_t i = 0; i < *size; ++i) {
      auto item = from_json<typename T::value_type>(json.at(i));
      if (!item) return std::nullopt;
      out.push_back(std::move(*item));
    }
    return out;
  } else if constexpr (IsOptional<T>::value) {
    if (json.is_null()) return T{};
    auto inner = from_json<typename T::value_type>(json);
    return inner ? std::optional<T>(std::move(inner)) : std::nullopt;
  } else {
    T out{};
    bool ok = true;
    sgl_json_fields(static_cast<const T*>(nullptr), [&]<class M>(const char* name, M T::*member) {
      std::optional<JsonView> field = json.find(name);
      std::optional<M> value = field ? from_json<M>(*field) : std::nullopt;
      if (!field && IsOptional<M>::value) value.emplace();
      ok = ok && value;
      if (value) out.*member = std::move(*value);
    });
    return ok ? std::optional<T>(std::move(out)) : std::nullopt;
  }
}

/// "int", "Person": for messages.
template <class T>
std::string type_name() {
  if constexpr (std::same_as<T, std::string>)
    return "string";
  else if constexpr (std::same_as<T, bool>)
    return "bool";
  else if constexpr (std::integral<T>)
    return "integer";
  else if constexpr (std::floating_point<T>)
    return "number";
  else if constexpr (NamedEnum<T>)
    return "enum " + schema_of<T>();
  else
    return "JSON of " + schema_of<T>();
}

template <class T>
Constraint constraint_of() {
  if constexpr (std::same_as<T, std::string>)
    return {};
  else if constexpr (std::same_as<T, bool>)
    return {.regex = "(True|False)"};
  // A number's regex has no trailing blanks, so a model that has written all digits must stop; the strings help one
  // that is not constrained.
  else if constexpr (std::integral<T>)
    return {.regex = "[-+]?[0-9]+", .stop = {" ", "\n"}};
  else if constexpr (std::floating_point<T>)
    return {.regex = R"([-+]?[0-9]*\.?[0-9]+)", .stop = {" ", "\n"}};
  else if constexpr (NamedEnum<T>) {
    std::string regex;
    for (const auto& [name, value] : sgl_enum_names(T{})) regex += (regex.empty() ? "(" : "|") + regex_escape(name);
    return {.regex = regex + ")"};
  } else {
    return {.json_schema = schema_of<T>()};
  }
}

/// What the text of a variable means as T; nothing if it is cut off or not of the type.
template <class T>
std::optional<T> parse_as(const std::string& text) {
  if constexpr (std::same_as<T, std::string>)
    return text;
  else if constexpr (std::same_as<T, bool>) {
    std::string_view t = trim(text);
    if (t == "True" || t == "true") return true;
    if (t == "False" || t == "false") return false;
    return std::nullopt;
  } else if constexpr (std::integral<T>) {
    std::optional<int64_t> n = parse_integer(trim(text));
    return n && std::in_range<T>(*n) ? std::optional(static_cast<T>(*n)) : std::nullopt;
  } else if constexpr (std::floating_point<T>) {
    std::optional<double> x = parse_number(trim(text));
    return x ? std::optional(static_cast<T>(*x)) : std::nullopt;
  } else if constexpr (NamedEnum<T>) {
    for (const auto& [name, value] : sgl_enum_names(T{})) {
      if (trim(text) == name) return value;
    }
    return std::nullopt;
  } else {
    std::optional<JsonView> json = JsonView::parse(text);
    return json ? from_json<T>(*json) : std::nullopt;
  }
}

}  // namespace lang

/// The JSON Schema that a Key<T> asks for, T a struct with SGL_JSON.
template <class T>
std::string json_schema_of() {
  return lang::schema_of<T>();
}

}  // namespace sgl

// SGL_JSON(Type, fields…), SGL_ENUM(Type, enumerators…): at namespace scope, in Type's namespace.
// The preprocessor repeats a macro over a list by rescanning it (David Mazières, "Recursive macros with C++20
// __VA_OPT__"); 256 elements at most.
#define SGL_PARENS ()
#define SGL_EXPAND(...) SGL_EXPAND3(SGL_EXPAND3(SGL_EXPAND3(SGL_EXPAND3(__VA_ARGS__))))
#define SGL_EXPAND3(...) SGL_EXPAND2(SGL_EXPAND2(SGL_EXPAND2(SGL_EXPAND2(__VA_ARGS__))))
#define SGL_EXPAND2(...) SGL_EXPAND1(SGL_EXPAND1(SGL_EXPAND1(SGL_EXPAND1(__VA_ARGS__))))
#define SGL_EXPAND1(...) __VA_ARGS__
#define SGL_FOR_EACH(macro, type, ...) __VA_OPT__(SGL_EXPAND(SGL_FOR_EACH_STEP(macro, type, __VA_ARGS__)))
#define SGL_FOR_EACH_STEP(macro, type, first, ...) \
  macro(type, first) __VA_OPT__(SGL_FOR_EACH_AGAIN SGL_PARENS(macro, type, __VA_ARGS__))
#define SGL_FOR_EACH_AGAIN() SGL_FOR_EACH_STEP
#define SGL_JSON_FIELD(type, field) visit(#field, &type::field);
#define SGL_ENUM_NAME(type, enumerator) std::pair<std::string_view, type>{#enumerator, type::enumerator},

#define SGL_JSON(type, ...)                                           \
  template <class Visit>                                              \
  [[maybe_unused]] void sgl_json_fields(const type*, Visit&& visit) { \
    SGL_FOR_EACH(SGL_JSON_FIELD, type, __VA_ARGS__)                   \
  }

#define SGL_ENUM(type, ...)                                                                                    \
  [[maybe_unused]] inline auto sgl_enum_names(type) {                                                          \
    return std::to_array<std::pair<std::string_view, type>>({SGL_FOR_EACH(SGL_ENUM_NAME, type, __VA_ARGS__)}); \
  }
