#pragma once
// The table of routes, and what happens to a request before its route sees it.

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http.h"
#include "server/service.h"

namespace sgl {

/// Answers one request: names it, finds its route, checks the key, and runs the route on a worker; what needs no worker
/// is answered at once. An exception of a route becomes an error in the route's dialect. Never throws. Requires:
/// `service` outlives its workers' jobs.
void dispatch(Service& service, HttpRequest request, const std::shared_ptr<Responder>& responder);

/// Whether dispatch() would look at the body of a request with this header. Where it would not, for want of a key, a
/// route or what the route takes, nobody has to send and hold that body.
bool wants_body(Service& service, const HttpRequest& head);

/// Dresses the refusal of input that is no request as dispatch() dresses answers, and counts it: it has no route and no
/// method. `head`: what came of its header.
void dress_refusal(Service& service, const HttpRequest& head, HttpResponse& response);

/// The paths that are served, with their methods (kGet | …); those that go on have a '*' at their end.
std::vector<std::pair<std::string_view, unsigned>> served_routes();

/// Runs a request's route without a socket, a key or a trace in logs and metrics, and waits for its answer; of a
/// stream, all events together.
HttpResponse call_route(Service& service, HttpRequest request);

}  // namespace sgl
