#include "server/prometheus.h"

#include <cmath>
#include <iterator>
#include <limits>

#include <fmt/format.h>

#include "base/memory.h"
#include "server/load.h"

namespace sgl {
namespace {

std::string number(double x) {
  if (std::isnan(x)) return "NaN";
  if (std::isinf(x)) return x > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", x);
}

void append_label(std::string& out, std::string_view name, std::string_view value) {
  if (!out.empty()) out += ',';
  fmt::format_to(std::back_inserter(out), "{}=\"", name);
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  out += '"';
}

void write_all(PrometheusWriter& w, const metrics::Metrics& m, const EngineStats& s) {
  write_load_metrics(w, s);
  w.counter("num_requests_total", "Requests that have ended", m.requests.value());
  w.counter("num_aborted_requests_total", "Requests that were aborted", m.aborted.value());
  w.family("finished_requests_total", "counter", "Requests that have ended, by reason");
  w.member("finished_requests_total", {{"finish_reason", "stop"}}, static_cast<double>(m.stopped.value()));
  w.member("finished_requests_total", {{"finish_reason", "length"}}, static_cast<double>(m.reached_length.value()));
  w.member("finished_requests_total", {{"finish_reason", "abort"}}, static_cast<double>(m.aborted.value()));
  w.counter("prompt_tokens_total", "Tokens of prompts, those from the cache included", m.prompt_tokens.value());
  w.counter("generation_tokens_total", "Tokens generated", m.generation_tokens.value());
  w.counter("cached_tokens_total", "Tokens of prompts that came from the prefix cache", m.cached_tokens.value());
  w.histogram("time_to_first_token_seconds", "From the arrival of a request to its first token", m.time_to_first_token);
  w.histogram("inter_token_latency_seconds", "Between two tokens of a request", m.inter_token_latency);
  w.histogram("e2e_request_latency_seconds", "From the arrival of a request to its end", m.e2e_latency);
  w.histogram("queue_time_seconds", "From the arrival of a request to its admission", m.queue_time);
  w.histogram("prompt_tokens_histogram", "Lengths of prompts in tokens", m.prompt_lengths);
  w.histogram("generation_tokens_histogram", "Lengths of answers in tokens", m.generation_lengths);
  w.gauge("http_requests_active", "HTTP requests that are not answered yet",
          static_cast<double>(m.http.active.load(std::memory_order_relaxed)));
  const auto responses = m.http.responses();
  if (responses.empty()) return;
  w.family("http_responses_total", "counter", "HTTP answers by route, method and status; 499: the client left first");
  for (const auto& [key, count] : responses) {
    const auto& [route, method, status] = key;
    const std::string code = std::to_string(status);
    w.member("http_responses_total", {{"endpoint", route}, {"method", method}, {"status_code", code}},
             static_cast<double>(count));
  }
}

}  // namespace

PrometheusWriter::PrometheusWriter(std::string& out, std::string prefix, const PrometheusLabels& labels)
    : out_(out), prefix_(std::move(prefix)) {
  for (const auto& [name, value] : labels) append_label(labels_, name, value);
}

void PrometheusWriter::family(std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(out_), "# HELP {0}{1} {2}.\n# TYPE {0}{1} {3}\n", prefix_, name, help, type);
}

void PrometheusWriter::member(std::string_view name, const PrometheusLabels& labels, double value) {
  std::string all = labels_;
  for (const auto& [label, text] : labels) append_label(all, label, text);
  fmt::format_to(std::back_inserter(out_), "{}{}{{{}}} {}\n", prefix_, name, all, number(value));
}

void PrometheusWriter::gauge(std::string_view name, std::string_view help, double value) {
  family(name, "gauge", help);
  member(name, {}, value);
}

void PrometheusWriter::counter(std::string_view name, std::string_view help, int64_t value) {
  family(name, "counter", help);
  member(name, {}, static_cast<double>(value));
}

void PrometheusWriter::histogram(std::string_view name, std::string_view help, const metrics::Histogram& values) {
  family(name, "histogram", help);
  const std::vector<int64_t> counts = values.counts();
  const std::string bucket = fmt::format("{}_bucket", name);
  int64_t below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    const double bound = i < values.bounds().size() ? values.bounds()[i] : std::numeric_limits<double>::infinity();
    member(bucket, {{"le", number(bound)}}, static_cast<double>(below));
  }
  member(fmt::format("{}_sum", name), {}, values.sum());
  member(fmt::format("{}_count", name), {}, static_cast<double>(below));
}

void write_load_metrics(PrometheusWriter& w, const EngineStats& s) {
  const auto number_of = [](int64_t n) { return static_cast<double>(n); };
  w.gauge("num_running_reqs", "Requests that run", s.running);
  w.gauge("num_queue_reqs", "Requests that wait", s.waiting);
  w.gauge("expected_ttft_seconds", "The longest to expect until the first token of a request that comes now",
          s.expected_ttft_s);
  w.gauge("num_grammar_queue_reqs", "Requests that wait for a grammar: none, they are compiled before the queue", 0);
  w.gauge("num_used_tokens", "Tokens of the KV pool that running requests hold", number_of(used_tokens(s)));
  w.gauge("token_usage", "The same as a share of the pool", share(used_tokens(s), pool_tokens(s)));
  w.gauge("max_total_num_tokens", "Tokens that the KV pool holds", number_of(pool_tokens(s)));
  w.gauge("kv_used_tokens", "Tokens of the KV pool that running requests hold", number_of(used_tokens(s)));
  w.gauge("kv_evictable_tokens", "Tokens of the KV pool that only the prefix cache holds",
          number_of(evictable_tokens(s)));
  w.gauge("kv_available_tokens", "Tokens of the KV pool that are free", number_of(s.free_pages * s.page_size));
  w.gauge("max_running_requests", "Requests that may run at once", s.max_running_requests);
  w.gauge("utilization", "Requests that run as a share of those that may", share(s.running, s.max_running_requests));
  w.gauge("gen_throughput", "Tokens generated a second of work over the last log interval; 0 when idle",
          s.running == 0 ? 0 : s.gen_throughput);
  w.gauge("cache_hit_rate", "Share of all prompt tokens that came from the prefix cache",
          share(s.cached_tokens, s.prompt_tokens));
  w.gauge("new_token_ratio", "Share of their longest output that admission holds back for running requests",
          s.new_token_ratio);
  w.gauge("num_retracted_reqs", "Retractions since the start", number_of(s.retracted));
  w.gauge("paused", "1 while generation is paused", s.paused ? 1 : 0);
  w.counter("evicted_tokens_total", "Tokens that the prefix cache has given up for others", s.evicted_tokens);
  w.counter("steps_total", "Steps of the model", s.steps);
}

PrometheusLabels metrics_labels(const ModelInfo& info) {
  return {{"model_name", info.served_model_name},
          {"engine_type", "unified"},
          {"tp_rank", "0"},
          {"pp_rank", "0"},
          {"dp_rank", "0"}};
}

std::string metrics_text(const metrics::Metrics& metrics, const EngineStats& stats, const ModelInfo& info) {
  std::string out;
  for (const char* prefix : {"sgl:", "sglang:"}) {
    PrometheusWriter w(out, prefix, metrics_labels(info));
    write_all(w, metrics, stats);
  }
  PrometheusWriter process(out, "", {});
  process.gauge("process_resident_memory_bytes", "Memory of the process", static_cast<double>(resident_memory()));
  return out;
}

}  // namespace sgl
