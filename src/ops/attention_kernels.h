#pragma once
// The kernels of store_kv() and attention(): plain pointers and sizes.
//
// Layout of a page, for each KV head one after the other: keys in groups of 16 tokens, [page_size / 16][head_dim][16],
// so that 16 scores stand side by side in a vector; values [page_size][head_dim]. In int8 (Q8_0: blocks of 32 along
// head_dim with a float16 scale each, the largest magnitude over 127) both are in groups of 16 tokens, and the scales
// of a group, [head_dim / 32][16], stand behind its numbers. Blocks, since the keys of some models have a few channels
// that are a hundred times the others.
//
// A row is one query head of one token. For each row, whatever rows share its tile, positions are taken in splits of
// kSplit and blocks of kScoreBlock, both at fixed absolute positions:
//   scores  s_j = Σ_d q_d · k_jd, d ascending
//   block   m' = max(m, s);  p = e^(s − m');  l ← l · e^(m − m') + Σ p;  o ← o · e^(m − m') + Σ_j p_j · v_j, j
//   ascending split   each starts with m = −∞; the splits' (m, l, o) are merged in order of position
// Positions that a row does not see take no part in any of its sums.

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace sgl {

inline constexpr int kKeyGroup = 16;    ///< tokens
inline constexpr int kKvBlock = 32;     ///< elements of a head with one scale in int8
inline constexpr int kScoreBlock = 64;  ///< tokens
inline constexpr int kSplit = 256;      ///< tokens
inline constexpr int kMaxHeadDim = 576;
inline constexpr int kMaxWidenedDim = 256;  ///< head_dim of blocks that are widened to float32: two take 128 KiB

/// Rows of a tile: many where they fit the caches, since a block of keys is widened and stays there for all of them.
inline constexpr int kMaxAttentionRows = 128;
inline constexpr int kMaxTileFloats = 16384;  ///< rows · head_dim
constexpr int max_attention_rows(int head_dim) {
  const int fitting = kMaxTileFloats / head_dim;
  return fitting < kMaxAttentionRows ? fitting : kMaxAttentionRows;
}

/// A token's query heads that read one KV head.
struct AttentionToken {
  const float* q = nullptr;  ///< of the first of them; they stand head_dim apart
  int64_t last = 0;          ///< position that it sees: its own, or, where attention is not causal, the sequence's last
};

/// Rows that share a KV head: `heads` consecutive query heads of each of some tokens, which are of one sequence, or of
/// several that have the same keys and values where the kernel is told to look. Row i · heads + h; at most
/// max_attention_rows(head_dim). head_dim is a multiple of 16, page_size of kKeyGroup.
struct AttentionTile {
  const AttentionToken* tokens = nullptr;
  int num_tokens = 0;
  int heads = 0;
  int head_dim = 0;
  float scale = 1.0F;
  float softcap = 0.0F;
  int window = 0;  ///< 0: none

  const std::byte* k = nullptr;  ///< the KV head in page 0
  const std::byte* v = nullptr;
  DType dtype = DType::F32;  ///< F32, F16, BF16, or Q8_0 with head_dim up to kMaxWidenedDim
  int64_t page_bytes = 0;    ///< from page to page
  int page_size = 0;
  const int32_t* pages = nullptr;
  int64_t kv_len = 0;  ///< tokens that `pages` hold
  int rows() const { return num_tokens * heads; }
};

/// What a tile knows of the positions it has seen.
struct AttentionState {
  float* max = nullptr;  ///< [rows]
  float* sum = nullptr;  ///< [rows]
  float* out = nullptr;  ///< [rows][head_dim], not divided by sum yet
};

struct AttentionKernels {
  /// Writes the state of all rows over positions [begin, end), which lie within one split.
  void (*attend)(const AttentionTile& tile, int64_t begin, int64_t end, const AttentionState& state);
  /// into ← into followed by `next`. A row that saw nothing in `next` stays as it is.
  void (*merge)(int rows, int head_dim, const AttentionState& into, const AttentionState& next);
  /// Writes one head's key and value of one token: `slot` is its place in the page; k_page, v_page: this head's.
  void (*store)(const float* k, const float* v, int head_dim, int slot, DType dtype, std::byte* k_page,
                std::byte* v_page);
};

namespace generic {
AttentionKernels attention_kernels();
}
namespace avx2 {
AttentionKernels attention_kernels();
}
namespace avx512 {
AttentionKernels attention_kernels();
}

}  // namespace sgl
