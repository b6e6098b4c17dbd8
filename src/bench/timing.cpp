#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

#include "bench/stats.h"

namespace sgl::bench {
namespace {

double wall() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double processor() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // counts microseconds

}  // namespace

Timing time_it(double seconds, bool processor_time, const std::function<void()>& run) {
  const auto now = processor_time ? processor : wall;
  run();
  double once = wall();
  run();
  once = wall() - once;
  const int repeats = std::clamp(static_cast<int>(1e-4 / std::max(once, 1e-8)), 1, 10000);
  std::vector<double> times;
  const double start = wall();
  do {
    const double begin = now();
    for (int i = 0; i < repeats; ++i) run();
    times.push_back((now() - begin) / repeats);
  } while (wall() - start < seconds || times.size() < 5);
  std::sort(times.begin(), times.end());
  return {.best = times.front(), .median = quantile(times, 0.5)};
}

}  // namespace sgl::bench
