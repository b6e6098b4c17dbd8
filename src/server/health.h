#pragma once
// Routes that a supervisor asks: is it alive, is it ready?

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// 200 once the engine proves that it works: it answers a request of one token, or is seen to make steps for others.
/// 503 while starting or shutting down, or when neither happens for 20 s.
void handle_health(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 if the server is up.
void handle_ready(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
