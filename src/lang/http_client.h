#pragma once
// Calls of remote APIs: many at once on one thread (libcurl's multi interface), with retries, Retry-After, a limit of
// calls at once and of calls a second, server-sent events, and giving up.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "sgl/error.h"
#include "sgl/program_backend.h"

namespace sgl::lang {

struct HttpCall {
  std::string url = {};
  std::vector<std::string> headers = {};  ///< "Name: value"
  std::string body = {};                  ///< sent by POST; empty: a GET
  bool post = true;
  std::stop_token stop = {};
  /// For the data of each server-sent event of a 200 answer. Once there was one, the call is not retried.
  std::function<void(std::string_view data)> on_event = {};
};

/// How a call ended: an answer of any status, or the error that kept it from coming.
struct HttpAnswer {
  long status = 0;
  std::string body = {};  ///< of events: what is no event
};
using HttpSink = std::function<void(Outcome<HttpAnswer>&&)>;

/// Thread: any. Sinks are called on the client's own thread.
class HttpClient {
 public:
  /// Uses of the options: attempts, retry delays, timeout, max_connections, max_requests_per_second.
  explicit HttpClient(ApiOptions options);
  /// Ends what is under way with Cancelled.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void send(HttpCall call, HttpSink sink);
  /// Waits for the answer; throws the error. Not from a sink.
  HttpAnswer fetch(HttpCall call);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Pause before the attempt after `attempt` (1, 2, …): doubled each time, up to a quarter more at random so that
/// clients spread, never longer than the longest; at least what the server asks for.
std::chrono::milliseconds retry_pause(const ApiOptions& options, int attempt, std::optional<std::chrono::seconds> asked,
                                      double random);

}  // namespace sgl::lang
