// One function a format, straight from its definition in the header. Speed matters little here: these run at load, in
// tests and in the reference backend; the fast kernels have their own unpacking.

#include "tensor/block_formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "sgl/error.h"

namespace sgl {
namespace {

float value(HalfBytes h) { return to_float(f16{h.bits()}); }

int nibble(const uint8_t (&qs)[16], int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

uint32_t word(const uint8_t (&b)[4]) {
  return uint32_t{b[0]} | uint32_t{b[1]} << 8 | uint32_t{b[2]} << 16 | uint32_t{b[3]} << 24;
}

void decode(const BlockQ4_0& b, float* x) {
  const float d = value(b.d);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b.qs, i) - 8);
}

void decode(const BlockQ4_1& b, float* x) {
  const float d = value(b.d), m = value(b.m);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b.qs, i)) + m;
}

void decode(const BlockQ5_0& b, float* x) {
  const float d = value(b.d);
  const uint32_t qh = word(b.qh);
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(b.qs, i) | static_cast<int>(qh >> i & 1U) << 4;
    x[i] = d * static_cast<float>(q - 16);
  }
}

void decode(const BlockQ5_1& b, float* x) {
  const float d = value(b.d), m = value(b.m);
  const uint32_t qh = word(b.qh);
  for (int i = 0; i < 32; ++i) {
    const int q = nibble(b.qs, i) | static_cast<int>(qh >> i & 1U) << 4;
    x[i] = d * static_cast<float>(q) + m;
  }
}

void decode(const BlockQ8_0& b, float* x) {
  const float d = value(b.d);
  for (int i = 0; i < 32; ++i) x[i] = static_cast<float>(b.qs[i]) * d;
}

void decode(const BlockIQ4_NL& b, float* x) {
  const float d = value(b.d);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(kIq4Values[static_cast<size_t>(nibble(b.qs, i))]);
}

void decode(const BlockQ2_K& b, float* x) {
  const float d = value(b.d), dmin = value(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, shift = i % 128 / 32 * 2;
    const uint8_t sc = b.scales[i / 16];
    const int q = b.qs[32 * run + i % 32] >> shift & 3;
    x[i] = (d * static_cast<float>(sc & 15)) * static_cast<float>(q) - (dmin * static_cast<float>(sc >> 4));
  }
}

void decode(const BlockQ3_K& b, float* x) {
  const float d = value(b.d);
  const std::array<int8_t, 16> scales = unpack_scales_q3_k(b.scales);
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, shift = i % 128 / 32 * 2;
    const int q = (b.qs[32 * run + i % 32] >> shift & 3) | (b.hmask[i % 32] >> (i / 32) & 1) << 2;
    x[i] = (d * static_cast<float>(scales[static_cast<size_t>(i / 16)])) * static_cast<float>(q - 4);
  }
}

void decode(const BlockQ4_K& b, float* x) {
  const float d = value(b.d), dmin = value(b.dmin);
  const ScalesQ4_K s = unpack_scales_q4_k(b.scales);
  for (int k = 0; k < 8; ++k) {
    const float scale = d * static_cast<float>(s.scale[k]), min = dmin * static_cast<float>(s.min[k]);
    for (int j = 0; j < 32; ++j) {
      const int q = b.qs[k / 2 * 32 + j] >> (k % 2 * 4) & 15;
      x[32 * k + j] = scale * static_cast<float>(q) - min;
    }
  }
}

void decode(const BlockQ5_K& b, float* x) {
  const float d = value(b.d), dmin = value(b.dmin);
  const ScalesQ4_K s = unpack_scales_q4_k(b.scales);
  for (int k = 0; k < 8; ++k) {
    const float scale = d * static_cast<float>(s.scale[k]), min = dmin * static_cast<float>(s.min[k]);
    for (int j = 0; j < 32; ++j) {
      const int q = (b.qs[k / 2 * 32 + j] >> (k % 2 * 4) & 15) | (b.qh[j] >> k & 1) << 4;
      x[32 * k + j] = scale * static_cast<float>(q) - min;
    }
  }
}

void decode(const BlockQ6_K& b, float* x) {
  const float d = value(b.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, s = i % 128 / 32, j = i % 32;
    const int low = b.ql[64 * half + 32 * (s % 2) + j] >> (s / 2 * 4) & 15;
    const int high = b.qh[32 * half + j] >> (2 * s) & 3;
    const int8_t scale = b.scales[i / 16];
    x[i] = (d * static_cast<float>(scale)) * static_cast<float>((low | high << 4) - 32);
  }
}

