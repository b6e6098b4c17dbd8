#pragma once
// What the routes work on: the options, the engine once it is loaded, the workers, and whether the server is up.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/log.h"
#include "server/access.h"
#include "server/chat_formats.h"
#include "server/engine_api.h"
#include "server/health.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/sessions.h"
#include "server/worker_pool.h"

namespace sgl {

/// Thread: every function may be called from any thread.
class Service {
 public:
  enum class State {
    Starting,  ///< the model loads or the warm-up request runs: health answers 503
    Up,
    Draining,  ///< shutting down: health answers 503, what runs goes on
  };

  /// Throws Error where the options name keys that cannot be read.
  explicit Service(const ServerOptions& options);
  /// Stops the workers, so that jobs may hold a plain reference to the service.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const ServerOptions& options() const { return options_; }
  State state() const { return state_; }
  void set_state(State state) { state_ = state; }

  KeyRing& keys() { return keys_; }
  const Cors& cors() const { return cors_; }
  log::Level log_level_http() const { return log_level_http_; }
  /// Null without --enable-metrics. Shared, as the engine's callbacks may outlive the service.
  const std::shared_ptr<metrics::Metrics>& metrics_or_null() const { return metrics_; }
  /// Shared, as requests may outlive the service.
  const std::shared_ptr<Sessions>& sessions() const { return sessions_; }
  /// The level of RequestLog, or -1: requests are not logged.
  int request_log_level() const { return request_log_level_; }
  void set_request_log_level(int level) { request_log_level_ = level; }

  /// Null until the model is loaded.
  std::shared_ptr<EngineApi> engine() const;
  /// The same, but throws Unavailable while there is none.
  std::shared_ptr<EngineApi> require_engine() const;
  /// Throws InvalidArgument where the options name parsers that there are not.
  void set_engine(std::shared_ptr<EngineApi> engine);
  /// Of the engine's model. Requires: there was an engine.
  ChatFormats chat_formats() const;

  /// Shared with what the engine may still hold when the service has gone; then its jobs are dropped.
  const std::shared_ptr<WorkerPool>& workers() const { return workers_; }
  HealthCheck& health() { return *health_; }
  int64_t started_at() const { return started_at_; }  ///< seconds since 1970

 private:
  const ServerOptions options_;
  const int64_t started_at_;
  KeyRing keys_;
  const Cors cors_;
  const log::Level log_level_http_;
  const std::shared_ptr<metrics::Metrics> metrics_;
  const std::shared_ptr<Sessions> sessions_ = std::make_shared<Sessions>();
  std::atomic<int> request_log_level_;
  std::atomic<State> state_{State::Starting};
  mutable std::mutex mutex_;
  std::shared_ptr<EngineApi> engine_;
  ChatFormats chat_formats_;
  const std::shared_ptr<WorkerPool> workers_;
  const std::shared_ptr<HealthCheck> health_;
};

int64_t unix_time();  ///< seconds since 1970

/// `digits` random hexadecimal digits: names that nobody guesses or repeats.
std::string random_hex(int digits);

}  // namespace sgl
