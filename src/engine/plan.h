#pragma once
// What the scheduler decides for one step: which sequences, and how many of their tokens to compute.

#include <string>
#include <vector>

#include "engine/sequence.h"
#include "ops/sampling.h"

namespace sgl {

/// Scored positions of prompts need a row of logits each, which are large: 128 · 262k · 4 bytes is 128 MiB.
inline constexpr int kMostScoredRows = 128;

struct Plan {
  /// Computes tokens [seq->computed, seq->computed + q_len). Decode is q_len 1; a chunk of a prompt is any other
  /// length.
  struct Row {
    Sequence* seq = nullptr;
    int q_len = 0;
  };
  std::vector<Row> rows;
  bool empty() const { return rows.empty(); }
  int num_tokens() const {
    int n = 0;
    for (const Row& r : rows) n += r.q_len;
    return n;
  }
};

/// A launched plan and what came of it.
struct Step {
  Plan plan;
  /// For each row: the prompt positions that were scored, in order, and then the sampled token if there is one.
  struct RowResult {
    std::vector<SampleResult> scored;
    bool sampled = false;
    SampleResult next;
    std::string error{};  ///< why nothing could be sampled
  };
  std::vector<RowResult> results;
};

}  // namespace sgl
