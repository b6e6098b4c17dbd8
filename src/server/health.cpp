// Whether the server lives, and whether it is ready.

#include "server/health.h"

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
constexpr seconds kProofHolds{1};

}  // namespace

struct HealthCheck::Probe {
  const std::weak_ptr<EngineApi> engine;  ///< weak: the engine's callback holds this
  const std::string rid = "HEALTH_CHECK_" + random_hex(16);
  const Clock::time_point give_up_at = Clock::now() + kHealthTimeout;
  int64_t steps_before = 0;
  bool submitted = false;
};

void HealthCheck::ask(const std::shared_ptr<EngineApi>& engine, std::shared_ptr<Responder> responder) {
  std::unique_lock lock(mutex_);
  if (proven_at_ && Clock::now() - *proven_at_ < kProofHolds) {
    lock.unlock();
    return responder->respond(empty_response(200));
  }
  waiting_.push_back(std::move(responder));
  if (probe_ != nullptr) return;
  probe_ = std::make_shared<Probe>(Probe{.engine = engine});
  workers_->post(WorkerPool::Lane::Output, [self = shared_from_this(), probe = probe_] { self->start(probe); });
}

void HealthCheck::start(const std::shared_ptr<Probe>& probe) {
  const auto engine = probe->engine.lock();
  if (engine == nullptr) return settle(probe, false);
  const EngineStats stats = engine->stats();
  probe->steps_before = stats.steps;
  // Where others run or wait, their steps show whether the engine lives; a probe need not stand in their queue.
  if (stats.running > 0 || stats.waiting > 0) return poll(probe);
  Request request;
  request.rid = probe->rid;
  request.prompt = std::vector<int32_t>{0};
  request.sampling.max_new_tokens = 1;
  request.sampling.temperature = 0;
  if (!engine->info().is_generation) request.embedding.emplace();
  try {
    probe->submitted = true;
    engine->submit(std::move(request), [self = shared_from_this(), probe](Output&& piece) {
      const FinishReason& f = piece.finish;
      // Whoever ended it by a command was answered by an engine that lives.
      self->settle(probe, f.type != FinishReason::Type::Abort || f.status < 500);
    });
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::ResourceExhausted) return settle(probe, false);
  }
  poll(probe);
}

void HealthCheck::poll(const std::shared_ptr<Probe>& probe) {
  {
    std::lock_guard lock(mutex_);
    if (probe_ != probe) return;  // settled
  }
  const auto engine = probe->engine.lock();
  const EngineStats stats = engine != nullptr ? engine->stats() : EngineStats();
  const bool alive = stats.paused || stats.steps > probe->steps_before;
  if (alive || engine == nullptr || Clock::now() > probe->give_up_at) {
    settle(probe, alive);
    if (engine != nullptr && probe->submitted) engine->abort(probe->rid);
    return;
  }
  workers_->post_after(kHealthPoll, [self = shared_from_this(), probe] { self->poll(probe); });
}

void HealthCheck::settle(const std::shared_ptr<Probe>& probe, bool alive) {
  std::vector<std::shared_ptr<Responder>> answered;
  {
    std::lock_guard lock(mutex_);
    if (probe_ != probe) return;
    probe_.reset();
    answered.swap(waiting_);
    proven_at_ = alive ? std::optional(Clock::now()) : std::nullopt;
  }
  for (const auto& responder : answered) responder->respond(empty_response(alive ? 200 : 503));
}

void handle_health(Service& service, const HttpRequest& /*request*/, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.engine();
  if (service.state() != Service::State::Up || engine == nullptr) return responder->respond(empty_response(503));
  const EngineStats stats = engine->stats();
  if (!stats.failure.empty()) return responder->respond(empty_response(503));
  // A pause is wanted: there are no steps to prove life by, and nobody must be restarted for it.
  if (stats.paused) return responder->respond(empty_response(200));
  service.health().ask(engine, responder);
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
