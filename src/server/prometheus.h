#pragma once
// Prometheus' text format, version 0.0.4.

#include <cstdint>
#include <prometheus/metric_family.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/metrics.h"
#include "sgl/engine.h"

namespace sgl {

using PrometheusLabels = std::vector<prometheus::ClientMetric::Label>;

/// Families of metrics, all with one prefix and some labels of their own.
class PrometheusWriter {
 public:
  /// `prefix`: "sgl:".
  PrometheusWriter(std::string prefix, PrometheusLabels labels)
      : prefix_(std::move(prefix)), labels_(std::move(labels)) {}

  void gauge(std::string_view name, std::string_view help, double value);
  void counter(std::string_view name, std::string_view help, int64_t value);
  void histogram(std::string_view name, std::string_view help, const metrics::Histogram& values);

  /// A counter with labels: its head, then its members.
  void counters(std::string_view name, std::string_view help);
  void member(const PrometheusLabels& labels, int64_t value);

  std::string text() const;

 private:
  void add_family(std::string_view name, std::string_view help, prometheus::MetricType type);
  prometheus::ClientMetric& add_member(const PrometheusLabels& labels);

  const std::string prefix_;
  const PrometheusLabels labels_;
  std::vector<prometheus::MetricFamily> families_;
};

/// The load, of the names that /v1/loads?format=prometheus gives too. `grammars`: that are compiled or wait for it.
void write_load_metrics(PrometheusWriter& w, const EngineStats& stats, int grammars);

/// The whole of /metrics: every family as "sgl:…" and, for dashboards made for SGLang, as "sglang:…".
std::string metrics_text(const metrics::Metrics& metrics, const EngineStats& stats, int grammars,
                         const ModelInfo& info);

/// The labels that all of a server's metrics have.
PrometheusLabels metrics_labels(const ModelInfo& info);

}  // namespace sgl
