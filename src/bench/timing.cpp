#include "bench/timing.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include "base/clock.h"
#include "bench/stats.h"

namespace sgl::bench {
namespace {

double processor() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // counts microseconds

}  // namespace

Timing time_it(double seconds, bool processor_time, const std::function<void()>& run) {
  const auto now = processor_time ? processor : steady_seconds;
  run();
  double once = steady_seconds();
  run();
  once = steady_seconds() - once;
  const int repeats = std::clamp(static_cast<int>(1e-4 / std::max(once, 1e-8)), 1, 10000);
  std::vector<double> times;
  const double start = steady_seconds();
  do {
    const double begin = now();
    for (int i = 0; i < repeats; ++i) run();
    times.push_back((now() - begin) / repeats);
  } while (steady_seconds() - start < seconds || times.size() < 5);
  std::sort(times.begin(), times.end());
  return {.best = times.front(), .median = quantile(times, 0.5)};
}

}  // namespace sgl::bench
