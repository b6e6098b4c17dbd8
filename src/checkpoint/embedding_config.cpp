#include "checkpoint/embedding_config.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "base/file.h"
#include "checkpoint/json.h"
#include "checkpoint/model_directory.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The file's JSON; null if there is none.
json read_json(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return nullptr;
  return parse_json(read_file(path.string(), kMaxConfigBytes), path.string());
}

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::Unsupported, message); }

struct Module {
  std::string type;  ///< "Pooling": the last part of the Python class's name
  fs::path folder;
};

std::vector<Module> read_modules(const fs::path& directory) {
  const fs::path path = directory / "modules.json";
  const json list = read_json(path);
  std::vector<Module> modules;
  if (list.is_null()) return modules;
  if (!list.is_array()) throw Error(ErrorKind::CorruptFile, path.string() + ": expected an array of modules");
  for (const json& item : list) {
    const ConfigFields f(item, path.string());
    const std::string type = f.text("type", ""), folder = f.text("path", "");
    // A path that leads elsewhere could make us read any file of the machine.
    if (folder.find('/') != std::string::npos || folder.starts_with("..")) {
      f.fail("path", "must name a folder beside modules.json");
    }
    modules.push_back({type.substr(type.rfind('.') + 1), directory / folder});
  }
  return modules;
}

Pooling pooling_called(const std::string& name, const std::string& path) {
  if (name == "mean") return Pooling::Mean;
  if (name == "cls") return Pooling::First;
  if (name == "lasttoken") return Pooling::Last;
  refuse(fmt::format("{}: pooling by \"{}\" is not supported; supported are cls, mean and lasttoken", path, name));
}

// Two forms: a flag for each mode, or the mode's name.
Pooling read_pooling(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const json config = read_json(path);
  if (config.is_null()) throw Error(ErrorKind::NotFound, path.string() + " is missing: modules.json names it");
  const ConfigFields f(config, path.string());
  if (!f.boolean("include_prompt", true)) {
    refuse(fmt::format("{}: include_prompt false is not supported: the prompt's tokens always count", path.string()));
  }
  if (f.is_set("pooling_mode")) return pooling_called(f.text("pooling_mode", ""), path.string());
  constexpr std::string_view kFlags = "pooling_mode_";
  std::vector<std::string> modes;
  for (const auto& [key, value] : config.items()) {
    if (!key.starts_with(kFlags) || value != true) continue;
    std::string mode = key.substr(kFlags.size());
    for (std::string_view end : {"_tokens", "_token"}) {
      if (mode.ends_with(end)) mode.erase(mode.size() - end.size());
    }
    modes.push_back(std::move(mode));
  }
  if (modes.size() != 1) {
    refuse(fmt::format("{}: expected one pooling mode that is true, got {}; several put together are not supported",
                       path.string(), modes.size()));
  }
  return pooling_called(modes[0], path.string());
}

std::string read_default_prompt(const fs::path& directory) {
  const fs::path path = directory / "config_sentence_transformers.json";
  const json config = read_json(path);
  if (config.is_null()) return "";
  const ConfigFields f(config, path.string());
  const std::string name = f.text("default_prompt_name", "");
  if (name.empty()) return "";
  const json* prompts = f.find("prompts");
  if (prompts == nullptr || !prompts->is_object() || !prompts->contains(name) || !(*prompts)[name].is_string()) {
    f.fail("default_prompt_name", "must name one of prompts");
  }
  return (*prompts)[name].get<std::string>();
}

}  // namespace

EmbeddingConfig read_embedding_config(const std::string& directory, const ModelConfig& c) {
  EmbeddingConfig e;
  e.pooling = c.num_labels > 0 ? Pooling::First : c.encoder ? Pooling::Mean : Pooling::Last;
  e.normalize = c.num_labels == 0;
  if (directory.empty() || c.num_labels > 0) return e;

  const std::vector<Module> modules = read_modules(directory);
  auto is_pooling = [](const Module& m) { return m.type == "Pooling"; };
  // Rerankers among the language models have a modules.json, too: they are no embedders.
  e.declared = std::any_of(modules.begin(), modules.end(), is_pooling);
  if (!e.declared) return e;
  e.normalize = false;
  for (const Module& m : modules) {
    if (m.type == "Pooling") {
      e.pooling = read_pooling(m.folder);
    } else if (m.type == "Normalize") {
      e.normalize = true;
    } else if (m.type == "Transformer") {
      const fs::path path = m.folder / "sentence_bert_config.json";
      if (const json config = read_json(path); !config.is_null()) {
        const ConfigFields f(config, path.string());
        if (f.is_set("max_seq_length")) e.max_tokens = f.integer("max_seq_length", 0, 1);
      }
    } else if (m.type != "Dropout") {  // which does nothing outside of training
      refuse(fmt::format("{}/modules.json has a module {}; supported are Transformer, Pooling, Normalize and Dropout",
                         directory, m.type));
    }
  }
  e.default_prompt = read_default_prompt(directory);
  return e;
}

}  // namespace sgl
