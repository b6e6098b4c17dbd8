// Kernels of attention over KV pages: see attention_kernels.h for the layout and the arithmetic.
//
// All query heads of a KV head, and for prompts several tokens, form a tile, so that a key or value is loaded once for
// several rows. Where they are many, a block of keys and values is widened to float32 first, once for all of them: the
// conversion takes the units that multiply. Scores are products of a block of rows with groups of 16 keys; values are
// added to a block of rows, a few vectors of head_dim at a time. Both keep their sums in registers.

#include "ops/attention_kernels.h"
#include "ops/simd_math.inl"

namespace sgl::SGL_ISA {
namespace {

// Rows, 16-token groups and vectors of head_dim at once: their products are accumulators, which must fit the registers.
constexpr int kRowBlock = SGL_SMALL_TILES ? 2 : SGL_ISA_LEVEL == 3 ? 5 : SGL_ISA_LEVEL == 2 ? 3 : 2;
constexpr int kGroupBlock = SGL_SMALL_TILES ? 1 : SGL_ISA_LEVEL == 3 ? 4 : SGL_ISA_LEVEL == 2 ? 2 : 1;
constexpr int kDimBlock = SGL_SMALL_TILES ? 2 : 4;
constexpr int kGroups = kScoreBlock / kKeyGroup;
constexpr int kWorthWidening = 8;  // rows
constexpr float kMinusInfinity = -__builtin_inff();

// Bytes of an element without its scale, and of n elements with them.
constexpr int element_bytes(DType d) { return d == DType::F32 ? 4 : d == DType::Q8_0 ? 1 : 2; }
template <DType D>
constexpr int64_t bytes_of(int64_t n) {
  return D == DType::Q8_0 ? n / kKvBlock * (kKvBlock + 2) : n * element_bytes(D);
}

template <DType D>
SGL_INLINE VecF load_kv(const std::byte* base, int64_t index) {
  if constexpr (D == DType::F16) return load_f16(reinterpret_cast<const uint16_t*>(base) + index);
  if constexpr (D == DType::BF16) return load_bf16(reinterpret_cast<const uint16_t*>(base) + index);
  return load(reinterpret_cast<const float*>(base) + index);
}

// What one call works on.
struct Work {
  alignas(64) float q[kMaxTileFloats];                      // [row][head_dim], scaled
  alignas(64) float s[kMaxAttentionRows * kScoreBlock];     // [row][kScoreBlock]: scores, then probabilities
  alignas(64) float sum[kMaxAttentionRows * 16];            // [row][16 lanes]
  alignas(64) float wide[2][kScoreBlock * kMaxWidenedDim];  // keys and values of the block as float32
  int begin[kMaxAttentionRows], end[kMaxAttentionRows];     // what the row sees of the block; empty: begin == end
  const std::byte* k[kGroups];                              // of each group of 16 tokens
  const std::byte* v[kGroups];
  const std::byte* next_k[kGroups];  // the same of the block after it, which is fetched meanwhile
  const std::byte* next_v[kGroups];
};

// What is narrower than float32 goes from memory straight into the products.
template <DType D>
constexpr bool is_fetched_on_the_way = D != DType::F32;

// Of a group in int8: the scales of block b of head_dim, for its 16 tokens.
SGL_INLINE const uint16_t* scales_of(const std::byte* group, int head_dim, int b) {
  return reinterpret_cast<const uint16_t*>(group + kKeyGroup * head_dim) + b * kKeyGroup;
}

SGL_INLINE VecF load_int8(const std::byte* codes, int64_t index, VecF scale) {
  return to_float(load_i8(reinterpret_cast<const uint8_t*>(codes) + index)) * scale;
}

// s[r][16 · g …] for R rows and G groups: q is [R][head_dim]. Each line of k that is read asks for its like in next_k.
template <DType D, int R, int G>
[[gnu::noinline]] void scores(const float* q, int head_dim, const std::byte* const* k, const std::byte* const* next_k,
                              float* s) {
  VecF acc[R][G * kPer16];
  SGL_UNROLL for (int r = 0; r < R; ++r) { SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) acc[r][i] = zero(); }
  VecF scale[G * kPer16];  // of int8
  SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) scale[i] = zero();
  for (int d = 0; d < head_dim; ++d) {
    if constexpr (D == DType::Q8_0) {
      if (d % kKvBlock == 0) {
        SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) {
          scale[i] = load_f16(scales_of(k[i / kPer16], head_dim, d / kKvBlock) + i % kPer16 * kLanes);
        }
        for (int i = 0; i < G; ++i) __builtin_prefetch(scales_of(next_k[i], head_dim, d / kKvBlock));
      }
    }
    if constexpr (is_fetched_on_the_way<D>) {  // a line is some d of a group: the groups take turns
      constexpr int kStep = kKeyGroup * element_bytes(D), kTurns = 64 / kStep;
      for (int i = d % kTurns; i < G; i += kTurns) __builtin_prefetch(next_k[i] + (d - d % kTurns) * kStep);
    }
    VecF key[G * kPer16];
    SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) {
      const int64_t index = int64_t{d} * kKeyGroup + i % kPer16 * kLanes;
      if constexpr (D == DType::Q8_0) {
        key[i] = load_int8(k[i / kPer16], index, scale[i]);
      } else {
        key[i] = load_kv<D>(k[i / kPer16], index);
      }
    }
    SGL_UNROLL for (int r = 0; r < R; ++r) {
      VecF x = splat(q[r * head_dim + d]);
      SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) acc[r][i] = fma(x, key[i], acc[r][i]);
    }
  }
  SGL_UNROLL for (int r = 0; r < R; ++r) {
    SGL_UNROLL for (int i = 0; i < G * kPer16; ++i) store(s + r * kScoreBlock + i * kLanes, acc[r][i]);
  }
}

