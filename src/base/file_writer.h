#pragma once
// Writing files that other processes may be reading or writing too: append, sync, atomic replacement, locks.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sgl {

/// A file being written, unbuffered. Move is not needed; the destructor closes without syncing.
class FileWriter {
 public:
  enum class Mode {
    Truncate,  ///< an existing file becomes empty
    Append,    ///< an existing file goes on at its end
  };

  /// Creates the file if need be; its folder must exist. Throws NotFound or ResourceExhausted, naming the path.
  FileWriter(const std::string& path, Mode mode);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  /// Writes all bytes. Throws ResourceExhausted (disk full, quota), naming the path.
  void write(std::span<const std::byte> bytes);
  /// Drops everything written so far.
  void clear();
  /// Bytes in the file.
  int64_t size() const { return size_; }
  /// Returns when the content would survive a power cut. Throws as write() does.
  void sync();

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

/// Puts `from` in the place of `to` in one step: a reader sees the old file or the new one. Same file system only.
void replace_file(const std::string& from, const std::string& to);

/// Writes a whole file in one step: a reader sees the old content or the new one.
void write_file(const std::string& path, std::string_view content);

/// An exclusive lock between processes (and between holders in one process), by way of a file that is left behind.
/// Ends with the object or with the process. Where the file system knows no locks, it is granted to all.
class LockFile {
 public:
  /// Waits for the lock. Throws ResourceExhausted if the file cannot be made.
  explicit LockFile(const std::string& path);
  /// Returns at once; nullopt when another holds the lock.
  static std::optional<LockFile> try_lock(const std::string& path);
  LockFile(LockFile&& o) noexcept;
  LockFile& operator=(LockFile&& o) noexcept;
  ~LockFile();

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace sgl
