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

/// The same for work that `run` only queues, for a device that does it while the host goes on. A sample queues many
/// runs and then waits, once: to be told that a run is done takes the host some 10 µs, as long as many a run. `ready`
/// comes before each sample, untimed; `wait` returns when all that was queued is done.
Timing time_queued(double seconds, const std::function<void()>& ready, const std::function<void()>& run,
                   const std::function<void()>& wait);

}  // namespace sgl::bench
