#pragma once
// One table of cases for each op: ops tests compare every backend with ref on them, the benchmark times those that are
// marked with a model's name. They hold the awkward ones: one row, odd rows, strided views, all weight formats.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace sgl {

inline constexpr DType kWeightFormats[] = {DType::F32,  DType::F16,  DType::BF16, DType::Q4_0,  DType::Q4_1,
                                           DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::Q2_K,  DType::Q3_K,
                                           DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::IQ4_NL};

struct LinearCase {
  int64_t n, in;
  std::vector<int64_t> outs;   ///< rows of each part
  std::vector<DType> formats;  ///< of each part; one format: of all
  bool bias = false;
  int64_t x_pad = 0, y_pad = 0;  ///< floats between rows that the op must neither use nor write
};

inline std::vector<LinearCase> linear_cases() {
  std::vector<LinearCase> cases;
  for (DType t : kWeightFormats) {
    cases.push_back({1, 256, {16}, {t}});
    cases.push_back({3, 512, {40}, {t}, true});
    cases.push_back({17, 256, {48, 16, 16}, {t}, true, 5, 3});
    cases.push_back({37, 768, {19}, {t}, false, 0, 9});
    if (block_layout(t).elements <= 32) {
      cases.push_back({5, 64, {7}, {t}});     // fewer outputs than a panel
      cases.push_back({2, 160, {33}, {t}});   // an odd number of blocks
      cases.push_back({16, 576, {96}, {t}});  // SmolLM2's hidden size
    }
    if (block_layout(t).elements == 1) {
      cases.push_back({4, 1, {3}, {t}});
      cases.push_back({6, 75, {20}, {t}, true});
      cases.push_back({9, 259, {16}, {t}});  // past a piece of the expanded panel
    }
  }
  cases.push_back(
      {4, 256, {32, 16, 16}, {DType::Q5_0, DType::Q5_0, DType::Q8_0}, true});  // q, k, v as Qwen2.5 has them
  cases.push_back({4, 512, {32, 16, 16}, {DType::Q4_K, DType::Q4_K, DType::Q6_K}, true});
  cases.push_back({11, 256, {24, 24}, {DType::Q4_1, DType::F16}, false});  // both paths in one call
  cases.push_back({0, 256, {16}, {DType::Q4_1}, true});
  cases.push_back({130, 64, {40}, {DType::Q8_0}, true});   // many tiles
  cases.push_back({70, 4096, {40}, {DType::Q4_1}, true});  // more than one chunk of rows
  return cases;
}

inline std::string to_string(const LinearCase& c) {
  std::string s = "n " + std::to_string(c.n) + " in " + std::to_string(c.in) + " out";
  for (int64_t o : c.outs) s += " " + std::to_string(o);
  for (DType t : c.formats) s += " " + std::string(name(t));
  return s;
}

}  // namespace sgl
