#include "server/commands.h"

#include <charconv>
#include <chrono>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "server/error_body.h"
#include "server/json_reader.h"
#include "server/json_writer.h"
#include "server/observed.h"
#include "server/request_log.h"
#include "server/sampling_fields.h"

namespace sgl {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kFlushPoll{20}, kPausePoll{5};

// Tries now and then until the engine is idle. Engine::flush_cache can wait too, but would hold a worker meanwhile.
void try_flush(Service& service, Clock::time_point deadline, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.engine();
  if (engine == nullptr) return responder->respond(flat_error(503, "the server is shutting down"));
  if (engine->flush_cache(0)) {
    return responder->respond(text_response(200, "Cache flushed.\n"));
  }
  if (Clock::now() >= deadline) {
    return responder->respond(text_response(
        400, "Cache not flushed: requests are running or waiting. Try again, or pass ?timeout=SECONDS to wait.\n"));
  }
  service.workers()->post_after(kFlushPoll,
                                [&service, deadline, responder] { try_flush(service, deadline, responder); });
}

HttpResponse done(std::string_view message) {
  return json_response(fmt::format(R"({{"message":"{}","status":"ok"}})", message));
}

// Answers when the step that was under way has ended. Looks now and then: Engine::pause would hold a worker meanwhile,
// and a few of them all.
void await_pause(Service& service, const RequestTag& tag, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.engine();
  if (engine == nullptr) return responder->respond(flat_error(503, "the server is shutting down"));
  if (!engine->stats().pausing) {
    log::write(log::Level::info, "generation is paused", fields_of(tag));
    return responder->respond(done("Generation paused."));
  }
  service.workers()->post_after(kPausePoll, [&service, tag, responder] { await_pause(service, tag, responder); });
}

Json optional_body(const HttpRequest& request) {
  return request.body.empty() ? Json::object() : parse_json(request.body);
}

PauseMode pause_mode(const std::string& name) {
  if (name == "abort") return PauseMode::Abort;
  if (name == "retract") return PauseMode::Retract;
  if (name == "in_place") return PauseMode::InPlace;
  throw Error(ErrorKind::InvalidArgument, fmt::format("mode must be abort, retract or in_place, got {}", quote(name)));
}

}  // namespace

void handle_flush_cache(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  double timeout_s = 0;
  if (const auto text = request.query_parameter("timeout")) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), timeout_s);
    if (error != std::errc() || end != text->data() + text->size() || !(timeout_s >= 0 && timeout_s <= 86400)) {
      throw Error(ErrorKind::InvalidArgument,
                  fmt::format("timeout must be seconds in [0, 86400], got {}", quote(*text)));
    }
  }
  service.require_engine();
  try_flush(service, Clock::now() + milliseconds(static_cast<int64_t>(timeout_s * 1000)), responder);
}

void handle_abort_request(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const Json body = optional_body(request);
  const Fields f(body);
  const std::string rid = f.string("rid").value_or("");
  if (f.boolean("abort_all").value_or(false)) {
    engine->abort_all("the request was aborted", 499);
  } else if (!rid.empty()) {
    engine->abort(rid);
  }
  responder->respond(empty_response(200));
}

void handle_pause(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const auto engine = service.require_engine();
  const Json body = optional_body(request);
  const PauseMode mode = pause_mode(Fields(body).string("mode").value_or("abort"));
  engine->begin_pause(mode);
  await_pause(service, request.tag, responder);
}

void handle_continue(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  service.require_engine()->resume();
  log::write(log::Level::info, "generation goes on", fields_of(request.tag));
  responder->respond(done("Generation continued."));
}

void handle_configure_logging(Service& service, const HttpRequest& request,
                              const std::shared_ptr<Responder>& responder) {
  const Json body = optional_body(request);
  const Fields f(body);
  const int before = service.request_log_level();
  const int level =
      f.small_integer("log_requests_level").value_or(before >= 0 ? before : service.options().log_requests_level);
  if (level < RequestLog::kLeastLevel || level > RequestLog::kMostLevel) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("log_requests_level must be in [{}, {}], got {}",
                                                        RequestLog::kLeastLevel, RequestLog::kMostLevel, level));
  }
  service.set_request_log_level(f.boolean("log_requests").value_or(before >= 0) ? level : -1);
  responder->respond(empty_response(200));
}

void handle_open_session(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const Json body = optional_body(request);
  const Fields f(body);
  refuse_field(f, "streaming",
               "sessions of one stream are not supported; name the request to go on behind in each turn");
  read_token_count(f, {"capacity_of_str_len"});
  std::string id;
  append_json_string(id, service.sessions()->open(f.string("session_id").value_or("")));
  responder->respond(json_response(std::move(id)));
}

void handle_close_session(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
  const Json body = optional_body(request);
  const Fields f(body);
  f.require("session_id", "the id of an open session");
  service.sessions()->close(*f.string("session_id"));
  responder->respond(empty_response(200));
}

void handle_concatenate(Service& /*service*/, const HttpRequest& /*request*/,
                        const std::shared_ptr<Responder>& responder) {
  responder->respond(json_response("{}"));
}

}  // namespace sgl
