// Start, run and stop of the server, in the order that operators and scripts rely on.

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "base/open_files.h"
#include "base/thread_name.h"
#include "server/asio.h"
#include "server/http_server.h"
#include "server/json_writer.h"
#include "server/routes.h"
#include "server/sampling_fields.h"
#include "server/server.h"
#include "server/service.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;

// Once the engine has ended all requests, only bytes are left to be sent.
constexpr std::chrono::milliseconds kFlushAnswers{5000};
constexpr std::chrono::milliseconds kLook{250};  // how soon a failed engine is noticed
// A step of the model may take so long, at the end of which aborted requests end.
constexpr double kEndAborted = 30;

/// Turns SIGTERM and SIGINT into a flag to wait for. Before serving() and from the second signal on they end the
/// process at once: nothing is lost then that anybody waits for, or an operator insists. SIGHUP calls `on_hangup`.
class Signals {
 public:
  explicit Signals(std::function<void()> on_hangup)
      : on_hangup_(std::move(on_hangup)), signals_(io_, SIGTERM, SIGINT, SIGHUP) {
    wait_for_next();
    thread_ = std::thread([this] {
      name_thread("sgl-signals");
      io_.run();
    });
  }
  ~Signals() {
    io_.stop();
    thread_.join();
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void serving() {
    std::lock_guard lock(mutex_);
    serving_ = true;
  }
  /// Until a signal comes; or until `failed`, which is asked every now and then, says so: then returns false.
  bool wait(const std::function<bool()>& failed) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kLook, [this] { return raised_; })) {
      if (failed()) return false;
    }
    return true;
  }

 private:
  void wait_for_next() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal == SIGHUP) {
        on_hangup_();
      } else {
        on_end(signal);
      }
      wait_for_next();
    });
  }

  void on_end(int signal) {
    std::lock_guard lock(mutex_);
    const char* name = signal == SIGTERM ? "SIGTERM" : "SIGINT";
    if (!serving_) {
      log::info("{} while starting: exit", name);
      std::_Exit(0);
    }
    if (raised_) {
      log::warn("{} again: exit without waiting for what still runs", name);
      std::_Exit(128 + signal);
    }
    log::info("{}: no more requests are taken; those that run are finished. Send it again to exit at once.", name);
    raised_ = true;
    wake_.notify_all();
  }

  const std::function<void()> on_hangup_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool serving_ = false, raised_ = false;
  std::thread thread_;
};

// One short request through the normal path, so that the first client does not meet what only a first request does.
void warm_up(Service& service) {
  const auto engine = service.require_engine();
  HttpRequest request;
  request.method = "POST";
  request.tag.id = "warm-up";
  const bool generates = engine->info().is_generation;
  request.path = generates ? "/generate" : "/encode";
  JsonWriter w(request.body);
  w.begin_object();
  if (engine->tokenizer() != nullptr) {
    w.field("text", "The capital city of France is");
  } else {
    w.key("input_ids").begin_array().value(0).end_array();
  }
  if (generates) {
    w.key("sampling_params").begin_object().field("temperature", 0).field("max_new_tokens", 8).end_object();
  }
  w.end_object();
  const HttpResponse answer = call_route(service, std::move(request));
  if (answer.status != 200) {
    throw Error(ErrorKind::Internal,
                fmt::format("the warm-up request failed with status {}: {}", answer.status, answer.body));
  }
}

// A mistake in a file leaves things as they are: keys that are taken away by accident lock everybody out.
void reload(Service& service, HttpServer& http) {
  try {
    service.keys().reload();
    const auto [keys, admin_keys] = service.keys().counts();
    log::info("SIGHUP: {} keys, {} admin keys", keys, admin_keys);
  } catch (const std::exception& e) {
    log::error("SIGHUP: the keys stay as they were: {}", e.what());
  }
  try {
    http.reload_certificate();
  } catch (const std::exception& e) {
    log::error("SIGHUP: the certificate stays as it was: {}", e.what());
  }
}

// Every accepted request ends: by itself, or told that the server did not wait for it.
void drain(EngineApi& engine, double timeout_s) {
  if (engine.drain(timeout_s)) return;
  const EngineStats stats = engine.stats();
  log::warn("{} requests run and {} wait after --drain-timeout {} s: they are answered with 503", stats.running,
            stats.waiting, timeout_s);
  engine.abort_all("the server is shutting down", 503);
  engine.drain(kEndAborted);
}

// A connection is an open file, and the model and the logs need some.
void allow_connections(size_t connections) {
  constexpr int64_t kOthers = 64;
  const int64_t files = raise_open_files_limit();
  if (files >= static_cast<int64_t>(connections) + kOthers) return;
  log::warn(
      "at most {} files may be open, too few for --max-connections {}: further clients will wait. Raise the limit "
      "(ulimit -Hn, LimitNOFILE in systemd)",
      files, connections);
}

void warn_if_open(const ServerOptions& options, const std::pair<size_t, size_t>& keys) {
  const std::string& host = options.http.host;
  if (keys.first > 0 || host == "localhost" || host == "::1" || host.starts_with("127.")) return;
  log::warn("no --api-key is set: whoever reaches {} may use the model{}", host,
            keys.second > 0 ? "" : " and command the server");
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

int serve(const ServerOptions& options, const std::function<std::shared_ptr<EngineApi>()>& load,
          const std::function<void(int)>& on_listening) {
  const auto start = Clock::now();
  read_preferred_sampling(options.preferred_sampling_params);  // a mistake in it shows now, not in every request
  Service service(options);                                    // outlives the HTTP server, whose requests refer to it
  warn_if_open(options, service.keys().counts());
  allow_connections(options.http.max_connections);
  HttpServer http(
      options.http,
      [&service](HttpRequest&& request, const std::shared_ptr<Responder>& responder) {
        dispatch(service, std::move(request), responder);
      },
      [&service](const HttpRequest& head) { return wants_body(service, head); },
      [&service](const HttpRequest& head, HttpResponse& response) { dress_refusal(service, head, response); });
  Signals signal([&] { reload(service, http); });
  log::info("listening on {}://{}:{}", options.http.tls.on() ? "https" : "http", options.http.host, http.port());
  if (on_listening) on_listening(http.port());

  service.set_engine(load());
  const auto loaded = Clock::now();
  if (!options.skip_server_warmup) warm_up(service);
  signal.serving();
  service.set_state(Service::State::Up);
  log::info("ready {:.0f} ms after the start, {:.0f} ms after the model was loaded", 1000 * seconds_since(start),
            1000 * seconds_since(loaded));
  log::info("The server is fired up and ready to roll!");

  const bool asked = signal.wait([&] { return !service.engine()->stats().failure.empty(); });
  if (!asked)
    log::error("the engine has failed, and so have its requests: exit. {}", service.engine()->stats().failure);
  service.set_state(Service::State::Draining);
  drain(*service.engine(), options.drain_timeout_s);
  http.stop(kFlushAnswers);
  service.workers()->stop();  // before the engine goes: what words an answer uses its tokenizer
  service.set_engine(nullptr);
  if (!asked) return 1;
  log::info("all requests are finished; bye");
  return 0;
}

}  // namespace sgl
