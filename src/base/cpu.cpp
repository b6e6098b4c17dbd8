#include "base/cpu.h"

#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {

std::string_view name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::Generic:
      return "generic";
    case CpuIsa::Avx2:
      return "avx2";
    case CpuIsa::Avx512:
      return "avx512";
  }
  return "generic";
}

std::vector<CpuIsa> available_isas() {
  std::vector<CpuIsa> isas = {CpuIsa::Generic};
#if defined(__x86_64__)
  // These builtins also ask the system whether it saves the wide registers.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return isas;
  isas.push_back(CpuIsa::Avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
    isas.push_back(CpuIsa::Avx512);
  }
#endif
  return isas;
}

CpuIsa choose_isa() {
  const std::vector<CpuIsa> isas = available_isas();
  const char* wish = std::getenv("SGL_CPU_ISA");
  if (wish == nullptr || *wish == '\0') return isas.back();
  std::string known;
  for (CpuIsa isa : isas) {
    if (name(isa) == wish) return isa;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name(isa));
  }
  for (CpuIsa isa : {CpuIsa::Generic, CpuIsa::Avx2, CpuIsa::Avx512}) {
    if (name(isa) == wish) {
      throw Error(ErrorKind::Unsupported, fmt::format("SGL_CPU_ISA asks for {}; this machine has {}", wish, known));
    }
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("SGL_CPU_ISA is '{}'; expected one of generic, avx2, avx512", wish));
}

}  // namespace sgl
