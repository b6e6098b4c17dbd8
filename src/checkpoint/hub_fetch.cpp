#include "checkpoint/hub_fetch.h"

#include <cstdio>
#include <filesystem>
#include <optional>

#include <fmt/format.h>

#include "base/progress.h"
#include "checkpoint/hub_sha256.h"
#include "sgl/error.h"

namespace sgl::hub {

namespace fs = std::filesystem;

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw Error(ErrorKind::ResourceExhausted, fmt::format("cannot make the folder {}: {}", path, error.message()));
  }
}

LockFile lock_download(const std::string& path, const std::string& what) {
  make_folder(fs::path(path).parent_path().string());
  if (std::optional<LockFile> lock = LockFile::try_lock(path)) return std::move(*lock);
  fmt::print(stderr, "Waiting for another process that downloads {}\n", what);
  return LockFile(path);
}

void check_space(const std::string& folder, int64_t bytes, const std::string& what) {
  std::error_code error;
  fs::space_info space = fs::space(folder, error);
  if (error || bytes <= 0 || space.available >= static_cast<uintmax_t>(bytes)) return;
  throw Error(ErrorKind::ResourceExhausted,
              fmt::format("{} needs {} in {}, where {} are free; free some space or choose another folder", what,
                          format_bytes(bytes), folder, format_bytes(static_cast<int64_t>(space.available))));
}

Response fetch_verified(HttpClient& client, Download job, const std::string& sha256) {
  job.verified = !sha256.empty();
  std::error_code error;
  bool resumed = fs::exists(job.path, error) && fs::file_size(job.path, error) > 0;
  while (true) {
    Response response = client.download(job);
    if (response.status != 200 || sha256.empty()) return response;
    std::string got = sha256_of_file(job.path);
    if (got == sha256) return response;
    fs::remove(job.path, error);
    if (!resumed) {
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{} has SHA-256 {}, but {} was expected: it was damaged on the way or replaced on the "
                              "server; nothing was kept, try again or another source",
                              printable_url(response.url), got, sha256));
    }
    resumed = false;
  }
}

}  // namespace sgl::hub
