#include "server/generation.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "server/json_reader.h"
#include "server/metrics.h"
#include "server/observed.h"
#include "server/request_log.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;

struct Piece {
  size_t request = 0;
  Output output;
  Clock::time_point at;  ///< when the first of what is merged here came
};

size_t size_in_bytes(const Output& o) {
  size_t positions = 0;
  for (const auto* list : {&o.logprobs, &o.prompt_logprobs}) {
    for (const PositionLogprobs& p : *list) positions += 1 + p.top.size() + p.asked.size();
  }
  return sizeof(Output) + o.text.size() + o.token_ids.size() * sizeof(int32_t) + positions * sizeof(TokenLogprob);
}

constexpr int kAbortedByClient = 499;

// The shorter of what the operator and the client allow; nullopt: no limit.
std::optional<std::chrono::milliseconds> time_limit(const ServerOptions& options, const HttpRequest& request) {
  double seconds = options.request_timeout_s;
  if (const std::string_view text = request.header("X-Request-Timeout"); !text.empty()) {
    double wanted = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
    if (error != std::errc() || end != text.data() + text.size() || !(wanted > 0 && wanted <= 1e6)) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("X-Request-Timeout must be seconds in (0, 1000000], got {}", quote(text)));
    }
    seconds = seconds > 0 ? std::min(seconds, wanted) : wanted;
  }
  if (seconds <= 0) return std::nullopt;
  return std::chrono::milliseconds(std::max<int64_t>(static_cast<int64_t>(seconds * 1000), 1));
}

