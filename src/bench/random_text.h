#pragma once
// Seeded randomness that is the same on every machine, and texts whose length in tokens is known beforehand.

#include <cstdint>
#include <string>

namespace sgl::bench {

/// SplitMix64 (Steele, Lea & Flood 2014): the standard library's distributions differ between implementations.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next();
  /// In [0, n). Requires: n > 0, and so much less than 2^64 that the bias does not matter.
  uint64_t below(uint64_t n) { return next() % n; }
  /// In (0, 1].
  double uniform();
  /// Time until the next event of a Poisson process with `rate` events a second.
  double exponential(double rate);
  double normal();
  /// A log-normal number with this mean; `sigma` is the standard deviation of its logarithm.
  double log_normal(double mean, double sigma);

 private:
  uint64_t state_;
};

/// `n` words with spaces between them. Each is one token, with its space, to the tokenizers of SmolLM2, Llama 2 and 3,
/// Qwen 2 and 3, and Gemma, so that every server of a model counts the same `n`, give or take one at the beginning.
std::string random_words(Random& random, int n);

}  // namespace sgl::bench
