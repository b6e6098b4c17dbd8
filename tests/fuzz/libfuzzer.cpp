// One target, named by the environment variable SGL_FUZZ_TARGET, for libFuzzer (https://llvm.org/docs/LibFuzzer.html).
// With SGL_FUZZ_SEEDS=DIRECTORY it first writes the target's seeds there. CONTRIBUTING.md has the commands.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "fuzz/targets.h"
#include "sgl/error.h"

namespace {

const sgl::fuzz::Target* g_target = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  const char* name = std::getenv("SGL_FUZZ_TARGET");
  for (const auto& target : sgl::fuzz::targets()) {
    if (name != nullptr && std::string_view(name) == target.name) g_target = &target;
  }
  if (g_target == nullptr) {
    std::fprintf(stderr, "SGL_FUZZ_TARGET must be one of");
    for (const auto& target : sgl::fuzz::targets()) std::fprintf(stderr, " %s", target.name);
    std::fprintf(stderr, "\n");
    std::exit(2);
  }
  if (const char* directory = std::getenv("SGL_FUZZ_SEEDS")) {
    int i = 0;
    for (const std::string& seed : g_target->seeds()) {
      std::ofstream(std::string(directory) + "/seed" + std::to_string(i++), std::ios::binary) << seed;
    }
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    g_target->run({reinterpret_cast<const char*>(data), size});
  } catch (const sgl::Error&) {
  }
  return 0;
}
