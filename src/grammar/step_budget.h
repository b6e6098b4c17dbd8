#pragma once
// A bound on the work that compiling one grammar may take.

#include <cstddef>
#include <cstdint>
#include <limits>

namespace sgl::grammar {

/// Steps that are left: a step is some 0.04 µs of work, and making a term four of them. All parts of a compiler
/// spend from one budget, which the automaton that they build holds. Thread: one at a time.
class StepBudget {
 public:
  /// What a grammar of `text_bytes` may take: more than any that was written by hand. Those of usual size below 0.3 s.
  explicit StepBudget(size_t text_bytes = 0)
      : most_((text_bytes <= kUsualBytes ? kUsual : kMost) + kForReading * text_bytes), left_(most_) {}

  /// Throws Unsupported when the budget is used up.
  void spend(uint64_t steps) {
    if (steps > left_) refuse();
    left_ -= steps;
  }
  uint64_t spent() const { return most_ - left_; }
  /// Compiling is done: from here on nothing is counted.
  void lift() { most_ = left_ = std::numeric_limits<uint64_t>::max(); }

  static constexpr size_t kUsualBytes = 50'000;
  static constexpr uint64_t kUsual = 7'000'000, kMost = 20'000'000;
  static constexpr uint64_t kForReading = 8;  ///< each byte

 private:
  [[noreturn]] void refuse() const;

  uint64_t most_, left_;
};

}  // namespace sgl::grammar
