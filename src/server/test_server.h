#pragma once
// For tests: the routes over a fake engine, behind a real socket.

#include <memory>
#include <string>
#include <utility>

#include "server/http_server.h"
#include "server/routes.h"
#include "server/test_client.h"
#include "server/test_service.h"

namespace sgl {

/// Requests for as many tokens as one likes.
constexpr const char* kEndless = R"({"text":"a","sampling_params":{"max_new_tokens":null,"ignore_eos":true}})";
constexpr const char* kEndlessStream =
    R"({"text":"a","stream":true,"sampling_params":{"max_new_tokens":null,"ignore_eos":true}})";

struct TestHttpServer : TestService {
  explicit TestHttpServer(const ServerOptions& options = {}, std::string reply = "Hello, wörld!")
      : TestService(options, std::move(reply)),
        http(
            at_any_port(options.http),
            [this](HttpRequest&& r, const std::shared_ptr<Responder>& to) { dispatch(service, std::move(r), to); },
            [this](const HttpRequest& head) { return wants_body(service, head); },
            [this](const HttpRequest& head, HttpResponse& response) { dress_refusal(service, head, response); }) {}
  static HttpOptions at_any_port(HttpOptions o) {
    o.port = 0;
    return o;
  }
  TestClient client() { return TestClient(http.port()); }
  TestClient::Answer get(const std::string& target) { return client().request("GET", target); }

  HttpServer http;
};

}  // namespace sgl
