#pragma once
// Rotary position embedding: the frequencies of a model.

#include <vector>

#include "checkpoint/model_config.h"

namespace sgl {

/// Frequencies after scaling. Built once; const functions are thread-safe.
///
/// Some scalings (dynamic, longrope) depend on the length that is served: the limit of the server's context decides,
/// not the length of a request, so that a token's key never depends on what comes after it and cached keys stay valid.
class Rope {
 public:
  /// `context_length`: the longest sequence that will be served.
  Rope(const RopeConfig& config, int context_length);

  int rotary_dim() const { return 2 * static_cast<int>(inv_freq_.size()); }
  const std::vector<float>& inv_freq() const { return inv_freq_; }
  /// On cosines and sines.
  float attention_factor() const { return attention_factor_; }

 private:
  std::vector<float> inv_freq_;
  float attention_factor_ = 1.0F;
};

}  // namespace sgl
