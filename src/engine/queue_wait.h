#pragma once
// How long whoever comes now has to wait: the requests before it, times the pace at which the queue has moved lately.

namespace sgl {

/// Thread: one at a time.
class QueueWait {
 public:
  /// A turn of the scheduler took `seconds` and admitted `admitted` of those that waited; `left`: others wait still.
  /// Only turns that leave some waiting say how fast the queue moves: before that, whoever came was admitted.
  void turn(double seconds, int admitted, bool left);

  /// Mean time between two admissions, of the last kRemembered; 0: there was no queue yet.
  double seconds_per_admission() const { return mean_; }

 private:
  static constexpr int kRemembered = 32;

  double mean_ = 0;
  int remembered_ = 0;  ///< admissions in the mean
  double since_ = 0;    ///< seconds with a queue since the last admission
};

}  // namespace sgl
