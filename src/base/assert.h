#pragma once
// A check of the program's own bookkeeping, on in every build.

#include <cstdio>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

namespace sgl {

[[noreturn]] inline void assert_failed(const char* expression, const char* file, int line, const std::string& message) {
  std::fprintf(stderr, "%s:%d: assertion failed: %s: %s\n", file, line, expression, message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace sgl

/// Aborts when `condition` is false, after printing it and the message: a fmt format string and its arguments, which
/// are evaluated only then. For what only a bug can cause; what input or load can cause throws Error, and what is
/// expected (no page free) is a bool or an optional.
#define SGL_ASSERT(condition, ...)    \
  ((condition) ? static_cast<void>(0) \
               : ::sgl::assert_failed(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)))
