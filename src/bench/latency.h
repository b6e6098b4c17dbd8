#pragma once
// How fast the engine in this process computes one batch: prompts first, then token by token.

#include <cstdint>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/random_text.h"
#include "bench/roofs.h"
#include "bench/stats.h"
#include "server/engine_api.h"

namespace sgl::bench {

struct LatencyCase {
  int batch = 1;
  int input = 512;          ///< tokens of each prompt
  int output = 128;         ///< tokens of each answer
  int cached_prefixes = 0;  ///< other prompts that the prefix cache holds meanwhile
  int waiting = 0;          ///< other requests that wait in the queue while the answers are made
};

/// Speeds over the repetitions, memory at the end.
struct LatencyFigures {
  LatencyCase what;
  Summary prefill_tok_s;            ///< computed prompt tokens over the time to the last first token
  Summary decode_tok_s;             ///< tokens of all answers over the time after that
  Summary first_token_ms, step_ms;  ///< step: between two tokens of one answer
  Summary scheduling_us;            ///< a step of the answers: what the scheduler's thread does besides computing
  /// What the machine did before and after, and the shares of it: prefill of its units' operations (products with
  /// weights alone), decode of its reading (weights alone). Empty if they were not asked for.
  std::optional<Summary> read_gb_s{}, prefill_share{}, decode_share{};
  int64_t resident_bytes = 0;
};

/// Prompts are random token ids. Each repetition computes its prompts for a single token, and then asks for the whole
/// answers, with the prompts in the prefix cache: so no answer begins while another prompt is still being computed.
/// Throws Error when a request fails. Requests wait only if the engine runs no more at once than `batch`. `roofs`: what
/// to measure the machine with before and after each; null: not.
LatencyFigures measure_latency(EngineApi& engine, const LatencyCase& what, int repeat, Random& random,
                               RoofProbe* roofs = nullptr);

/// Seconds that the machine's best units for the weights' types take for the operations, at least.
double least_seconds(const Work& work, const Roofs& roofs);

/// Tokens the KV pool must hold for it.
int64_t latency_tokens(const LatencyCase& what, int page_size);

nlohmann::ordered_json to_json(const LatencyFigures& figures);

}  // namespace sgl::bench
