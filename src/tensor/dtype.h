#pragma once
// Element types: plain numbers, and block formats (a block of elements with shared scales): those of GGUF files, and
// the groups of 4-bit codes of AWQ and GPTQ checkpoints.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sgl {

// clang-format off
enum class DType : uint8_t {
  F32, F16, BF16, F64, I8, U8, I16, I32, I64, Bool, F8E4M3,
  Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL,
  Int4G32, Int4G128,
};
// clang-format on

/// How many elements form a block, and how many bytes that takes. Plain numbers are blocks of one.
struct BlockLayout {
  int elements;
  int bytes;
};

constexpr BlockLayout block_layout(DType t) {
  // clang-format off
  switch (t) {
    case DType::F32: case DType::I32: return {1, 4};
    case DType::F16: case DType::BF16: case DType::I16: return {1, 2};
    case DType::F64: case DType::I64: return {1, 8};
    case DType::I8: case DType::U8: case DType::Bool: case DType::F8E4M3: return {1, 1};
    case DType::Q4_0: return {32, 18};
    case DType::Q4_1: return {32, 20};
    case DType::Q5_0: return {32, 22};
    case DType::Q5_1: return {32, 24};
    case DType::Q8_0: return {32, 34};
    case DType::Q2_K: return {256, 84};
    case DType::Q3_K: return {256, 110};
    case DType::Q4_K: return {256, 144};
    case DType::Q5_K: return {256, 176};
    case DType::Q6_K: return {256, 210};
    case DType::IQ4_NL: return {32, 18};
    case DType::Int4G32: return {32, 19};
    case DType::Int4G128: return {128, 67};
  }
  // clang-format on
  return {1, 1};
}

constexpr bool is_block_format(DType t) { return block_layout(t).elements > 1; }

/// Bytes of a row of n elements. Requires: n is a multiple of the block's elements.
constexpr int64_t row_bytes(DType t, int64_t n) { return n / block_layout(t).elements * block_layout(t).bytes; }

constexpr std::string_view name(DType t) {
  constexpr std::string_view names[] = {"float32", "float16", "bfloat16", "float64", "int8",     "uint8",
                                        "int16",   "int32",   "int64",    "bool",    "fp8_e4m3", "Q4_0",
                                        "Q4_1",    "Q5_0",    "Q5_1",     "Q8_0",    "Q2_K",     "Q3_K",
                                        "Q4_K",    "Q5_K",    "Q6_K",     "IQ4_NL",  "int4-g32", "int4-g128"};
  return names[static_cast<int>(t)];
}

}  // namespace sgl
