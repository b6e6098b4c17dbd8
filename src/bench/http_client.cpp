#include "bench/http_client.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl::bench {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Url parse_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("the server's URL must be http://HOST:PORT, got '{}'; https is not supported", url));
  }
  std::string_view rest = std::string_view(url).substr(kScheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  Url out{.host = std::string(rest.substr(0, slash)), .port = "80", .path = std::string(rest.substr(slash))};
  while (out.path.ends_with('/')) out.path.pop_back();
  const size_t colon = out.host.rfind(':');
  if (colon != std::string::npos && out.host.find(']', colon) == std::string::npos) {
    out.port = out.host.substr(colon + 1);
    out.host.resize(colon);
  }
  if (out.host.starts_with('[') && out.host.ends_with(']')) out.host = out.host.substr(1, out.host.size() - 2);
  if (out.host.empty() || out.port.empty()) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("the server's URL must be http://HOST:PORT, got '{}'", url));
  }
  return out;
}

tcp::endpoint find_server(const Url& url) {
  asio::io_context io;
  error_code error;
  for (const auto& entry : tcp::resolver(io).resolve(url.host, url.port, error)) {
    tcp::socket socket(io);
    socket.connect(entry.endpoint(), error);
    if (!error) return entry.endpoint();
  }
  throw Error(ErrorKind::Unavailable, fmt::format("cannot connect to {} port {}: {}; is the server running?", url.host,
                                                  url.port, error.message()));
}

HttpConnection::HttpConnection(asio::io_context& io, tcp::endpoint server, std::chrono::steady_clock::duration timeout)
    : socket_(io), timer_(io), server_(std::move(server)), timeout_(timeout), buffer_(65536) {}

void HttpConnection::send(std::string request, OnBody on_body, OnDone on_done) {
  request_ = std::move(request);
  on_body_ = std::move(on_body);
  on_done_ = std::move(on_done);
  timed_out_ = false;
  timer_.expires_after(timeout_);
  timer_.async_wait([this](error_code error) {
    if (error) return;
    timed_out_ = true;
    error_code ignored;
    socket_.close(ignored);
  });
  if (socket_.is_open()) {
    reused_ = true;
    write();
  } else {
    connect();
  }
}

void HttpConnection::connect() {
  reused_ = false;
  error_code ignored;
  socket_.close(ignored);
  socket_.async_connect(server_, [this](error_code error) {
    if (error) return finish("cannot connect: " + error.message());
    error_code no_matter;
    socket_.set_option(tcp::no_delay(true), no_matter);
    write();
  });
}

void HttpConnection::write() {
  reply_ = HttpReply();
  body_.clear();
  asio::async_write(socket_, asio::buffer(request_), [this](error_code error, size_t /*bytes*/) {
    if (error) return broken(error.message());
    read();
  });
}

void HttpConnection::read() {
  socket_.async_read_some(asio::buffer(buffer_), [this](error_code error, size_t bytes) {
    if (error && error != asio::error::eof) return broken(error.message());
    try {
      if (error) {
        reply_.close();
        error_code ignored;
        socket_.close(ignored);
        finish("");
      } else {
        received(bytes);
      }
    } catch (const Error& e) {
      broken(e.what());
    }
  });
}

void HttpConnection::received(size_t bytes) {
  reply_.feed({buffer_.data(), bytes}, body_);
  if (!body_.empty()) on_body_(reply_, body_);
  if (!reply_.done()) return read();
  if (!reply_.keeps_alive()) {
    error_code ignored;
    socket_.close(ignored);
  }
  finish("");
}

void HttpConnection::broken(const std::string& error) {
  if (reused_ && reply_.status() == 0 && !timed_out_) return connect();
  error_code ignored;
  socket_.close(ignored);
  finish(timed_out_ ? "the answer took longer than the timeout" : error);
}

void HttpConnection::finish(const std::string& error) {
  timer_.cancel();
  // The handler may send the next request from inside, and so replace itself.
  const OnDone on_done = std::move(on_done_);
  on_done(error);
}

}  // namespace sgl::bench
