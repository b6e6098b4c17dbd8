#include "server/http_server.h"

#include <algorithm>
#include <exception>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/log.h"
#include "base/thread_name.h"
#include "server/http_connection.h"
#include "sgl/error.h"

namespace sgl {

using boost::asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, Handler handler, WantsBody wants_body, OnRefused on_refused)
      : hub_(
            std::make_shared<ConnectionHub>(options, std::move(handler), std::move(wants_body), std::move(on_refused))),
        acceptor_(hub_->io),
        accept_retry_(hub_->io),
        sweeper_(hub_->io) {
    const auto& o = options;
    const milliseconds shortest =
        std::min({o.idle_timeout, o.header_timeout, o.body_timeout, o.write_timeout, o.linger_timeout});
    sweep_interval_ = std::clamp(shortest / 4, milliseconds(5), milliseconds(1000));
    if (options.tls.on()) hub_->tls = std::make_shared<TlsContext>(options.tls);
    listen();
    hub_->on_closed = [this] { on_closed(); };
    accept();
    thread_ = std::thread([this] {
      name_thread("sgl-http");
      run();
    });
  }

  ~Impl() { stop(milliseconds(0)); }

  void stop(milliseconds grace) {
    if (!thread_.joinable()) return;
    std::promise<void> empty;
    hub_->post([this, &empty] { begin_stop(empty); });
    empty.get_future().wait_for(grace);
    hub_->post([this] { drop_all(); });
    {
      std::lock_guard lock(hub_->post_mutex);
      hub_->closed = true;
    }
    work_.reset();
    thread_.join();
  }

  void reload_certificate() {
    if (!hub_->options.tls.on()) return;
    hub_->post([hub = hub_, fresh = std::make_shared<TlsContext>(hub_->options.tls)] { hub->tls = fresh; });
  }

  int port() const { return port_; }
  size_t connections() const { return hub_->num_connections; }

 private:
  void run();
  void listen();
  void accept();
  void take(tcp::socket socket);
  bool make_room();
  void sweep();
  void begin_stop(std::promise<void>& empty);
  void drop_all();
  void on_closed();

  std::shared_ptr<ConnectionHub> hub_;
  tcp::acceptor acceptor_;
  boost::asio::steady_timer accept_retry_, sweeper_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ =
      boost::asio::make_work_guard(hub_->io);
  milliseconds sweep_interval_{1000};
  bool sweeping_ = false;
  bool accept_failed_ = false;           ///< and was logged
  std::promise<void>* empty_ = nullptr;  ///< waits for the last connection to close
  int port_ = 0;
  std::thread thread_;
};

// What throws in spite of all care, for want of memory perhaps, must not end the process.
void HttpServer::Impl::run() {
  while (true) {
    try {
      hub_->io.run();
      return;
    } catch (const std::exception& e) {
      log::error("internal error of the HTTP server: {}", e.what());
    }
  }
}

void HttpServer::Impl::listen() {
  const HttpOptions& o = hub_->options;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::Unavailable,
                fmt::format("cannot listen on {}:{}: {}; choose another with --host and --port", o.host, o.port, why));
  };
  if (o.port < 0 || o.port > 65535) refuse("a port is in [0, 65535]");
  error_code error;
  const auto found = tcp::resolver(hub_->io).resolve(o.host, std::to_string(o.port), tcp::resolver::passive, error);
  if (error || found.empty()) refuse(error ? error.message() : "the name has no address");
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) refuse(error.message());
  port_ = acceptor_.local_endpoint().port();
}

void HttpServer::Impl::accept() {
  acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
    if (error == boost::asio::error::operation_aborted || !acceptor_.is_open()) return;
    if (error) {
      // Out of file descriptors, most likely: those who wait stay in the kernel's queue until some connection closes.
      if (!accept_failed_) log::warn("cannot accept a connection: {}", error.message());
      accept_failed_ = true;
      accept_retry_.expires_after(milliseconds(100));
      accept_retry_.async_wait([this](const error_code& cancelled) {
        if (!cancelled) accept();
      });
      return;
    }
    accept_failed_ = false;
    try {
      take(std::move(socket));
    } catch (const std::exception& e) {
      log::error("a connection is not taken for an internal error: {}", e.what());
    }
    accept();
  });
}

void HttpServer::Impl::take(tcp::socket socket) {
  if (!make_room()) return;  // the socket closes
  const auto connection = std::make_shared<Connection>(hub_, std::move(socket));
  hub_->connections.insert(connection);
  hub_->num_connections = hub_->connections.size();
  connection->guard([&] { connection->start(); });
  if (!sweeping_) sweep();
}

// At the limit, the client that has said nothing for longest makes room for one that may; where none is silent, the one
// that has been at its request for longest.
bool HttpServer::Impl::make_room() {
  if (hub_->connections.size() < hub_->options.max_connections) return true;
  std::shared_ptr<Connection> idle, reading;
  for (const auto& connection : hub_->connections) {
    if (!connection->idle() && !connection->reading()) continue;
    std::shared_ptr<Connection>& oldest = connection->idle() ? idle : reading;
    if (oldest == nullptr || connection->since() < oldest->since()) oldest = connection;
  }
  const std::shared_ptr<Connection>& least = idle != nullptr ? idle : reading;
  if (least != nullptr) least->close();
  return least != nullptr;
}

// One timer for all deadlines: a second of delay does not matter to them, and ten thousand timers would.
void HttpServer::Impl::sweep() {
  sweeping_ = true;
  sweeper_.expires_after(sweep_interval_);
  sweeper_.async_wait([this](const error_code& error) {
    sweeping_ = false;
    if (error || hub_->connections.empty()) return;
    const auto now = Connection::Clock::now();
    const std::vector<std::shared_ptr<Connection>> all(hub_->connections.begin(), hub_->connections.end());
    for (const auto& connection : all) connection->guard([&] { connection->sweep(now); });
    if (!hub_->connections.empty()) sweep();
  });
}

void HttpServer::Impl::begin_stop(std::promise<void>& empty) {
  error_code ignored;
  acceptor_.close(ignored);
  accept_retry_.cancel();
  hub_->stopping = true;
  const std::vector<std::shared_ptr<Connection>> all(hub_->connections.begin(), hub_->connections.end());
  for (const auto& connection : all) connection->close_if_idle();
  if (hub_->connections.empty()) {
    empty.set_value();
  } else {
    empty_ = &empty;
  }
}

void HttpServer::Impl::drop_all() {
  empty_ = nullptr;  // nobody waits any more
  const std::vector<std::shared_ptr<Connection>> all(hub_->connections.begin(), hub_->connections.end());
  for (const auto& connection : all) connection->close();
  sweeper_.cancel();
}

void HttpServer::Impl::on_closed() {
  if (empty_ == nullptr || !hub_->connections.empty()) return;
  empty_->set_value();
  empty_ = nullptr;
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler, WantsBody wants_body, OnRefused on_refused)
    : impl_(std::make_unique<Impl>(options, std::move(handler), std::move(wants_body), std::move(on_refused))) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
void HttpServer::reload_certificate() { impl_->reload_certificate(); }
size_t HttpServer::connections() const { return impl_->connections(); }
void HttpServer::stop(milliseconds grace) { impl_->stop(grace); }

}  // namespace sgl
