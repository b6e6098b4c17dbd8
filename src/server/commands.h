#pragma once
// Routes by which an operator acts on what runs: the cache, aborts.

#include <memory>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// Empties the prefix cache; ?timeout=s waits for an idle moment first.
void handle_flush_cache(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
void handle_abort_request(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);
/// The Python client posts this after it has concatenated the text itself; it only must not fail.
void handle_concatenate(Service& service, const HttpRequest& request, const std::shared_ptr<Responder>& responder);

}  // namespace sgl
