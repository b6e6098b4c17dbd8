#include "engine/queue_wait.h"

#include <algorithm>

namespace sgl {

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