template <DType D, int R, int G>
SGL_INLINE void scores_of_groups(const float* q, int head_dim, const std::byte* const* k,
                                 const std::byte* const* next_k, int first, int last, float* s) {
  for (; first + G <= last; first += G) {
    scores<D, R, G>(q, head_dim, k + first, next_k + first, s + first * kKeyGroup);
  }
  if constexpr (G > 1) scores_of_groups<D, R, G - 1>(q, head_dim, k, next_k, first, last, s);
}

// out[r][dim …] += Σ_t p[r][t] · v[t][dim …] for R rows and N vectors, tokens [begin, end) of the block ascending.
template <DType D, int R, int N>
[[gnu::noinline]] void add_values(const float* p, const std::byte* const* v, const std::byte* const* next_v, int begin,
                                  int end, int head_dim, int dim, float* out) {
  VecF acc[R][N];
  SGL_UNROLL for (int r = 0; r < R; ++r) {
    SGL_UNROLL for (int i = 0; i < N; ++i) acc[r][i] = load(out + r * head_dim + i * kLanes);
  }
  constexpr int kBlocks = (N * kLanes + kKvBlock - 1) / kKvBlock + 1;  // that N vectors may lie in
  [[maybe_unused]] float scale[kBlocks][kKeyGroup];
  const int first_block = dim / kKvBlock;
  while (begin < end) {
    const int group = begin / kKeyGroup, stop = min_of(end, (group + 1) * kKeyGroup);
    if constexpr (D == DType::Q8_0) {
      for (int b = first_block; b * kKvBlock < dim + N * kLanes; ++b) {
        for (int j = 0; j < kKeyGroup; j += kLanes) {
          store(scale[b - first_block] + j, load_f16(scales_of(v[group], head_dim, b) + j));
        }
        __builtin_prefetch(scales_of(next_v[group], head_dim, b));
      }
    }
    const std::byte* at = v[group] + (int64_t{begin - group * kKeyGroup} * head_dim + dim) * element_bytes(D);
    const int64_t ahead = next_v[group] - v[group];
    for (; begin < stop; ++begin, at += head_dim * element_bytes(D)) {
      if constexpr (is_fetched_on_the_way<D>) {
        for (int i = 0; i < N * kLanes * element_bytes(D); i += 64) __builtin_prefetch(at + ahead + i);
      }
      VecF value[N];
      SGL_UNROLL for (int i = 0; i < N; ++i) {
        if constexpr (D == DType::Q8_0) {
          const int block = (dim + i * kLanes) / kKvBlock - first_block;
          value[i] = load_int8(at, i * kLanes, splat(scale[block][begin % kKeyGroup]));
        } else {
          value[i] = load_kv<D>(at, i * kLanes);
        }
      }
      SGL_UNROLL for (int r = 0; r < R; ++r) {
        VecF x = splat(p[r * kScoreBlock + begin]);
        SGL_UNROLL for (int i = 0; i < N; ++i) acc[r][i] = fma(x, value[i], acc[r][i]);
      }
    }
  }
  SGL_UNROLL for (int r = 0; r < R; ++r) {
    SGL_UNROLL for (int i = 0; i < N; ++i) store(out + r * head_dim + i * kLanes, acc[r][i]);
  }
}

