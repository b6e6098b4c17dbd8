#pragma once
// The components of a tokenizer.json, read from its JSON. Internal to tokenizer_json*.cpp.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include "text/text_tokenizer.h"

namespace sgl::tokenizer_json {

inline constexpr std::string_view kDocument = "the document";  ///< the path of the outermost object

/// An object of the file with the path that led to it, which errors name.
class Object {
 public:
  /// Throws CorruptFile if `value` is not an object.
  Object(simdjson::dom::element value, std::string path);

  const std::string& path() const { return path_; }
  const simdjson::dom::object& fields() const { return object_; }
  /// The field; nothing if it is absent or null.
  std::optional<simdjson::dom::element> find(std::string_view key) const;
  std::string path_of(std::string_view key) const;

  // A field of a type. Absent or null gives the fallback, or throws CorruptFile without one; so does a wrong type.
  std::string_view string(std::string_view key) const;
  std::string_view string(std::string_view key, std::string_view fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  int64_t integer(std::string_view key, std::optional<int64_t> fallback = {}) const;
  simdjson::dom::array array(std::string_view key) const;
  Object object(std::string_view key) const;

  [[noreturn]] void fail(std::string_view key, std::string_view expected) const;

 private:
  simdjson::dom::object object_;
  std::string path_;
};

// Each reads one component and throws Unsupported for a type that is not known, naming it.
NormalizerPtr read_normalizer(const Object& json);
/// Appends to parts.pre_tokenizers and sets parts.byte_level.
void read_pre_tokenizer(const Object& json, TokenizerParts& parts);
std::unique_ptr<TokenModel> read_model(const Object& json);
/// Sets parts.before and parts.after.
void read_post_processor(const Object& json, TokenizerParts& parts);
/// Appends to `steps`.
void read_decoder(const Object& json, std::vector<DecodeStep>& steps);

}  // namespace sgl::tokenizer_json
