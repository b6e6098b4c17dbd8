#pragma once
// One answer, read as it is made.

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/engine_api.h"

namespace sgl::cli {

/// Submits a request of one sample and gives out its text piece by piece. Aborts it if it goes before the end.
/// Thread: one.
class Answer {
 public:
  /// Throws what Engine::submit throws.
  Answer(EngineApi& engine, Request request);
  ~Answer();
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  /// The text that came since the last call, waiting for some; nullopt at the end.
  std::optional<std::string> next();
  /// As next(), but returns an empty text when none came in that time.
  std::optional<std::string> next(std::chrono::milliseconds at_most);
  /// Ends it soon; next() goes on until the end has come.
  void stop();

  /// After the end: throws if the engine broke the answer off, other than by stop().
  void check() const;
  const FinishReason& finish() const { return finish_; }

 private:
  struct Inbox {
    std::mutex mutex;
    std::condition_variable arrived;
    std::string text;
    std::optional<FinishReason> finish;
  };

  EngineApi& engine_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();  ///< shared with the engine's callback
  std::string rid_;
  FinishReason finish_;  ///< Running until next() has returned nullopt
  bool stopped_ = false;
};

}  // namespace sgl::cli
