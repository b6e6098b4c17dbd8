#pragma once
// Routes about the server itself: health, information, cache, abort.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

void handle_root(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// 200 once the engine proves that it works: it answers a request of one token, or is seen to make steps for others.
/// 503 while starting or shutting down, or when neither happens for 20 s.
void handle_health(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 if the server is up.
void handle_ready(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_models(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /v1/models/{id}; the id may hold slashes.
void handle_model(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_model_info(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_server_info(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /v1/loads: what runs, what waits, what the KV pool holds.
void handle_loads(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Empties the prefix cache; ?timeout=s waits for an idle moment first.
void handle_flush_cache(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_abort_request(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// The Python client posts this after it has concatenated the text itself; it only must not fail.
void handle_concatenate(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
