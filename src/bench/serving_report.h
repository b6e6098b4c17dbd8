#pragma once
// From answers to figures: throughput, latencies, goodput; as JSON and as a table.

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench/http_load.h"
#include "bench/stats.h"
#include "bench/workload.h"

namespace sgl::bench {

/// Limits that an answer should keep; those not set are kept by all.
struct Slo {
  std::optional<double> ttft_ms{}, itl_ms{}, tpot_ms{}, e2e_ms{};
  bool any() const { return ttft_ms || itl_ms || tpot_ms || e2e_ms; }
  /// itl_ms: 99 % of the gaps between the answer's pieces are that short or shorter.
  bool kept_by(const Answer& answer) const;
};

/// Figures of one run. Times in milliseconds; failed answers count in `failed` alone.
struct ServingFigures {
  std::string workload;
  std::optional<double> request_rate;  ///< sessions a second
  uint64_t seed = 0;
  int concurrency = 0;
  int completed = 0, failed = 0;
  std::string first_error;
  double duration_s = 0;
  int64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;  ///< as the server reports them
  double requests_s = 0, input_tok_s = 0, output_tok_s = 0;
  double goodput_requests_s = 0;  ///< answers that keep the limits
  /// Prompt tokens over time to the first token, and 1000 / TPOT: medians over answers. They mean the server's speed
  /// where requests come one at a time.
  double prefill_tok_s = 0, decode_tok_s = 0;
  size_t max_in_flight = 0;
  double client_cpu_s = 0;
  Summary ttft_ms, itl_ms, tpot_ms, e2e_ms;
};

ServingFigures serving_figures(const Workload& workload, const LoadResult& run, const Slo& slo);

nlohmann::ordered_json to_json(const Summary& summary);
nlohmann::ordered_json to_json(const ServingFigures& figures);
/// One answer with its times, for those who want to look closer.
nlohmann::ordered_json to_json(const Answer& answer);

/// Lines with head; one for each run.
std::string table(const std::vector<ServingFigures>& runs, const Slo& slo);

}  // namespace sgl::bench