template <DType D, int R, int N>
SGL_INLINE void add_values_from(const float* p, const std::byte* const* v, const std::byte* const* next_v, int begin,
                                int end, int head_dim, int dim, float* out) {
  for (; dim + N * kLanes <= head_dim; dim += N * kLanes) {
    add_values<D, R, N>(p, v, next_v, begin, end, head_dim, dim, out + dim);
  }
  if constexpr (N > 1) add_values_from<D, R, N - 1>(p, v, next_v, begin, end, head_dim, dim, out);
}

// Values for R rows, each over its own tokens: those all see together, before and after them row by row.
template <DType D, int R>
SGL_INLINE void add_values_of_rows(const Work& w, int first, int head_dim, float* out) {
  const int* begin = w.begin + first;
  const int* end = w.end + first;
  int all_begin = begin[0], all_end = end[0];
  for (int r = 1; r < R; ++r) {
    all_begin = begin[r] > all_begin ? begin[r] : all_begin;
    all_end = end[r] < all_end ? end[r] : all_end;
  }
  const float* p = w.s + first * kScoreBlock;
  if (R == 1 || all_begin >= all_end) {
    for (int r = 0; r < R; ++r) {
      add_values_from<D, 1, kDimBlock>(p + r * kScoreBlock, w.v, w.next_v, begin[r], end[r], head_dim, 0,
                                       out + r * head_dim);
    }
    return;
  }
  for (int r = 0; r < R; ++r) {
    if (begin[r] < all_begin) {
      add_values_from<D, 1, kDimBlock>(p + r * kScoreBlock, w.v, w.next_v, begin[r], all_begin, head_dim, 0,
                                       out + r * head_dim);
    }
  }
  add_values_from<D, R, kDimBlock>(p, w.v, w.next_v, all_begin, all_end, head_dim, 0, out);
  for (int r = 0; r < R; ++r) {
    if (end[r] > all_end) {
      add_values_from<D, 1, kDimBlock>(p + r * kScoreBlock, w.v, w.next_v, all_end, end[r], head_dim, 0,
                                       out + r * head_dim);
    }
  }
}

// Scores of one row and block become probabilities; max, sum and out are rescaled to the new maximum.
SGL_INLINE void soften(const AttentionTile& t, Work& w, int row, const AttentionState& state) {
  constexpr int kVectors = kScoreBlock / kLanes;
  float* s = w.s + row * kScoreBlock;
  VecF v[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    v[i] = load(s + i * kLanes);
    if (t.softcap > 0.0F) v[i] = splat(t.softcap) * tanh(v[i] / splat(t.softcap));
    const int at = i * kLanes;
    const int begin = w.begin[row] > at ? min_of(w.begin[row] - at, kLanes) : 0;
    const int end = w.end[row] > at ? min_of(w.end[row] - at, kLanes) : 0;
    if (begin > 0 || end < kLanes) v[i] = keep_range(v[i], begin, end, splat(kMinusInfinity));
  }
  VecF top[kPer16];
  for (int j = 0; j < kPer16; ++j) {
    top[j] = max(max(v[j], v[kPer16 + j]), max(v[2 * kPer16 + j], v[3 * kPer16 + j]));
  }
  const float block_max = max_of_16(top);
  const float old_max = state.max[row];
  const float new_max = block_max > old_max ? block_max : old_max;
  const VecF base = splat(new_max == kMinusInfinity ? 0.0F : new_max);  // −∞ − −∞ is no number
  float* out = state.out + row * t.head_dim;
  float* sum = w.sum + row * 16;
  if (new_max != old_max) {
    const VecF shrink = exp(splat(old_max) - base);
    for (int d = 0; d < t.head_dim; d += kLanes) store(out + d, load(out + d) * shrink);
    for (int j = 0; j < kPer16; ++j) store(sum + j * kLanes, load(sum + j * kLanes) * shrink);
    state.max[row] = new_max;
  }
  for (int i = 0; i < kVectors; ++i) {
    v[i] = exp(v[i] - base);
    store(s + i * kLanes, v[i]);
  }
  for (int j = 0; j < kPer16; ++j) {
    VecF block_sum = (v[j] + v[kPer16 + j]) + (v[2 * kPer16 + j] + v[3 * kPer16 + j]);
    store(sum + j * kLanes, load(sum + j * kLanes) + block_sum);
  }
}

