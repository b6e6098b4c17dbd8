#include "bench/serving_report.h"

#include <algorithm>

#include <fmt/format.h>

namespace sgl::bench {
namespace {

constexpr double kMs = 1000;

std::vector<double> gaps_ms(const Answer& answer) {
  std::vector<double> gaps;
  for (size_t i = 1; i < answer.tokens_at.size(); ++i) {
    gaps.push_back((answer.tokens_at[i] - answer.tokens_at[i - 1]) * kMs);
  }
  return gaps;
}

double round_to(double x, double unit) { return std::round(x / unit) * unit; }

std::string limits(const Slo& slo) {
  std::string out;
  auto add = [&](const char* name, const std::optional<double>& limit) {
    if (limit) out += fmt::format("{}{} ≤ {} ms", out.empty() ? "" : ", ", name, *limit);
  };
  add("TTFT", slo.ttft_ms);
  add("ITL", slo.itl_ms);
  add("TPOT", slo.tpot_ms);
  add("E2E", slo.e2e_ms);
  return out;
}

}  // namespace

bool Slo::kept_by(const Answer& answer) const {
  if (ttft_ms && answer.ttft() * kMs > *ttft_ms) return false;
  if (itl_ms && summarize(gaps_ms(answer)).p99 > *itl_ms) return false;
  if (tpot_ms && answer.tpot() * kMs > *tpot_ms) return false;
  return !e2e_ms || answer.e2e() * kMs <= *e2e_ms;
}

ServingFigures serving_figures(const Workload& workload, const LoadResult& run, const Slo& slo) {
  ServingFigures f;
  f.workload = workload.shape.name;
  f.concurrency = workload.arrivals.empty() ? workload.shape.concurrency : 0;
  f.duration_s = run.duration_s;
  f.max_in_flight = run.max_in_flight;
  f.client_cpu_s = run.client_cpu_s;
  int good = 0;
  std::vector<double> ttft, itl, tpot, e2e, prefill, decode;
  for (const Answer& a : run.answers) {
    if (!a.error.empty()) {
      if (f.failed++ == 0) f.first_error = a.error;
      continue;
    }
    ++f.completed;
    good += slo.kept_by(a) ? 1 : 0;
    f.input_tokens += std::max(a.prompt_tokens, 0);
    f.output_tokens += a.outputs();
    f.cached_tokens += std::max(a.cached_tokens, 0);
    ttft.push_back(a.ttft() * kMs);
    e2e.push_back(a.e2e() * kMs);
    if (a.prompt_tokens > 0 && a.ttft() > 0) prefill.push_back(a.prompt_tokens / a.ttft());
    if (a.tpot() > 0) {
      tpot.push_back(a.tpot() * kMs);
      decode.push_back(1 / a.tpot());
    }
    const std::vector<double> gaps = gaps_ms(a);
    itl.insert(itl.end(), gaps.begin(), gaps.end());
  }
  if (run.duration_s > 0) {
    f.requests_s = f.completed / run.duration_s;
    f.input_tok_s = static_cast<double>(f.input_tokens) / run.duration_s;
    f.output_tok_s = static_cast<double>(f.output_tokens) / run.duration_s;
    f.goodput_requests_s = good / run.duration_s;
  }
  f.prefill_tok_s = summarize(prefill).p50;
  f.decode_tok_s = summarize(decode).p50;
  f.ttft_ms = summarize(std::move(ttft));
  f.itl_ms = summarize(std::move(itl));
  f.tpot_ms = summarize(std::move(tpot));
  f.e2e_ms = summarize(std::move(e2e));
  return f;
}

nlohmann::ordered_json to_json(const Summary& s) {
  nlohmann::ordered_json out;
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, double>>{{"mean", s.mean},
                                                                                         {"min", s.min},
                                                                                         {"p50", s.p50},
                                                                                         {"p90", s.p90},
                                                                                         {"p95", s.p95},
                                                                                         {"p99", s.p99},
                                                                                         {"max", s.max}}) {
    out[name] = round_to(value, 1e-3);
  }
  return out;
}

