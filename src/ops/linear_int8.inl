// Kernels of the int8 path of linear(): see linear_kernels.h for the arithmetic, linear_layout.h for the panels.
//
// A tile is one panel times R rows. A block's codes are unpacked once into eight vectors that stay in registers while
// each row's 32 bytes are multiplied with them, four at a time, broadcast to all lanes. With R rows the unpacking is
// paid once for R products, and R accumulators stay in registers through all of `in`.

#include "ops/linear_int8_block.inl"

namespace sgl::SGL_ISA {
namespace {

// s[i] += Σ_j Σ_c w_j[4n + c] · q[32i + 4j + c] over j in [begin, end), for each lane n and row i < N. kBits bounds the
// codes.
#if SGL_ISA_LEVEL == 3
// The instruction reads four codes and broadcasts them by itself, which compilers do not see through the intrinsics.
SGL_INLINE void add_dot(VecI& s, VecI w, const int8_t* q) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(s.v) : "v"(w.v), "m"(*q));
}
template <int kBits, int begin, int end, int N>
SGL_INLINE void dots(VecI* s, const VecI* w, const int8_t* q) {
  SGL_UNROLL for (int j = begin; j < end; ++j) {
    SGL_UNROLL for (int i = 0; i < N; ++i) add_dot(s[i], w[j], q + 32 * i + 4 * j);
  }
}
#elif SGL_ISA_LEVEL == 2
SGL_INLINE int32_t four_codes(const int8_t* q) {
  int32_t x;
  std::memcpy(&x, q, 4);
  return x;
}

// Products of pairs are added in 16 bits with saturation, which must not happen. Codes of b bits give at most
// 2 · (2^b − 1) · 127 a pair, so as many pairs are added as fit; codes of 8 bits are made signed and the activations
// given their signs: |w| ≤ 128, 2 · 128 · 127 < 2^15. Taking the zero off is then undone for the result to be the same.
template <int kBits, int begin, int end>
SGL_INLINE VecI dot(VecI init, const VecI* w, const int8_t* q) {
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (kBits == 8) {
    for (int j = begin; j < end; ++j) {
      __m256i x = _mm256_set1_epi32(four_codes(q + 4 * j));
      __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[j].v), _mm256_sign_epi8(x, w[j].v));
      init.v = _mm256_add_epi32(init.v, _mm256_madd_epi16(pairs, ones));
    }
  } else {
    constexpr int kFit = kBits <= 4 ? 8 : kBits == 5 ? 4 : 2;
    for (int j = begin; j < end; j += kFit) {
      __m256i sum = _mm256_maddubs_epi16(w[j].v, _mm256_set1_epi32(four_codes(q + 4 * j)));
      for (int i = 1; i < kFit && j + i < end; ++i) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w[j + i].v, _mm256_set1_epi32(four_codes(q + 4 * (j + i)))));
      }
      init.v = _mm256_add_epi32(init.v, _mm256_madd_epi16(sum, ones));
    }
  }
  return init;
}
#else
template <int kBits, int begin, int end>
SGL_INLINE VecI dot(VecI init, const VecI* w, const int8_t* q) {
  int32_t sum[kLanes];
  store(sum, init);
  for (int j = begin; j < end; ++j) {
    uint8_t code[4 * kLanes];
    std::memcpy(code, &w[j], sizeof code);
    for (int n = 0; n < kLanes; ++n) {
      for (int c = 0; c < 4; ++c) sum[n] += code[4 * n + c] * q[4 * j + c];
    }
  }
  return load(sum);
}
#endif
#if SGL_ISA_LEVEL < 3
template <int kBits, int begin, int end, int N>
SGL_INLINE void dots(VecI* s, const VecI* w, const int8_t* q) {
  for (int i = 0; i < N; ++i) s[i] = dot<kBits, begin, end>(s[i], w, q + 32 * i);
}
#endif

// With codes of 8 bits AVX2 takes the zero off the weights instead (see dot).
template <DType T>
constexpr bool kSignedCodes = SGL_ISA_LEVEL == 2 && (panel_format(T).bits == 8 || panel_format(T).table);

// Rows whose sums are interleaved: one chain of sums waits for the instruction's latency, and the processor does not
// look far enough ahead to find the next one's start.
constexpr int kInterleave = SGL_ISA_LEVEL == 3 ? 4 : 1;

