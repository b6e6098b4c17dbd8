#pragma once
// What the scheduler decides for one step: which sequences, and how many of their tokens to compute.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/sequence.h"
#include "ops/sampling.h"
#include "sgl/work.h"

namespace sgl {

/// Scored positions of prompts need a row of logits each, which are large: 128 · 262k · 4 bytes is 128 MiB.
inline constexpr int kMostScoredRows = 128;

struct Plan {
  /// Computes tokens [begin, begin + q_len). Decode is q_len 1; a chunk of a prompt is any other length. The last of
  /// them may be one that the step before is still choosing.
  struct Row {
    Sequence* seq = nullptr;
    int q_len = 0;
    int begin = 0;
    uint64_t epoch = 0;  ///< seq->epoch when it was planned: if that has changed, what the row gives counts for nothing
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
  /// Row i of the model's result: a token of one of the plan's rows.
  struct Pick {
    size_t row = 0;
    int position = 0;     ///< in the sequence
    bool scored = false;  ///< a prompt's token, for the log-probability of the one after it
    bool stale = false;   ///< its sequence went another way meanwhile
  };
  std::vector<Pick> picks{};
  Tensor result{};       ///< logits, or states, of the picks
  Work work{};           ///< that the model counted
  bool pending = false;  ///< the device is choosing the tokens: the next step may be launched before they are known
  /// For each row: the prompt positions that were scored, in order, and then the sampled token if there is one.
  struct RowResult {
    std::vector<SampleResult> scored;
    bool sampled = false;
    SampleResult next;
    std::string error{};  ///< why nothing could be sampled
  };
  std::vector<RowResult> results{};
};

/// How a step is computed: by the runner, or a fake in tests. The calls for a step come in this order; the next step's
/// launch may come before a pending one's collect, its sample never.
struct StepFunctions {
  std::function<Step(Plan)> launch;
  std::function<void(Step&)> sample = [](Step&) {};
  std::function<void(Step&)> collect = [](Step&) {};
};

}  // namespace sgl
