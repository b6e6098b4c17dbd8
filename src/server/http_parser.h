#pragma once
// Reads one HTTP/1.x request from bytes that come in pieces. The only file pair that knows Boost.Beast.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/http.h"

namespace sgl {

/// Accepts whatever bytes a network can bring: a breach of HTTP or of a limit ends in Failed, never in more.
/// Bodies come with Content-Length or chunked.
class HttpParser {
 public:
  enum class State {
    Header,  ///< the header is not complete
    Body,    ///< the header is complete, the body is not
    Done,    ///< request() has it all
    Failed,  ///< error_status() and error_message() say why; feed no more
  };

  /// Limits in bytes. Beyond: Failed with 431, 413 and 414. A name or value of a field has 65,533 bytes at most.
  HttpParser(size_t max_header_bytes, size_t max_body_bytes, size_t max_url_bytes = size_t{8} << 10);
  ~HttpParser();

  /// Consumes a part of `data` and returns how much: what is left must be fed again with more behind it, or, once Done,
  /// belongs to the next request.
  size_t feed(std::string_view data);

  State state() const { return state_; }
  /// Whether the client waits for "100 Continue" before it sends the body. Requires: state Body.
  bool expects_continue() const;
  /// The request as far as its header has come; from state Body on all of it but the body.
  HttpRequest head() const;
  /// Of the body, as far as it has come.
  size_t body_bytes() const;
  /// Requires: state Done. Leaves the parser empty.
  HttpRequest take();
  int error_status() const { return error_status_; }
  const std::string& error_message() const { return error_message_; }

 private:
  void fail(int status, std::string message);
  void check_header();

  struct Impl;
  std::unique_ptr<Impl> impl_;
  State state_ = State::Header;
  int error_status_ = 0;
  std::string error_message_;
};

}  // namespace sgl