static_assert(kGroups == 4);

// One block of positions [block, block + kScoreBlock) for R rows from `first` on.
template <DType D, int R>
SGL_INLINE void attend_rows(const AttentionTile& t, Work& w, int first, const AttentionState& state) {
  int begin = kScoreBlock, end = 0;
  for (int r = first; r < first + R; ++r) {
    if (w.begin[r] == w.end[r]) continue;
    begin = min_of(begin, w.begin[r]);
    end = w.end[r] > end ? w.end[r] : end;
  }
  if (begin >= end) return;
  scores_of_groups<D, R, kGroupBlock>(w.q + first * t.head_dim, t.head_dim, w.k, w.next_k, begin / kKeyGroup,
                                      (end + kKeyGroup - 1) / kKeyGroup, w.s + first * kScoreBlock);
  for (int r = first; r < first + R; ++r) {
    if (w.begin[r] < w.end[r]) soften(t, w, r, state);
  }
  add_values_of_rows<D, R>(w, first, t.head_dim, state.out + first * t.head_dim);
}

template <DType D, int R>
void attend_block(const AttentionTile& t, Work& w, int first, int rows, const AttentionState& state) {
  for (; first + R <= rows; first += R) attend_rows<D, R>(t, w, first, state);
  if constexpr (R > 1) attend_block<D, R - 1>(t, w, first, rows, state);
}

// Keys and values of one group in int8, to float32.
void widen_int8(const std::byte* k, const std::byte* v, int head_dim, float* wide_k, float* wide_v) {
  for (int b = 0; b < head_dim / kKvBlock; ++b) {
    VecF scale[kPer16];
    alignas(64) float of_token[kKeyGroup];
    for (int j = 0; j < kPer16; ++j) {
      scale[j] = load_f16(scales_of(k, head_dim, b) + j * kLanes);
      store(of_token + j * kLanes, load_f16(scales_of(v, head_dim, b) + j * kLanes));
    }
    const int block = b * kKvBlock;
    for (int i = block * kKeyGroup; i < (block + kKvBlock) * kKeyGroup; i += kKeyGroup) {
      for (int j = 0; j < kPer16; ++j) store(wide_k + i + j * kLanes, load_int8(k, i + j * kLanes, scale[j]));
    }
    for (int token = 0; token < kKeyGroup; ++token) {
      const VecF x = splat(of_token[token]);
      const int from = token * head_dim + block;
      for (int d = from; d < from + kKvBlock; d += kLanes) store(wide_v + d, load_int8(v, d, x));
    }
  }
}

// Replaces a block's keys and values by float32 copies.
template <DType D>
SGL_INLINE void widen_block(Work& w, int groups, int head_dim) {
  const int numbers = kKeyGroup * head_dim;
  for (int g = 0; g < groups; ++g) {
    float* k = w.wide[0] + g * numbers;
    float* v = w.wide[1] + g * numbers;
    if constexpr (D == DType::Q8_0) {
      widen_int8(w.k[g], w.v[g], head_dim, k, v);
    } else {
      for (int i = 0; i < numbers; i += kLanes) store(k + i, load_kv<D>(w.k[g], i));
      for (int i = 0; i < numbers; i += kLanes) store(v + i, load_kv<D>(w.v[g], i));
    }
    w.k[g] = w.next_k[g] = reinterpret_cast<const std::byte*>(k);
    w.v[g] = w.next_v[g] = reinterpret_cast<const std::byte*>(v);
  }
}

// Copies the queries, scaled.
void scale_queries(const AttentionTile& t, float* to) {
  const VecF scale = splat(t.scale);
  for (int row = 0; row < t.rows(); ++row, to += t.head_dim) {
    const float* from = t.tokens[row / t.heads].q + int64_t{row % t.heads} * t.head_dim;
    for (int d = 0; d < t.head_dim; d += kLanes) store(to + d, load(from + d) * scale);
  }
}

// The keys and values of 16 tokens.
template <DType D>
SGL_INLINE void find_group(const AttentionTile& t, int64_t position, const std::byte*& k, const std::byte*& v) {
  const int64_t page = int64_t{t.pages[position / t.page_size]} * t.page_bytes;
  const int64_t inside = bytes_of<D>(position % t.page_size * t.head_dim);
  k = t.k + page + inside;
  v = t.v + page + inside;
}

