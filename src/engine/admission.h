#pragma once
// From a Request to Sequences: checks, limits, resolved defaults. Runs on the caller's thread.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/sequence.h"
#include "sgl/request.h"
#include "sgl/tokenizer.h"

namespace sgl {

struct AdmissionLimits {
  int vocab_size = 0;
  int context_length = 0;
  int64_t pool_tokens = 0;  ///< KV pool
  bool allow_auto_truncate = false;
  std::optional<PoolingRule> embeds{};  ///< set: of embeddings, and how; else of generations
  int embedding_size = 0;
  /// Longest sequence, prompt and output together: min(context, pool) − 1.
  int max_request_len() const;
};

/// Throws InvalidArgument naming the first field that is out of range.
void check_sampling(const SamplingParams& sampling, int vocab_size, bool has_tokenizer);

/// Makes the request's n sequences. `tokens`: its prompt; `fallback_seed` is used where the request gives none.
/// `constraint`: what Request::sampling's grammar was compiled to. Throws InvalidArgument. `tokenizer` may be null.
std::vector<std::unique_ptr<Sequence>> make_sequences(const Request& request, std::vector<int32_t> tokens,
                                                      const OutputCallback& on_output, const Tokenizer* tokenizer,
                                                      const AdmissionLimits& limits, uint64_t fallback_seed,
                                                      const std::optional<OutputConstraint>& constraint = std::nullopt);

/// The same for an embedding. `second_text`: where in `tokens` the second text of a pair begins; −1: there is none.
/// Requires: limits.embeds.
std::unique_ptr<Sequence> make_embedding_sequence(const Request& request, std::vector<int32_t> tokens, int second_text,
                                                  const OutputCallback& on_output, const AdmissionLimits& limits);

}  // namespace sgl
