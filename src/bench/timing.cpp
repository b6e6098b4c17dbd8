#include "bench/timing.h"

#include <algorithm>
#include <ctime>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "bench/stats.h"

namespace sgl::bench {
namespace {

constexpr double kQueuedSeconds = 5e-3;  // of a sample at least: waiting for it is then less than 1 %
constexpr int kMostQueued = 8192;

double processor() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // counts microseconds

Timing best_and_median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return {.best = times.front(), .median = quantile(times, 0.5)};
}

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
  return best_and_median(std::move(times));
}

Timing time_queued(double seconds, const std::function<void()>& ready, const std::function<void()>& run,
                   const std::function<void()>& wait) {
  auto sample = [&](int repeats) {
    ready();
    wait();
    const double begin = steady_seconds();
    for (int i = 0; i < repeats; ++i) run();
    wait();
    return steady_seconds() - begin;
  };
  sample(1);  // the first run of its kind loads kernels, and may try several
  const double least = std::min(kQueuedSeconds, seconds / 5);
  int repeats = 1;
  // The shorter of two: one that something else has interrupted looks long.
  while (repeats < kMostQueued && std::min(sample(repeats), sample(repeats)) < least) repeats *= 2;
  std::vector<double> times;
  const double start = steady_seconds();
  do {
    times.push_back(sample(repeats) / repeats);
  } while (steady_seconds() - start < seconds || times.size() < 5);
  return best_and_median(std::move(times));
}

}  // namespace sgl::bench
