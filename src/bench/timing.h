#pragma once
// Times of something that runs again and again.

#include <functional>

namespace sgl::bench {

struct Timing {
  double best = 0, median = 0;  ///< seconds a run
};

/// Runs `run` for about `seconds`, in samples of 100 µs or more. `processor_time`: of this process instead of the
/// wall's, which other processes disturb less; for work of a single thread.
Timing time_it(double seconds, bool processor_time, const std::function<void()>& run);

}  // namespace sgl::bench
