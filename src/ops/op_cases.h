#pragma once
// One table of cases for each op: ops tests compare every backend with ref on them, the benchmark times those that are
// marked with a model's name. They hold the awkward ones: one row, odd rows, strided views, all weight formats.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ops/backend.h"

namespace sgl {

inline constexpr DType kWeightFormats[] = {
    DType::F32,  DType::F16,  DType::BF16, DType::Q4_0, DType::Q4_1, DType::Q5_0,   DType::Q5_1,    DType::Q8_0,
    DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K, DType::IQ4_NL, DType::Int4G32, DType::Int4G128};

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
  cases.push_back({90, 8192, {40}, {DType::BF16}, true});
  return cases;
}

/// Rows of x and their width, for the ops that take a row at a time; pads are floats between rows.
struct RowsCase {
  int64_t n, d;
  int64_t x_pad = 0, out_pad = 0;
};

inline constexpr RowsCase kRowsCases[] = {
    {1, 1},          {1, 64},   {3, 7, 2, 5},    {5, 16}, {2, 33, 1, 0},    {4, 100},
    {7, 576, 16, 3}, {1, 4864}, {300, 96, 5, 0}, {0, 64}, {2, 40000, 3, 1},  // rows that threads share
};

/// heads · head_dim columns, of which rotary_dim of each head turn.
struct RopeCase {
  int64_t n;
  int heads, head_dim, rotary_dim;
  bool interleaved = false;
  int64_t pad = 0;
};

inline constexpr RopeCase kRopeCases[] = {
    {1, 1, 16, 16},     {1, 12, 64, 64}, {5, 9, 64, 64, true}, {3, 4, 80, 32, false, 7}, {3, 4, 80, 32, true, 7},
    {200, 3, 128, 128}, {2, 2, 20, 10},  {2, 2, 20, 10, true}, {2, 4, 96, 96},           {0, 2, 32, 32},
};

struct AttentionCase {
  int heads, kv_heads, head_dim;
  std::vector<std::pair<int, int>> seqs;  ///< (new tokens, all tokens) of each
  int page_size = 16;
  DType dtype = DType::F16;
  int window = 0;
  float softcap = 0.0F;
  bool causal = true;  ///< false: all tokens are new
};

inline std::vector<AttentionCase> attention_cases() {
  std::vector<AttentionCase> cases;
  for (DType t : {DType::F32, DType::F16, DType::BF16}) {
    cases.push_back({4, 4, 16, {{1, 1}}, 16, t});
    cases.push_back({9, 3, 64, {{1, 77}, {5, 5}, {1, 300}, {33, 90}}, 16, t});   // SmolLM2's heads
    cases.push_back({14, 2, 64, {{3, 600}, {1, 16}, {1, 17}}, 32, t, 0, 0.0F});  // Qwen2.5's
    cases.push_back({4, 1, 32, {{70, 70}}, 16, t, 24});                          // a window that moves over tiles
    cases.push_back({8, 4, 256, {{1, 65}, {20, 64}}, 64, t, 0, 50.0F});          // Gemma 2's cap
    cases.push_back({8, 4, 256, {{17, 530}}, 16, t, 257, 30.0F});
  }
  cases.push_back({9, 3, 64, {{1, 77}, {5, 5}, {1, 300}, {33, 90}}, 16, DType::Q8_0});
  cases.push_back({14, 2, 64, {{3, 600}, {1, 16}, {1, 17}}, 32, DType::Q8_0, 0, 30.0F});
  cases.push_back({4, 4, 32, {{1, 1}, {70, 70}}, 16, DType::Q8_0, 24});
  cases.push_back({8, 1, 256, {{1, 130}, {6, 40}, {130, 530}}, 64, DType::Q8_0});
  cases.push_back({2, 1, 288, {{1, 30}, {7, 9}}, 16, DType::Q8_0});  // large head, odd page: the reference's layout
  cases.push_back({6, 2, 96, {{1, 30}, {7, 9}}, 8, DType::Q8_0});
  cases.push_back({6, 2, 96, {{1, 30}, {7, 9}, {40, 40}}, 16, DType::F8E4M3});  // on cpu the reference's layout
  for (int head_dim : {16, 32, 64, 80, 96, 128, 256, 576}) {
    cases.push_back({8, 1, head_dim, {{1, 130}, {6, 40}}, 16, DType::F16});
  }
  cases.push_back({71, 1, 64, {{2, 20}, {1, 9}}, 16, DType::F16});  // more heads than a tile has rows
  cases.push_back({3, 3, 48, {{1, 2000}}, 128, DType::F16});        // few tasks, many splits
  cases.push_back({2, 1, 32, {{1, 1025}, {2, 513}, {257, 257}, {4, 260}}, 16, DType::F16, 300});
  cases.push_back({6, 2, 20, {{1, 30}, {7, 9}}, 16, DType::F16});  // odd head: the reference's layout
  cases.push_back({6, 2, 32, {{1, 30}, {7, 9}}, 8, DType::F16});   // odd page: the same
  cases.push_back({6, 2, 32, {}, 16, DType::F16});                 // an empty batch
  for (DType t : {DType::F32, DType::F16}) {                       // encoders see all
    cases.push_back({12, 12, 32, {{1, 1}, {9, 9}, {64, 64}, {130, 130}}, 16, t, 0, 0.0F, false});  // MiniLM's heads
    cases.push_back({4, 2, 64, {{600, 600}, {257, 257}, {3, 3}}, 16, t, 0, 0.0F, false});
    cases.push_back({2, 2, 20, {{33, 33}, {1, 1}}, 16, t, 0, 0.0F, false});  // the reference's layout
  }
  std::vector<std::pair<int, int>> many;
  for (int i = 0; i < 40; ++i) many.emplace_back(1 + i % 3, 1 + i % 3 + 7 * i);
  cases.push_back({4, 2, 32, many, 16, DType::F16});
  return cases;
}

inline std::string to_string(const AttentionCase& c) {
  std::string s = fmt::format("{}/{} heads of {}, page {}, window {}, {}{}, new/all", c.heads, c.kv_heads, c.head_dim,
                              c.page_size, c.window, name(c.dtype), c.causal ? "" : ", not causal");
  for (auto [n, all] : c.seqs) s += fmt::format(" {}/{}", n, all);
  return s;
}

inline std::string to_string(const LinearCase& c) {
  std::string s = fmt::format("n {} in {} out", c.n, c.in);
  for (int64_t o : c.outs) s += fmt::format(" {}", o);
  for (DType t : c.formats) s += fmt::format(" {}", name(t));
  return s;
}

}  // namespace sgl