// Asks for the keys and values of the next block from memory, all at once.
template <DType D>
SGL_INLINE void fetch_next_block(const Work& w, int head_dim) {
  const int64_t bytes = bytes_of<D>(int64_t{kKeyGroup} * head_dim);
  for (int g = 0; g < kGroups; ++g) {
    if (w.next_k[g] == w.k[g]) continue;  // there is none
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(w.next_k[g] + i);
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(w.next_v[g] + i);
  }
}

template <DType D>
void attend_typed(const AttentionTile& t, int64_t begin, int64_t end, const AttentionState& state) {
  Work w;
  const int rows = t.rows();
  scale_queries(t, w.q);
  for (int r = 0; r < rows; ++r) state.max[r] = kMinusInfinity;
  for (int i = 0; i < rows * 16; ++i) w.sum[i] = 0.0F;
  for (int i = 0; i < rows * t.head_dim; ++i) state.out[i] = 0.0F;

  for (int64_t block = begin / kScoreBlock * kScoreBlock; block < end; block += kScoreBlock) {
    int block_end = 0;
    for (int r = 0; r < rows; ++r) {
      const int64_t last = t.tokens[r / t.heads].last;
      int64_t from = t.window > 0 ? max_of(begin, last - t.window + 1) : begin;
      int64_t to = min_of(min_of(end, last + 1), block + kScoreBlock);
      from = max_of(from, block);
      w.begin[r] = w.end[r] = 0;
      if (from < to) {
        w.begin[r] = static_cast<int>(from - block);
        w.end[r] = static_cast<int>(to - block);
        block_end = w.end[r] > block_end ? w.end[r] : block_end;
      }
    }
    if (block_end == 0) continue;
    for (int g = 0; g < kGroups; ++g) {
      // Past the sequence's pages, where no row sees a group, the first one stands in.
      const int64_t position = block + (g * kKeyGroup < block_end ? g * kKeyGroup : 0);
      find_group<D>(t, position, w.k[g], w.v[g]);
      w.next_k[g] = w.k[g];
      w.next_v[g] = w.v[g];
      if (position + kScoreBlock < t.kv_len) find_group<D>(t, position + kScoreBlock, w.next_k[g], w.next_v[g]);
    }
    const bool widened = D != DType::F32 && rows >= kWorthWidening && t.head_dim <= kMaxWidenedDim;
    if (widened || !is_fetched_on_the_way<D>) fetch_next_block<D>(w, t.head_dim);
    if (widened) {
      widen_block<D>(w, (block_end + kKeyGroup - 1) / kKeyGroup, t.head_dim);
      attend_block<DType::F32, kRowBlock>(t, w, 0, rows, state);
    } else {
      attend_block<D, kRowBlock>(t, w, 0, rows, state);
    }
  }
  for (int r = 0; r < rows; ++r) {
    VecF lanes[kPer16];
    for (int j = 0; j < kPer16; ++j) lanes[j] = load(w.sum + r * 16 + j * kLanes);
    state.sum[r] = sum_of_16(lanes);
  }
}

void attend(const AttentionTile& t, int64_t begin, int64_t end, const AttentionState& state) {
  switch (t.dtype) {
    case DType::F16:
      return attend_typed<DType::F16>(t, begin, end, state);
    case DType::BF16:
      return attend_typed<DType::BF16>(t, begin, end, state);
    case DType::Q8_0:
      return attend_typed<DType::Q8_0>(t, begin, end, state);
    default:
      return attend_typed<DType::F32>(t, begin, end, state);
  }
}

float exp_of(float x) {
  float lanes[kLanes];
  store(lanes, exp(splat(x)));
  return lanes[0];
}

void merge(int rows, int head_dim, const AttentionState& into, const AttentionState& next) {
  for (int r = 0; r < rows; ++r) {
    if (next.max[r] == kMinusInfinity && next.sum[r] == 0.0F) continue;
    float* x = into.out + r * head_dim;
    const float* y = next.out + r * head_dim;
    if (into.max[r] == kMinusInfinity && into.sum[r] == 0.0F) {  // it starts here
      std::memcpy(x, y, static_cast<size_t>(head_dim) * sizeof(float));
      into.max[r] = next.max[r];
      into.sum[r] = next.sum[r];
      continue;
    }
    const float top = next.max[r] > into.max[r] ? next.max[r] : into.max[r];
    const VecF a = splat(exp_of(into.max[r] - top)), b = splat(exp_of(next.max[r] - top));
    for (int d = 0; d < head_dim; d += kLanes) store(x + d, fma(load(y + d), b, load(x + d) * a));
    float lanes[kLanes];
    store(lanes, fma(splat(next.sum[r]), b, splat(into.sum[r]) * a));
    into.sum[r] = lanes[0];
    into.max[r] = top;
  }
}

