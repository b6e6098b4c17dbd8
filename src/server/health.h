#pragma once
// Routes that a supervisor asks: is it alive, is it ready?

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "server/engine_api.h"
#include "server/http.h"
#include "server/worker_pool.h"

namespace sgl {

class Service;

/// Whether the engine works: it answers a request of one token, or is seen to make steps for others. However many ask,
/// there is one probe at a time, whose outcome answers all of them; and what it proves holds for a second, so that
/// whoever asks often costs no steps. Thread: any.
class HealthCheck : public std::enable_shared_from_this<HealthCheck> {
 public:
  explicit HealthCheck(std::shared_ptr<WorkerPool> workers) : workers_(std::move(workers)) {}

  /// Answers 200, or 503 when the engine does nothing for 20 s. Does not block.
  void ask(const std::shared_ptr<EngineApi>& engine, std::shared_ptr<Responder> responder);

 private:
  struct Probe;

  void start(const std::shared_ptr<Probe>& probe);
  void poll(const std::shared_ptr<Probe>& probe);
  void settle(const std::shared_ptr<Probe>& probe, bool alive);

  const std::shared_ptr<WorkerPool> workers_;
  std::mutex mutex_;              ///< guards what follows
  std::shared_ptr<Probe> probe_;  ///< under way; null: none is
  std::vector<std::shared_ptr<Responder>> waiting_;
  std::optional<std::chrono::steady_clock::time_point> proven_at_;
};

/// 200 once the engine proves that it works (HealthCheck), and while generation is paused; else 503, also while
/// starting or shutting down.
void handle_health(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 as long as HTTP is answered, also while the model loads or requests drain. For a liveness check: a server
/// that starts slowly must not be killed for it.
void handle_live(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 if requests are served at once: the model is loaded, nothing drains, generation is not paused. For a
/// readiness check.
void handle_ready(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
