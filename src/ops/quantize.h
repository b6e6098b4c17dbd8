#pragma once
// Weights that are quantized when they are loaded: the formats and their arithmetic. Host and kernels compile the same
// functions, so that a test on the host knows what the device holds. The cpu backend makes the block formats of
// tensor/block_formats.h instead: quantized_format().
//
// Fp8: e4m3 numbers (base/e4m3.h), and a float32 scale for each row, that is, for each output:  w ≈ code · scale,
//   scale = max |w| / 448.
//   Codes: [out][in], rows padded with zeros to chunks of 64. Of each four, the second and third have changed places,
//   so that bytes 0 and 2 of a word are one pair and bytes 1 and 3 the next. Scales: [out].
//
// Int8: integers from −127 to 127 in the same places, and a float32 scale for each row:  w ≈ code · scale,
//   scale = max |w| / 127.
//
// Int4: codes of 4 bits in groups of 128 along a row, each with a float16 scale and a zero point of 4 bits (round to
// nearest, asymmetric):  w ≈ (code − zero) · scale,  scale = (max(w, 0) − min(w, 0)) / 15.
//   [out / 8][groups] pieces of 544 bytes, rows padded to whole groups, and to eight of them: codes of 8 rows, 64 bytes
//   each, then 8 words with the scale of each row, and above it the zero point. Eight elements are a 32-bit word:
//   element 2i in bits 4i to 4i + 3, element 2i + 1 in bits 16 + 4i to 19 + 4i.
//
// A chunk, 64 bytes of a row, is what four lanes of a warp take in one load.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/e4m3.h"
#include "tensor/dtype.h"

namespace sgl {

enum class Quantization : uint8_t { None, Fp8, Int8, Int4 };
constexpr const char* name(Quantization q) {
  return q == Quantization::Fp8 ? "fp8" : q == Quantization::Int8 ? "int8" : q == Quantization::Int4 ? "int4" : "none";
}
/// The one of that name(); nothing for other words, and for "none".
inline std::optional<Quantization> quantization_named(std::string_view word) {
  for (const Quantization q : {Quantization::Fp8, Quantization::Int8, Quantization::Int4}) {
    if (word == name(q)) return q;
  }
  return std::nullopt;
}

constexpr int64_t kCodeChunk = 64;  // bytes
constexpr int64_t kInt4Group = 128;
constexpr int64_t kInt4Piece = 8 * (kCodeChunk + 4);  // bytes of a group of eight rows
constexpr float kLargestE4m3 = 448.0F, kLargestInt8 = 127.0F;

/// Elements of kCodeChunk of codes, or of 16-bit numbers.
SGL_HOST_DEVICE constexpr int64_t chunk_elements(Quantization q) {
  return q == Quantization::Int4 ? 2 * kCodeChunk : q == Quantization::None ? kCodeChunk / 2 : kCodeChunk;
}
SGL_HOST_DEVICE constexpr int64_t num_chunks(Quantization q, int64_t in) {
  return (in + chunk_elements(q) - 1) / chunk_elements(q);
}
/// Of a matrix [out, in]. Int4's scales are among the codes.
constexpr int64_t code_bytes(Quantization q, int64_t out, int64_t in) {
  return q == Quantization::Int4 ? (out + 7) / 8 * num_chunks(q, in) * kInt4Piece
                                 : out * num_chunks(q, in) * kCodeChunk;
}
constexpr int64_t scale_bytes(Quantization q, int64_t out) { return q == Quantization::Int4 ? 0 : 4 * out; }
constexpr int64_t quantized_bytes(Quantization q, int64_t out, int64_t in) {
  return code_bytes(q, out, in) + scale_bytes(q, out);
}

/// What the cpu backend makes of a matrix [out, in]: of float types, int8 in blocks of 32, or 4 bits in groups of 128
/// or, where rows are no multiple of that, of 32. Everything else stays as it is.
constexpr DType quantized_format(Quantization q, DType of_file, int64_t in) {
  const bool floats = of_file == DType::F32 || of_file == DType::F16 || of_file == DType::BF16;
  if (q == Quantization::None || !floats || in % 32 != 0) return of_file;
  if (q == Quantization::Int8) return DType::Q8_0;
  return in % kInt4Group == 0 ? DType::Int4G128 : DType::Int4G32;
}

/// The scale of numbers up to `largest` in absolute value. Never 0, so that its inverse is a number.
SGL_HOST_DEVICE inline float fp8_scale(float largest) { return fmaxf(largest / kLargestE4m3, 1e-30F); }
SGL_HOST_DEVICE inline float int8_scale(float largest) { return fmaxf(largest / kLargestInt8, 1e-30F); }
/// x in units of the scale, to the nearest integer, ties to even.
SGL_HOST_DEVICE inline int8_t to_int8(float x) {
  return static_cast<int8_t>(rintf(fminf(fmaxf(x, -kLargestInt8), kLargestInt8)));
}

/// float16 numbers of at least 0, as to_f16() and to_float() in base/half.h have them, for kernels too. Requires: x is
/// at most 65504.
SGL_HOST_DEVICE inline uint16_t f16_bits(float x) {
  uint32_t u = 0;
  memcpy(&u, &x, 4);
  if (u < 0x38800000U) {  // below 2^-14: multiples of 2^-24
    const float shifted = x + 0.5F;
    memcpy(&u, &shifted, 4);
    return static_cast<uint16_t>(u - 0x3f000000U);
  }
  return static_cast<uint16_t>((u + 0xfffU + (u >> 13 & 1U) - (112U << 23)) >> 13);
}
SGL_HOST_DEVICE inline float from_f16_bits(uint16_t bits) {
  if (bits < 0x0400U) return static_cast<float>(bits) * 0x1p-24F;
  const uint32_t u = (uint32_t{bits} << 13) + (112U << 23);
  float x = 0;
  memcpy(&x, &u, 4);
  return x;
}

/// How a group of int4 codes stands for numbers: (code − zero) · scale.
struct Int4Scale {
  uint16_t scale_bits;  ///< float16
  uint16_t zero;        ///< 0 to 15
  SGL_HOST_DEVICE float scale() const { return from_f16_bits(scale_bits); }
  SGL_HOST_DEVICE uint32_t word() const { return scale_bits | uint32_t{zero} << 16; }
};
SGL_HOST_DEVICE inline float within_int4(float x) { return fminf(fmaxf(x, 0.0F), 15.0F); }

/// For numbers from `least` to `largest`; 0 is always among what codes stand for.
SGL_HOST_DEVICE inline Int4Scale int4_scale(float least, float largest) {
  const float width = fmaxf(largest, 0.0F) - fminf(least, 0.0F);
  Int4Scale s{};
  s.scale_bits = f16_bits(fminf(fmaxf(width / 15.0F, 0x1p-24F), 65504.0F));  // a float16 above 0
  s.zero = static_cast<uint16_t>(within_int4(rintf(-fminf(least, 0.0F) * (1.0F / s.scale()))));
  return s;
}
SGL_HOST_DEVICE inline uint32_t to_int4(float x, Int4Scale s) {
  return static_cast<uint32_t>(within_int4(rintf(x * (1.0F / s.scale())) + static_cast<float>(s.zero)));
}

/// What a row of n weights is after it was quantized: the numbers that the device computes with.
void quantized_values(Quantization q, const float* weights, float* values, int64_t n);

}  // namespace sgl
