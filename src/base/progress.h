#pragma once
// What a person waits for, on stderr: a bar that redraws on a terminal, a line now and then elsewhere (logs, pipes).

#include <chrono>
#include <cstdint>
#include <string>

namespace sgl {

/// Progress of one long task. Thread: one at a time.
class Progress {
 public:
  enum class Unit { Bytes, Items };

  /// `total` ≤ 0: unknown. `done`: what an earlier run already did; it does not count for the rate.
  Progress(std::string label, int64_t total, Unit unit, int64_t done = 0);
  /// Ends the bar's line, so that what follows (an error) starts on its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Cheap: draws at most ten times a second on a terminal, once in ten seconds elsewhere.
  void update(int64_t done);
  /// Draws the end. Without it the task counts as broken off.
  void finish();

 private:
  void draw(bool last);

  std::string label_;
  int64_t total_, done_, skipped_;
  Unit unit_;
  bool terminal_, drawn_ = false, finished_ = false;
  std::chrono::steady_clock::time_point start_, last_draw_;
};

/// "512 B", "1.5 kB", "92.9 MB", "4.37 GB": decimal units, three digits.
std::string format_bytes(int64_t bytes);
/// "8 s", "1 min 05 s", "2 h 03 min".
std::string format_duration(double seconds);
/// One line of at most `columns` characters: label, bar, share, amounts, rate, time left.
std::string format_progress(const std::string& label, int64_t done, int64_t total, Progress::Unit unit, double rate,
                            int columns);

}  // namespace sgl
