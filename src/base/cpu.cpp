#include "base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>
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
    case CpuIsa::Avx512Bf16:
      return "avx512_bf16";
    case CpuIsa::Amx:
      return "amx";
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
    const CpuUnits units = cpu_units();
    if (units.avx512_bf16) isas.push_back(CpuIsa::Avx512Bf16);
    if (units.avx512_bf16 && units.amx_bf16) isas.push_back(CpuIsa::Amx);
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
  for (CpuIsa isa : {CpuIsa::Generic, CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16, CpuIsa::Amx}) {
    if (name(isa) == wish) {
      throw Error(ErrorKind::Unsupported, fmt::format("SGL_CPU_ISA asks for {}; this machine has {}", wish, known));
    }
  }
  throw Error(ErrorKind::InvalidArgument,
              fmt::format("SGL_CPU_ISA is '{}'; expected one of generic, avx2, avx512, avx512_bf16, amx", wish));
}

#if defined(__x86_64__)
namespace {

// Registers that the system saves when it switches between threads (XCR0).
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32U | low;
}

// Tiles are 8 KiB a thread, so Linux gives them to those only who ask (Documentation/arch/x86/xstate.rst).
bool request_tiles() {
  constexpr uint64_t kTileState = 3U << 17U;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return (saved_state() & kTileState) == kTileState && ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

CpuUnits cpu_units() {
  CpuUnits units;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx2") || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return units;
  const auto has = [](unsigned word, unsigned bit) { return (word >> bit & 1U) != 0; };
  if (has(d, 24) && (has(d, 22) || has(d, 25)) && request_tiles()) {
    units.amx_bf16 = has(d, 22);
    units.amx_int8 = has(d, 25);
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    units.avx_vnni = has(a, 4);
    units.avx512_bf16 = has(a, 5) && __builtin_cpu_supports("avx512f");
  }
  return units;
}
#else
CpuUnits cpu_units() { return {}; }
#endif

}  // namespace sgl
