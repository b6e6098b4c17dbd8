#include "server/http_connection.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/log.h"
#include "server/error_body.h"

namespace sgl {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// Input that may come ahead of its turn while a request is handled. A client that sends more is not read, nor noticed
// when it goes, until then.
constexpr size_t kMostPipelined = size_t{64} << 10;
// What is thrown away of a refused client's input, so that it reads the answer before it meets a reset.
constexpr size_t kMostLingered = size_t{16} << 20;
constexpr const char* kTooManyBodies = "too many bodies of requests are held at once; try again";
constexpr size_t kSlowestBody = 16 << 10;  // bytes a second

void append_headers(std::string& out, const HttpHeaders& headers) {
  for (const auto& [name, value] : headers) fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
}

}  // namespace

const std::string& ConnectionHub::http_date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_of_) {
    date_of_ = now;
    date_ = fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(now));
  }
  return date_;
}

// ── Answers from other threads ───────────────────────────────────────────────────────────────────────────────────────

namespace {

class Exchange final : public Responder {
 public:
  Exchange(std::shared_ptr<Connection> connection, uint64_t number)
      : connection_(std::move(connection)), number_(number) {}
  ~Exchange() override {
    if (!ended_) drop();
  }

  void add_header(std::string name, std::string value) override {
    headers_.emplace_back(std::move(name), std::move(value));
  }
  void respond(HttpResponse response) override {
    ended_ = true;
    std::move(headers_.begin(), headers_.end(), std::back_inserter(response.headers));
    post([n = number_, r = std::move(response)](Connection& c) { c.respond(n, r); });
  }
  void stream(std::string data, bool last) override {
    ended_ = ended_ || last;
    connection_->unsent += data.size();
    post([n = number_, d = std::move(data), last, h = std::exchange(headers_, {})](Connection& c) {
      c.stream(n, d, last, h);
    });
  }
  size_t unsent() const override { return connection_->unsent; }
  void drop() override {
    ended_ = true;
    post([n = number_](Connection& c) { c.drop(n); });
  }
  void watch(std::weak_ptr<ClientWatcher> watcher) override {
    post([n = number_, w = std::move(watcher)](Connection& c) { c.watch(n, w); });
  }

 private:
  template <typename Job>
  void post(Job job) {
    connection_->hub().post([c = connection_, j = std::move(job)] { c->guard([&] { j(*c); }); });
  }

  std::shared_ptr<Connection> connection_;
  uint64_t number_;
  HttpHeaders headers_;
  std::atomic<bool> ended_{false};
};

}  // namespace

// ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Connection::Connection(std::shared_ptr<ConnectionHub> hub, tcp::socket socket)
    : hub_(std::move(hub)), socket_(std::move(socket)) {}

void Connection::start() {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  if (hub_->tls != nullptr) {
    tls_ = hub_->tls->accept(socket_.native_handle());
    if (tls_ == nullptr) return close();
  }
  enter(Phase::Idle, hub_->options.header_timeout);
  wait_readable();
}

void Connection::wait_readable(tcp::socket::wait_type what) {
  if (waiting_ || input_ended_ || phase_ == Phase::Closed) return;
  if (phase_ == Phase::Handling && in_.size() >= kMostPipelined) return;
  waiting_ = true;
  socket_.async_wait(what, [self = shared_from_this()](const error_code& error) {
    self->waiting_ = false;
    self->guard([&] { self->on_readable(error); });
  });
}

// Into hub_->scratch. would_block: a later readiness calls on_readable again.
size_t Connection::read_some(error_code& error) {
  if (tls_ == nullptr) return socket_.read_some(boost::asio::buffer(hub_->scratch), error);
  const TlsSession::Result result = tls_->read(hub_->scratch);
  if (result.state == TlsSession::State::Ended) error = boost::asio::error::eof;
  if (result.state == TlsSession::State::Failed) error = boost::asio::error::connection_reset;
  if (result.blocked()) error = boost::asio::error::would_block;
  return result.bytes;
}

