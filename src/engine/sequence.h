#pragma once
// A request on its way: its tokens, how far they are computed, and where their keys and values are.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cache/page_allocator.h"
#include "cache/radix_tree.h"
#include "engine/constraint.h"
#include "engine/pooled_state.h"
#include "engine/text_stream.h"
#include "sgl/request.h"

namespace sgl {

/// One sample of one request. Submit fills the request's part; then only the scheduler's thread touches it.
///
///   tokens   [ prompt ............ | output ... ]
///   computed  ^^^^^^^^^^^^^^^^^^^ KV of tokens [0, computed) is in `pages`; the rest is what the next steps extend by:
///             first the in_flight tokens of steps that are launched, the last of which may not be in `tokens` yet
///   pages    [ the tree's (locked) | own ......... ]
struct Sequence {
  // The request, resolved and checked.
  std::string rid;
  int index = 0;  ///< which of the request's n samples
  std::string cache_namespace;
  SamplingParams sampling;
  int max_new_tokens = 0;  ///< resolved and clamped to the context and the pool
  uint64_t seed = 0;
  bool greedy = false;
  bool return_logprob = false;
  int logprob_start = -1;  ///< first prompt position to report; −1: none
  int top_logprobs = 0;
  std::vector<int32_t> asked_ids;
  std::vector<std::pair<int32_t, float>> bias;
  OutputCallback on_output;
  uint64_t arrival = 0;     ///< order of submission
  int priority = 0;         ///< larger ones are admitted first, if the scheduler is told to
  double submitted_at = 0;  ///< steady_seconds()

  std::vector<int32_t> tokens;
  int prompt_len = 0;
  int computed = 0;
  int in_flight = 0;
  int launched = 0;    ///< steps that have rows of this sequence and are not finished
  uint64_t epoch = 0;  ///< rises when what launched steps compute is no longer wanted
  int32_t pick = 0;    ///< the row of logits that its next token is chosen from, of the last step that was launched

  std::vector<PageId> pages;
  int tree_pages = 0;  ///< leading pages that the radix tree owns, kept by `lock`
  RadixTree::Lock lock;

  int matched = 0;    ///< tokens that the cache held when admission looked last
  bool runs = false;  ///< it is among the running ones
  bool admitted_before = false;
  int cached_tokens = 0;  ///< at first admission
  int num_retractions = 0;
  double queue_time_s = 0;                ///< until the first admission
  double first_token_s = 0;               ///< until the first output token; 0: there was none yet
  std::optional<double> expected_ttft_s;  ///< what was expected of its first token, until that comes
  bool is_bounded = false;                ///< when it came it was to have its first token within max_ttft_s
  bool is_timed = true;                   ///< no pause came in between: its times say how fast the server is
  bool is_urgent = false;                 ///< in this turn: it must run now to have its first token in time
  bool has_place = false;                 ///< until it runs: another one has given way for it
  bool stands_back = false;               ///< in this turn: it has lost its place, and urgent ones come first
  /// Of the urgent one that it gave way for: when that came, and the first token that was expected for it then.
  struct Taker {
    double submitted_at, expected_ttft_s;
  };
  std::optional<Taker> taker;

  std::vector<std::pair<int32_t, int32_t>> output_counts;  ///< (id, count), kept only where a penalty needs it
  std::vector<PositionLogprobs> prompt_logprobs;           ///< collected until the prompt is computed
  std::optional<PooledState> pooled;                       ///< set: an embedding; nothing is sampled
  int second_text = -1;  ///< of a pair: where its second text begins; −1: there is none
  TextStream text;
  std::optional<OutputConstraint> constraint;
  std::vector<bool> is_forced;  ///< each output token; with a constraint only
  int forced_tokens = 0;        ///< how many of them
  Output early;                 ///< what a grammar forces before anything is sampled; goes out with the first piece

  /// What its first `count` tokens are called in the radix tree.
  RadixTree::Key key(int count) const { return {TokenSpan(tokens).first(static_cast<size_t>(count)), cache_namespace}; }
  int output_len() const { return static_cast<int>(tokens.size()) - prompt_len; }
  int launched_to() const { return computed + in_flight; }
  /// Tokens that no step computes yet; 0 or less: all do, and the next one is still being chosen.
  int remaining() const { return static_cast<int>(tokens.size()) - launched_to(); }
  /// What launched steps compute of it counts for nothing.
  void forget_launched() {
    in_flight = 0;
    ++epoch;
  }
  bool prefilling() const { return remaining() > 1; }
  int remaining_new() const { return max_new_tokens - output_len(); }
  std::span<const int32_t> output() const { return std::span(tokens).subspan(static_cast<size_t>(prompt_len)); }
  /// Adds an output token, here and to the piece that reports it. `logprobs` counts if they were asked for.
  void append_output(int32_t id, PositionLogprobs logprobs, Output& piece);
  /// The same for a token that a grammar forced: under the grammar its probability is 1.
  void append_forced(int32_t id, Output& piece);
  /// Takes back all but the first `keep` output tokens, here and from the piece, or from the earlier ones
  /// (Output::replaces). Requires: computed ≤ prompt_len + keep; no log-probabilities were asked for, or nothing is
  /// taken back.
  void drop_output(size_t keep, Output& piece);
  bool wants_penalties() const {
    return sampling.frequency_penalty != 0 || sampling.presence_penalty != 0 || sampling.repetition_penalty != 1;
  }
};

}  // namespace sgl