class Generation final : public ClientWatcher, public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, const HttpRequest& http, const std::vector<Request>& requests, Call call,
             std::shared_ptr<Responder> responder)
      : workers_(service.workers()),
        engine_(service.require_engine()),
        responder_(std::move(responder)),
        max_unsent_(service.options().http.max_unsent_bytes),
        stream_(call.stream),
        merge_(call.merge_pieces || !call.stream || call.stream_interval > 1),
        interval_(call.stream_interval),
        abort_fails_(call.abort_fails),
        dialect_(call.dialect),
        tag_(http.tag),
        time_limit_(time_limit(service.options(), http)),
        metrics_(service.state() == Service::State::Up ? service.metrics_or_null() : nullptr),
        start_(http.arrived),
        reply_(std::move(call.reply)) {
    for (const Request& r : requests) {
      first_sample_.push_back(slots_.size());
      slots_.resize(slots_.size() + (r.embedding ? 1 : static_cast<size_t>(std::max(r.sampling.n, 1))));
      rids_.push_back(r.rid);
    }
    remaining_ = slots_.size();
    if (const int level = service.request_log_level(); level >= 0) {
      log_ = std::make_unique<RequestLog>(level, http, requests, slots_.size());
    }
  }

  // Sets the clock for the end of the time, if that is limited. It counts from the request's arrival.
  void limit_time() {
    if (!time_limit_) return;
    const auto gone = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start_);
    std::lock_guard lock(mutex_);
    time_over_job_ = workers_->post_after(std::max(*time_limit_ - gone, {}), [weak = weak_from_this()] {
      if (const auto generation = weak.lock()) generation->on_time_over();
    });
  }

  void start(std::vector<Request> requests) {
    if (ended()) return;  // the time was over before it began
    const auto engine = engine_.lock();
    if (engine == nullptr) throw Error(ErrorKind::Unavailable, "the server is shutting down");
    const auto self = shared_from_this();
    responder_->watch(weak_from_this());
    try {
      engine->submit(std::move(requests), [self](size_t i, Output&& piece) { self->on_piece(i, std::move(piece)); });
    } catch (...) {
      const bool answered = !end();
      abort_all();
      if (answered) return;
      throw;
    }
    // The client may have gone, or the time, in the middle of this, when there was nothing to abort yet.
    if (ended()) abort_all();
  }

  void on_gone() override {
    if (log_ != nullptr) log::write(log::Level::info, "a client left", fields_of(tag_));
    end();
    abort_all();
  }

  void on_sent() override {
    std::lock_guard lock(mutex_);
    if (!paused_) return;
    paused_ = false;
    schedule();
  }

 private:
  // What waits for the worker of one sample.
  struct Slot {
    size_t piece = kNone;  ///< index in pending_ of the piece to merge into
    int unsent_tokens = 0;
    bool sent_any = false;
    metrics::SampleMeter meter;
  };
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // The scheduler's thread.
  void on_piece(size_t request, Output&& piece) {
    const bool last = piece.finish.type != FinishReason::Type::Running;
    const Clock::time_point now = metrics_ != nullptr || log_ != nullptr ? Clock::now() : Clock::time_point();
    std::lock_guard lock(mutex_);
    Slot& slot = slots_[first_sample_[request] + static_cast<size_t>(piece.index)];
    if (metrics_ != nullptr) slot.meter.piece(*metrics_, piece, start_, now);
    if (ended_) return;
    slot.unsent_tokens += static_cast<int>(piece.token_ids.size());
    pending_bytes_ += size_in_bytes(piece);
    const bool failed = piece.finish.type == FinishReason::Type::Abort;
    if (merge_ && slot.piece != kNone) {
      merge(pending_[slot.piece].output, std::move(piece));
    } else {
      slot.piece = pending_.size();
      pending_.push_back({request, std::move(piece), now});
    }
    if (last) --remaining_;
    if (stream_) {
      const bool due = last || !slot.sent_any || slot.unsent_tokens >= interval_;
      if (due) {
        slot.sent_any = true;
        slot.unsent_tokens = 0;
        due_ = true;
      }
      if (paused_ && pending_bytes_ > max_unsent_) overflow_ = true;
      if (overflow_ || (due_ && !paused_)) schedule();
    } else if (remaining_ == 0 || failed) {
      schedule();
    }
  }

  void on_time_over() {
    std::lock_guard lock(mutex_);
    time_over_ = true;
    schedule();
  }

  // Requires: the lock.
  void schedule() {
    if (scheduled_ || ended_) return;
    scheduled_ = true;
    workers_->post(WorkerPool::Lane::Output, [self = shared_from_this()] { self->drain(); });
  }

  // A worker, one at a time.
  void drain() {
    while (true) {
      std::vector<Piece> pieces;
      bool last = false;
      {
        std::unique_lock lock(mutex_);
        scheduled_ = false;
        if (ended_) return;
        if (overflow_) {
          lock.unlock();
          return give_up();
        }
        if (time_over_) {
          lock.unlock();
          return fail(504, fmt::format("the request did not end within {} s", time_limit_->count() / 1000.0));
        }
        if (pending_.empty()) return;
        if (must_pause()) return;
        pieces.swap(pending_);
        for (Slot& slot : slots_) slot.piece = kNone;
        pending_bytes_ = 0;
        due_ = false;
        last = remaining_ == 0;
        scheduled_ = true;  // keeps others out
      }
      try {
        if (!answer(std::move(pieces), last)) return;
      } catch (const std::exception& e) {
        return fail(500, std::string("internal error: ") + e.what());
      }
      if (last) return;
      std::lock_guard lock(mutex_);
      if (!time_over_ && (stream_ ? !due_ : remaining_ > 0)) {
        scheduled_ = false;
        return;
      }
    }
  }

  // Whether the client has too much to read yet. on_sent() comes when it has read all, and may come at any time: hence
  // the second look.
  bool must_pause() {
    if (!begun_ || responder_->unsent() <= max_unsent_ / 4) return false;
    paused_ = true;
    if (responder_->unsent() > max_unsent_ / 4) return true;
    paused_ = false;
    return false;
  }

  // Words the pieces; false if the call has ended.
  bool answer(std::vector<Piece> pieces, bool last) {
    for (Piece& piece : pieces) {
      const FinishReason& finish = piece.output.finish;
      if (log_ != nullptr) {
        log_->piece(first_sample_[piece.request] + static_cast<size_t>(piece.output.index), piece.output, piece.at);
      }
      if (finish.type == FinishReason::Type::Abort && (abort_fails_ || finish.status != kAbortedByClient)) {
        const int status = finish.status >= 400 ? finish.status : 500;
        const std::string message = finish.message;
        fail(status, message);
        return false;
      }
      reply_->add(piece.request, std::move(piece.output));
    }
    if (stream_) {
      std::string events;
      reply_->take_events(events);
      if (last) {
        reply_->take_closing_events(events);
        events += "data: [DONE]\n\n";
        if (!end()) return false;
      }
      if (events.empty()) return true;
      begun_ = true;
      responder_->stream(std::move(events), last);
    } else if (last) {
      std::string body = reply_->body();
      if (!end()) return false;
      responder_->respond(json_response(std::move(body)));
    }
    return true;
  }

  void fail(int status, const std::string& message) {
    // A full queue and a shutdown are no news to whoever reads the logs; nor is a limit that was asked for.
    const bool bug = status == 500;
    const log::Level level = bug ? log::Level::err : log_ != nullptr ? log::Level::info : log::Level::debug;
    if (!end()) return;
    log::write(level, "a request failed", fields_of(tag_).add("status", int64_t{status}).add("why", message));
    abort_all();
    if (begun_) {
      responder_->stream(error_event(status, message) + "data: [DONE]\n\n", true);
    } else {
      responder_->respond(error_response(dialect_, status, message));
    }
  }

  // The client does not read.
  void give_up() {
    end();
    abort_all();
    responder_->drop();
  }

  // False: it was ended before, and the client answered.
  bool end() {
    std::lock_guard lock(mutex_);
    pending_.clear();
    if (time_over_job_) workers_->cancel(*time_over_job_);
    return !std::exchange(ended_, true);
  }
  bool ended() {
    std::lock_guard lock(mutex_);
    return ended_;
  }

  void abort_all() {
    const auto engine = engine_.lock();
    if (engine == nullptr) return;
    for (const std::string& rid : rids_) engine->abort(rid);
  }

  const std::shared_ptr<WorkerPool> workers_;
  const std::weak_ptr<EngineApi> engine_;  ///< weak: the engine's callbacks hold this
  const std::shared_ptr<Responder> responder_;
  const size_t max_unsent_;
  const bool stream_, merge_;
  const int interval_;
  const bool abort_fails_;
  const Dialect dialect_;
  const RequestTag tag_;
  const std::optional<std::chrono::milliseconds> time_limit_;
  const std::shared_ptr<metrics::Metrics> metrics_;  ///< null: nothing is counted
  const Clock::time_point start_;
  std::vector<std::string> rids_;
  std::vector<size_t> first_sample_;  ///< of each request, among all samples

  // The worker's.
  std::unique_ptr<Reply> reply_;
  std::unique_ptr<RequestLog> log_;  ///< null: nothing is logged; set once
  bool begun_ = false;

  std::mutex mutex_;  ///< guards what follows
  std::vector<Piece> pending_;
  size_t pending_bytes_ = 0;
  std::vector<Slot> slots_;  ///< of all samples
  size_t remaining_ = 0;     ///< samples that have not ended
  bool scheduled_ = false, due_ = false, paused_ = false, overflow_ = false, time_over_ = false;
  bool ended_ = false;
  std::optional<WorkerPool::Ticket> time_over_job_;
};

}  // namespace

void start_generation(Service& service, const HttpRequest& request, Call call,
                      const std::shared_ptr<Responder>& responder) {
  std::vector<Request> requests = std::move(call.requests);
  const auto engine = service.require_engine();
  const bool compiles =
      std::any_of(requests.begin(), requests.end(), [&](const Request& r) { return engine->must_compile(r.sampling); });
  const Dialect dialect = call.dialect;
  const auto generation = std::make_shared<Generation>(service, request, requests, std::move(call), responder);
  generation->limit_time();
  if (!compiles) return generation->start(std::move(requests));
  // Elsewhere, so that requests without a grammar, or with one that is known, pass.
  service.workers()->post(WorkerPool::Lane::Grammar,
                          [generation, dialect, responder, r = std::move(requests)]() mutable {
                            try {
                              generation->start(std::move(r));
                            } catch (const std::exception& e) {
                              responder->respond(error_response(dialect, e));
                            }
                          });
}

std::string engine_rid(const std::string& client_rid) {
  return client_rid.empty() ? random_hex(32) : client_rid + "/" + random_hex(16);
}

}  // namespace sgl
