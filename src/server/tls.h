#pragma once
// TLS over a non-blocking socket, by OpenSSL. The owner of the socket waits for what a session wants.

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "server/http_server.h"

struct ssl_ctx_st;
struct ssl_st;

namespace sgl {

/// One encrypted connection. Thread: one at a time.
class TlsSession {
 public:
  enum class State {
    Open,
    Blocked,  ///< nothing was done: try again when the socket is ready (wants_write() says for what)
    Ended,    ///< the peer has said that nothing more comes
    Failed,   ///< the peer has gone, or does not speak TLS
  };
  struct Result {
    State state = State::Open;
    size_t bytes = 0;  ///< only while Open
    bool blocked() const { return state == State::Blocked; }
  };

  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Reads at most one record; the handshake happens here too. Requires: `to` holds a whole record (16 KiB), so that
  /// nothing is left that the socket's readiness would not tell of.
  Result read(std::span<char> to);
  /// Writes a part of `data`. After Blocked, the same data must come again.
  Result write(std::string_view data);
  /// After Blocked: whether it waits to write, and not to read.
  bool wants_write() const { return wants_write_; }
  /// Tells the peer that nothing more comes, if it can be told at once.
  void shut_down();

 private:
  friend class TlsContext;
  explicit TlsSession(ssl_st* ssl) : ssl_(ssl) {}
  Result result_of(int returned);

  ssl_st* ssl_;
  bool wants_write_ = false;
  bool broken_ = false;
};

/// A certificate and its key. Thread: accept() from one at a time; sessions may outlive it.
class TlsContext {
 public:
  /// Throws Error naming the file that is missing or not fit.
  explicit TlsContext(const TlsOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  /// The server's side of a connection over `socket`, which stays the caller's. Null when there is no memory for it.
  std::unique_ptr<TlsSession> accept(int socket);

 private:
  ssl_ctx_st* context_;
};

}  // namespace sgl