// Adds a block's products for rows [r, r + N).
template <DType T, int N>
SGL_INLINE void add_rows(VecF* acc, const VecI* w, const Scales& k, const BlockRows& x, int r) {
  constexpr PanelFormat f = panel_format(T);
  constexpr int kBits = f.table ? 8 : f.bits;
  constexpr bool kTakeZeroOff = (f.scales == PanelScales::Half || f.scales == PanelScales::K16) && !kSignedCodes<T>;
  const int8_t* q = x.codes + 32 * r;
  VecI s[2][N];
  SGL_UNROLL for (int i = 0; i < N; ++i) {
    int32_t all = 0, low = 0;
    if constexpr (kTakeZeroOff) all = x.minus_codes[r + i];
    if constexpr (kTakeZeroOff && kHasHalves<T>) low = x.minus_low[r + i];
    s[0][i] = shift_left<f.zero_shift>(splat(kHasHalves<T> ? low : all));
    s[1][i] = shift_left<f.zero_shift>(splat(all - low));
  }
  if constexpr (kHasHalves<T>) {
    dots<kBits, 0, 4, N>(s[0], w, q);
    dots<kBits, 4, 8, N>(s[1], w, q);
  } else {
    dots<kBits, 0, 8, N>(s[0], w, q);
  }
  SGL_UNROLL for (int i = 0; i < N; ++i) {
    const VecI dot[2] = {s[0][i], s[1][i]};
    acc[r + i] = add_block<T>(acc[r + i], dot, k, x, r + i);
  }
}

template <DType T, int R>
void int8_tile(const LinearTile& t) {
  constexpr PanelFormat f = panel_format(T);
  constexpr int kWhole = R / kInterleave * kInterleave;
  const int64_t blocks = t.in / kBlock;
  for (int g = 0; g < kGroups; ++g) {
    VecF acc[R];
    SGL_UNROLL for (int r = 0; r < R; ++r) acc[r] = zero();
    const auto* q = reinterpret_cast<const int8_t*>(t.x);
    const auto* unit = reinterpret_cast<const uint8_t*>(t.panel);
    for (int64_t b = 0; b < blocks; b += f.unit_blocks(), unit += f.unit_bytes()) {
      const uint8_t* scales = unit + f.unit_blocks() * f.code_bytes();
      if (g == 0) prefetch_lines<f.unit_bytes() - f.unit_blocks() * f.code_bytes()>(scales + t.ahead);
      const int count = f.unit_blocks() == 8 ? 8 : static_cast<int>(min_of(int64_t{f.unit_blocks()}, blocks - b));
      for (int i = 0; i < count; ++i, q += quantized_block_bytes(R)) {
        if (g == 0) prefetch_lines<f.code_bytes()>(unit + i * f.code_bytes() + t.ahead);
        VecI w[8];
        unpack<T>(unit + i * f.code_bytes(), g, w);
        if constexpr (kSignedCodes<T>) {
          for (int j = 0; j < 8; ++j) w[j] = w[j] ^ bytes_of(0x80);
        }
        const Scales k = load_scales<T>(scales, i, g);
        const BlockRows x = block_rows(q, R);
        SGL_UNROLL for (int r = 0; r < kWhole; r += kInterleave) add_rows<T, kInterleave>(acc, w, k, x, r);
        if constexpr (R % kInterleave != 0) add_rows<T, R % kInterleave>(acc, w, k, x, kWhole);
      }
    }
    store_columns<R>(t, g, acc);
  }
}

SGL_INLINE float float_of_bits(int32_t b) {
  float f;
  std::memcpy(&f, &b, 4);
  return f;
}

#if SGL_ISA_LEVEL > 1
SGL_INLINE __m256i halves_max(VecI x) {
#if SGL_ISA_LEVEL == 3
  return _mm256_max_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
#else
  return x.v;
#endif
}
SGL_INLINE __m256i halves_sum(VecI x) {
#if SGL_ISA_LEVEL == 3
  return _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
#else
  return x.v;
#endif
}

SGL_INLINE int32_t max_of_lanes(VecI x) {
  __m256i a = halves_max(x);
  __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}

