// Which format a path holds.

#include "checkpoint/checkpoint.h"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "checkpoint/gguf.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/safetensors.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;

std::string only_gguf(const std::string& directory) {
  std::vector<std::string> files = files_with_extension(directory, ".gguf");
  std::erase_if(files, [](const std::string& f) { return is_later_gguf_part(f); });
  if (files.empty()) throw Error(ErrorKind::NotFound, fmt::format("{} has no .gguf file", directory));
  const std::string first = (fs::path(directory) / files[0]).string();
  if (files.size() == 1) return first;
  throw Error(ErrorKind::InvalidArgument, fmt::format("{} has {} .gguf files; name the one to load, for example {}",
                                                      directory, files.size(), first));
}

std::unique_ptr<Checkpoint> open_any_gguf(const std::string& path, bool directory, const std::string& overrides) {
  if (!overrides.empty()) {
    throw Error(ErrorKind::InvalidArgument, "a config override changes config.json; a GGUF file has none");
  }
  return directory ? open_gguf(only_gguf(path), path) : open_gguf(path, "");
}

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& path, const std::string& load_format,
                                             const std::string& config_overrides) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw Error(ErrorKind::NotFound, fmt::format("there is no file or directory {}", path));
  const bool directory = fs::is_directory(path, ignored);
  if (load_format == "gguf") return open_any_gguf(path, directory, config_overrides);
  if (load_format == "auto") {
    if (!directory && fs::path(path).extension() == ".safetensors") {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("{} is a file of weights; name its directory, which also holds config.json", path));
    }
    const bool gguf = !directory || (files_with_extension(path, ".safetensors").empty() &&
                                     !files_with_extension(path, ".gguf").empty());
    return gguf ? open_any_gguf(path, directory, config_overrides) : open_safetensors(path, config_overrides);
  }
  if (load_format != "safetensors" && load_format != "dummy") {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("load format {} is unknown; there are auto, safetensors, gguf, dummy", load_format));
  }
  if (!directory) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("load format {} needs a directory, {} is a file", load_format, path));
  }
  return load_format == "dummy" ? open_dummy(path, config_overrides) : open_safetensors(path, config_overrides);
}

const FileTensor& Checkpoint::require(std::string_view name, const Shape& expected) const {
  const FileTensor* t = find(name);
  if (t == nullptr) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("the checkpoint has no tensor {}; the config asks for it with shape {}", name,
                            to_string(expected)));
  }
  if (t->shape != expected) {
    throw Error(ErrorKind::CorruptFile, fmt::format("tensor {} has shape {}; the config says {}", name,
                                                    to_string(t->shape), to_string(expected)));
  }
  return *t;
}

}  // namespace sgl
