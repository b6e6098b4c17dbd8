#include "base/dynamic_library.h"

#include <dlfcn.h>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

DynamicLibrary::DynamicLibrary(const std::string& what, std::span<const char* const> names) : what_(what) {
  std::string reasons;
  for (const char* name : names) {
    handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      name_ = name;
      return;
    }
    const char* reason = ::dlerror();
    reasons += fmt::format("\n  {}", reason != nullptr ? reason : name);
  }
  throw Error(
      ErrorKind::Unsupported,
      fmt::format("{} cannot be opened; install it, or name its folder in LD_LIBRARY_PATH. Tried:{}", what, reasons));
}

void* DynamicLibrary::symbol(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (address == nullptr) {
    throw Error(ErrorKind::Unsupported,
                fmt::format("{} ({}) has no function {}; another version is needed", what_, name_, name));
  }
  return address;
}

}  // namespace sgl