template <DType D>
void store_typed(const float* k, const float* v, int head_dim, int slot, std::byte* k_page, std::byte* v_page) {
  using T = std::conditional_t<D == DType::F32, float, uint16_t>;
  auto convert = [](T * to, VecF x) __attribute__((always_inline)) {
    if constexpr (D == DType::F16) {
      store_f16(to, x);
    } else if constexpr (D == DType::BF16) {
      store_bf16(to, x);
    } else {
      store(to, x);
    }
  };
  T* keys = reinterpret_cast<T*>(k_page) + int64_t{slot / kKeyGroup} * head_dim * kKeyGroup + slot % kKeyGroup;
  T* values = reinterpret_cast<T*>(v_page) + int64_t{slot} * head_dim;
  for (int d = 0; d < head_dim; d += kLanes) {
    T key[kLanes];
    convert(key, load(k + d));
    for (int i = 0; i < kLanes; ++i) keys[(d + i) * kKeyGroup] = key[i];
    convert(values + d, load(v + d));
  }
}

// Blocks of a head's vector as int8, element i at to[i · stride], and their scales, kKeyGroup apart.
void store_int8(const float* x, int head_dim, uint8_t* to, int stride, uint16_t* scales) {
  for (int block = 0; block < head_dim; block += kKvBlock, scales += kKeyGroup) {
    VecF top[kPer16];
    for (int j = 0; j < kPer16; ++j) {
      const VecF a = load(x + block + j * kLanes), b = load(x + block + 16 + j * kLanes);
      top[j] = max(max(a, zero() - a), max(b, zero() - b));
    }
    uint16_t rounded[kLanes];
    float scale[kLanes];
    store_f16(rounded, splat(max_of_16(top)) / splat(127.0F));
    store(scale, load_f16(rounded));
    *scales = rounded[0];
    const VecF inverse = splat(scale[0] > 0.0F ? 1.0F / scale[0] : 0.0F);
    for (int d = block; d < block + kKvBlock; d += kLanes) {
      // A scale that was rounded down, as the smallest ones are by much, would take the largest number beyond 127.
      const VecF y = max(min(load(x + d) * inverse, splat(127.0F)), splat(-127.0F));
      int8_t lanes[kLanes];
      store_i8(lanes, round_to_int(y));
      for (int i = 0; i < kLanes; ++i) to[(d + i) * stride] = static_cast<uint8_t>(lanes[i]);
    }
  }
}

void store_token_int8(const float* k, const float* v, int head_dim, int slot, std::byte* k_page, std::byte* v_page) {
  const int64_t group = bytes_of<DType::Q8_0>(int64_t{slot / kKeyGroup} * kKeyGroup * head_dim);
  const int token = slot % kKeyGroup;
  auto* keys = reinterpret_cast<uint8_t*>(k_page) + group;
  auto* values = reinterpret_cast<uint8_t*>(v_page) + group;
  store_int8(k, head_dim, keys + token, kKeyGroup, reinterpret_cast<uint16_t*>(keys + kKeyGroup * head_dim) + token);
  store_int8(v, head_dim, values + token * head_dim, 1,
             reinterpret_cast<uint16_t*>(values + kKeyGroup * head_dim) + token);
}

void store_token(const float* k, const float* v, int head_dim, int slot, DType dtype, std::byte* k_page,
                 std::byte* v_page) {
  switch (dtype) {
    case DType::F16:
      return store_typed<DType::F16>(k, v, head_dim, slot, k_page, v_page);
    case DType::BF16:
      return store_typed<DType::BF16>(k, v, head_dim, slot, k_page, v_page);
    case DType::Q8_0:
      return store_token_int8(k, v, head_dim, slot, k_page, v_page);
    default:
      return store_typed<DType::F32>(k, v, head_dim, slot, k_page, v_page);
  }
}

}  // namespace

AttentionKernels attention_kernels() { return {attend, merge, store_token}; }

}  // namespace sgl::SGL_ISA
