#pragma once
// The tile instructions of AMX (Intel SDM, vol. 1 ch. 18), as functions that every compiler keeps in order: those that
// touch memory are barriers for it, which the compilers' own intrinsics are not.
//
// A tile register holds up to 16 rows of 64 bytes. Tiles are state of the thread: load_tiles() before use,
// release_tiles() after it, so that the system need not save 8 KiB at each switch.
//
// Measured on Sapphire Rapids: a product takes 16 cycles, a load half a cycle a row, a store one. A store waits for the
// product before it. After any of these instructions the second port for 512-bit multiplications is off for some 450
// cycles.

#include <cstddef>
#include <cstdint>

namespace sgl::amx {

/// Shapes of the eight tiles, as LDTILECFG reads them.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

[[gnu::always_inline]] inline void load_tiles(const TileConfig& c) { asm volatile("ldtilecfg %0" ::"m"(c) : "memory"); }
[[gnu::always_inline]] inline void release_tiles() { asm volatile("tilerelease" ::: "memory"); }

template <int tile>
[[gnu::always_inline]] inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
/// Rows stand `stride` bytes apart.
template <int tile>
[[gnu::always_inline]] inline void load_tile(const void* rows, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
[[gnu::always_inline]] inline void store_tile(void* rows, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
}
/// c[m][n] += Σ_k a[m][k] · b[k / 2][2n + k % 2], bfloat16 and float32; subnormal numbers count as zero.
template <int c, int a, int b>
[[gnu::always_inline]] inline void add_products_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}

}  // namespace sgl::amx
