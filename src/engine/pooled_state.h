#pragma once
// One vector from a sequence's states, gathered while they are computed.

#include <optional>
#include <span>
#include <vector>

#include "checkpoint/embedding_config.h"

namespace sgl {

/// How an engine makes vectors of states: the model's own way.
struct PoolingRule {
  Pooling pooling = Pooling::Last;
  bool normalize = true;
  bool sigmoid = false;  ///< of each number (cross-encoders)
};

/// States are added in the order of their positions, one by one: in whatever chunks a sequence is computed, the result
/// has the same bits. Thread: one.
class PooledState {
 public:
  /// `dimensions`: of the result, its first so many; nullopt: all.
  PooledState(const PoolingRule& rule, std::optional<int> dimensions) : rule_(rule), dimensions_(dimensions) {}

  /// Whether the state at `position` of `num_tokens` counts.
  bool wants(int position, int num_tokens) const {
    return rule_.pooling == Pooling::Mean || position == (rule_.pooling == Pooling::First ? 0 : num_tokens - 1);
  }
  /// How many leading tokens may come from the cache, where there are keys and values but no states.
  int most_cached(int num_tokens) const { return rule_.pooling == Pooling::Last ? num_tokens - 1 : 0; }

  void add(std::span<const float> state);
  /// Begins anew.
  void clear();
  /// Requires: a state was added. NaN and infinities are not hidden: they are in the result.
  std::vector<float> result() const;

 private:
  PoolingRule rule_;
  std::optional<int> dimensions_;
  std::vector<double> sum_;
  int count_ = 0;
};

}  // namespace sgl
