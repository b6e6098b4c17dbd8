#include "server/service.h"

#include <chrono>
#include <random>
#include <utility>

#include "sgl/error.h"

namespace sgl {

Service::Service(const ServerOptions& options)
    : options_(options),
      started_at_(unix_time()),
      keys_(options.keys),
      cors_(options.cors_allow_origins),
      log_level_http_(log::parse_level(options.log_level_http)),
      metrics_(options.enable_metrics ? std::make_shared<metrics::Metrics>() : nullptr),
      request_log_level_(options.log_requests ? options.log_requests_level : -1),
      workers_(std::make_shared<WorkerPool>(options.workers)),
      health_(std::make_shared<HealthCheck>(workers_)) {}

Service::~Service() { workers_->stop(); }

std::shared_ptr<EngineApi> Service::engine() const {
  std::lock_guard lock(mutex_);
  return engine_;
}

std::shared_ptr<EngineApi> Service::require_engine() const {
  auto engine = this->engine();
  if (engine == nullptr) throw Error(ErrorKind::Unavailable, "the model is still being loaded; try again soon");
  return engine;
}

void Service::set_engine(std::shared_ptr<EngineApi> engine) {
  ChatFormats formats = engine != nullptr ? choose_chat_formats(options_, *engine) : chat_formats();
  {
    std::lock_guard lock(mutex_);
    chat_formats_ = std::move(formats);
    engine_.swap(engine);
  }
  // The former engine, if it was the last reference, ends here, without the lock.
}

ChatFormats Service::chat_formats() const {
  std::lock_guard lock(mutex_);
  return chat_formats_;
}

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string random_hex(int digits) {
  thread_local std::mt19937_64 rng = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  std::string out;
  uint64_t bits = 0;
  for (int i = 0; i < digits; ++i) {
    if (i % 16 == 0) bits = rng();
    out += "0123456789abcdef"[bits & 15];
    bits >>= 4;
  }
  return out;
}

}  // namespace sgl
