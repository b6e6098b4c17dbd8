#pragma once
// When whoever comes now will have its first token: what the queue's pace says, and how far that was off lately.

#include <cstddef>
#include <deque>

namespace sgl {

/// What is known now. Seconds.
struct TtftForecast {
  double per_place = 0;  ///< between the ends of two sequences, each of which makes room for one; 0: not known yet
  double running = 0;    ///< from a sequence's admission to its first token
  /// What must be added so that no sequence of late would have taken longer than was expected. Answers that end
  /// together make room together, so this is often as long as an answer.
  double margin = 0;
  double margin_until = 0;  ///< steady_seconds(): then those of late are no longer so

  bool known() const { return per_place > 0; }
  /// Until the first token of a sequence that so many others are before. It takes longer as often as not.
  double expected(int before) const { return known() ? before * per_place + running : 0; }
};

/// Thread: one at a time.
class TtftRecord {
 public:
  /// A turn of the scheduler took `seconds`, in which `ended` running sequences made room. Only turns that were `full`,
  /// which could have admitted no more, say how fast the queue moves: before that, whoever came was admitted.
  void turn(double seconds, int ended, bool full);

  /// A sequence had its first token so long after its admission.
  void first_token(double running);
  /// One that had waited had it so much later than was expected when it came.
  void error(double now, double seconds);

  double running() const { return running_; }  ///< as in the forecast
  /// The longest of the last kRemembered.
  double longest_running() const;

  /// By the means of about the last kRemembered, and the errors of the last kErrors and kErrorSeconds.
  TtftForecast forecast(double now) const;

 private:
  static constexpr int kRemembered = 32;
  static constexpr size_t kErrors = 128;
  static constexpr double kErrorSeconds = 60;

  struct Error {
    double at, seconds;
  };

  double per_place_ = 0, running_ = 0;  ///< means, as in the forecast
  int ends_ = 0, first_tokens_ = 0;     ///< in them
  double since_ = 0;                    ///< seconds of full turns since the last end
  std::deque<double> runnings_;         ///< of the last kRemembered sequences, the latest last
  std::deque<Error> errors_;            ///< of what was expected, the latest last
};

}  // namespace sgl
