#pragma once
// Runs plans on the model: builds the step's plain data, calls the model, samples or pools.

#include "cache/kv_pool.h"
#include "engine/plan.h"
#include "nn/model.h"
#include "ops/backend.h"

namespace sgl {

/// Thread: the scheduler's.
class Runner {
 public:
  /// `eos_ids` are kept from being sampled while a request is below its min_new_tokens. All must outlive the runner.
  Runner(Backend& backend, const Model& model, const KvPool& kv, std::vector<int32_t> eos_ids);

  /// Before the first step: lets the device find out how it computes steps best (Backend::rows_to_try()), by steps
  /// whose keys and values go to any pages, of `most_picks` tokens chosen and `prompt` tokens of a prompt at most.
  void warm_up(int64_t most_picks, int64_t prompt);

  /// Computes the plan's tokens, as far as logits or states. May return before the device has. The model gives what the
  /// sequences are for: all generate, or all embed.
  Step launch(Plan plan);
  /// Scores the prompt positions that are asked for, and samples a token for each row that reaches the end of its
  /// sequence; where the device does this by itself, it is begun (Step::pending). Adds the states that embeddings want
  /// to their Sequence::pooled.
  void sample(Step& step);
  /// Waits for a pending step's tokens.
  void collect(Step& step);

 private:
  void build_batch(Step& step);
  void pool(const Step& step);
  void take_results(Step& step);
  SampleRow sample_row(const Sequence& seq, int position);
  void constrain(SampleRow& row, const Sequence& seq, int64_t vocab, std::string& error);

  Backend& backend_;
  const Model& model_;
  const KvPool& kv_;
  std::vector<int32_t> eos_ids_;
  Arena arena_;
  // Reused from step to step.
  PagedBatch batch_;
  std::vector<int32_t> wanted_rows_;  ///< of the batch
  std::vector<float> states_;
  std::vector<SampleRow> sample_rows_;
  std::vector<SampleResult> sample_results_;
  std::vector<std::vector<int32_t>> banned_;
  std::vector<std::vector<uint32_t>> masks_;  ///< what grammars allow
  size_t masks_used_ = 0;
};

/// First position of the prompt whose logits are wanted, given where the report starts: the token at position p is
/// scored by the logits at p − 1.
inline int first_scored_position(const Sequence& seq) { return seq.logprob_start > 0 ? seq.logprob_start - 1 : 0; }

}  // namespace sgl
