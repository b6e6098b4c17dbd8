#pragma once
// SHA-256 of what is downloaded.

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace sgl::hub {

/// A running SHA-256. Thread: one.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hex digits. Ends the object's use.
  std::string hex();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Of a whole file. Throws as MappedFile does.
std::string sha256_of_file(const std::string& path);

}  // namespace sgl::hub
