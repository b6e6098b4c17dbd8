#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include "sgl/program_json.h"

namespace sgl {
namespace {

using Json = nlohmann::json;
const Json& as_json(const void* value) { return *static_cast<const Json*>(value); }

}  // namespace

std::optional<JsonView> JsonView::parse(std::string_view text) {
  auto json = std::make_shared<const Json>(Json::parse(text, nullptr, /*allow_exceptions=*/false));
  if (json->is_discarded()) return std::nullopt;
  const Json* root = json.get();
  return JsonView(std::move(json), root);
}

bool JsonView::is_null() const { return as_json(value_).is_null(); }

std::optional<bool> JsonView::boolean() const {
  const Json& j = as_json(value_);
  return j.is_boolean() ? std::optional(j.get<bool>()) : std::nullopt;
}

std::optional<int64_t> JsonView::integer() const {
  const Json& j = as_json(value_);
  if (j.is_number_unsigned() && !std::in_range<int64_t>(j.get<uint64_t>())) return std::nullopt;
  if (j.is_number_integer()) return j.get<int64_t>();
  if (!j.is_number_float()) return std::nullopt;
  const double x = j.get<double>();
  return std::trunc(x) == x && std::abs(x) < 9e15 ? std::optional(static_cast<int64_t>(x)) : std::nullopt;
}

std::optional<double> JsonView::number() const {
  const Json& j = as_json(value_);
  return j.is_number() ? std::optional(j.get<double>()) : std::nullopt;
}

std::optional<std::string> JsonView::string() const {
  const Json& j = as_json(value_);
  return j.is_string() ? std::optional(j.get<std::string>()) : std::nullopt;
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  const Json& j = as_json(value_);
  if (!j.is_object()) return std::nullopt;
  const auto it = j.find(std::string(key));
  return it == j.end() ? std::nullopt : std::optional(JsonView(owner_, &*it));
}

std::optional<size_t> JsonView::size() const {
  const Json& j = as_json(value_);
  return j.is_array() ? std::optional(j.size()) : std::nullopt;
}

JsonView JsonView::at(size_t i) const { return {owner_, &as_json(value_).at(i)}; }

namespace lang {

std::string json_quote(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string regex_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (std::string_view(R"(\^$.|?*+()[]{})").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace lang
}  // namespace sgl
