#pragma once
// An HTTP request as a route sees it, and the two ways to answer: one response, or a stream. No sockets here.

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sgl {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// Sets of methods, for tables of routes. GET brings HEAD with it.
enum Methods : unsigned { kGet = 1, kPost = 2, kPut = 4 };

/// What names a request in the logs, and in its answer's X-Request-Id.
struct RequestTag {
  std::string id;                     ///< the client's X-Request-Id, or a random one
  std::string trace_id, parent_span;  ///< of a W3C traceparent; empty without one
};

struct HttpRequest {
  std::string method;  ///< "GET", …
  std::string path;    ///< percent-decoded, without the query
  std::string query;   ///< as it came, without the '?'
  HttpHeaders headers;
  std::string body;
  bool http11 = true;
  bool keep_alive = true;
  RequestTag tag;                    ///< set by the routes
  std::shared_ptr<const void> room;  ///< its body's share of what all bodies may take
  std::chrono::steady_clock::time_point arrived = std::chrono::steady_clock::now();

  /// The first header of that name, case ignored; empty if there is none.
  std::string_view header(std::string_view name) const;
  /// A percent-decoded parameter of the query.
  std::optional<std::string> query_parameter(std::string_view name) const;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

/// Decodes %XX; nullopt when a '%' is not followed by two hex digits.
std::optional<std::string> percent_decode(std::string_view text);

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;  ///< further ones
  bool close = false;   ///< end the connection after it
};

/// 200 with a body of JSON.
inline HttpResponse json_response(std::string body) {
  return {.status = 200, .content_type = "application/json", .body = std::move(body), .headers = {}};
}

inline HttpResponse text_response(int status, std::string text) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(text), .headers = {}};
}

/// A status that says all.
inline HttpResponse empty_response(int status) {
  return {.status = status, .content_type = {}, .body = {}, .headers = {}};
}

/// "Not Found" for 404, …
std::string_view reason_phrase(int status);

/// Told what happens to a client while its answer is made. Called on the I/O thread: must not block or throw.
class ClientWatcher {
 public:
  virtual ~ClientWatcher() = default;
  /// The client has gone, or was dropped: nothing more can be sent. At most once.
  virtual void on_gone() = 0;
  /// All that was written so far has been sent.
  virtual void on_sent() = 0;
};

/// Where the answer to one request goes. Exactly one of respond(), or stream() until `last`, ends the request; an
/// object that goes away before that drops the connection. Once the client has gone, all calls do nothing.
/// Thread: every function may be called from any thread, one at a time.
class Responder {
 public:
  virtual ~Responder() = default;
  /// Adds a header to the answer. Before it begins; the value must hold no line break.
  virtual void add_header(std::string name, std::string value) = 0;
  virtual void respond(HttpResponse response) = 0;
  /// Appends to a text/event-stream answer; the first call sends the header.
  virtual void stream(std::string data, bool last) = 0;
  /// Bytes of the stream that the client has not taken yet.
  virtual size_t unsent() const = 0;
  /// Ends the connection at once.
  virtual void drop() = 0;
  /// From now on `watcher` is told; at once if the client has gone already.
  virtual void watch(std::weak_ptr<ClientWatcher> watcher) = 0;
};

}  // namespace sgl
