#include "server/prometheus.h"

#include <limits>
#include <prometheus/text_serializer.h>
#include <utility>

#include <fmt/format.h>

#include "base/memory.h"
#include "server/load.h"

namespace sgl {
namespace {

void write_all(PrometheusWriter& w, const metrics::Metrics& m, const EngineStats& s, int grammars) {
  write_load_metrics(w, s, grammars);
  w.counter("num_requests_total", "Requests that have ended", m.requests.value());
  w.counter("num_aborted_requests_total", "Requests that were aborted", m.aborted.value());
  w.counters("finished_requests_total", "Requests that have ended, by reason");
  w.member({{"finish_reason", "stop"}}, m.stopped.value());
  w.member({{"finish_reason", "length"}}, m.reached_length.value());
  w.member({{"finish_reason", "abort"}}, m.aborted.value());
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
  w.counters("http_responses_total", "HTTP answers by route, method and status; 499: the client left first");
  for (const auto& [key, count] : responses) {
    const auto& [route, method, status] = key;
    w.member(
        {{"endpoint", std::string(route)}, {"method", std::string(method)}, {"status_code", std::to_string(status)}},
        count);
  }
}

}  // namespace

void PrometheusWriter::add_family(std::string_view name, std::string_view help, prometheus::MetricType type) {
  families_.push_back({fmt::format("{}{}", prefix_, name), fmt::format("{}.", help), type, {}});
}

prometheus::ClientMetric& PrometheusWriter::add_member(const PrometheusLabels& labels) {
  prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
  metric.label = labels_;
  metric.label.insert(metric.label.end(), labels.begin(), labels.end());
  return metric;
}

void PrometheusWriter::gauge(std::string_view name, std::string_view help, double value) {
  add_family(name, help, prometheus::MetricType::Gauge);
  add_member({}).gauge.value = value;
}

void PrometheusWriter::counter(std::string_view name, std::string_view help, int64_t value) {
  counters(name, help);
  member({}, value);
}

void PrometheusWriter::counters(std::string_view name, std::string_view help) {
  add_family(name, help, prometheus::MetricType::Counter);
}

void PrometheusWriter::member(const PrometheusLabels& labels, int64_t value) {
  add_member(labels).counter.value = static_cast<double>(value);
}

void PrometheusWriter::histogram(std::string_view name, std::string_view help, const metrics::Histogram& values) {
  add_family(name, help, prometheus::MetricType::Histogram);
  auto& histogram = add_member({}).histogram;
  const std::vector<int64_t> counts = values.counts();
  for (size_t i = 0; i < counts.size(); ++i) {
    histogram.sample_count += static_cast<uint64_t>(counts[i]);
    const double bound = i < values.bounds().size() ? values.bounds()[i] : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({histogram.sample_count, bound});
  }
  histogram.sample_sum = values.sum();
}

std::string PrometheusWriter::text() const { return prometheus::TextSerializer().Serialize(families_); }

void write_load_metrics(PrometheusWriter& w, const EngineStats& s, int grammars) {
  const auto number_of = [](int64_t n) { return static_cast<double>(n); };
  w.gauge("num_running_reqs", "Requests that run", s.running);
  w.gauge("num_queue_reqs", "Requests that wait", s.waiting);
  w.gauge("expected_ttft_seconds", "The longest to expect until the first token of a request that comes now",
          s.expected_ttft_s);
  w.gauge("num_grammar_queue_reqs", "Requests whose grammar is being compiled, or waits for that", grammars);
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
          throughput_now(s));
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

std::string metrics_text(const metrics::Metrics& metrics, const EngineStats& stats, int grammars,
                         const ModelInfo& info) {
  std::string out;
  for (const char* prefix : {"sgl:", "sglang:"}) {
    PrometheusWriter w(prefix, metrics_labels(info));
    write_all(w, metrics, stats, grammars);
    out += w.text();
  }
  PrometheusWriter process("", {});
  process.gauge("process_resident_memory_bytes", "Memory of the process", static_cast<double>(resident_memory()));
  return out + process.text();
}

}  // namespace sgl
