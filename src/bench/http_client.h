#pragma once
// A connection that sends one HTTP request after the other, without blocking.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "bench/http_reply.h"
#include "server/asio.h"

namespace sgl::bench {

/// A server's address as a URL gives it: "http://127.0.0.1:30000", a path behind it allowed.
struct Url {
  std::string host, port, path;  ///< the path has no '/' at its end
};
/// Throws InvalidArgument on anything but http.
Url parse_url(const std::string& url);

/// The first of the host's addresses that takes a connection. Blocks. Throws Unavailable when none does.
boost::asio::ip::tcp::endpoint find_server(const Url& url);

/// Thread: the one that runs `io`. The object must outlive its request.
class HttpConnection {
 public:
  /// Bytes of the body that have come; it may take them out.
  using OnBody = std::function<void(const HttpReply& reply, std::string& body)>;
  /// The end: `error` is empty if the whole response came.
  using OnDone = std::function<void(const std::string& error)>;

  HttpConnection(boost::asio::io_context& io, boost::asio::ip::tcp::endpoint server,
                 std::chrono::steady_clock::duration timeout);

  /// Sends `request`, header and body, over the open connection if there is one. Requires: none is under way.
  void send(std::string request, OnBody on_body, OnDone on_done);

 private:
  void connect();
  void write();
  void read();
  void received(size_t bytes);
  void broken(const std::string& error);
  void finish(const std::string& error);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  const boost::asio::ip::tcp::endpoint server_;
  const std::chrono::steady_clock::duration timeout_;
  bool reused_ = false;  ///< the connection has served a request before: the server may have closed it since
  bool timed_out_ = false;
  std::string request_, body_;
  HttpReply reply_;
  OnBody on_body_;
  OnDone on_done_;
  std::vector<char> buffer_;
};

}  // namespace sgl::bench
