#include "server/json_reader.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace sgl {
namespace {

constexpr size_t kLongestQuote = 40;
constexpr int64_t kMostComparisons = 1 << 27;  // of names of members: some tenths of a second, 16,384 in one object

// The first `n` bytes of `text` or a little less: no character is cut in two.
std::string_view cut(std::string_view text, size_t n) {
  if (text.size() <= n) return text;
  while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0U) == 0x80U) --n;
  return text.substr(0, n);
}

// Refuses nests and masses of values before anything is allocated for them, and large objects: each member is compared
// with those before it. Strings are skipped; whether brackets match is the parser's business.
void check_size(std::string_view text) {
  int depth = 0;
  int64_t values = 1, comparisons = 0;
  std::array<int64_t, kDeepestJson + 1> members{};  // of the object that is open at each depth
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') {
      ++values;
      if (++depth > kDeepestJson) {
        throw MalformedJson(fmt::format("invalid JSON at byte {}: nested deeper than {} levels", i + 1, kDeepestJson));
      }
      members[static_cast<size_t>(depth)] = 0;
    }
    if ((c == ']' || c == '}') && depth > 0) --depth;
    if (c == ',') ++values;
    if (c == ':') comparisons += members[static_cast<size_t>(depth)]++;
    if (comparisons > kMostComparisons) {
      throw MalformedJson(fmt::format("invalid JSON at byte {}: objects with too many members, {} in this one", i + 1,
                                      members[static_cast<size_t>(depth)]));
    }
    if (values > kMostJsonValues) {
      throw MalformedJson(fmt::format("invalid JSON at byte {}: more than {} values", i + 1, kMostJsonValues));
    }
  }
}

// What the library's message says beyond the position, without the quotation of what it read: "… - reason; last read:
// '…'; expected …".
std::string reason_of(std::string_view message) {
  const size_t dash = message.find(" - ");
  if (dash != std::string_view::npos) message.remove_prefix(dash + 3);
  return std::string(cut(message.substr(0, message.find("; last read")), 200));
}

[[noreturn]] void wrong_type(const std::string& name, std::string_view expected, const Json& value) {
  throw ValidationError(fmt::format("{} must be {}, got {}", name, expected, describe(value)));
}

std::vector<int32_t> read_ids(const Json& value, const std::string& name, bool drop_nulls) {
  if (!value.is_array()) wrong_type(name, "an array of token ids", value);
  std::vector<int32_t> out;
  out.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    const Json& id = value[i];
    if (drop_nulls && id.is_null()) continue;
    if (!id.is_number_integer()) wrong_type(fmt::format("{}[{}]", name, i), "a token id", id);
    out.push_back(read_small_integer(id, name));
  }
  return out;
}

}  // namespace

Json parse_json(std::string_view text) {
  check_size(text);
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& e) {
    size_t line = 1, column = 1;
    const size_t at = std::min(e.byte > 0 ? e.byte - 1 : 0, text.size());
    for (char c : text.substr(0, at)) {
      ++column;
      if (c == '\n') ++line, column = 1;
    }
    throw MalformedJson(
        fmt::format("invalid JSON at byte {} (line {}, column {}): {}", at + 1, line, column, reason_of(e.what())));
  } catch (const Json::out_of_range& e) {
    throw MalformedJson("invalid JSON: a number is too large: " + reason_of(e.what()));
  }
}

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "the string " + quote(value.get_ref<const std::string&>());
    default:
      return "the number " + value.dump();
  }
}

std::string quote(std::string_view text) {
  return fmt::format("\"{}{}\"", cut(text, kLongestQuote), text.size() > kLongestQuote ? "…" : "");
}

bool read_bool(const Json& value, const std::string& name) {
  if (!value.is_boolean()) wrong_type(name, "true or false", value);
  return value.get<bool>();
}

