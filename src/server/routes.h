#pragma once
// The table of routes, and what happens to a request before its route sees it.

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// Answers one request: names it, checks the key, finds the route, and runs it on a worker; what needs no worker is
/// answered at once. An exception of a route becomes an error in the route's dialect. Never throws.
/// Requires: `service` outlives its workers' jobs.
void dispatch(Service& service, HttpRequest request, const std::shared_ptr<Responder>& responder);

/// Counts input that was refused with `status` before it was a request: it has no route and no method.
void count_refused(Service& service, int status);

/// The paths that are served, with their methods (kGet | …); those that go on have a '*' at their end.
std::vector<std::pair<std::string_view, unsigned>> served_routes();

/// Runs a request's route without a socket, a key or a trace in logs and metrics, and waits for its answer; of a
/// stream, all events together.
HttpResponse call_route(Service& service, HttpRequest request);

}  // namespace sgl
