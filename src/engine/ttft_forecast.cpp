#include "engine/ttft_forecast.h"

#include <algorithm>

namespace sgl {

void TtftRecord::turn(double seconds, int ended, bool full) {
  if (!full) return;
  since_ += seconds;
  if (ended == 0) return;
  ends_ = std::min(ends_ + ended, kRemembered);
  const double share = std::min(1.0, static_cast<double>(ended) / ends_);
  per_place_ += (since_ / ended - per_place_) * share;
  since_ = 0;
}

void TtftRecord::first_token(double running) {
  first_tokens_ = std::min(first_tokens_ + 1, kRemembered);
  running_ += (running - running_) / first_tokens_;
  runnings_.push_back(running);
  if (runnings_.size() > static_cast<size_t>(kRemembered)) runnings_.pop_front();
}

double TtftRecord::longest_running() const {
  return runnings_.empty() ? 0 : *std::max_element(runnings_.begin(), runnings_.end());
}

void TtftRecord::error(double now, double seconds) {
  errors_.push_back({now, seconds});
  if (errors_.size() > kErrors) errors_.pop_front();
}

// Errors are forgotten with time, too: after a stall that no sequence should have waited for, none would be accepted
// whose first token could say that it is over.
TtftForecast TtftRecord::forecast(double now) const {
  TtftForecast f{.per_place = per_place_, .running = running_};
  for (const Error& e : errors_) {
    if (now - e.at > kErrorSeconds) continue;
    f.margin = std::max(f.margin, e.seconds);
    f.margin_until = e.at + kErrorSeconds;
  }
  return f;
}

}  // namespace sgl
