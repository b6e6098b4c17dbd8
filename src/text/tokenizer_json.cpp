#include "text/tokenizer_json.h"

#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>

#include <sgl/error.h>

#include "base/file.h"
#include "text/text_tokenizer.h"
#include "text/tokenizer_json_parts.h"

namespace sgl {
namespace {

using tokenizer_json::Object;
namespace dom = simdjson::dom;
namespace ondemand = simdjson::ondemand;

void read_added_tokens(const Object& root, TokenizerParts& parts) {
  const Vocab& vocab = parts.model->vocab();
  dom::array items = root.array("added_tokens");
  int64_t limit = vocab.size() + static_cast<int64_t>(items.size()) * 4 + (1 << 20);
  size_t i = 0;
  for (dom::element item : items) {
    Object json(item, fmt::format("{}[{}]", root.path_of("added_tokens"), i++));
    AddedToken token;
    token.content = json.string("content");
    token.special = json.boolean("special", false);
    token.normalized = json.boolean("normalized", !token.special);
    token.lstrip = json.boolean("lstrip", false);
    token.rstrip = json.boolean("rstrip", false);
    token.single_word = json.boolean("single_word", false);
    int64_t id = json.integer("id");
    if (id < 0 || id >= limit) json.fail("id", fmt::format("0 to {}", limit - 1));
    token.id = vocab.find(token.content).value_or(static_cast<int32_t>(id));
    parts.added.add(std::move(token));
  }
}

TokenizerParts read_tokenizer(const std::string& path) {
  MappedFile file(path);
  simdjson::padded_string text(file.text());
  MappedFile::release(file.bytes());
  dom::parser parser;
  dom::element document;
  if (auto error = parser.parse(text).get(document); error != simdjson::SUCCESS) {
    throw Error(ErrorKind::CorruptFile, fmt::format("not valid JSON: {}", simdjson::error_message(error)));
  }
  Object root(document, std::string(tokenizer_json::kDocument));
  TokenizerParts parts;
  parts.model = read_model(root.object("model"));
  if (root.find("normalizer")) parts.normalizer = read_normalizer(root.object("normalizer"));
  if (root.find("pre_tokenizer")) read_pre_tokenizer(root.object("pre_tokenizer"), parts);
  if (root.find("post_processor")) read_post_processor(root.object("post_processor"), parts);
  std::vector<DecodeStep> steps;
  if (root.find("decoder")) {
    read_decoder(root.object("decoder"), steps);
  } else {
    steps.emplace_back().kind = DecodeStep::Kind::Spaced;
  }
  parts.decoder = TokenDecoder(std::move(steps));
  if (root.find("added_tokens")) read_added_tokens(root, parts);
  return parts;
}

// What is used of tokenizer_config.json and special_tokens_map.json. They are read on demand, so that a number that
// fits no type ("model_max_length": 10^30) or a list of thousands of tokens is only skipped.
struct Config {
  std::optional<std::string> bos, eos;
  std::optional<bool> add_bos, add_eos;
  std::string tokenizer_class, chat_template;
};

// "<s>" or {"content": "<s>", …}; null gives nothing.
void read_token_name(ondemand::value value, std::optional<std::string>& name) {
  if (value.type() == ondemand::json_type::object) {
    name = std::string(value.get_object()["content"].get_string().value());
  } else if (value.type() == ondemand::json_type::string) {
    name = std::string(value.get_string().value());
  }
}

// "…" or [{"name": "default", "template": "…"}, …]
void read_chat_template(ondemand::value value, std::string& chat_template) {
  if (value.type() == ondemand::json_type::string) {
    chat_template = value.get_string().value();
    return;
  }
  if (value.type() != ondemand::json_type::array) return;
  for (ondemand::object entry : value.get_array()) {
    std::string name(entry["name"].get_string().value());
    std::string text(entry["template"].get_string().value());
    if (name == "default" || chat_template.empty()) chat_template = std::move(text);
  }
}

void read_config(const std::string& path, Config& config) {
  if (!std::filesystem::exists(path)) return;
  simdjson::padded_string text(read_file(path));
  try {
    ondemand::parser parser;
    ondemand::document document = parser.iterate(text);
    for (ondemand::field field : document.get_object()) {
      std::string key(field.unescaped_key().value());
      ondemand::value value = field.value();
      if (value.is_null()) continue;
      if (key == "bos_token" && !config.bos) read_token_name(value, config.bos);
      if (key == "eos_token" && !config.eos) read_token_name(value, config.eos);
      if (key == "add_bos_token") config.add_bos = value.get_bool();
      if (key == "add_eos_token") config.add_eos = value.get_bool();
      if (key == "tokenizer_class") config.tokenizer_class = value.get_string().value();
      if (key == "chat_template") read_chat_template(value, config.chat_template);
    }
  } catch (const simdjson::simdjson_error& e) {
    throw Error(ErrorKind::CorruptFile, fmt::format("{} cannot be read: {}", path, e.what()));
  }
}

std::optional<int32_t> find_token(const TokenizerParts& parts, const std::optional<std::string>& name) {
  if (!name || name->empty()) return std::nullopt;
  auto id = parts.added.find(*name);
  return id ? id : parts.model->vocab().find(*name);
}

void apply_config(const Config& config, TokenizerParts& parts) {
  parts.chat_template = config.chat_template;
  parts.bos_id = find_token(parts, config.bos);
  std::optional<int32_t> eos = find_token(parts, config.eos);
  if (eos) parts.eos_ids = {*eos};
  // The classes that make their own post-processor from these settings.
  bool overrides = false;
  for (std::string_view name : {"Llama", "CodeLlama", "Gemma"}) overrides |= config.tokenizer_class.starts_with(name);
  if (!overrides) return;
  if (config.add_bos) {
    parts.before.clear();
    if (*config.add_bos && parts.bos_id) parts.before.push_back(*parts.bos_id);
  }
  if (config.add_eos) {
    parts.after.clear();
    if (*config.add_eos && eos) parts.after.push_back(*eos);
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& directory) {
  std::string base = directory.ends_with('/') ? directory : directory + "/";
  std::string path = base + "tokenizer.json";
  if (!std::filesystem::exists(path)) {
    throw Error(
        ErrorKind::NotFound,
        fmt::format("{} does not exist; a model directory needs one (other tokenizer files are not read)", path));
  }
  Config config;
  read_config(base + "tokenizer_config.json", config);
  read_config(base + "special_tokens_map.json", config);
  std::string template_path = base + "chat_template.jinja";
  if (std::filesystem::exists(template_path)) config.chat_template = read_file(template_path);
  try {
    TokenizerParts parts = read_tokenizer(path);
    apply_config(config, parts);
    return std::make_unique<TextTokenizer>(std::move(parts));
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", path, e.what()));
  }
}

}  // namespace sgl