int64_t read_integer(const Json& value, const std::string& name) {
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (value.is_number_float()) {
    const double x = value.get<double>();
    if (x != std::trunc(x)) wrong_type(name, "an integer", value);
    if (x >= -kLimit && x < kLimit) return static_cast<int64_t>(x);
  } else if (value.is_number_unsigned()) {
    const uint64_t x = value.get<uint64_t>();
    if (x <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<int64_t>(x);
  } else if (value.is_number_integer()) {
    return value.get<int64_t>();
  } else {
    wrong_type(name, "an integer", value);
  }
  throw Error(ErrorKind::InvalidArgument, fmt::format("{} must fit 64 bits, got {}", name, describe(value)));
}

int read_small_integer(const Json& value, const std::string& name) {
  const int64_t x = read_integer(value, name);
  if (x < std::numeric_limits<int>::min() || x > std::numeric_limits<int>::max()) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("{} must fit 32 bits, got {}", name, x));
  }
  return static_cast<int>(x);
}

float read_number(const Json& value, const std::string& name) {
  if (!value.is_number()) wrong_type(name, "a number", value);
  const double x = value.get<double>();
  if (std::abs(x) > static_cast<double>(std::numeric_limits<float>::max())) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("{} is too large: {}", name, describe(value)));
  }
  return static_cast<float>(x);
}

std::vector<int32_t> read_ids(const Json& value, const std::string& name) { return read_ids(value, name, false); }

bool is_nested_array(const Json& value) {
  return value.is_array() && std::any_of(value.begin(), value.end(), [](const Json& item) { return item.is_array(); });
}

void check_length(std::string_view id, const std::string& name) {
  if (id.size() <= kLongestId) return;
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("{} has {} bytes; at most {} are taken", name, id.size(), kLongestId));
}

bool asks_for_something(const Json* value) {
  if (value == nullptr || value->is_null()) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_string()) return !value->get_ref<const std::string&>().empty();
  if (value->is_array()) {  // one for each prompt
    return std::any_of(value->begin(), value->end(), [](const Json& item) { return asks_for_something(&item); });
  }
  return !value->is_object() || !value->empty();
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object_.is_object()) wrong_type(path_.empty() ? "the request's body" : path_, "an object", object_);
}

std::string Fields::name(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

const Json* Fields::find(std::string_view key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

const Json& Fields::require(std::string_view key, std::string_view expected) const {
  const Json* value = find(key);
  if (value == nullptr) throw ValidationError(fmt::format("{} is required: {}", name(key), expected));
  return *value;
}

std::optional<bool> Fields::boolean(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr ? std::optional(read_bool(*value, name(key))) : std::nullopt;
}

std::optional<int64_t> Fields::integer(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr ? std::optional(read_integer(*value, name(key))) : std::nullopt;
}

std::optional<int> Fields::small_integer(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr ? std::optional(read_small_integer(*value, name(key))) : std::nullopt;
}

std::optional<float> Fields::number(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr ? std::optional(read_number(*value, name(key))) : std::nullopt;
}

std::optional<std::string> Fields::string(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) wrong_type(name(key), "a string", *value);
  return value->get<std::string>();
}

std::optional<std::string> Fields::short_string(std::string_view key) const {
  auto text = string(key);
  if (text) check_length(*text, name(key));
  return text;
}

std::optional<std::vector<std::string>> Fields::strings(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::vector{value->get<std::string>()};
  if (!value->is_array()) wrong_type(name(key), "a string or an array of strings", *value);
  std::vector<std::string> out;
  for (const Json& item : *value) {
    if (!item.is_string()) {
      throw ValidationError(
          fmt::format("{} must be a string or an array of strings, got {} in it", name(key), describe(item)));
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::optional<std::vector<int32_t>> Fields::ids(std::string_view key) const {
  const Json* value = find(key);
  return value != nullptr ? std::optional(read_ids(*value, name(key), true)) : std::nullopt;
}

std::optional<std::map<int32_t, float>> Fields::id_map(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) wrong_type(name(key), "an object of token ids and numbers", *value);
  std::map<int32_t, float> out;
  for (const auto& [text, number] : value->items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw ValidationError(fmt::format("{} must have token ids as its keys, got {}", name(key), quote(text)));
    }
    out[id] = read_number(number, fmt::format("{}.{}", name(key), id));
  }
  return out;
}

}  // namespace sgl