void Connection::on_readable(const error_code& wait_error) {
  if (phase_ == Phase::Closed) return;
  error_code error = wait_error;
  size_t n = 0;
  if (!error) n = read_some(error);
  if (error == boost::asio::error::would_block || error == boost::asio::error::interrupted) {
    return wait_readable(tls_ != nullptr && tls_->wants_write() ? tcp::socket::wait_write : tcp::socket::wait_read);
  }
  if (error) return on_end_of_input(error != boost::asio::error::eof);
  if (phase_ == Phase::Lingering) {
    lingered_ += n;
    if (lingered_ > kMostLingered) return close();
    return wait_readable();
  }
  in_.append(hub_->scratch.data(), n);
  if (phase_ == Phase::Body) count_body(n);
  parse();
  wait_readable();
}

void Connection::on_end_of_input(bool reset) {
  input_ended_ = true;
  // Someone waits to hear of it, or nothing is left to be said. What needs no watching (GET /health) is still answered:
  // `printf 'GET /health HTTP/1.0\r\n\r\n' | nc` ends its input first.
  const bool may_answer = phase_ == Phase::Handling && watcher_.expired() && !reset;
  if (!may_answer) close();
}

void Connection::parse() {
  while (phase_ == Phase::Idle || phase_ == Phase::Header || phase_ == Phase::Body) {
    if (phase_ == Phase::Idle) {
      // Blank lines before a request are skipped (RFC 9112 §2.2).
      in_.erase(0, std::min(in_.find_first_not_of("\r\n"), in_.size()));
      if (in_.empty()) return;
      parser_ = std::make_unique<HttpParser>(hub_->options.max_header_bytes, hub_->options.max_body_bytes,
                                             hub_->options.max_url_bytes);
      enter(Phase::Header, hub_->options.header_timeout);
    }
    in_.erase(0, parser_->feed(in_));
    switch (parser_->state()) {
      case HttpParser::State::Failed:
        return refuse(parser_->error_status(), parser_->error_message());
      case HttpParser::State::Done:
        forget_body();
        if (!has_room_for(parser_->body_bytes())) return refuse(503, kTooManyBodies);
        hand_over(parser_->take());
        break;
      case HttpParser::State::Body:
        if (phase_ == Phase::Header) {
          HttpRequest head = parser_->head();
          if (hub_->wants_body && !hub_->wants_body(head)) {
            refused_ = true;
            head.keep_alive = false;
            in_.clear();
            return hand_over(std::move(head));
          }
          enter(Phase::Body, hub_->options.body_timeout);
          if (parser_->expects_continue() && in_.empty()) send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        // Only what frames chunks stays unread.
        if (in_.size() > hub_->options.max_header_bytes) {
          return refuse(431, fmt::format("a chunk's header or the trailer is longer than {} bytes",
                                         hub_->options.max_header_bytes));
        }
        if (!has_room_for(0)) return refuse(503, kTooManyBodies);
        return;
      case HttpParser::State::Header:
        return;
    }
  }
}

// Bytes of a body have come: they are held, and give it time.
void Connection::count_body(size_t n) {
  body_bytes_ += n;
  *hub_->body_bytes += n;
  deadline_ = entered_ + hub_->options.body_timeout + std::chrono::seconds(body_bytes_ / kSlowestBody);
}

bool Connection::has_room_for(size_t n) const { return *hub_->body_bytes + n <= hub_->options.max_bodies_bytes; }

void Connection::forget_body() { *hub_->body_bytes -= std::exchange(body_bytes_, 0); }

void Connection::hand_over(HttpRequest request) {
  parser_.reset();
  if (const size_t n = request.body.size(); n > 0) {  // counts until the request is gone
    *hub_->body_bytes += n;
    request.room = std::shared_ptr<const void>(nullptr, [all = hub_->body_bytes, n](const void*) { *all -= n; });
  }
  if (in_.empty()) in_.shrink_to_fit();
  ++exchange_;
  head_only_ = request.method == "HEAD";
  http11_ = request.http11;
  keep_alive_ = request.keep_alive;
  answering_ = answer_complete_ = false;
  watcher_.reset();
  unsent = 0;
  phase_ = Phase::Handling;
  deadline_ = Clock::time_point::max();
  hub_->handler(std::move(request), std::make_shared<Exchange>(shared_from_this(), exchange_));
}

// Input that is not a request is answered as far as possible, and ends the connection.
void Connection::refuse(int status, const std::string& message) {
  refused_ = true;
  forget_body();
  log::debug("a request that is not one is refused with status {}: {}", status, message);
  in_.clear();
  ++exchange_;
  head_only_ = false;
  http11_ = true;
  answering_ = false;
  phase_ = Phase::Handling;
  deadline_ = Clock::time_point::max();
  HttpResponse response = flat_error(status, message);
  response.close = true;
  if (hub_->on_refused) hub_->on_refused(parser_->head(), response);
  respond(exchange_, response);
  parser_.reset();  // not before: the message may be its own
}

// ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

std::string Connection::head(int status, std::string_view content_type, bool close) {
  std::string out;
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\nDate: {}\r\nServer: sgl/" SGL_VERSION "\r\n", status,
                 reason_phrase(status), hub_->http_date());
  if (!content_type.empty()) fmt::format_to(std::back_inserter(out), "Content-Type: {}\r\n", content_type);
  if (close) {
    out += "Connection: close\r\n";
  } else if (!http11_) {
    out += "Connection: keep-alive\r\n";
  }
  return out;
}

