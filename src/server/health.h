#pragma once
// Routes that a supervisor asks: is it alive, is it ready?

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// 200 once the engine proves that it works: it answers a request of one token, or is seen to make steps for others.
/// 200 also while generation is paused. 503 while starting or shutting down, or when none of it happens for 20 s.
void handle_health(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 as long as HTTP is answered, also while the model loads or requests drain. For a liveness check: a server
/// that starts slowly must not be killed for it.
void handle_live(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// Cheap: 200 if requests are served at once: the model is loaded, nothing drains, generation is not paused. For a
/// readiness check.
void handle_ready(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