struct TwoSums {
  int32_t a, b;
};
SGL_INLINE TwoSums sums_of_lanes(VecI a, VecI b) {
  __m256i pairs = _mm256_hadd_epi32(halves_sum(a), halves_sum(b));
  __m128i fours = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  fours = _mm_add_epi32(fours, _mm_shuffle_epi32(fours, 0xb1));
  return {_mm_cvtsi128_si32(fours), _mm_extract_epi32(fours, 2)};
}
#else
SGL_INLINE int32_t max_of_lanes(VecI x) {
  int32_t top = x.v[0];
  for (int i = 1; i < kLanes; ++i) top = x.v[i] > top ? x.v[i] : top;
  return top;
}

struct TwoSums {
  int32_t a, b;
};
SGL_INLINE TwoSums sums_of_lanes(VecI a, VecI b) {
  return {a.v[0] + a.v[1] + a.v[2] + a.v[3], b.v[0] + b.v[1] + b.v[2] + b.v[3]};
}
#endif

// Rounds 32 numbers of row r of a tile's block. Where the largest is infinite or NaN the scale is too, so that it shows
// in the result; where it is too small for its inverse, the block is zero.
SGL_INLINE void quantize_block(const float* x, int rows, int r, int8_t* block) {
  constexpr int kVectors = kBlock / kLanes;
  VecF v[kVectors];
  VecI largest = splat(0);  // magnitudes as integers order like numbers, NaN above all
  SGL_UNROLL for (int i = 0; i < kVectors; ++i) {
    v[i] = load(x + i * kLanes);
    largest = max(largest, bits(v[i]) & splat(0x7fffffff));
  }
  const float amax = float_of_bits(max_of_lanes(largest));
  const bool tiny = amax < 1e-30F;
  const float scale = tiny ? 0.0F : amax * (1.0F / 127.0F);
  const VecF inverse = splat(tiny ? 0.0F : 127.0F / amax);

  VecI codes[kVectors];
  SGL_UNROLL for (int i = 0; i < kVectors; ++i) {
    codes[i] = max(round_to_int(v[i] * inverse), splat(-127));
    store_i8(block + 32 * r + i * kLanes, codes[i]);
  }
  VecI low = codes[0], high = codes[kVectors / 2];
  SGL_UNROLL for (int i = 1; i < kVectors / 2; ++i) {
    low = low + codes[i];
    high = high + codes[kVectors / 2 + i];
  }
  const TwoSums sums = sums_of_lanes(low, high);

  auto* floats = reinterpret_cast<float*>(block + 32 * rows);
  auto* ints = reinterpret_cast<int32_t*>(floats + 2 * rows);
  floats[r] = scale;
  floats[rows + r] = scale * static_cast<float>(sums.a + sums.b);
  ints[r] = -(sums.a + sums.b);
  ints[rows + r] = -sums.a;
}

void quantize(const float* x, int64_t x_stride, int rows, int64_t in, std::byte* tile) {
  for (int r = 0; r < rows; ++r) {
    auto* block = reinterpret_cast<int8_t*>(tile);
    for (int64_t k = 0; k < in; k += kBlock, block += quantized_block_bytes(rows)) {
      quantize_block(x + r * x_stride + k, rows, r, block);
    }
  }
}

// Rows of a tile: accumulators and codes must fit the registers.
constexpr int kTileRows = SGL_SMALL_TILES ? 2 : SGL_ISA_LEVEL == 3 ? 16 : 4;

template <DType T, int R>
void set_rows(Int8Kernels& k) {
  k.tile[static_cast<int>(T)][R - 1] = int8_tile<T, R>;
  if constexpr (R < kTileRows) set_rows<T, R + 1>(k);
}

template <DType... T>
void set_formats(Int8Kernels& k) {
  (set_rows<T, 1>(k), ...);
}

}  // namespace

Int8Kernels int8_kernels() {
  Int8Kernels k{};
  set_formats<DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::Q2_K, DType::Q3_K, DType::Q4_K,
              DType::Q5_K, DType::Q6_K, DType::IQ4_NL, DType::Int4G32, DType::Int4G128>(k);
  k.max_rows = kTileRows;
  k.quantize = quantize;
  return k;
}

}  // namespace sgl::SGL_ISA
