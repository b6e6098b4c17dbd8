#pragma once
// Log lines for operators, to stderr: "[2026-01-31 12:00:00.123] [info] text", or one JSON object a line.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <spdlog/spdlog.h>

namespace sgl::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;
using Level = spdlog::level::level_enum;

/// Sets the level ("debug", "info", "warn", "error", "off") and the format: "text" or "json", where a line is
/// {"time","level","message"} and its fields. Throws InvalidArgument on another name.
void init(const std::string& level, const std::string& format = "text");

/// The level of that name. Throws InvalidArgument.
Level parse_level(const std::string& name);

/// What a line says besides its text: " key=value" behind it, or members of the JSON object.
class Fields {
 public:
  Fields& add(std::string_view key, std::string_view text);
  Fields& add(std::string_view key, int64_t n);
  Fields& add(std::string_view key, double x);

  const std::string& json() const { return json_; }  ///< `,"key":value` for each
  const std::string& text() const { return text_; }  ///< ` key=value` for each

 private:
  std::string json_, text_;
};

/// A line with fields. Nothing happens if the level is not shown.
void write(Level level, std::string_view message, const Fields& fields);

/// Appends `text` as a JSON string; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace sgl::log
