#include "engine/queue_wait.h"

#include <algorithm>

#include <fmt/format.h>

namespace sgl {

std::string queue_too_slow(double expected, double limit) {
  return fmt::format(
      "a request that comes now would wait about {:.1f} s, and --max-queue-wait is {} s; try again later", expected,
      limit);
}

void QueueWait::turn(double seconds, int ended, bool full) {
  if (!full) return;
  since_ += seconds;
  if (ended == 0) return;
  remembered_ = std::min(remembered_ + ended, kRemembered);
  const double share = std::min(1.0, static_cast<double>(ended) / remembered_);
  mean_ += (since_ / ended - mean_) * share;
  since_ = 0;
}

}  // namespace sgl
