#include "checkpoint/json.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

using nlohmann::json;

namespace {
constexpr int kMaxDepth = 64;
}

json parse_json(std::string_view text, const std::string& what) {
  auto limit_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth) {
      throw Error(ErrorKind::CorruptFile, fmt::format("{}: JSON is nested more than {} levels deep", what, kMaxDepth));
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), limit_depth);
  } catch (const json::exception& e) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} is not valid JSON: {}", what, e.what()));
  }
}

ConfigFields::ConfigFields(const json& object, std::string what) : object_(object), what_(std::move(what)) {
  if (!object_.is_object()) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} must be a JSON object, got {}", what_, object_.type_name()));
  }
}

const json* ConfigFields::find(const char* key) const {
  auto it = object_.find(key);
  return it == object_.end() ? nullptr : &*it;
}

bool ConfigFields::is_set(const char* key) const {
  const json* value = find(key);
  return value != nullptr && !value->is_null();
}

void ConfigFields::fail(const char* key, const std::string& message) const {
  const json* value = find(key);
  // An array may be huge: say its type only.
  const std::string got = value == nullptr         ? "nothing"
                          : value->is_structured() ? value->type_name()
                                                   : value->dump(-1, ' ', false, json::error_handler_t::replace);
  throw Error(ErrorKind::CorruptFile, fmt::format("{}: {} {}, got {}", what_, key, message, got.substr(0, 100)));
}

int ConfigFields::integer(const char* key, int absent, int low, int high) const {
  if (!is_set(key)) return absent;
  const json& value = *find(key);
  // Some writers store whole numbers as floats.
  const double x = value.is_number() ? value.get<double>() : std::nan("");
  if (!(x >= low && x <= high) || x != std::floor(x)) {
    fail(key, fmt::format("must be a whole number in [{}, {}]", low, high));
  }
  return static_cast<int>(x);
}

double ConfigFields::number(const char* key, double absent) const {
  if (!is_set(key)) return absent;
  const json& value = *find(key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) fail(key, "must be a finite number");
  return value.get<double>();
}

bool ConfigFields::boolean(const char* key, bool absent) const {
  if (!is_set(key)) return absent;
  if (!find(key)->is_boolean()) fail(key, "must be true or false");
  return find(key)->get<bool>();
}

std::string ConfigFields::text(const char* key, const std::string& absent) const {
  if (!is_set(key)) return absent;
  if (!find(key)->is_string()) fail(key, "must be a string");
  return find(key)->get<std::string>();
}

}  // namespace sgl
