#pragma once
// Prometheus' text format, version 0.0.4.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/metrics.h"
#include "sgl/engine.h"

namespace sgl {

using PrometheusLabels = std::vector<std::pair<std::string_view, std::string_view>>;

/// Writes families of metrics, all with one prefix and some labels of their own.
class PrometheusWriter {
 public:
  /// Appends to `out`, which must outlive the writer. `prefix`: "sgl:".
  PrometheusWriter(std::string& out, std::string prefix, const PrometheusLabels& labels);

  void gauge(std::string_view name, std::string_view help, double value);
  void counter(std::string_view name, std::string_view help, int64_t value);
  void histogram(std::string_view name, std::string_view help, const metrics::Histogram& values);

  /// A family with labels: its head, then its members.
  void family(std::string_view name, std::string_view type, std::string_view help);
  void member(std::string_view name, const PrometheusLabels& labels, double value);

 private:
  std::string& out_;
  const std::string prefix_;
  std::string labels_;
};

/// What the engine says of its load, of the names that /v1/loads?format=prometheus gives too.
void write_load_metrics(PrometheusWriter& w, const EngineStats& stats);

/// The whole of /metrics: every family as "sgl:…" and, for dashboards made for SGLang, as "sglang:…".
std::string metrics_text(const metrics::Metrics& metrics, const EngineStats& stats, const ModelInfo& info);

/// The labels that all of a server's metrics have. Keeps references to `info`.
PrometheusLabels metrics_labels(const ModelInfo& info);

}  // namespace sgl
