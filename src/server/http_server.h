#pragma once
// Sockets and HTTP/1.1, and nothing of what is served: every request goes to one handler.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "server/http.h"

namespace sgl {

/// Encryption. Both files are PEM; without them the server speaks plain HTTP.
struct TlsOptions {
  std::string certificate_file{};  ///< the server's certificate, then those that signed it
  std::string key_file{};
  std::string key_password{};  ///< of an encrypted key

  bool on() const { return !certificate_file.empty() || !key_file.empty(); }
};

/// Where to listen, and what a client may take. All sizes are bytes of one connection.
struct HttpOptions {
  std::string host = "127.0.0.1";  ///< a name or address; "0.0.0.0" or "::": all
  int port = 30000;                ///< 0: any free one
  TlsOptions tls;
  size_t max_connections =
      16384;  ///< beyond: the one that is idle longest is closed, else the one longest at its request
  size_t max_url_bytes = size_t{8} << 10;            ///< beyond: 414
  size_t max_header_bytes = size_t{64} << 10;        ///< beyond: 431
  size_t max_body_bytes = size_t{64} << 20;          ///< beyond: 413
  size_t max_bodies_bytes = size_t{1} << 30;         ///< of all requests until they are parsed; beyond: 503
  size_t max_unsent_bytes = size_t{1} << 20;         ///< of a stream whose client does not read; beyond: dropped
  std::chrono::milliseconds idle_timeout{300'000};   ///< between requests
  std::chrono::milliseconds header_timeout{30'000};  ///< from the first byte of a request to the end of its header
  std::chrono::milliseconds body_timeout{60'000};    ///< for the body, and a second more for each 16 KiB that came
  std::chrono::milliseconds write_timeout{60'000};   ///< without any progress
  std::chrono::milliseconds linger_timeout{2'000};   ///< for a refused client to take its answer
};

/// Listens as soon as it is made. One thread does all I/O; an idle connection costs a socket and about a kilobyte.
/// Requests of one connection are handled one after the other, also when they come pipelined. While one is handled the
/// client is watched: end of stream counts as gone, as HTTP clients do not half-close.
class HttpServer {
 public:
  /// Called on the I/O thread for each request: must not block or throw.
  using Handler = std::function<void(HttpRequest&&, std::shared_ptr<Responder>)>;
  /// Asked on the I/O thread when a request's header is there and its body is not: whether the body is to be read. If
  /// not, the request goes to the handler without one, and the connection ends with the answer. Must not block or
  /// throw.
  using WantsBody = std::function<bool(const HttpRequest& head)>;
  /// Called on the I/O thread for input that is refused before it is a request: bad bytes, what is too long or too
  /// slow. `head` is what has come of its header; `response` may be given headers. Must not block or throw.
  using OnRefused = std::function<void(const HttpRequest& head, HttpResponse& response)>;

  /// Throws Error when it cannot listen: the address is taken, unknown or not allowed, or the certificate is not fit.
  HttpServer(const HttpOptions& options, Handler handler, WantsBody wants_body = nullptr,
             OnRefused on_refused = nullptr);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  /// Reads the files of the certificate again, for connections to come. Throws Error; then the former one stays.
  void reload_certificate();
  /// Open connections.
  size_t connections() const;

  /// Takes no more connections, closes idle ones, lets answers under way end for up to `grace`, then drops the rest and
  /// joins. The handler is not called any more when it returns; responders may be used, to no effect.
  void stop(std::chrono::milliseconds grace);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sgl
