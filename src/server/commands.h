#pragma once
// Routes by which an operator acts on what runs: the cache, aborts, pauses, logs. And clients on their sessions.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// Empties the prefix cache; ?timeout=s waits for an idle moment first.
void handle_flush_cache(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_abort_request(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// {"mode": "abort"|"retract"|"in_place"}: as PauseMode says. Requests that come meanwhile wait.
void handle_pause(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_continue(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// {"log_requests": bool, "log_requests_level": 0…3}: as the flags of these names.
void handle_configure_logging(Service& service, const HttpRequest& request,
                              const std::shared_ptr<Responder>& responder);
/// {"capacity_of_str_len": n, "session_id": id}, both optional: the id of a new session, a JSON string. Sessions take
/// what memory they need, so that the capacity is of no effect.
void handle_open_session(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// {"session_id": id}
void handle_close_session(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// The Python client posts this after it has concatenated the text itself; it only must not fail.
void handle_concatenate(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
