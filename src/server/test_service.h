#pragma once
// For tests: the routes over a fake engine, without a socket.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/fake_engine.h"
#include "server/json_reader.h"
#include "server/routes.h"
#include "server/service.h"

namespace sgl {

struct TestService {
  explicit TestService(const ServerOptions& options = {}, std::string reply = "Hello, wörld!")
      : engine(std::make_shared<FakeEngine>(std::move(reply))), service(options) {
    start();
  }
  /// Over an engine that embeds.
  TestService(int embedding_size, bool cross_encoder)
      : engine(std::make_shared<FakeEngine>()), service(ServerOptions{}) {
    engine->embed(embedding_size, cross_encoder);
    start();
  }
  void start() {
    service.set_engine(engine);
    service.set_state(Service::State::Up);
  }

  HttpResponse call(const std::string& method, const std::string& target, const std::string& body = "",
                    const std::string& content_type = "application/json") {
    HttpRequest request;
    request.method = method;
    const size_t question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.body = body;
    request.headers = {{"Content-Type", content_type}};
    return call_route(service, std::move(request));
  }
  HttpResponse post(const std::string& target, const std::string& body) { return call("POST", target, body); }
  /// The parsed body of an answer that must be 200.
  Json ok(const std::string& target, const std::string& body) {
    const HttpResponse answer = post(target, body);
    if (answer.status != 200) throw std::runtime_error("status " + std::to_string(answer.status) + ": " + answer.body);
    return Json::parse(answer.body);
  }
  /// The "message" (or plain "error") of an answer that must have that status.
  std::string refusal(const std::string& target, const std::string& body, int status = 400) {
    const HttpResponse answer = post(target, body);
    if (answer.status != status) return "status " + std::to_string(answer.status) + ": " + answer.body;
    const Json json = Json::parse(answer.body);
    if (json.contains("message")) return json["message"];
    return json["error"].is_string() ? json["error"] : json["error"]["message"];
  }

  std::shared_ptr<FakeEngine> engine;
  Service service;
};

/// The data of each event of a stream, [DONE] included.
inline std::vector<std::string> events_of(std::string_view body) {
  std::vector<std::string> out;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == std::string_view::npos || !body.starts_with("data: ")) throw std::runtime_error("not an event stream");
    out.emplace_back(body.substr(6, end - 6));
    body.remove_prefix(end + 2);
  }
  return out;
}

/// The same without [DONE], parsed; [DONE] must be the last.
inline std::vector<Json> json_events_of(std::string_view body) {
  std::vector<std::string> events = events_of(body);
  if (events.empty() || events.back() != "[DONE]") throw std::runtime_error("the stream does not end with [DONE]");
  events.pop_back();
  std::vector<Json> out;
  for (const std::string& e : events) out.push_back(Json::parse(e));
  return out;
}

}  // namespace sgl
