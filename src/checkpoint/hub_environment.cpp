// Where the ecosystem's tools look and keep things: huggingface_hub's variables, pip's variables and its configuration.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "checkpoint/hub.h"
#include "sgl/error.h"

namespace sgl {
namespace {

namespace fs = std::filesystem;

/// The first of the variables that is set and not empty; else "".
std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return {};
}

std::string trim(std::string_view s) {
  size_t begin = s.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return std::string(s.substr(begin, s.find_last_not_of(" \t\r\n") - begin + 1));
}

/// The file's trimmed content; empty if it cannot be read.
std::string content(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return {};
  try {
    return trim(read_file(path.string(), size_t{1} << 20));
  } catch (const Error&) {
    return {};
  }
}

fs::path home() {
  std::string h = variable({"HOME"});
  return h.empty() ? "/tmp" : h;
}

fs::path in_home(const char* variable_name, const char* below) {
  std::string set = variable({variable_name});
  return set.empty() ? home() / below : fs::path(set);
}

/// Value of `key` in `[section]` of an ini file; empty if it is not there.
std::string ini_value(const std::string& text, std::string_view section, std::string_view key) {
  std::string current;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line = trim(std::string_view(text).substr(at, end - at));
    at = end + 1;
    if (line.starts_with('[') && line.ends_with(']')) current = line.substr(1, line.size() - 2);
    size_t equals = line.find_first_of("=:");
    if (current == section && equals != std::string::npos && trim(line.substr(0, equals)) == key) {
      return trim(line.substr(equals + 1));
    }
  }
  return {};
}

/// pip's index: its variable, else its configuration files, the user's before the machine's.
std::string pip_index() {
  if (std::string url = variable({"PIP_INDEX_URL"}); !url.empty()) return url;
  std::vector<fs::path> files = {in_home("XDG_CONFIG_HOME", ".config") / "pip/pip.conf", home() / ".pip/pip.conf",
                                 "/etc/xdg/pip/pip.conf", "/etc/pip.conf"};
  if (std::string file = variable({"PIP_CONFIG_FILE"}); !file.empty()) files.insert(files.begin(), file);
  for (const fs::path& file : files) {
    if (std::string url = ini_value(content(file), "global", "index-url"); !url.empty()) return url;
  }
  return {};
}

bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

/// A token goes into a header: one line of visible characters, or it is none.
std::string checked_token(std::string token) {
  token = trim(token);
  bool fits = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!fits) throw Error(ErrorKind::InvalidArgument, "HF_TOKEN holds characters that no token has; check or unset it");
  return token;
}

}  // namespace

HubOptions HubOptions::from_environment() {
  HubOptions o;
  o.models_dir = (fs::path(cache_directory()) / "models").string();

  fs::path hf_home = in_home("XDG_CACHE_HOME", ".cache") / "huggingface";
  if (std::string set = variable({"HF_HOME"}); !set.empty()) hf_home = set;
  o.hub_cache = variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  if (o.hub_cache.empty()) o.hub_cache = (hf_home / "hub").string();
  o.endpoint = variable({"HF_ENDPOINT"});
  if (o.endpoint.empty()) o.endpoint = "https://huggingface.co";
  while (o.endpoint.ends_with('/')) o.endpoint.pop_back();
  o.offline = is_true(variable({"HF_HUB_OFFLINE"}));
  o.allow_private = is_true(variable({"SGL_HUB_ALLOW_PRIVATE"}));

  o.token = variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  std::string token_path = variable({"HF_TOKEN_PATH"});
  if (o.token.empty()) o.token = content(token_path.empty() ? hf_home / "token" : fs::path(token_path));
  o.token = checked_token(o.token);

  o.pypi_index_url = variable({"SGL_PYPI_INDEX_URL"});
  if (o.pypi_index_url.empty()) o.pypi_index_url = pip_index();
  if (o.pypi_index_url.empty()) o.pypi_index_url = "https://pypi.org/simple";
  return o;
}

}  // namespace sgl
