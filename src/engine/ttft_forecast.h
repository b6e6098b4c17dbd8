#pragma once
// How long whoever comes now has to wait: those before it, times the pace at which places have become free lately.

namespace sgl {

/// Thread: one at a time.
class QueueWait {
 public:
  /// A turn of the scheduler took `seconds`, in which `ended` running sequences made room. Only turns that were `full`,
  /// which could have admitted no more, say how fast the queue moves: before that, whoever came was admitted.
  void turn(double seconds, int ended, bool full);

  /// Mean time between about the last kRemembered ends; 0: it was never full yet.
  double seconds_per_place() const { return mean_; }

 private:
  static constexpr int kRemembered = 32;

  double mean_ = 0;
  int remembered_ = 0;  ///< ends in the mean
  double since_ = 0;    ///< seconds of full turns since the last end
};

}  // namespace sgl