template <int kGroup>
void decode(const BlockInt4<kGroup>& b, float* x) {
  const float d = value(b.d);
  for (int i = 0; i < kGroup; ++i) {
    const int q = b.qs[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15;
    x[i] = d * static_cast<float>(q - b.zero);
  }
}

template <typename Block>
void decode_row(DType dtype, const std::byte* src, float* dst, int64_t n) {
  static_assert(alignof(Block) == 1);
  const int elements = block_layout(dtype).elements;
  for (int64_t i = 0; i < n / elements; ++i) {
    Block block;
    std::memcpy(&block, src + i * static_cast<int64_t>(sizeof(Block)), sizeof(Block));
    decode(block, dst + i * elements);
  }
}

template <typename T, typename Convert>
void convert_row(const std::byte* src, float* dst, int64_t n, Convert convert) {
  for (int64_t i = 0; i < n; ++i) {
    T x;
    std::memcpy(&x, src + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    dst[i] = convert(x);
  }
}

// The scale of a block, and its inverse: 0 for a block that is too small for one.
struct Scale {
  explicit Scale(float wanted)
      : d(std::clamp(wanted, -65504.0F, 65504.0F)), inverse(std::fabs(d) < 1e-30F ? 0.0F : 1.0F / d) {}
  float d, inverse;
};

// A code in [0, max] for x, which is in units of the scale.
int code(float x, int max) { return static_cast<int>(std::clamp(std::floor(x + 0.5F), 0.0F, static_cast<float>(max))); }

// The extreme of larger magnitude gets the code with the larger range: −8 for it, at most +7 for the other sign.
void encode(BlockQ4_0& b, const float* x) {
  float extreme = 0.0F;
  for (int i = 0; i < 32; ++i) extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
  const Scale s(extreme / -8.0F);
  b.d = half_bytes(s.d);
  for (int i = 0; i < 16; ++i) {
    b.qs[i] = static_cast<uint8_t>(code(x[i] * s.inverse + 8.0F, 15) | code(x[i + 16] * s.inverse + 8.0F, 15) << 4);
  }
}

void encode(BlockQ4_1& b, const float* x) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float m = *low;
  const Scale s((*high - m) / 15.0F);
  b.d = half_bytes(s.d);
  b.m = half_bytes(m);
  for (int i = 0; i < 16; ++i) {
    b.qs[i] = static_cast<uint8_t>(code((x[i] - m) * s.inverse, 15) | code((x[i + 16] - m) * s.inverse, 15) << 4);
  }
}

void encode(BlockQ8_0& b, const float* x) {
  float extreme = 0.0F;
  for (int i = 0; i < 32; ++i) extreme = std::max(extreme, std::fabs(x[i]));
  const Scale s(extreme / 127.0F);
  b.d = half_bytes(s.d);
  for (int i = 0; i < 32; ++i) b.qs[i] = static_cast<int8_t>(std::clamp(std::round(x[i] * s.inverse), -127.0F, 127.0F));
}

// From the least to the largest number, 0 among them.
template <int kGroup>
void encode(BlockInt4<kGroup>& b, const float* x) {
  const auto [low, high] = std::minmax_element(x, x + kGroup);
  const float least = std::min(*low, 0.0F);
  const Scale s((std::max(*high, 0.0F) - least) / 15.0F);
  b.d = half_bytes(s.d);
  b.zero = static_cast<uint8_t>(code(-least * s.inverse, 15));
  auto code_of = [&](int i) { return code(x[i] * s.inverse + b.zero, 15); };
  for (int i = 0; i < kGroup / 2; ++i) {
    const int at = i / 16 * 32 + i % 16;
    b.qs[i] = static_cast<uint8_t>(code_of(at) | code_of(at + 16) << 4);
  }
}

template <typename Block>
void encode_row(DType dtype, const float* src, std::byte* dst, int64_t n) {
  const int elements = block_layout(dtype).elements;
  for (int64_t i = 0; i < n / elements; ++i) {
    Block block;
    encode(block, src + elements * i);
    std::memcpy(dst + i * static_cast<int64_t>(sizeof(Block)), &block, sizeof(Block));
  }
}

template <typename T, typename Convert>
void store_row(const float* src, std::byte* dst, int64_t n, Convert convert) {
  for (int64_t i = 0; i < n; ++i) {
    const T x = convert(src[i]);
    std::memcpy(dst + i * static_cast<int64_t>(sizeof(T)), &x, sizeof(T));
  }
}

}  // namespace

HalfBytes half_bytes(float x) {
  const uint16_t bits = to_f16(x).bits;
  return {static_cast<uint8_t>(bits & 0xff), static_cast<uint8_t>(bits >> 8)};
}

