#include "bench/http_load.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bench/dialogue.h"
#include "bench/http_client.h"
#include "bench/sse_parser.h"
#include "server/json_writer.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
Clock::duration to_duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string http_message(const Target& target, const std::string& method, const std::string& path,
                         const std::string& body) {
  const Url url = parse_url(target.url);
  std::string out =
      fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\nAccept: */*\r\n", method, url.path, path, url.host, url.port);
  if (!target.api_key.empty()) out += fmt::format("Authorization: Bearer {}\r\n", target.api_key);
  if (method == "POST") {
    out += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  return out + "\r\n" + body;
}

std::string request_message(const Target& target, const Dialogue& dialogue, int output_tokens) {
  std::string body = "{\"model\":";
  append_json_string(body, target.model);
  body += fmt::format(
      ",{},\"max_tokens\":{},\"temperature\":0,\"stream\":true,\"stream_options\":"
      "{{\"include_usage\":true}}{}}}",
      dialogue.field(), output_tokens, target.ignore_eos ? ",\"ignore_eos\":true" : "");
  return http_message(target, "POST", target.chat ? "/v1/chat/completions" : "/v1/completions", body);
}

class Load {
 public:
  Load(const Target& target, const Workload& workload, std::function<void()> on_answer)
      : target_(target),
        workload_(workload),
        on_answer_(std::move(on_answer)),
        server_(find_server(parse_url(target.url))),
        arrival_(io_) {}

  LoadResult run() {
    const std::clock_t cpu = std::clock();
    start_ = Clock::now();
    if (!workload_.arrivals.empty()) {
      wait_for_arrival();
    } else {
      for (int i = 0; i < workload_.shape.concurrency; ++i) start_session();
    }
    io_.run();
    run_.duration_s = seconds_since(start_);
    run_.client_cpu_s = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    return std::move(run_);
  }

 private:
  /// A connection and the session that uses it.
  struct Client {
    Client(boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& server, double timeout_s)
        : connection(io, server, to_duration(timeout_s)) {}
    HttpConnection connection;
    size_t session = 0;
    Dialogue dialogue{false, ""};
    Answer answer;
    SseParser events{nullptr};
    EventReader reader;
    std::string body;
  };

  void wait_for_arrival() {
    if (next_session_ == workload_.sessions.size()) return;
    arrival_.expires_at(start_ + to_duration(workload_.arrivals[next_session_]));
    arrival_.async_wait([this](boost::system::error_code /*never cancelled*/) {
      start_session();
      wait_for_arrival();
    });
  }

  void start_session() {
    if (next_session_ == workload_.sessions.size()) return;
    const size_t session = next_session_++;
    if (idle_.empty()) {
      clients_.push_back(std::make_unique<Client>(io_, server_, target_.timeout_s));
      idle_.push_back(clients_.back().get());
    }
    Client& client = *idle_.back();
    idle_.pop_back();
    client.session = session;
    client.dialogue = Dialogue(target_.chat, workload_.sessions[session].prefix);
    start_turn(client, 0, workload_.arrivals.empty() ? seconds_since(start_) : workload_.arrivals[session]);
  }

  void start_turn(Client& client, int number, double at) {
    const Turn& turn = workload_.sessions[client.session].turns[static_cast<size_t>(number)];
    client.dialogue.user(turn.text);
    client.answer = Answer();
    client.answer.session = client.session;
    client.answer.turn = number;
    client.answer.start = at;
    client.body.clear();
    client.events =
        SseParser([this, &client](std::string_view data) { client.reader.read(data, now_, client.answer); });
    run_.max_in_flight = std::max(run_.max_in_flight, ++in_flight_);
    client.connection.send(
        request_message(target_, client.dialogue, turn.output_tokens),
        [this, &client](const HttpReply& reply, std::string& body) { receive(client, reply, body); },
        [this, &client](const std::string& error) { end_turn(client, error); });
  }

  void receive(Client& client, const HttpReply& reply, std::string& body) {
    client.answer.status = reply.status();
    now_ = seconds_since(start_);
    if (reply.is_event_stream()) {
      client.events.feed(body);
    } else {
      client.body += body;
    }
    body.clear();
  }

  void end_turn(Client& client, const std::string& error) {
    --in_flight_;
    Answer& answer = client.answer;
    answer.end = seconds_since(start_);
    if (!client.body.empty()) client.reader.read_body(client.body, answer.end, answer);
    if (!error.empty()) answer.error = error;
    if (answer.error.empty() && answer.tokens_at.empty() && answer.output_tokens <= 0) {
      answer.error = "the answer has no text";
    }
    const bool failed = !answer.error.empty();
    const int next_turn = answer.turn + 1;
    if (!failed) client.dialogue.assistant(answer.text);
    answer.text.clear();
    run_.answers.push_back(std::move(answer));
    if (on_answer_) on_answer_();
    if (!failed && static_cast<size_t>(next_turn) < workload_.sessions[client.session].turns.size()) {
      start_turn(client, next_turn, seconds_since(start_));
    } else {
      idle_.push_back(&client);
      if (workload_.arrivals.empty()) start_session();
    }
  }

  const Target& target_;
  const Workload& workload_;
  const std::function<void()> on_answer_;
  const boost::asio::ip::tcp::endpoint server_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer arrival_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Client*> idle_;
  size_t next_session_ = 0, in_flight_ = 0;
  Clock::time_point start_;
  double now_ = 0;  ///< when the bytes came that are being read
  LoadResult run_;
};

/// The body of a small answer. Throws Unavailable.
std::string get(const Target& target, const std::string& path) {
  boost::asio::io_context io(1);
  HttpConnection connection(io, find_server(parse_url(target.url)), to_duration(target.timeout_s));
  int status = 0;
  std::string body, error;
  connection.send(
      http_message(target, "GET", path, ""),
      [&](const HttpReply& reply, std::string& piece) {
        status = reply.status();
        body += std::exchange(piece, "");
      },
      [&](const std::string& e) { error = e; });
  io.run();
  if (error.empty() && status == 200) return body;
  throw Error(ErrorKind::Unavailable,
              fmt::format("GET {}{} failed: {}", target.url, path,
                          error.empty() ? fmt::format("status {}: {}", status, body.substr(0, 200)) : error));
}

}  // namespace

void prepare(Target& target) {
  if (target.model.empty()) {
    const std::string body = get(target, "/v1/models");
    const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
    const auto id = nlohmann::json::json_pointer("/data/0/id");
    if (json.is_discarded() || !json.contains(id) || !json[id].is_string()) {
      throw Error(ErrorKind::Unavailable, fmt::format("{}/v1/models lists no model; name one by --model", target.url));
    }
    target.model = json[id].get<std::string>();
  }
  const WorkloadShape hello{.name = "hello", .about = "", .input = {.mean = 8}, .output = {.mean = 4}};
  const Workload workload = make_workload(hello, /*seed=*/0);
  Answer answer = run_http(target, workload).answers.at(0);
  if (!answer.error.empty() && target.ignore_eos && answer.status / 100 == 4) {
    target.ignore_eos = false;  // perhaps that was what it refused
    answer = run_http(target, workload).answers.at(0);
  }
  if (!answer.error.empty()) {
    throw Error(ErrorKind::Unavailable, fmt::format("{} does not answer: {}", target.url, answer.error));
  }
}

LoadResult run_http(const Target& target, const Workload& workload, const std::function<void()>& on_answer) {
  return Load(target, workload, on_answer).run();
}

}  // namespace sgl::bench
