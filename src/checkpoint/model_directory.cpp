#include "checkpoint/model_directory.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/file.h"
#include "checkpoint/config_json.h"
#include "checkpoint/json.h"
#include "sgl/error.h"

namespace sgl {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

bool file_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Early writers put it into a file of its own.
void add_quantization_file(const std::string& directory, json& config) {
  for (const auto& [file, method] : {std::pair{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}) {
    const fs::path path = fs::path(directory) / file;
    if (!config.is_object() || config.contains("quantization_config") || !file_exists(path)) continue;
    json quantization = parse_json(read_file(path.string(), kMaxConfigBytes), path.string());
    if (!quantization.is_object())
      throw Error(ErrorKind::CorruptFile, fmt::format("{} must be a JSON object", path.string()));
    if (!quantization.contains("quant_method")) quantization["quant_method"] = method;
    config["quantization_config"] = std::move(quantization);
  }
}

}  // namespace

ModelConfig read_config(const std::string& directory, const std::string& overrides) {
  const fs::path path = fs::path(directory) / "config.json";
  if (!file_exists(path)) {
    throw Error(ErrorKind::NotFound, fmt::format("{} has no config.json: it is not a model's directory", directory));
  }
  json config = parse_json(read_file(path.string(), kMaxConfigBytes), path.string());
  add_quantization_file(directory, config);
  if (!overrides.empty()) {
    json changes;
    try {
      changes = parse_json(overrides, "the config override");
    } catch (const Error& e) {
      throw Error(ErrorKind::InvalidArgument, e.what());
    }
    if (!changes.is_object() || !config.is_object()) {
      throw Error(ErrorKind::InvalidArgument,
                  "the config override must be a JSON object, such as {\"num_hidden_layers\": 2}");
    }
    config.update(changes, true);
  }
  ModelConfig c = config_from_json(config);
  add_generation_config(directory, c);
  return c;
}

void add_generation_config(const std::string& directory, ModelConfig& c) {
  const fs::path path = fs::path(directory) / "generation_config.json";
  if (file_exists(path)) add_generation(parse_json(read_file(path.string(), kMaxConfigBytes), path.string()), c);
}

std::vector<std::string> files_with_extension(const std::string& directory, const std::string& extension) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == extension) files.push_back(it->path().filename().string());
  }
  if (error) {
    throw Error(ErrorKind::NotFound, fmt::format("cannot read the directory {}: {}", directory, error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace sgl
