#pragma once
// Writes JSON straight into a string, keys in the order given.

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sgl {

/// Appends `text` as a JSON string in quotes. UTF-8 stays as it is; ill-formed bytes become U+FFFD, one for each
/// maximal ill-formed part.
void append_json_string(std::string& out, std::string_view text);

/// One JSON value after the other, with commas where they belong. Numbers that JSON cannot hold (NaN, infinities)
/// become null; a float is written with the fewest digits that give it back.
class JsonWriter {
 public:
  /// Appends to `out`, which must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  /// A key that is a JSON string already.
  JsonWriter& raw_key(std::string_view json);

  JsonWriter& null() { return raw("null"); }
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(float x);
  JsonWriter& value(double x);
  template <std::same_as<bool> B>
  JsonWriter& value(B x) {
    return raw(x ? "true" : "false");
  }
  template <std::integral I>
  requires(!std::same_as<I, bool>) JsonWriter& value(I x) { return integer(static_cast<int64_t>(x)); }
  /// A value that is JSON already.
  JsonWriter& raw(std::string_view json);

  template <typename T>
  JsonWriter& field(std::string_view name, const T& x) {
    return key(name).value(x);
  }
  JsonWriter& null_field(std::string_view name) { return key(name).null(); }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& integer(int64_t x);
  void comma();

  std::string& out_;
  bool need_comma_ = false;
};

/// An array of token ids.
void write_ids(JsonWriter& w, std::span<const int32_t> ids);

}  // namespace sgl
