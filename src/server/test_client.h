#pragma once
// For tests: a blocking HTTP client that can also misbehave.

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "server/asio.h"

namespace sgl {

class TestClient {
 public:
  struct Answer {
    int status = 0;
    std::map<std::string, std::string> headers;
    std::string body;  ///< dechunked
  };

  explicit TestClient(int port) : socket_(io_) {
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"), static_cast<unsigned short>(port)});
    socket_.set_option(boost::asio::ip::tcp::no_delay(true));
  }

  /// What is in the kernel's hands counts as sent. Errors are ignored: the server may have closed.
  void send(std::string_view bytes) {
    boost::system::error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), ignored);
  }
  void send_request(const std::string& method, const std::string& target, const std::string& body = "",
                    const std::string& headers = "Content-Type: application/json\r\n") {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: test\r\n" + headers;
    if (!body.empty() || method == "POST") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    send(text + "\r\n" + body);
  }
  Answer request(const std::string& method, const std::string& target, const std::string& body = "",
                 const std::string& headers = "Content-Type: application/json\r\n") {
    send_request(method, target, body, headers);
    return receive(method == "HEAD");
  }
  Answer post(const std::string& target, const std::string& body) { return request("POST", target, body); }

  /// One answer; status 0 if the server closed instead.
  Answer receive(bool head = false) {
    Answer answer = receive_head();
    if (answer.status == 0 || head || answer.status == 100 || answer.status == 204) return answer;
    if (answer.headers.count("transfer-encoding") != 0) {
      answer.body = receive_chunks();
      return answer;
    }
    if (answer.headers.count("content-length") != 0) {
      answer.body = read_bytes(std::stoul(answer.headers["content-length"]));
    } else {
      while (fill()) {
      }
      answer.body = std::exchange(buffer_, {});
    }
    return answer;
  }
  /// A chunked body, to its end.
  std::string receive_chunks() {
    std::string body;
    while (true) {
      const auto line = read_line();
      if (!line) throw std::runtime_error("the chunked body is cut off");
      const size_t size = std::stoul(*line, nullptr, 16);
      body += read_bytes(size);
      read_bytes(2);
      if (size == 0) return body;
    }
  }
  Answer receive_head() {
    Answer answer;
    auto line = read_line();
    if (!line) return answer;
    answer.status = std::stoi(line->substr(9, 3));
    while ((line = read_line()) && !line->empty()) {
      const size_t colon = line->find(": ");
      std::string name = line->substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      answer.headers[name] = line->substr(colon + 2);
    }
    return answer;
  }
  /// The next line, without its end; nullopt at the end of the connection.
  std::optional<std::string> read_line() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }
  /// Whether the server closes (or resets) the connection; waits for it.
  bool closed() {
    while (fill()) {
    }
    return true;
  }
  void close() { socket_.close(); }
  void reset() {  // closes with RST
    socket_.set_option(boost::asio::socket_base::linger(true, 0));
    socket_.close();
  }
  void shutdown_send() { socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send); }
  boost::asio::ip::tcp::socket& socket() { return socket_; }

 private:
  bool fill() {
    char data[16384];
    boost::system::error_code error;
    const size_t n = socket_.read_some(boost::asio::buffer(data), error);
    buffer_.append(data, n);
    return !error && n > 0;
  }
  std::string read_bytes(size_t n) {
    while (buffer_.size() < n) {
      if (!fill()) throw std::runtime_error("the body is cut off");
    }
    std::string out = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return out;
  }

  boost::asio::io_context io_;
  boost::asio::ip::tcp::socket socket_;
  std::string buffer_;
};

}  // namespace sgl
