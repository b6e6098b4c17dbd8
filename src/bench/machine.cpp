#include "bench/machine.h"

#include <fstream>
#include <sgl_commit.h>  // made by the build: CMakeLists.txt
#include <thread>

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/memory.h"

namespace sgl::bench {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(": ") + 2, line.size()));
  }
  return "unknown processor";
}

constexpr const char* kCompiler =
#if defined(__clang__)
    "Clang " __clang_version__;
#else
    "GCC " __VERSION__;
#endif

constexpr const char* kBuild =
#if defined(NDEBUG)
    "release";
#else
    "with assertions";
#endif

}  // namespace

nlohmann::ordered_json machine_info() {
  return {{"cpu", processor_name()},
          {"cores", std::thread::hardware_concurrency()},
          {"instruction_set", name(choose_isa())},
          {"available_memory_bytes", available_memory()},
          {"sgl", SGL_VERSION},
          {"commit", SGL_COMMIT},
          {"compiler", kCompiler},
          {"build", kBuild}};
}

std::string describe_machine() {
  return fmt::format("{}, {} cores, {}; sgl {} ({}), {}, {}", processor_name(), std::thread::hardware_concurrency(),
                     name(choose_isa()), SGL_VERSION, SGL_COMMIT, kCompiler, kBuild);
}

}  // namespace sgl::bench
