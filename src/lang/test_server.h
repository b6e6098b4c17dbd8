#pragma once
// For the tests of remote backends: an HTTP server on the loopback address that answers from a function.

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// GCC's thread sanitizer does not know fences and says so. Asio's are redundant where its queues have locks.
#if defined(__SANITIZE_THREAD__) && !defined(BOOST_ASIO_DISABLE_FENCED_BLOCK)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK
#endif

#include <boost/asio.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sgl {

struct TestCall {
  std::string method, path;
  std::map<std::string, std::string> headers;  ///< names in lower case
  nlohmann::json body;
};

struct TestReply {
  int status = 200;
  std::string body = {};
  std::vector<std::string> headers = {};  ///< "Name: value"
  std::chrono::milliseconds delay{0};     ///< before the answer
  bool hang_up = false;                   ///< closes without an answer
};

/// The events of a stream as a body.
inline TestReply events(const std::vector<std::string>& datas) {
  TestReply reply;
  for (const std::string& data : datas) reply.body += "data: " + data + "\n\n";
  reply.headers.emplace_back("Content-Type: text/event-stream");
  return reply;
}

/// A thread and a request per connection.
class TestServer {
 public:
  using Handler = std::function<TestReply(const TestCall&)>;

  explicit TestServer(Handler handler)
      : handler_(std::move(handler)), acceptor_(io_, {boost::asio::ip::address_v4::loopback(), 0}) {
    port_ = acceptor_.local_endpoint().port();
    thread_ = std::thread([this] { accept(); });
  }
  ~TestServer() {
    stopping_ = true;
    boost::system::error_code ignored;
    Socket(io_).connect({boost::asio::ip::address_v4::loopback(), port_}, ignored);  // wakes accept()
    thread_.join();
    for (std::thread& t : connections_) t.join();
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  std::vector<TestCall> calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  nlohmann::json body(size_t i) const { return calls().at(i).body; }
  int hung_up() const { return hung_up_; }  ///< clients that went before their answer

 private:
  using Socket = boost::asio::ip::tcp::socket;

  void accept() {
    while (true) {
      Socket socket(io_);
      boost::system::error_code error;
      acceptor_.accept(socket, error);
      if (stopping_ || error) return;
      connections_.emplace_back([this, s = std::move(socket)]() mutable { serve(std::move(s)); });
    }
  }

  void serve(Socket socket) {
    boost::system::error_code error;
    std::string data;
    const size_t head_size = boost::asio::read_until(socket, boost::asio::dynamic_buffer(data), "\r\n\r\n", error);
    if (error) return;
    TestCall call;
    std::istringstream in(data.substr(0, head_size));
    in >> call.method >> call.path;
    for (std::string line; std::getline(in, line);) {
      const size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      call.headers[name] = line.substr(colon + 2, line.size() - colon - 3);
    }
    std::string body = data.substr(head_size);
    const size_t length = call.headers.contains("content-length") ? std::stoul(call.headers["content-length"]) : 0;
    if (body.size() < length) {
      std::string rest(length - body.size(), '\0');
      boost::asio::read(socket, boost::asio::buffer(rest), error);
      body += rest;
    }
    call.body = nlohmann::json::parse(body, nullptr, false);
    {
      std::lock_guard lock(mutex_);
      calls_.push_back(call);
    }
    const TestReply reply = handler_(call);
    if (reply.hang_up) return;
    for (auto left = reply.delay; left.count() > 0; left -= std::chrono::milliseconds(5)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      socket.non_blocking(true);
      char byte = 0;
      socket.receive(boost::asio::buffer(&byte, 1), Socket::message_peek, error);
      if (error == boost::asio::error::eof || error == boost::asio::error::connection_reset) {
        ++hung_up_;
        return;
      }
    }
    socket.non_blocking(false);
    std::string out =
        fmt::format("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.size());
    for (const std::string& header : reply.headers) out += header + "\r\n";
    out += "\r\n" + reply.body;
    boost::asio::write(socket, boost::asio::buffer(out), error);
    socket.shutdown(Socket::shutdown_send, error);
    std::string rest;
    boost::asio::read(socket, boost::asio::dynamic_buffer(rest), error);
  }

  Handler handler_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  unsigned short port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> hung_up_{0};
  std::thread thread_;
  std::vector<std::thread> connections_;  // grown by thread_ only
  mutable std::mutex mutex_;
  std::vector<TestCall> calls_;
};

}  // namespace sgl
