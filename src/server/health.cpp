// Whether the server lives, and whether it is ready.

#include "server/health.h"

#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include "server/service.h"

namespace sgl {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kHealthTimeout{20};
constexpr milliseconds kHealthPoll{50};

class HealthProbe : public std::enable_shared_from_this<HealthProbe> {
 public:
  HealthProbe(Service& service, std::shared_ptr<Responder> responder)
      : workers_(service.workers()),
        engine_(service.engine()),
        responder_(std::move(responder)),
        rid_("HEALTH_CHECK_" + random_hex(16)),
        give_up_at_(Clock::now() + kHealthTimeout) {}

  void start() {
    const auto engine = engine_.lock();
    const EngineStats stats = engine->stats();
    steps_before_ = stats.steps;
    // Where others run or wait, their steps show whether the engine lives; a probe need not stand in their queue.
    if (stats.running > 0 || stats.waiting > 0) return poll();
    Request request;
    request.rid = rid_;
    request.prompt = std::vector<int32_t>{0};
    request.sampling.max_new_tokens = 1;
    request.sampling.temperature = 0;
    if (!engine->info().is_generation) request.embedding.emplace();
    try {
      engine->submit(std::move(request), [self = shared_from_this()](Output&& piece) {
        const FinishReason& f = piece.finish;
        // Whoever ended it by a command was answered by an engine that lives.
        self->settle(f.type == FinishReason::Type::Abort && f.status >= 500 ? 503 : 200);
      });
      submitted_ = true;
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::ResourceExhausted) return settle(503);
    }
    poll();
  }

 private:
  void poll() {
    if (settled_) return;
    const auto engine = engine_.lock();
    const EngineStats stats = engine != nullptr ? engine->stats() : EngineStats();
    const bool alive = stats.paused || stats.steps > steps_before_;
    if (alive || engine == nullptr || Clock::now() > give_up_at_) {
      settle(alive ? 200 : 503);
      if (engine != nullptr && submitted_) engine->abort(rid_);
      return;
    }
    workers_->post_after(kHealthPoll, [self = shared_from_this()] { self->poll(); });
  }

  void settle(int status) {
    if (!settled_.exchange(true)) responder_->respond(empty_response(status));
  }

  const std::shared_ptr<WorkerPool> workers_;
  const std::weak_ptr<EngineApi> engine_;  ///< weak: the engine's callback holds this
  const std::shared_ptr<Responder> responder_;
  const std::string rid_;
  const Clock::time_point give_up_at_;
  int64_t steps_before_ = 0;
  bool submitted_ = false;
  std::atomic<bool> settled_{false};
};

}  // namespace

void handle_health(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.engine();
  if (service.state() != Service::State::Up || engine == nullptr) return responder->respond(empty_response(503));
  // A pause is wanted: there are no steps to prove life by, and nobody must be restarted for it.
  if (engine->stats().paused) return responder->respond(empty_response(200));
  std::make_shared<HealthProbe>(service, responder)->start();
}

void handle_live(Service& /*service*/, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  responder->respond(empty_response(200));
}

void handle_ready(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.engine();
  const bool up = service.state() == Service::State::Up && engine != nullptr && !engine->stats().paused;
  responder->respond(empty_response(up ? 200 : 503));
}

}  // namespace sgl