void Connection::respond(uint64_t exchange, const HttpResponse& response) {
  if (exchange != exchange_ || phase_ != Phase::Handling || answering_) return;
  keep_alive_ = keep_alive_ && !response.close && !hub_->stopping && !input_ended_;
  answering_ = answer_complete_ = true;
  std::string data = head(response.status, response.body.empty() ? "" : response.content_type, !keep_alive_);
  append_headers(data, response.headers);
  if (response.status != 204) fmt::format_to(std::back_inserter(data), "Content-Length: {}\r\n", response.body.size());
  data += "\r\n";
  if (!head_only_) data += response.body;
  send(std::move(data));
}

void Connection::stream(uint64_t exchange, const std::string& data, bool last, const HttpHeaders& headers) {
  if (exchange != exchange_ || phase_ != Phase::Handling || answer_complete_) return;
  std::string bytes;
  if (!answering_) {
    answering_ = true;
    keep_alive_ = keep_alive_ && http11_ && !hub_->stopping;
    bytes = head(200, "text/event-stream; charset=utf-8", !keep_alive_);
    bytes += "Cache-Control: no-cache\r\n";
    append_headers(bytes, headers);
    if (http11_) bytes += "Transfer-Encoding: chunked\r\n";
    bytes += "\r\n";
  }
  if (!head_only_ && !data.empty()) {
    if (http11_) fmt::format_to(std::back_inserter(bytes), "{:x}\r\n", data.size());
    bytes += data;
    if (http11_) bytes += "\r\n";
  }
  if (last && http11_ && !head_only_) bytes += "0\r\n\r\n";
  answer_complete_ = last;
  // `unsent` holds data.size() already; from here on it counts what really goes out.
  unsent += bytes.size() - data.size();
  send(std::move(bytes));
}

void Connection::send(std::string data) {
  if (out_.empty()) {
    out_ = std::move(data);
  } else {
    out_ += data;
  }
  if (!writing_) {
    write_progress_ = Clock::now();
    write_some();
  }
}

void Connection::write_some() {
  if (sent_ == sending_.size()) {
    sending_ = std::move(out_);
    out_.clear();
    sent_ = 0;
  }
  writing_ = true;
  if (tls_ != nullptr) return write_some_encrypted();
  socket_.async_write_some(boost::asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                           [self = shared_from_this()](const error_code& error, size_t n) {
                             self->guard([&] { self->on_written(error, n); });
                           });
}

