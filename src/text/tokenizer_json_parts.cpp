#include "text/tokenizer_json_parts.h"

#include <limits>
#include <utility>

#include <fmt/format.h>

#include <sgl/error.h>

#include "text/unicode.h"

namespace sgl::tokenizer_json {

namespace dom = simdjson::dom;

Object::Object(dom::element value, std::string path) : path_(std::move(path)) {
  if (value.get_object().get(object_) != simdjson::SUCCESS) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} must be an object", path_));
  }
}

// The whole document is the path's root and not named in it.
std::string Object::path_of(std::string_view key) const {
  return path_ == kDocument ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void Object::fail(std::string_view key, std::string_view expected) const {
  throw Error(ErrorKind::CorruptFile, fmt::format("{} must be {}", path_of(key), expected));
}

std::optional<dom::element> Object::find(std::string_view key) const {
  dom::element value;
  if (object_.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

std::string_view Object::string(std::string_view key) const {
  std::string_view text;
  auto value = find(key);
  if (!value || value->get_string().get(text) != simdjson::SUCCESS) fail(key, "a string");
  return text;
}

std::string_view Object::string(std::string_view key, std::string_view fallback) const {
  return find(key) ? string(key) : fallback;
}

bool Object::boolean(std::string_view key, bool fallback) const {
  auto value = find(key);
  if (!value) return fallback;
  bool b = false;
  if (value->get_bool().get(b) != simdjson::SUCCESS) fail(key, "true or false");
  return b;
}

int64_t Object::integer(std::string_view key, std::optional<int64_t> fallback) const {
  auto value = find(key);
  if (!value && fallback) return *fallback;
  int64_t n = 0;
  if (!value || value->get_int64().get(n) != simdjson::SUCCESS) fail(key, "an integer");
  return n;
}

dom::array Object::array(std::string_view key) const {
  dom::array items;
  auto value = find(key);
  if (!value || value->get_array().get(items) != simdjson::SUCCESS) fail(key, "a list");
  return items;
}

Object Object::object(std::string_view key) const {
  auto value = find(key);
  if (!value) fail(key, "an object");
  return {*value, path_of(key)};
}

namespace {

[[noreturn]] void unsupported(const Object& json, std::string_view type, std::string_view known) {
  throw Error(ErrorKind::Unsupported,
              fmt::format("{} is of type '{}', which is not supported; known types: {}", json.path(), type, known));
}

// Calls read(object) for every element of json[key].
template <typename F>
void for_each_object(const Object& json, std::string_view key, F read) {
  size_t i = 0;
  for (dom::element item : json.array(key)) read(Object(item, fmt::format("{}[{}]", json.path_of(key), i++)));
}

Pattern read_pattern(const Object& json) {
  Object pattern = json.object("pattern");
  if (pattern.find("String")) return Pattern::literal(std::string(pattern.string("String")));
  return Pattern::regex(pattern.string("Regex"));
}

// A field that holds one character.
std::string read_char(const Object& json, std::string_view key, std::string_view fallback) {
  std::string_view text = json.string(key, fallback);
  if (text.empty() || decode_utf8(text, 0).size != text.size()) json.fail(key, "one character");
  return std::string(text);
}

SplitBehavior read_behavior(const Object& json, std::string_view fallback) {
  std::string_view name = json.string("behavior", fallback);
  if (name == "Removed") return SplitBehavior::Removed;
  if (name == "Isolated") return SplitBehavior::Isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::MergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::MergedWithNext;
  if (name == "Contiguous") return SplitBehavior::Contiguous;
  json.fail("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PrependScheme read_prepend_scheme(const Object& json) {
  if (!json.boolean("add_prefix_space", true)) return PrependScheme::Never;
  std::string_view name = json.string("prepend_scheme", "always");
  if (name == "always") return PrependScheme::Always;
  if (name == "first") return PrependScheme::First;
  if (name == "never") return PrependScheme::Never;
  json.fail("prepend_scheme", "always, first or never");
}

size_t read_size(const Object& json, std::string_view key) {
  int64_t n = json.integer(key, 0);
  if (n < 0) json.fail(key, "0 or more");
  return static_cast<size_t>(n);
}

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

}  // namespace

NormalizerPtr read_normalizer(const Object& json) {
  std::string_view type = json.string("type");
  if (type == "Sequence") {
    std::vector<NormalizerPtr> steps;
    for_each_object(json, "normalizers", [&](const Object& step) { steps.push_back(read_normalizer(step)); });
    return make_sequence_normalizer(std::move(steps));
  }
  if (type == "NFC") return make_form_normalizer(NormalForm::Nfc);
  if (type == "NFD") return make_form_normalizer(NormalForm::Nfd);
  if (type == "NFKC") return make_form_normalizer(NormalForm::Nfkc);
  if (type == "NFKD") return make_form_normalizer(NormalForm::Nfkd);
  if (type == "Lowercase") return make_lowercase_normalizer();
  if (type == "StripAccents") return make_strip_accents_normalizer();
  if (type == "Strip") {
    return make_strip_normalizer(json.boolean("strip_left", true), json.boolean("strip_right", true));
  }
  if (type == "Prepend") return make_prepend_normalizer(std::string(json.string("prepend")));
  if (type == "Replace") return make_replace_normalizer(read_pattern(json), std::string(json.string("content")));
  if (type == "Nmt") return make_nmt_normalizer();
  if (type == "ByteLevel") return make_byte_level_normalizer();
  if (type == "BertNormalizer") {
    BertNormalizerOptions options;
    options.clean_text = json.boolean("clean_text", true);
    options.handle_chinese_chars = json.boolean("handle_chinese_chars", true);
    options.lowercase = json.boolean("lowercase", true);
    options.strip_accents = json.boolean("strip_accents", options.lowercase);
    return make_bert_normalizer(options);
  }
  unsupported(json, type,
              "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Nmt, ByteLevel, "
              "BertNormalizer");
}

void read_pre_tokenizer(const Object& json, TokenizerParts& parts) {
  auto& steps = parts.pre_tokenizers;
  std::string_view type = json.string("type");
  if (type == "Sequence") {
    for_each_object(json, "pretokenizers", [&](const Object& step) { read_pre_tokenizer(step, parts); });
    return;
  }
  if (parts.byte_level) {  // the spelling was not the last step after all
    steps.push_back(make_byte_spelling());
    parts.byte_level = false;
  }
  if (type == "ByteLevel") {
    if (json.boolean("add_prefix_space", true)) steps.push_back(make_prefix_space());
    if (json.boolean("use_regex", true)) {
      steps.push_back(make_split(Pattern::regex(regex_of(SplitPattern::Gpt2)), SplitBehavior::Isolated, false));
    }
    parts.byte_level = true;
  } else if (type == "Split") {
    steps.push_back(make_split(read_pattern(json), read_behavior(json, ""), json.boolean("invert", false)));
  } else if (type == "Metaspace") {
    steps.push_back(make_metaspace(read_char(json, "replacement", kSpaceMark), read_prepend_scheme(json),
                                   json.boolean("split", true)));
  } else if (type == "Digits") {
    steps.push_back(make_digits(json.boolean("individual_digits", false)));
  } else if (type == "Punctuation") {
    steps.push_back(make_punctuation(read_behavior(json, "Isolated")));
  } else if (type == "Whitespace") {
    steps.push_back(make_whitespace());
  } else if (type == "WhitespaceSplit") {
    steps.push_back(make_whitespace_split());
  } else if (type == "CharDelimiterSplit") {
    steps.push_back(make_char_delimiter_split(decode_utf8(read_char(json, "delimiter", ""), 0).code));
  } else if (type == "BertPreTokenizer") {
    steps.push_back(make_bert_pre_tokenizer());
  } else {
    unsupported(json, type,
                "Sequence, ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, "
                "CharDelimiterSplit, BertPreTokenizer");
  }
}

namespace {

// An id as the file gives it. Whether it is a token is checked when all parts are together.
int32_t read_id(dom::element value, const std::string& path) {
  int64_t id = 0;
  if (value.get_int64().get(id) != simdjson::SUCCESS || id < 0 || id > std::numeric_limits<int32_t>::max()) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} must be a token id", path));
  }
  return static_cast<int32_t>(id);
}

// ["[SEP]", 102]
int32_t read_token_and_id(const Object& json, std::string_view key) {
  dom::element id;
  if (json.array(key).at(1).get(id) != simdjson::SUCCESS) json.fail(key, "a token and its id");
  return read_id(id, json.path_of(key) + "[1]");
}

void read_template(const Object& json, TokenizerParts& parts) {
  std::vector<int32_t> before, after;
  bool seen_text = false;
  std::optional<Object> tokens;
  if (json.find("special_tokens")) tokens = json.object("special_tokens");
  for_each_object(json, "single", [&](const Object& part) {
    if (part.find("Sequence")) {
      seen_text = true;
      return;
    }
    std::string_view name = part.object("SpecialToken").string("id");
    if (!tokens || !tokens->find(name)) part.fail("SpecialToken.id", "one of special_tokens");
    Object token = tokens->object(name);
    for (dom::element id : token.array("ids")) {
      (seen_text ? after : before).push_back(read_id(id, token.path_of("ids")));
    }
  });
  parts.before.insert(parts.before.begin(), before.begin(), before.end());
  parts.after.insert(parts.after.end(), after.begin(), after.end());
}

}  // namespace

void read_post_processor(const Object& json, TokenizerParts& parts) {
  std::string_view type = json.string("type");
  if (type == "Sequence") {
    for_each_object(json, "processors", [&](const Object& step) { read_post_processor(step, parts); });
  } else if (type == "TemplateProcessing") {
    read_template(json, parts);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    parts.before.insert(parts.before.begin(), read_token_and_id(json, "cls"));
    parts.after.push_back(read_token_and_id(json, "sep"));
  } else if (type != "ByteLevel") {  // that one is about offsets only
    unsupported(json, type, "Sequence, TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel");
  }
}

void read_decoder(const Object& json, std::vector<DecodeStep>& steps) {
  using Kind = DecodeStep::Kind;
  std::string_view type = json.string("type");
  if (type == "Sequence") {
    for_each_object(json, "decoders", [&](const Object& step) { read_decoder(step, steps); });
    return;
  }
  DecodeStep step;
  if (type == "ByteLevel") {
    step.kind = Kind::ByteLevel;
  } else if (type == "ByteFallback") {
    step.kind = Kind::ByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::Fuse;
  } else if (type == "Metaspace") {
    step.kind = Kind::Metaspace;
    step.text = read_char(json, "replacement", kSpaceMark);
    step.flag = read_prepend_scheme(json) != PrependScheme::Never;
  } else if (type == "Replace") {
    step.kind = Kind::Replace;
    step.pattern = std::make_shared<const Pattern>(read_pattern(json));
    step.text = json.string("content");
  } else if (type == "Strip") {
    step.kind = Kind::Strip;
    step.text = read_char(json, "content", " ");
    step.start = read_size(json, "start"), step.stop = read_size(json, "stop");
  } else if (type == "WordPiece") {
    step.kind = Kind::WordPiece;
    step.text = json.string("prefix", "##");
    step.flag = json.boolean("cleanup", true);
  } else if (type == "BPEDecoder") {
    step.kind = Kind::BpeSuffix;
    step.text = json.string("suffix", "</w>");
  } else {
    unsupported(json, type,
                "Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, WordPiece, BPEDecoder");
  }
  steps.push_back(std::move(step));
}

}  // namespace sgl::tokenizer_json
