#pragma once
// JSON from files that nobody vouches for: bounded depth, and fields read with their type, range and name in the error.

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace sgl {

/// Parses `text`; `what` (a path) names it in errors. Throws CorruptFile for invalid JSON or more than 64 levels.
nlohmann::json parse_json(std::string_view text, const std::string& what);

/// The fields of a JSON object. Holds a reference: the object must outlive it.
///
/// A field that is absent gives `absent`; one that is null too, unless said otherwise: in config files null means "no
/// value", and only for a few fields that differs from "the default". Wrong types and ranges throw CorruptFile.
class ConfigFields {
 public:
  /// Throws CorruptFile if `object` is not an object. `what` names it in errors: "config.json".
  ConfigFields(const nlohmann::json& object, std::string what);

  bool has(const char* key) const { return object_.contains(key); }
  /// The value; a pointer to null or nullptr if there is none.
  const nlohmann::json* find(const char* key) const;
  /// Neither absent nor null.
  bool is_set(const char* key) const;

  int integer(const char* key, int absent, int low = 0, int high = 1 << 30) const;
  double number(const char* key, double absent) const;
  bool boolean(const char* key, bool absent) const;
  std::string text(const char* key, const std::string& absent) const;

  const std::string& what() const { return what_; }
  /// Throws CorruptFile: "WHAT: KEY MESSAGE, got VALUE".
  [[noreturn]] void fail(const char* key, const std::string& message) const;

 private:
  const nlohmann::json& object_;
  std::string what_;
};

}  // namespace sgl