ScalesQ4_K unpack_scales_q4_k(const uint8_t (&packed)[12]) {
  ScalesQ4_K s;
  for (int k = 0; k < 4; ++k) {
    s.scale[k] = packed[k] & 63;
    s.min[k] = packed[k + 4] & 63;
    s.scale[k + 4] = static_cast<uint8_t>((packed[k + 8] & 15) | (packed[k] >> 6) << 4);
    s.min[k + 4] = static_cast<uint8_t>((packed[k + 8] >> 4) | (packed[k + 4] >> 6) << 4);
  }
  return s;
}

std::array<int8_t, 16> unpack_scales_q3_k(const uint8_t (&packed)[12]) {
  std::array<int8_t, 16> s;
  for (int k = 0; k < 16; ++k) {
    const int low = packed[k % 8] >> (k / 8 * 4) & 15;
    const int high = packed[8 + k % 4] >> (k / 4 * 2) & 3;
    s[static_cast<size_t>(k)] = static_cast<int8_t>((low | high << 4) - 32);
  }
  return s;
}

void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n) {
  if (n == 0) return;  // then both may be null, which memcpy() does not take
  auto as_float = [](auto x) { return static_cast<float>(x); };
  switch (dtype) {
    case DType::F32:
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::F16:
      return convert_row<f16>(src, dst, n, [](f16 x) { return to_float(x); });
    case DType::BF16:
      return convert_row<bf16>(src, dst, n, [](bf16 x) { return to_float(x); });
    case DType::F64:
      return convert_row<double>(src, dst, n, as_float);
    case DType::I8:
      return convert_row<int8_t>(src, dst, n, as_float);
    case DType::U8:
      return convert_row<uint8_t>(src, dst, n, as_float);
    case DType::I16:
      return convert_row<int16_t>(src, dst, n, as_float);
    case DType::I32:
      return convert_row<int32_t>(src, dst, n, as_float);
    case DType::I64:
      return convert_row<int64_t>(src, dst, n, as_float);
    case DType::Bool:
      return convert_row<uint8_t>(src, dst, n, [](uint8_t x) { return x != 0 ? 1.0F : 0.0F; });
    case DType::F8E4M3:
      return convert_row<uint8_t>(src, dst, n, from_e4m3);
    case DType::Q4_0:
      return decode_row<BlockQ4_0>(dtype, src, dst, n);
    case DType::Q4_1:
      return decode_row<BlockQ4_1>(dtype, src, dst, n);
    case DType::Q5_0:
      return decode_row<BlockQ5_0>(dtype, src, dst, n);
    case DType::Q5_1:
      return decode_row<BlockQ5_1>(dtype, src, dst, n);
    case DType::Q8_0:
      return decode_row<BlockQ8_0>(dtype, src, dst, n);
    case DType::Q2_K:
      return decode_row<BlockQ2_K>(dtype, src, dst, n);
    case DType::Q3_K:
      return decode_row<BlockQ3_K>(dtype, src, dst, n);
    case DType::Q4_K:
      return decode_row<BlockQ4_K>(dtype, src, dst, n);
    case DType::Q5_K:
      return decode_row<BlockQ5_K>(dtype, src, dst, n);
    case DType::Q6_K:
      return decode_row<BlockQ6_K>(dtype, src, dst, n);
    case DType::IQ4_NL:
      return decode_row<BlockIQ4_NL>(dtype, src, dst, n);
    case DType::Int4G32:
      return decode_row<BlockInt4<32>>(dtype, src, dst, n);
    case DType::Int4G128:
      return decode_row<BlockInt4<128>>(dtype, src, dst, n);
  }
}

void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n) {
  if (n == 0) return;
  switch (dtype) {
    case DType::F32:
      std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::F16:
      return store_row<f16>(src, dst, n, [](float x) { return to_f16(x); });
    case DType::BF16:
      return store_row<bf16>(src, dst, n, [](float x) { return to_bf16(x); });
    case DType::F64:
      return store_row<double>(src, dst, n, [](float x) { return static_cast<double>(x); });
    case DType::Q8_0:
      return encode_row<BlockQ8_0>(dtype, src, dst, n);
    case DType::Q4_0:
      return encode_row<BlockQ4_0>(dtype, src, dst, n);
    case DType::Q4_1:
      return encode_row<BlockQ4_1>(dtype, src, dst, n);
    case DType::Int4G32:
      return encode_row<BlockInt4<32>>(dtype, src, dst, n);
    case DType::Int4G128:
      return encode_row<BlockInt4<128>>(dtype, src, dst, n);
    default:
      break;
  }
  throw Error(
      ErrorKind::Unsupported,
      fmt::format("cannot quantize to {}; possible are float32, float16, bfloat16, float64, Q8_0, Q4_0, Q4_1, int4",
                  name(dtype)));
}

}  // namespace sgl
