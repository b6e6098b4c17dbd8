#pragma once
// Shared libraries that the program opens while it runs, so that it starts where they are missing.

#include <span>
#include <string>

namespace sgl {

/// An open shared library. It stays open to the program's end: what it started may still run.
class DynamicLibrary {
 public:
  /// Opens the first of `names` (of files, or paths) that the system can load. Throws Unsupported, naming `what`, the
  /// names and the system's reason for each.
  DynamicLibrary(const std::string& what, std::span<const char* const> names);

  /// The address of a function. Throws Unsupported when the library has none of this name.
  void* symbol(const char* name) const;
  /// Under which of the names it was found.
  const std::string& name() const { return name_; }

 private:
  std::string what_, name_;
  void* handle_ = nullptr;
};

}  // namespace sgl
