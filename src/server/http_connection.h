#pragma once
// One client: reads requests, hands each to the handler, writes its answer. Part of http_server.cpp.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "server/asio.h"
#include "server/http.h"
#include "server/http_parser.h"
#include "server/http_server.h"
#include "server/tls.h"

namespace sgl {

class Connection;

/// What all connections of a server share. Thread: the I/O thread's, but for post().
struct ConnectionHub {
  ConnectionHub(const HttpOptions& o, HttpServer::Handler h, HttpServer::WantsBody w, HttpServer::OnRefused r)
      : options(o), handler(std::move(h)), wants_body(std::move(w)), on_refused(std::move(r)) {}

  /// Runs `job` on the I/O thread; drops it when that has ended. Any thread.
  template <typename Job>
  void post(Job&& job) {
    std::lock_guard lock(post_mutex);
    if (!closed) boost::asio::post(io, std::forward<Job>(job));
  }

  /// "Sun, 06 Nov 1994 08:49:37 GMT"
  const std::string& http_date();

  const HttpOptions options;
  const HttpServer::Handler handler;
  const HttpServer::WantsBody wants_body;  ///< may be null: all are read
  const HttpServer::OnRefused on_refused;  ///< may be null
  boost::asio::io_context io{1};
  std::mutex post_mutex;
  bool closed = false;              ///< guarded by post_mutex: nothing may be left in `io`, since it would never run
  std::shared_ptr<TlsContext> tls;  ///< null: plain HTTP
  bool stopping = false;            ///< answers say "Connection: close"
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::atomic<size_t> num_connections{0};
  /// Of requests whose bodies are being read, or wait to be parsed.
  std::shared_ptr<std::atomic<size_t>> body_bytes = std::make_shared<std::atomic<size_t>>(0);
  std::function<void()> on_closed;                                  ///< told after a connection has left `connections`
  std::vector<char> scratch = std::vector<char>(size_t{64} << 10);  ///< where sockets are read into

 private:
  std::time_t date_of_ = 0;
  std::string date_;
};

/// Thread: the I/O thread's, but for `unsent`.
///
///   Idle ──► Header ──► Body ──► Handling ──► Idle …      the deadline of each phase is checked by sweep()
///     any of them ──► Lingering (answer sent, input thrown away) ──► Closed
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(std::shared_ptr<ConnectionHub> hub, boost::asio::ip::tcp::socket socket);
  void start();

  // The answer to the request that is being handled. `exchange` is its number: later calls for an earlier one are void.
  void respond(uint64_t exchange, const HttpResponse& response);
  /// `headers` count with the first piece.
  void stream(uint64_t exchange, const std::string& data, bool last, const HttpHeaders& headers);
  void watch(uint64_t exchange, std::weak_ptr<ClientWatcher> watcher);
  void drop(uint64_t exchange);

  /// Closes the connection if its deadline has passed.
  void sweep(Clock::time_point now);
  void close_if_idle();
  void close();

  bool idle() const { return phase_ == Phase::Idle && !writing_; }
  bool reading() const { return phase_ == Phase::Header || phase_ == Phase::Body; }  ///< a request that has begun
  Clock::time_point since() const { return entered_; }                               ///< when its phase began

  ConnectionHub& hub() { return *hub_; }
  /// Runs `work`. An exception, be it for want of memory, ends this connection and not the server.
  template <typename Work>
  void guard(Work&& work) {
    try {
      work();
    } catch (const std::exception& e) {
      close_after(e);
    }
  }
  std::atomic<size_t> unsent{0};  ///< bytes of the current stream; raised by the caller of stream()

 private:
  enum class Phase { Idle, Header, Body, Handling, Lingering, Closed };

  void wait_readable(boost::asio::ip::tcp::socket::wait_type what = boost::asio::ip::tcp::socket::wait_read);
  size_t read_some(boost::system::error_code& error);
  void on_readable(const boost::system::error_code& error);
  void on_end_of_input(bool reset);
  void parse();
  void count_body(size_t n);
  void forget_body();
  bool has_room_for(size_t body_bytes) const;
  void hand_over(HttpRequest request);
  void refuse(int status, const std::string& message);
  void send(std::string data);
  void write_some();
  void write_some_encrypted();
  void on_written(const boost::system::error_code& error, size_t n);
  void finish_answer();
  void enter(Phase phase, std::chrono::milliseconds limit);
  void close_after(const std::exception& error);
  std::string head(int status, std::string_view content_type, bool close);

  std::shared_ptr<ConnectionHub> hub_;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<TlsSession> tls_;  ///< null: plain HTTP
  Phase phase_ = Phase::Idle;
  Clock::time_point entered_, deadline_ = Clock::time_point::max();
  std::string in_;         ///< read and not parsed yet
  size_t body_bytes_ = 0;  ///< read of the body of the request that comes
  std::unique_ptr<HttpParser> parser_;
  bool waiting_ = false;  ///< an async_wait for input is under way
  bool input_ended_ = false;
  bool refused_ = false;  ///< the input is not to be read as requests any more
  size_t lingered_ = 0;

  // The request being handled.
  uint64_t exchange_ = 0;
  bool head_only_ = false, http11_ = true, keep_alive_ = true;
  bool answering_ = false;        ///< the header of the answer is on its way
  bool answer_complete_ = false;  ///< all of the answer is in out_ or sending_
  std::weak_ptr<ClientWatcher> watcher_;

  std::string out_, sending_;  ///< sending_ from sent_ on is with the kernel; out_ comes next
  size_t sent_ = 0;
  bool writing_ = false;
  Clock::time_point write_progress_;
};

}  // namespace sgl
