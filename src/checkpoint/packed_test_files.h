#pragma once
// For tests: quantized checkpoints as AutoAWQ, AutoGPTQ and GPTQModel, and llm-compressor (compressed-tensors) write
// them.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/half.h"
#include "checkpoint/test_files.h"

namespace sgl::testing {

/// A matrix [out, in] as a quantizer leaves it, before anything is packed.
struct QuantizedMatrix {
  /// Of random codes.
  QuantizedMatrix(int64_t rows, int64_t cols, int64_t columns_of_group, unsigned seed)
      : QuantizedMatrix(rows, cols, columns_of_group) {
    std::mt19937 random(seed);
    for (int& c : codes) c = static_cast<int>(random() % 16);
    for (int& z : zeros) z = static_cast<int>(random() % 16);
    for (f16& s : scales) s = to_f16(0.001F + static_cast<float>(random() % 1000) * 1e-5F);
  }
  /// Of these numbers, each rounded to the nearest that its group has.
  QuantizedMatrix(int64_t rows, int64_t cols, int64_t columns_of_group, const std::vector<float>& numbers)
      : QuantizedMatrix(rows, cols, columns_of_group) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t g = 0; g < groups(); ++g) {
        const auto first = numbers.begin() + o * in + g * group;
        const auto [low, high] = std::minmax_element(first, first + group);
        const float least = std::min(*low, 0.0F), most = std::max(*high, 0.0F);
        const f16 scale = to_f16((most - least) / 15);
        auto rounded = [&](float x) {
          return static_cast<int>(std::lround(std::clamp(x / to_float(scale), -30.0F, 30.0F)));
        };
        scales[at(o, g)] = scale;
        zeros[at(o, g)] = std::clamp(rounded(-least), 0, 15);
        for (int64_t k = 0; k < group; ++k) {
          codes[static_cast<size_t>(o * in + g * group + k)] = std::clamp(rounded(first[k]) + zeros[at(o, g)], 0, 15);
        }
      }
    }
  }
  int64_t groups() const { return in / group; }
  uint32_t code(int64_t o, int64_t k) const { return static_cast<uint32_t>(codes[static_cast<size_t>(o * in + k)]); }
  size_t at(int64_t o, int64_t g) const { return static_cast<size_t>(o * groups() + g); }
  /// What it stands for, row by row.
  std::vector<float> values() const {
    std::vector<float> w;
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t k = 0; k < in; ++k) {
        const size_t s = at(o, group_of_column[static_cast<size_t>(k)]);
        w.push_back(to_float(scales[s]) * static_cast<float>(static_cast<int>(code(o, k)) - zeros[s]));
      }
    }
    return w;
  }

  int64_t out, in, group;
  std::vector<int> codes, zeros;  // [out][in], [out][groups]
  std::vector<f16> scales;        // [out][groups]
  std::vector<int32_t> group_of_column;

 private:
  QuantizedMatrix(int64_t rows, int64_t cols, int64_t columns_of_group)
      : out(rows),
        in(cols),
        group(columns_of_group),
        codes(static_cast<size_t>(rows * cols)),
        zeros(static_cast<size_t>(rows * groups())),
        scales(zeros.size()) {
    for (int64_t k = 0; k < in; ++k) group_of_column.push_back(static_cast<int32_t>(k / group));
  }
};

// Words of eight codes: of `rows` × `cols` words, place i of word (r, c) holds code(r, c, i). less: taken off each
// word.
inline std::string pack_words(int64_t rows, int64_t cols, const std::function<uint32_t(int64_t, int64_t, int)>& code,
                              uint32_t less = 0) {
  std::vector<uint32_t> words;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      uint32_t w = 0;
      for (int i = 0; i < 8; ++i) w |= (code(r, c, i) & 15U) << (4 * i);
      words.push_back(w - less);
    }
  }
  return bytes_of(words);
}

