#include "engine/queue_wait.h"

#include <algorithm>

namespace sgl {

void QueueWait::turn(double seconds, int admitted, bool left) {
  since_ += seconds;
  if (left && admitted > 0) {
    remembered_ = std::min(remembered_ + admitted, kRemembered);
    const double share = std::min(1.0, static_cast<double>(admitted) / remembered_);
    mean_ += (since_ / admitted - mean_) * share;
  }
  if (admitted > 0 || !left) since_ = 0;
}

}  // namespace sgl