void Connection::write_some_encrypted() {
  const auto self = shared_from_this();
  const TlsSession::Result result = tls_->write(std::string_view(sending_).substr(sent_));
  if (result.blocked()) {
    socket_.async_wait(tls_->wants_write() ? tcp::socket::wait_write : tcp::socket::wait_read,
                       [self](const error_code& error) {
                         self->guard([&] {
                           if (error) return self->on_written(error, 0);
                           if (self->phase_ != Phase::Closed) self->write_some_encrypted();
                         });
                       });
    return;
  }
  error_code error;
  if (result.state != TlsSession::State::Open) error = boost::asio::error::connection_reset;
  // Not at once: a long answer would nest as deep as it has records.
  boost::asio::post(hub_->io, [self, error, n = result.bytes] { self->guard([&] { self->on_written(error, n); }); });
}

void Connection::on_written(const error_code& error, size_t n) {
  writing_ = false;
  if (phase_ == Phase::Closed) return;
  if (error) return close();
  sent_ += n;
  unsent -= std::min(n, unsent.load());
  write_progress_ = Clock::now();
  if (sent_ < sending_.size() || !out_.empty()) return write_some();
  sending_.clear();
  sending_.shrink_to_fit();
  sent_ = 0;
  if (phase_ == Phase::Handling && answer_complete_) return finish_answer();
  if (auto watcher = watcher_.lock()) watcher->on_sent();
}

void Connection::finish_answer() {
  watcher_.reset();
  ++exchange_;
  if (!keep_alive_) {
    // What the client sends now nobody reads. If it is still sending, closing at once would reset the connection and
    // perhaps take the answer with it.
    if (input_ended_ || (!refused_ && in_.empty())) return close();
    error_code ignored;
    if (tls_ != nullptr) tls_->shut_down();
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    enter(Phase::Lingering, hub_->options.linger_timeout);
    return wait_readable();
  }
  if (hub_->stopping) return close();
  enter(Phase::Idle, hub_->options.idle_timeout);
  parse();
  wait_readable();
}

// ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

void Connection::watch(uint64_t exchange, std::weak_ptr<ClientWatcher> watcher) {
  if (exchange != exchange_ || phase_ != Phase::Handling || input_ended_) {
    if (auto w = watcher.lock()) w->on_gone();
    if (exchange == exchange_) close();
    return;
  }
  watcher_ = std::move(watcher);
}

void Connection::drop(uint64_t exchange) {
  if (exchange == exchange_ && phase_ == Phase::Handling) close();
}

void Connection::enter(Phase phase, std::chrono::milliseconds limit) {
  phase_ = phase;
  entered_ = Clock::now();
  deadline_ = entered_ + limit;
}

void Connection::sweep(Clock::time_point now) {
  if (writing_ && now - write_progress_ > hub_->options.write_timeout) return close();
  if (now < deadline_) return;
  // A client that began a request and does not finish it is told; one that is silent is not.
  if (phase_ == Phase::Header || phase_ == Phase::Body) {
    refuse(408, "the request did not come in time");
  } else {
    close();
  }
}

void Connection::close_after(const std::exception& error) {
  log::error("a connection is closed for an internal error: {}", error.what());
  close();
}

void Connection::close_if_idle() {
  if (phase_ == Phase::Idle || phase_ == Phase::Lingering) close();
}

void Connection::close() {
  if (phase_ == Phase::Closed) return;
  phase_ = Phase::Closed;
  forget_body();
  error_code ignored;
  if (tls_ != nullptr) tls_->shut_down();
  socket_.close(ignored);
  unsent = 0;
  if (auto watcher = watcher_.lock()) watcher->on_gone();
  watcher_.reset();
  const auto self = shared_from_this();
  hub_->connections.erase(self);
  hub_->num_connections = hub_->connections.size();
  if (hub_->on_closed) hub_->on_closed();
}

}  // namespace sgl
