#pragma once
// Choosing the next token: plain data for the op Backend::sample.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace sgl {

/// How to choose from one row of logits. Order of work: bias and penalties → banned ids → allowed mask → ÷ temperature
/// → softmax → top-k, top-p, min-p → draw. Without min_p, top_k and top_p cut the same distribution together; with it:
/// top_k, renormalise, top_p, renormalise, min_p.
struct SampleRow {
  float temperature = 1.0F;  ///< < 1e-6: greedy (the largest logit, the lowest id on a tie; log-probabilities at T = 1)
  int top_k = 0;             ///< 0: all
  float top_p = 1.0F;        ///< keep a token while the mass before it is ≤ top_p
  float min_p = 0.0F;
  float frequency_penalty = 0.0F;
  float presence_penalty = 0.0F;
  float repetition_penalty = 1.0F;
  std::span<const std::pair<int32_t, int32_t>> counts{};  ///< (id, times it stands in the output), each id once
  std::span<const std::pair<int32_t, float>> bias{};      ///< (id, added to its logit), each id once
  std::span<const int32_t> banned{};                      ///< ids that get −∞
  const uint32_t* allowed = nullptr;                      ///< bit i of word i/32: id i is allowed; null: all are
  uint64_t seed = 0;                                      ///< the draw depends on (seed, position) and the logits alone
  uint64_t position = 0;
  /// What to report besides the token.
  bool want_logprob = false;
  int top_logprobs = 0;
  std::span<const int32_t> asked_ids{};
  /// If set, nothing is drawn: this id is the token, and its log-probability is reported (prompt scoring).
  int32_t forced = -1;
};

/// Penalties and bias leave logits within ± this: a penalty of 1e-38 would make them infinite, which is no logit to
/// choose by, and so would the division by the smallest temperature, 1e-6, of anything much larger.
constexpr float kLargestEditedLogit = 1e30F;

struct SampleResult {
  int32_t token = 0;
  float logprob = 0.0F;                          ///< if want_logprob
  std::vector<std::pair<int32_t, float>> top{};  ///< by falling log-probability, ties by id
  std::vector<std::pair<int32_t, float>> asked{};
  bool bad = false;  ///< the logits held NaN or +∞, or nothing was allowed: the token means nothing
};

/// A number in (0, 1) that depends on its arguments only: a counter-based generator (SplitMix64 finaliser, Steele et
/// al. 2014), so that a seeded request draws the same wherever it runs in a batch.
double counter_uniform(uint64_t seed, uint64_t position);

/// The passes over a whole vocabulary, which a backend may have faster than plain loops.
struct SampleMath {
  /// The largest logit's id, the lowest on a tie; −1 if there is a NaN or nothing is above −∞.
  int32_t (*argmax)(const float* logits, int64_t n);
  /// p[i] = e^(logits[i] − largest); returns the sum.
  double (*exp_all)(float* p, const float* logits, int64_t n, float largest);
  /// The sum of those p[0, n) that are above `bound`; their number goes to count.
  double (*weigh)(const float* p, int64_t n, float bound, int64_t* count);
  /// logits[i] = −∞ where bit i % 32 of allowed[i / 32] is not set.
  void (*forbid)(float* logits, int64_t n, const uint32_t* allowed);
};
extern const SampleMath kPlainSampleMath;

/// The op for one row, on host memory: chooses from logits[0, vocab) and changes them.
void sample_row(SampleResult& result, float* logits, int64_t vocab, const SampleRow& row,
                const SampleMath& math = kPlainSampleMath);

}  // namespace sgl
