// Loops for single units of x86-64 processors, each function compiled for its unit. Only a machine that has it may run
// one (base/cpu.h: cpu_units).

#include "bench/roof_kernels.h"

#if defined(__x86_64__)

#if !defined(__clang__)
// GCC 12 warns of the undefined vectors inside of its own intrinsics (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <cstring>

#include <immintrin.h>

namespace sgl {
namespace {

constexpr int kChains = 12;  // independent sums: enough to hide an instruction's latency

[[gnu::target("avx2,avxvnni")]] uint32_t avx_vnni_int8(int64_t rounds) {
  __m256i sum[kChains];
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi32(0x01020304);
  const __m256i b = _mm256_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
    for (__m256i& s : sum) s = _mm256_dpbusd_avx_epi32(s, a, b);
    asm volatile("" : "+x"(a));
  }
  for (int c = 1; c < kChains; ++c) sum[0] = _mm256_add_epi32(sum[0], sum[c]);
  return static_cast<uint32_t>(_mm256_extract_epi32(sum[0], 0));
}

[[gnu::target("avx512f,avx512bf16")]] uint32_t avx512_bf16(int64_t rounds) {
  __m512 sum[kChains];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  __m512i a = _mm512_set1_epi32(0x3f803f80);  // ones
  for (int64_t i = 0; i < rounds; ++i) {
    __m512bh pairs;
    std::memcpy(&pairs, &a, sizeof(a));
    for (__m512& s : sum) s = _mm512_dpbf16_ps(s, pairs, pairs);
    asm volatile("" : "+v"(a));
  }
  for (int c = 1; c < kChains; ++c) sum[0] = _mm512_add_ps(sum[0], sum[c]);
  return static_cast<uint32_t>(_mm512_cvtss_f32(sum[0]));
}

/// Eight tiles of 16 rows of 64 bytes: four sums, and two pairs of factors.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr int64_t kTileProducts = 4;  // of a round

// GCC 12's intrinsics for tiles do not tell it that they read memory, so what they read has to be made visible.
void make_visible(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

[[gnu::target("amx-tile")]] void load_tiles() {
  const TileConfig config;
  make_visible(&config);
  _tile_loadconfig(&config);
  alignas(64) uint8_t ones[1024];
  std::memset(ones, 1, sizeof(ones));
  make_visible(ones);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, ones, 64);
  _tile_loadd(5, ones, 64);
  _tile_loadd(6, ones, 64);
  _tile_loadd(7, ones, 64);
}

[[gnu::target("amx-tile")]] uint32_t store_tile() {
  alignas(64) uint32_t data[256];
  _tile_stored(0, data, 64);
  _tile_release();
  make_visible(data);
  return data[0];
}

[[gnu::target("amx-tile,amx-int8")]] uint32_t amx_int8(int64_t rounds) {
  load_tiles();
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return store_tile();
}

[[gnu::target("amx-tile,amx-bf16")]] uint32_t amx_bf16(int64_t rounds) {
  load_tiles();
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return store_tile();
}

}  // namespace

UnitLoop avx_vnni_int8_loop() { return {avx_vnni_int8, int64_t{2} * 32 * kChains}; }
UnitLoop avx512_bf16_loop() { return {avx512_bf16, int64_t{2} * 32 * kChains}; }
UnitLoop amx_int8_loop() { return {amx_int8, 2 * 16 * 16 * 64 * kTileProducts}; }
UnitLoop amx_bf16_loop() { return {amx_bf16, 2 * 16 * 16 * 32 * kTileProducts}; }

}  // namespace sgl

#else

namespace sgl {

UnitLoop avx_vnni_int8_loop() { return {nullptr, 0}; }
UnitLoop avx512_bf16_loop() { return {nullptr, 0}; }
UnitLoop amx_int8_loop() { return {nullptr, 0}; }
UnitLoop amx_bf16_loop() { return {nullptr, 0}; }

}  // namespace sgl

#endif