inline std::string scales_by_group(const QuantizedMatrix& q) {
  std::vector<f16> s;
  for (int64_t g = 0; g < q.groups(); ++g) {
    for (int64_t o = 0; o < q.out; ++o) s.push_back(q.scales[q.at(o, g)]);
  }
  return bytes_of(s);
}

inline uint32_t zero_of(const QuantizedMatrix& q, int64_t o, int64_t g) {
  return static_cast<uint32_t>(q.zeros[q.at(o, g)]);
}

/// How a writer packs matrices: what it says in config.json, and the tensors of one, whose names begin with `name`.
struct Packing {
  std::string name, config;
  std::function<void(SafetensorsBuilder&, const std::string& name, const QuantizedMatrix&)> add;
};

inline Packing awq(int64_t group) {
  return {"awq",
          fmt::format(R"({{"quant_method":"awq","bits":4,"group_size":{},"zero_point":true,"version":"gemm"}})", group),
          [](SafetensorsBuilder& file, const std::string& n, const QuantizedMatrix& q) {
            constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
            file.add(n + "qweight", "I32", {q.in, q.out / 8},
                     pack_words(q.in, q.out / 8, [&](auto k, auto c, int i) { return q.code(8 * c + kOrder[i], k); }));
            file.add(n + "qzeros", "I32", {q.groups(), q.out / 8},
                     pack_words(q.groups(), q.out / 8,
                                [&](auto g, auto c, int i) { return zero_of(q, 8 * c + kOrder[i], g); }));
            file.add(n + "scales", "F16", {q.groups(), q.out}, scales_by_group(q));
          }};
}

/// `less_one`: the older form, whose words of zero points are less a one in each place. group: −1 for one of all
/// columns.
inline Packing gptq(int64_t group, bool less_one, bool act_order = false) {
  return {less_one ? "gptq" : "gptq_v2",
          fmt::format(R"({{"quant_method":"gptq","bits":4,"group_size":{},"desc_act":{}{}}})", group, act_order,
                      less_one ? "" : R"(,"checkpoint_format":"gptq_v2")"),
          [less_one](SafetensorsBuilder& file, const std::string& n, const QuantizedMatrix& q) {
            file.add(n + "qweight", "I32", {q.in / 8, q.out},
                     pack_words(q.in / 8, q.out, [&](auto r, auto o, int i) { return q.code(o, 8 * r + i); }));
            file.add(n + "qzeros", "I32", {q.groups(), q.out / 8},
                     pack_words(
                         q.groups(), q.out / 8, [&](auto g, auto c, int i) { return zero_of(q, 8 * c + i, g); },
                         less_one ? 0x11111111U : 0));
            file.add(n + "scales", "F16", {q.groups(), q.out}, scales_by_group(q));
            file.add(n + "g_idx", "I32", {q.in}, bytes_of(q.group_of_column));
          }};
}

/// symmetric: all zero points are 8, and are not written.
inline Packing compressed(int64_t group, bool symmetric) {
  return {"compressed-tensors",
          fmt::format(R"({{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{{"group_0":{{
                           "targets":["Linear"],"input_activations":null,"weights":{{"num_bits":4,"type":"int",
                           "symmetric":{},"strategy":"group","group_size":{}}}}}}}}})",
                      symmetric, group),
          [symmetric](SafetensorsBuilder& file, const std::string& n, const QuantizedMatrix& q) {
            file.add(n + "weight_packed", "I32", {q.out, q.in / 8},
                     pack_words(q.out, q.in / 8, [&](auto o, auto r, int i) { return q.code(o, 8 * r + i); }));
            file.add(n + "weight_scale", "F16", {q.out, q.groups()}, bytes_of(q.scales));
            file.add(n + "weight_shape", "I64", {2}, bytes_of(std::vector<int64_t>{q.out, q.in}));
            if (symmetric) return;
            file.add(
                n + "weight_zero_point", "I32", {q.out / 8, q.groups()},
                pack_words(q.out / 8, q.groups(), [&](auto r, auto g, int i) { return zero_of(q, 8 * r + i, g); }));
          }};
}

}  // namespace sgl::testing
