#pragma once
// Strict reading of JSON bodies: nothing is guessed, and every complaint names the field, what was expected, what came.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "sgl/error.h"

namespace sgl {

/// Keeps the order of members: that of a schema or a tool is the order the model writes them in.
using Json = nlohmann::ordered_json;

/// The body is not JSON (or not UTF-8, or nested too deep). The message says where.
class MalformedJson : public Error {
 public:
  explicit MalformedJson(const std::string& message) : Error(ErrorKind::InvalidArgument, message) {}
};

/// The body is JSON of the wrong form: a field's type, a missing field, an unknown one where all are known. A wrong
/// value of the right type is a plain InvalidArgument; the dialects word the two differently.
class ValidationError : public Error {
 public:
  explicit ValidationError(const std::string& message) : Error(ErrorKind::InvalidArgument, message) {}
};

constexpr int kDeepestJson = 64;
constexpr size_t kLongestId = 256;            ///< bytes of a rid, or the name of a model
constexpr int64_t kMostJsonValues = 1 << 22;  ///< a body of 64 MiB could otherwise become gigabytes of values

/// Parses one JSON text (RFC 8259, UTF-8; NaN, comments and numbers beyond a double's range are refused; of a
/// duplicate key the last value counts). Throws MalformedJson.
Json parse_json(std::string_view text);

/// "the string \"abc\"", "the number 1.5", "an array": for messages; long values are cut.
std::string describe(const Json& value);

/// The text in double quotes, cut when it is long.
std::string quote(std::string_view text);

/// Typed access to an object's members. A member that is null counts as absent. Every getter throws ValidationError if
/// the member has another type, and InvalidArgument if a number does not fit.
class Fields {
 public:
  /// `path` leads the names in messages ("messages[2]", empty for the body). Keeps a reference to `object`.
  /// Throws ValidationError if it is not an object.
  explicit Fields(const Json& object, std::string path = "");

  const Json& json() const { return object_; }
  /// The member's name as messages have it: "messages[2].content".
  std::string name(std::string_view key) const;
  /// Null if absent or null.
  const Json* find(std::string_view key) const;
  const Json& require(std::string_view key, std::string_view expected) const;

  std::optional<bool> boolean(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;  ///< 5.0 is an integer too
  std::optional<int> small_integer(std::string_view key) const;
  std::optional<float> number(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  /// The same with check_length().
  std::optional<std::string> short_string(std::string_view key) const;
  std::optional<std::vector<std::string>> strings(std::string_view key) const;  ///< a string or an array of strings
  std::optional<std::vector<int32_t>> ids(std::string_view key) const;          ///< nulls inside are dropped
  std::optional<std::map<int32_t, float>> id_map(std::string_view key) const;   ///< {"123": 0.5}

 private:
  const Json& object_;
  std::string path_;
};

// The same for a value that is at hand.
bool read_bool(const Json& value, const std::string& name);
int64_t read_integer(const Json& value, const std::string& name);
int read_small_integer(const Json& value, const std::string& name);
float read_number(const Json& value, const std::string& name);
std::vector<int32_t> read_ids(const Json& value, const std::string& name);

/// Throws InvalidArgument if `id`, which comes back in answers and logs, has more than kLongestId bytes.
void check_length(std::string_view id, const std::string& name);

/// Whether `value` is an array that holds an array: a batch of token ids.
bool is_nested_array(const Json& value);

/// Whether a field asks for anything: null, false, "", {} and lists of such do not.
bool asks_for_something(const Json* value);

}  // namespace sgl
