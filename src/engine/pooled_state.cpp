#include "engine/pooled_state.h"

#include <algorithm>
#include <cmath>

namespace sgl {

void PooledState::add(std::span<const float> state) {
  sum_.resize(state.size());
  for (size_t i = 0; i < state.size(); ++i) sum_[i] += double{state[i]};
  ++count_;
}

void PooledState::clear() {
  sum_.clear();
  count_ = 0;
}

std::vector<float> PooledState::result() const {
  std::vector<double> x = sum_;
  if (dimensions_) x.resize(std::min(x.size(), static_cast<size_t>(*dimensions_)));
  double length = 0;
  for (double& v : x) {
    v /= count_;
    if (rule_.sigmoid) v = 1.0 / (1.0 + std::exp(-v));
    length += v * v;
  }
  // A vector of zeros has no direction: it stays as it is.
  const double scale = rule_.normalize && length > 0 ? 1.0 / std::sqrt(length) : 1.0;
  std::vector<float> result(x.size());
  std::transform(x.begin(), x.end(), result.begin(), [&](double v) { return static_cast<float>(v * scale); });
  return result;
}

}  // namespace sgl
