#pragma once
// Instruction sets of this machine's processor, as far as our kernels are built for them.

#include <string_view>
#include <vector>

namespace sgl {

/// Each level includes those before it. The kernels are built once for each of the first three; the last two replace
/// the products of bfloat16 weights.
enum class CpuIsa {
  Generic,     ///< what the compiler's target has: x86-64 baseline, ARMv8
  Avx2,        ///< AVX2, FMA, F16C
  Avx512,      ///< AVX-512 F, BW, VL, DQ and VNNI
  Avx512Bf16,  ///< AVX512_BF16
  Amx,         ///< AMX tiles of bfloat16
};

/// "generic", "avx2", "avx512", "avx512_bf16", "amx".
std::string_view name(CpuIsa isa);

/// What this machine and this build can run, weakest first; never empty.
std::vector<CpuIsa> available_isas();

/// The level to use: the best there is, or what $SGL_CPU_ISA names. Throws InvalidArgument when that is no name,
/// Unsupported when this machine lacks it.
CpuIsa choose_isa();

/// Units for dot products that a processor has or lacks apart from its level.
struct CpuUnits {
  bool avx_vnni = false;                    ///< int8 in vectors of 32 bytes
  bool avx512_bf16 = false;                 ///< bfloat16 in vectors of 64 bytes
  bool amx_int8 = false, amx_bf16 = false;  ///< tiles
};

/// What this machine has. Asks the system to let this process, and the threads it will make, use tiles; where the
/// system refuses, they count as missing.
CpuUnits cpu_units();

}  // namespace sgl
