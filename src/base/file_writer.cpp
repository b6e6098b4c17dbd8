#include "base/file_writer.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

[[noreturn]] void fail(const char* doing, const std::string& path) {
  int err = errno;
  const char* hint = err == ENOSPC || err == EDQUOT  ? "; free some space or choose another folder"
                     : err == EACCES || err == EROFS ? "; make it writable or choose another folder"
                                                     : "";
  throw Error(err == ENOENT ? ErrorKind::NotFound : ErrorKind::ResourceExhausted,
              fmt::format("cannot {} {}: {}{}", doing, path, std::strerror(err), hint));
}

int open_lock(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) fail("make the lock file", path);
  return fd;
}

/// False when another holds the lock and `operation` does not wait.
bool lock(int fd, int operation) {
  while (::flock(fd, operation) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return true;  // no locks on this file system
  }
  return true;
}

}  // namespace

FileWriter::FileWriter(const std::string& path, Mode mode) : path_(path) {
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (mode == Mode::Truncate ? O_TRUNC : 0);
  fd_ = ::open(path.c_str(), flags, 0666);
  if (fd_ < 0) fail("write", path);
  struct stat st {};
  if (::fstat(fd_, &st) == 0) size_ = static_cast<int64_t>(st.st_size);
}

FileWriter::~FileWriter() { ::close(fd_); }

void FileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("write", path_);
    }
    size_ += n;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void FileWriter::clear() {
  if (::ftruncate(fd_, 0) != 0) fail("empty", path_);
  size_ = 0;
}

void FileWriter::sync() {
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail("sync", path_);
}

void replace_file(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail("replace", to);
}

void write_file(const std::string& path, std::string_view content) {
  static std::atomic<int> counter{0};
  std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), counter++);
  {
    FileWriter file(temporary, FileWriter::Mode::Truncate);
    file.write(std::as_bytes(std::span(content)));
    file.sync();
  }
  replace_file(temporary, path);
}

LockFile::LockFile(const std::string& path) : fd_(open_lock(path)) { lock(fd_, LOCK_EX); }

std::optional<LockFile> LockFile::try_lock(const std::string& path) {
  LockFile file(open_lock(path));
  if (!lock(file.fd_, LOCK_EX | LOCK_NB)) return std::nullopt;
  return file;
}

LockFile::LockFile(LockFile&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}

LockFile& LockFile::operator=(LockFile&& o) noexcept {
  std::swap(fd_, o.fd_);
  return *this;
}

LockFile::~LockFile() {
  if (fd_ >= 0) ::close(fd_);  // closing the last descriptor unlocks
}

}  // namespace sgl
