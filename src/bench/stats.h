#pragma once
// What is said of many measurements.

#include <vector>

namespace sgl::bench {

/// The value below which a share `q` in [0, 1] of `sorted` lies, interpolated between neighbours (as NumPy does);
/// 0 of nothing.
double quantile(const std::vector<double>& sorted, double q);

/// Zeros if there was nothing to measure.
struct Summary {
  double mean = 0, min = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};
Summary summarize(std::vector<double> values);

}  // namespace sgl::bench
