#pragma once
// Routes that tell what the server is and does: the model, the flags, the load.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

void handle_root(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_models(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /v1/models/{id}; the id may hold slashes.
void handle_model(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_model_info(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_server_info(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /v1/loads: what runs, what waits, what the KV pool holds; ?format=json|prometheus, ?include=core,….
void handle_loads(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /openapi.json: what the routes take and give (src/server/openapi.json).
void handle_openapi(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// GET /metrics, with --enable-metrics.
void handle_metrics(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
