#pragma once
// Files as the rest of the program sees them. All system calls on files are behind this header.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sgl {

/// A whole file, mapped read-only. Move-only; the mapping ends with the object.
/// A file that shrinks while mapped makes reads fault: files are expected to be left alone while in use.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws NotFound or CorruptFile (a directory, an unreadable file), naming the path and the system's reason.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& o) noexcept;
  MappedFile& operator=(MappedFile&& o) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /// Tells the system that a part of bytes() is not needed in memory any more. The content can be read again.
  static void release(std::span<const std::byte> part);

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The file's content. Throws NotFound (naming the path) or ResourceExhausted when larger than `max_bytes`.
std::string read_file(const std::string& path, size_t max_bytes = size_t{1} << 30);

/// $XDG_CACHE_HOME/sgl, or ~/.cache/sgl; $SGL_CACHE overrides. Not created.
std::string cache_directory();

}  // namespace sgl
