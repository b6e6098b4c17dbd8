#include "tensor/block_formats.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "sgl/error.h"

namespace sgl {
namespace {

const std::string kRecorded = std::string(SGL_SOURCE_DIR) + "/tests/data/block_formats.bin";

DType dtype_named(const std::string& wanted) {
  if (wanted == "F16") return DType::F16;
  if (wanted == "BF16") return DType::BF16;
  for (int i = 0; i <= static_cast<int>(DType::IQ4_NL); ++i) {
    if (name(static_cast<DType>(i)) == wanted) return static_cast<DType>(i);
  }
  ADD_FAILURE() << "no format " << wanted;
  return DType::F32;
}

struct Record {
  DType dtype;
  std::string blocks;
  std::vector<float> floats;
};

// Layout: tests/data/make_block_formats.py.
std::vector<Record> records() {
  const std::string file = read_file(kRecorded);
  std::vector<Record> result;
  for (size_t at = 0; at < file.size();) {
    uint32_t bytes = 0, count = 0;
    std::memcpy(&bytes, &file[at + 16], 4);
    std::memcpy(&count, &file[at + 20], 4);
    Record r{dtype_named(std::string(file.c_str() + at)), file.substr(at + 24, bytes), std::vector<float>(count)};
    std::memcpy(r.floats.data(), &file[at + 24 + bytes], count * sizeof(float));
    result.push_back(std::move(r));
    at += 24 + bytes + count * sizeof(float);
  }
  return result;
}

const std::byte* bytes_of(const std::string& s) { return reinterpret_cast<const std::byte*>(s.data()); }

TEST(BlockFormats, EqualTheReferenceBitForBit) {
  std::set<DType> seen;
  for (const Record& r : records()) {
    SCOPED_TRACE(name(r.dtype));
    const auto n = static_cast<int64_t>(r.floats.size());
    ASSERT_EQ(static_cast<int64_t>(r.blocks.size()), row_bytes(r.dtype, n));
    std::vector<float> x(r.floats.size());
    dequantize_row(r.dtype, bytes_of(r.blocks), x.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(x[i]), std::bit_cast<uint32_t>(r.floats[i]))
          << i << ": " << x[i] << ", expected " << r.floats[i];
    }
    seen.insert(r.dtype);
  }
  for (DType t : {DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::Q2_K, DType::Q3_K,
                  DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::IQ4_NL, DType::F16, DType::BF16}) {
    EXPECT_TRUE(seen.contains(t)) << name(t) << " is not in " << kRecorded;
  }
}

TEST(BlockFormats, SourceMayStandAtAnyAddress) {
  for (const Record& r : records()) {
    const std::string shifted = "x" + r.blocks;
    std::vector<float> x(r.floats.size());
    dequantize_row(r.dtype, bytes_of(shifted) + 1, x.data(), static_cast<int64_t>(x.size()));
    EXPECT_EQ(x, r.floats) << name(r.dtype);
  }
}

TEST(BlockFormats, DecodeWritesNothingPastTheRow) {
  for (const Record& r : records()) {
    const int64_t n = block_layout(r.dtype).elements;
    std::vector<float> x(static_cast<size_t>(n) + 8, 77.0F);
    dequantize_row(r.dtype, bytes_of(r.blocks), x.data(), n);
    for (size_t i = static_cast<size_t>(n); i < x.size(); ++i) EXPECT_EQ(x[i], 77.0F) << name(r.dtype);
  }
}

template <typename T>
std::vector<float> decoded(DType dtype, const std::vector<T>& values) {
  std::vector<float> x(values.size());
  dequantize_row(dtype, reinterpret_cast<const std::byte*>(values.data()), x.data(), static_cast<int64_t>(x.size()));
  return x;
}

TEST(BlockFormats, PlainNumbersConvert) {
  EXPECT_EQ(decoded<float>(DType::F32, {1.5F, -0.0F}), (std::vector<float>{1.5F, 0.0F}));
  EXPECT_EQ(decoded<double>(DType::F64, {0.1, -2.5}), (std::vector<float>{0.1F, -2.5F}));
  EXPECT_EQ(decoded<int8_t>(DType::I8, {-128, 127}), (std::vector<float>{-128, 127}));
  EXPECT_EQ(decoded<uint8_t>(DType::U8, {0, 255}), (std::vector<float>{0, 255}));
  EXPECT_EQ(decoded<int16_t>(DType::I16, {-32768, 5}), (std::vector<float>{-32768, 5}));
  EXPECT_EQ(decoded<int32_t>(DType::I32, {-7, 1 << 30}), (std::vector<float>{-7, 0x1p30F}));
  EXPECT_EQ(decoded<int64_t>(DType::I64, {-7, int64_t{1} << 40}), (std::vector<float>{-7, 0x1p40F}));
  EXPECT_EQ(decoded<uint8_t>(DType::Bool, {0, 1, 255}), (std::vector<float>{0, 1, 1}));
  EXPECT_EQ(decoded<uint8_t>(DType::F8E4M3, {0x38, 0xb8, 0x7e, 1}), (std::vector<float>{1, -1, 448, 0x1p-9F}));
}

std::vector<float> normals(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.5F);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

std::vector<float> round_trip(DType dtype, const std::vector<float>& x) {
  std::vector<std::byte> bytes(static_cast<size_t>(row_bytes(dtype, static_cast<int64_t>(x.size()))));
  quantize_row(dtype, x.data(), bytes.data(), static_cast<int64_t>(x.size()));
  std::vector<float> y(x.size());
  dequantize_row(dtype, bytes.data(), y.data(), static_cast<int64_t>(y.size()));
  return y;
}

TEST(BlockFormats, ARowOfNothingNeedsNoMemory) {
  for (DType t : {DType::F32, DType::F16, DType::BF16, DType::Q8_0}) EXPECT_TRUE(round_trip(t, {}).empty());
}

TEST(BlockFormats, QuantizingStaysWithinAStep) {
  const unsigned seed = 7;
  SCOPED_TRACE(seed);
  const std::vector<float> x = normals(32 * 64, seed);
  // Relative to the largest number of a block: half a step, plus what rounding the scale to 11 bits moves the last
  // code. Q4_0 has no code for its largest number's negative and can miss it by a whole step.
  struct Case {
    DType dtype;
    float bound;
  };
  for (Case c : {Case{DType::Q8_0, 0.57F / 127},
                 {DType::Q4_0, 1.01F / 8},
                 {DType::Q4_1, 0.52F * 2 / 15},
                 {DType::F16, 0x1p-11F},
                 {DType::BF16, 0x1p-8F},
                 {DType::F32, 0},
                 {DType::F64, 0}}) {
    const std::vector<float> y = round_trip(c.dtype, x);
    for (size_t i = 0; i < x.size(); i += 32) {
      float largest = 0;
      for (size_t j = i; j < i + 32; ++j) largest = std::max(largest, std::fabs(x[j]));
      for (size_t j = i; j < i + 32; ++j)
        ASSERT_LE(std::fabs(y[j] - x[j]), c.bound * largest) << name(c.dtype) << ' ' << j;
    }
  }
}

TEST(BlockFormats, QuantizingWhatAFormatCanHoldIsExact) {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[static_cast<size_t>(i)] = static_cast<float>(i % 16 - 8) * 0.25F;
  EXPECT_EQ(round_trip(DType::Q4_0, x), x);
  EXPECT_EQ(round_trip(DType::Q4_1, x), x);
  const std::vector<float> zero(32, 0.0F);
  for (DType t : {DType::Q4_0, DType::Q4_1, DType::Q8_0}) EXPECT_EQ(round_trip(t, zero), zero) << name(t);
}

TEST(BlockFormats, FormatsWithoutAQuantizerAreRefusedByName) {
  std::vector<float> x(256);
  std::vector<std::byte> bytes(256);
  try {
    quantize_row(DType::Q6_K, x.data(), bytes.data(), 256);
    FAIL() << "Q6_K was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_NE(std::string(e.what()).find("Q6_K"), std::string::npos);
  }
}

}  // namespace
}  // namespace sgl