nlohmann::ordered_json to_json(const ServingFigures& f) {
  nlohmann::ordered_json out;
  out["workload"] = f.workload;
  out["request_rate"] = f.request_rate ? nlohmann::ordered_json(*f.request_rate) : nlohmann::ordered_json();
  out["concurrency"] = f.concurrency > 0 ? nlohmann::ordered_json(f.concurrency) : nlohmann::ordered_json();
  out["seed"] = f.seed;
  out["completed"] = f.completed;
  out["failed"] = f.failed;
  if (f.failed > 0) out["first_error"] = f.first_error;
  out["duration_s"] = f.duration_s;
  out["input_tokens"] = f.input_tokens;
  out["output_tokens"] = f.output_tokens;
  out["cached_tokens"] = f.cached_tokens;
  out["requests_s"] = f.requests_s;
  out["goodput_requests_s"] = f.goodput_requests_s;
  out["input_tok_s"] = f.input_tok_s;
  out["output_tok_s"] = f.output_tok_s;
  out["prefill_tok_s"] = f.prefill_tok_s;
  out["decode_tok_s"] = f.decode_tok_s;
  out["max_in_flight"] = f.max_in_flight;
  out["client_cpu_s"] = f.client_cpu_s;
  out["ttft_ms"] = to_json(f.ttft_ms);
  out["itl_ms"] = to_json(f.itl_ms);
  out["tpot_ms"] = to_json(f.tpot_ms);
  out["e2e_ms"] = to_json(f.e2e_ms);
  return out;
}

nlohmann::ordered_json to_json(const Answer& a) {
  nlohmann::ordered_json out;
  out["session"] = a.session;
  out["turn"] = a.turn;
  out["start_s"] = a.start;
  out["ttft_ms"] = a.ttft() * kMs;
  out["e2e_ms"] = a.e2e() * kMs;
  out["prompt_tokens"] = a.prompt_tokens;
  out["output_tokens"] = a.outputs();
  out["cached_tokens"] = a.cached_tokens;
  if (!a.error.empty()) out["error"] = a.error;
  return out;
}

std::string table(const std::vector<ServingFigures>& runs, const Slo& slo) {
  std::string out =
      fmt::format("{:14} {:>7} {:>5} {:>8} {:>9} {:>8} {:>8}{} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}\n", "", "", "", "",
                  "", "prefill", "decode", slo.any() ? "  goodput" : "", "TTFT", "TTFT", "TPOT", "ITL", "E2E", "E2E");
  out += fmt::format("{:14} {:>7} {:>5} {:>8} {:>9} {:>8} {:>8}{} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}\n", "workload",
                     "at once", "done", "req/s", "out tok/s", "tok/s", "tok/s", slo.any() ? "    req/s" : "", "p50 ms",
                     "p99 ms", "p50 ms", "p99 ms", "p50 ms", "p99 ms");
  for (const ServingFigures& f : runs) {
    const std::string load = f.request_rate ? fmt::format("{:g}/s", *f.request_rate) : fmt::format("{}", f.concurrency);
    out += fmt::format("{:14} {:>7} {:>5} {:8.2f} {:9.1f} {:8.0f} {:8.1f}", f.workload, load, f.completed, f.requests_s,
                       f.output_tok_s, f.prefill_tok_s, f.decode_tok_s);
    if (slo.any()) out += fmt::format(" {:8.2f}", f.goodput_requests_s);
    out += fmt::format(" {:8.1f} {:8.1f} {:8.2f} {:8.2f} {:8.1f} {:9.1f}\n", f.ttft_ms.p50, f.ttft_ms.p99,
                       f.tpot_ms.p50, f.itl_ms.p99, f.e2e_ms.p50, f.e2e_ms.p99);
    if (f.failed > 0) out += fmt::format("  {} of {} failed: {}\n", f.failed, f.failed + f.completed, f.first_error);
  }
  if (slo.any()) out += fmt::format("goodput: answers with {}\n", limits(slo));
  return out;
}

}  // namespace sgl::bench
