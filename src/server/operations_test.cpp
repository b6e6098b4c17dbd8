// What an operator relies on: keys, limits, metrics, pauses, logs, signals. Over real sockets and a fake engine.

#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "base/log.h"
#include "server/routes.h"
#include "server/test_server.h"
#include "server/unsupported_routes.h"

namespace sgl {
namespace {

using std::chrono::milliseconds;

TestClient::Answer ask(TestHttpServer& t, const std::string& method, const std::string& path,
                       const std::string& headers, const std::string& body = "") {
  return t.client().request(method, path, body, headers);
}

TEST(Operations, AdminRoutesNeedTheAdminKeyAndHealthNone) {
  ServerOptions options;
  options.keys = {.api_key = "k", .admin_api_key = "a"};
  TestHttpServer t(options);
  const auto status = [&](const char* path, const std::string& key) {
    return ask(t, "POST", path, key.empty() ? "" : "Authorization: Bearer " + key + "\r\n").status;
  };
  for (const char* path : {"/flush_cache", "/abort_request", "/configure_logging", "/continue_generation"}) {
    EXPECT_EQ(status(path, "a"), 200) << path;
    EXPECT_EQ(status(path, "k"), 403) << path;
    EXPECT_EQ(status(path, ""), 401) << path;
  }
  EXPECT_EQ(status("/update_weights_from_disk", "k"), 403);
  EXPECT_EQ(status("/update_weights_from_disk", "a"), 501);
  EXPECT_EQ(status("/generate", "a"), 401) << "the admin's key is no client's";
  for (const char* path : {"/health", "/health_generate", "/health/live", "/health/ready", "/ready"}) {
    EXPECT_EQ(t.get(path).status, 200) << path;
  }
  EXPECT_EQ(t.get("/metrics").status, 404) << "open, but off";
}

TEST(Operations, PagesOfOtherSitesMayCallAsTheOperatorSays) {
  TestHttpServer open;
  const std::string origin = "Origin: https://a.example\r\n";
  auto answer = ask(open, "GET", "/v1/models", origin);
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "*");
  answer = ask(open, "OPTIONS", "/v1/chat/completions", origin + "Access-Control-Request-Method: POST\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_NE(answer.headers.at("access-control-allow-methods").find("POST"), std::string::npos);
  EXPECT_NE(answer.headers.at("access-control-allow-headers").find("Authorization"), std::string::npos);
  EXPECT_EQ(open.get("/v1/models").headers.count("access-control-allow-origin"), 0U);

  ServerOptions options;
  options.cors_allow_origins = "https://a.example";
  TestHttpServer one(options);
  EXPECT_EQ(ask(one, "GET", "/ready", origin).headers.at("access-control-allow-origin"), "https://a.example");
  answer = ask(one, "GET", "/ready", "Origin: https://b.example\r\n");
  EXPECT_EQ(answer.headers.count("access-control-allow-origin"), 0U);
  EXPECT_EQ(answer.headers.at("vary"), "Origin");
}

TEST(Operations, EveryAnswerNamesItsRequest) {
  TestHttpServer t;
  EXPECT_EQ(ask(t, "GET", "/v1/models", "X-Request-Id: mine-1\r\n").headers.at("x-request-id"), "mine-1");
  EXPECT_EQ(t.get("/nowhere").headers.at("x-request-id").size(), 32U);
  TestClient client = t.client();
  client.send_request("POST", "/generate", R"({"text":"a","stream":true})",
                      "Content-Type: application/json\r\nX-Request-Id: mine-2\r\n");
  EXPECT_EQ(client.receive_head().headers.at("x-request-id"), "mine-2");
}

TEST(Operations, MetricsCountWhatClientsGot) {
  ServerOptions options;
  options.enable_metrics = true;
  TestHttpServer t(options);
  const auto value = [&](const std::string& line_begin) {
    std::istringstream lines(t.get("/metrics").body);
    double sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(line_begin)) sum += std::stod(line.substr(line.rfind(' ') + 1));
    }
    return sum;
  };
  EXPECT_EQ(t.get("/metrics").headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(t.client().post("/generate", R"({"text":"abc","sampling_params":{"n":2}})").status, 200);
  EXPECT_EQ(t.client().post("/generate", R"({"text":"abc","stream":true})").status, 200);
  EXPECT_EQ(t.client().post("/generate", R"({"text":5})").status, 400);
  EXPECT_EQ(t.get("/health").status, 200);
  EXPECT_EQ(t.client().request("BREW", "/made/up").status, 404);
  for (const std::string& prefix : {std::string("sgl:"), std::string("sglang:")}) {
    EXPECT_EQ(value(prefix + "num_requests_total{"), 3) << "the health check is none";
    EXPECT_EQ(value(prefix + "prompt_tokens_total{"), 12) << "<s>abc three times";
    EXPECT_EQ(value(prefix + "generation_tokens_total{"), 3 * 15) << "Hello, wörld! and </s>";
    EXPECT_EQ(value(prefix + "cached_tokens_total{"), 9);
    EXPECT_EQ(value(prefix + "time_to_first_token_seconds_count{"), 3);
    EXPECT_EQ(value(prefix + "inter_token_latency_seconds_count{"), 3 * 14);
    EXPECT_EQ(value(prefix + "e2e_request_latency_seconds_bucket{") > 0, true);
  }
  const std::string body = t.get("/metrics").body;
  EXPECT_NE(body.find(R"(endpoint="/generate",method="POST",status_code="400"} 1)"), std::string::npos);
  EXPECT_NE(body.find(R"(endpoint="none",method="other",status_code="404"} 1)"), std::string::npos)
      << "made-up paths and methods must not make series";
}

TEST(Operations, WhatIsNoRequestIsCounted) {
  ServerOptions options;
  options.enable_metrics = true;
  options.http.max_header_bytes = 1024;
  options.http.max_url_bytes = 64;
  options.http.max_body_bytes = 100;
  TestHttpServer t(options);
  const std::string begin = "GET / HTTP/1.1\r\nHost: h\r\n";
  const std::vector<std::pair<int, std::string>> refused = {
      {400, "no HTTP\r\n\r\n"},
      {413, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n"},
      {414, "GET /" + std::string(64, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"},
      {417, begin + "Expect: wonders\r\n\r\n"},
      {431, begin + "X: " + std::string(1024, 'a')},
      {505, "GET / HTTP/3.0\r\n\r\n"},
  };
  const auto counts = [](TestHttpServer& server, int status) {
    const std::string line = "endpoint=\"none\",method=\"none\",status_code=\"" + std::to_string(status) + "\"} 1\n";
    return server.get("/metrics").body.find(line) != std::string::npos;
  };
  for (const auto& [status, bytes] : refused) {
    TestClient client = t.client();
    client.send(bytes);
    const auto answer = client.receive();
    EXPECT_EQ(answer.status, status);
    EXPECT_TRUE(answer.headers.contains("x-request-id")) << status;
    EXPECT_TRUE(counts(t, status)) << status;
  }
  TestClient page = t.client();
  page.send(
      "POST / HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\nX-Request-Id: mine\r\nContent-Length: 101\r\n\r\n");
  const auto answer = page.receive();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.headers.at("x-request-id"), "mine");
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "*");
  // One that is slow: its time is long enough for the others of this server.
  options.http.header_timeout = milliseconds(1000);
  TestHttpServer hasty(options);
  TestClient slow = hasty.client();
  slow.send(begin);
  EXPECT_EQ(slow.receive().status, 408);
  EXPECT_TRUE(counts(hasty, 408));
}

TEST(Operations, AClientThatLeavesIsCountedAndItsRequestAborted) {
  ServerOptions options;
  options.enable_metrics = true;
  TestHttpServer t(options);
  t.engine->set_step_time(std::chrono::microseconds(200));
  {
    TestClient client = t.client();
    client.send_request("POST", "/generate", kEndlessStream);
    client.receive_head();
  }
  EXPECT_TRUE(eventually([&] {
    const std::string body = t.get("/metrics").body;
    return body.find(R"(method="POST",status_code="499"} 1)") != std::string::npos &&
           body.find(R"(finish_reason="abort"} 1)") != std::string::npos;
  }));
}

TEST(Operations, PausedGenerationIsAliveButNotReady) {
  TestHttpServer t;
  const auto paused = t.client().post("/pause_generation", R"({"mode":"in_place"})");
  EXPECT_EQ(paused.status, 200);
  EXPECT_EQ(Json::parse(paused.body)["status"], "ok");
  EXPECT_EQ(t.engine->paused_by(), PauseMode::InPlace);
  EXPECT_EQ(t.get("/health").status, 200) << "nobody must restart it";
  EXPECT_EQ(t.get("/health/live").status, 200);
  EXPECT_EQ(t.get("/ready").status, 503);
  TestClient waits = t.client();
  waits.send_request("POST", "/generate", R"({"text":"a"})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  EXPECT_EQ(t.client().post("/continue_generation", "").status, 200);
  EXPECT_EQ(waits.receive().status, 200);
  EXPECT_EQ(t.get("/ready").status, 200);
  EXPECT_EQ(t.client().post("/pause_generation", "").status, 200);
  EXPECT_EQ(t.engine->paused_by(), PauseMode::Abort) << "as SGLang's default is";
  EXPECT_EQ(t.client().post("/pause_generation", R"({"mode":"nap"})").status, 400);
  t.client().post("/continue_generation", "");
}

TEST(Operations, PausesThatTakeLongHoldNoWorker) {
  TestHttpServer t;
  t.engine->hold_pausing(true);
  std::deque<TestClient> clients;
  for (int i = 0; i < 8; ++i) {  // more than there are workers
    clients.emplace_back(t.http.port());
    clients.back().send_request("POST", "/pause_generation", R"({"mode":"in_place"})");
  }
  ASSERT_TRUE(eventually([&] { return t.engine->paused_by().has_value(); }));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(t.get("/v1/models").status, 200);
  t.engine->hold_pausing(false);
  for (TestClient& client : clients) EXPECT_EQ(client.receive().status, 200);
}

TEST(Operations, WhatTakesTooLongIsTold) {
  ServerOptions options;
  options.request_timeout_s = 0.05;
  TestHttpServer t(options);
  t.engine->set_step_time(milliseconds(1));
  const auto whole = t.client().post("/generate", kEndless);
  EXPECT_EQ(whole.status, 504);
  EXPECT_NE(whole.body.find("0.05 s"), std::string::npos) << whole.body;
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
  t.engine->hold(true);
  EXPECT_EQ(t.client().post("/v1/completions", R"({"prompt":"a"})").status, 504) << "also while it waits";
}

TEST(Operations, AStreamThatTakesTooLongEndsWithAnEvent) {
  ServerOptions options;
  options.request_timeout_s = 1;  // it begins before, also on a loaded machine
  TestHttpServer t(options);
  t.engine->set_step_time(milliseconds(1));
  const auto stream = t.client().post("/generate", kEndlessStream);
  EXPECT_EQ(stream.status, 200);
  EXPECT_NE(stream.body.find(R"("code":504)"), std::string::npos);
  EXPECT_TRUE(stream.body.ends_with("data: [DONE]\n\n"));
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

TEST(Operations, TheTimeOfAGrammarsCompilationCounts) {
  ServerOptions options;
  options.request_timeout_s = 0.05;
  TestHttpServer t(options);
  t.engine->set_must_compile(true);
  t.engine->hold_compiling(true);
  EXPECT_EQ(t.client().post("/generate", kEndless).status, 504);
  EXPECT_EQ(t.client().post("/generate", kEndless).status, 504) << "also while it waits for the thread";
  EXPECT_TRUE(t.engine->submitted().empty());
  t.engine->hold_compiling(false);
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

TEST(Operations, AClientMayShortenItsOwnTime) {
  TestHttpServer t;
  t.engine->hold(true);
  const std::string json = "Content-Type: application/json\r\n";
  EXPECT_EQ(ask(t, "POST", "/generate", json + "X-Request-Timeout: 0.05\r\n", kEndless).status, 504);
  for (const char* bad : {"0", "-1", "soon", "nan", "1e9"}) {
    EXPECT_EQ(ask(t, "POST", "/generate", json + "X-Request-Timeout: " + bad + "\r\n", kEndless).status, 400) << bad;
  }
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

TEST(Operations, AFullQueueSaysWhenToTryAgain) {
  TestHttpServer t;
  t.engine->set_full(true);
  const auto answer = t.client().post("/generate", R"({"text":"a"})");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
}

TEST(Operations, LoadsComeAsJsonOrForPrometheus) {
  TestHttpServer t;
  EXPECT_TRUE(Json::parse(t.get("/v1/loads?include=core,queues").body)["loads"].is_array());
  EXPECT_NE(t.get("/v1/loads?format=prometheus").body.find("\nsglang:num_running_reqs{"), std::string::npos);
  for (const char* bad : {"format=xml", "include=core,nothing", "dp_rank=1"}) {
    EXPECT_EQ(t.get(std::string("/v1/loads?") + bad).status, 400) << bad;
  }
}

TEST(Operations, RequestsAreLoggedByNameAsMuchAsIsAskedFor) {
  TestHttpServer t;
  const auto lines_of = [&](const char* configuration) {
    EXPECT_EQ(t.client().post("/configure_logging", configuration).status, 200);
    log::init("info", "json");
    testing::internal::CaptureStderr();
    const auto answer = ask(t, "POST", "/generate",
                            "X-Request-Id: mine\r\n"
                            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
                            R"({"text":"a secret","rid":"r1"})");
    EXPECT_EQ(answer.status, 200);
    std::istringstream text(testing::internal::GetCapturedStderr());
    log::init("info");
    std::vector<Json> out;
    for (std::string line; std::getline(text, line);) out.push_back(Json::parse(line));
    for (const Json& line : out) {
      EXPECT_EQ(line["id"], "mine");
      EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
    return out;
  };
  EXPECT_EQ(lines_of("{}").size(), 0U);
  auto lines = lines_of(R"({"log_requests":true,"log_requests_level":0})");
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["message"], "request");
  EXPECT_EQ(lines[1]["message"], "request ended");
  EXPECT_EQ(lines[1]["completion_tokens"], 15);
  EXPECT_EQ(lines[1]["finish_reason"], "stop");
  EXPECT_FALSE(lines[0].contains("sampling"));
  EXPECT_EQ(lines[1].dump().find("wörld"), std::string::npos);
  lines = lines_of(R"({"log_requests_level":1})");
  EXPECT_TRUE(lines.at(0).contains("sampling"));
  EXPECT_FALSE(lines[0].contains("body"));
  lines = lines_of(R"({"log_requests_level":2})");
  EXPECT_NE(lines.at(0)["body"].get<std::string>().find("a secret"), std::string::npos);
  EXPECT_EQ(lines.at(1)["text"], "Hello, wörld!");
  EXPECT_EQ(lines_of(R"({"log_requests":false})").size(), 0U);
  EXPECT_EQ(t.client().post("/configure_logging", R"({"log_requests_level":4})").status, 400);
}

TEST(Operations, WhatIsNotSupportedSaysSoAndIsInTheDocs) {
  TestHttpServer t;
  std::ifstream file(std::string(SGL_SOURCE_DIR) + "/docs/operations.md");
  const std::string docs((std::istreambuf_iterator<char>(file)), {});
  for (const UnsupportedRoute& route : unsupported_routes()) {
    std::string path(route.path);
    EXPECT_NE(docs.find("`" + path + "`"), std::string::npos) << path << " is not in docs/operations.md";
    if (path.ends_with('*')) path.back() = 'x';
    const bool get = (route.methods & kPost) == 0;
    const auto answer = get ? t.get(path) : t.client().post(path, "{}");
    EXPECT_EQ(answer.status, 501) << path;
    const std::string message = Json::parse(answer.body)["message"];
    EXPECT_TRUE(message.ends_with('.')) << message;
    EXPECT_NE(message.find(route.why), std::string::npos) << message;
  }
}

TEST(Operations, EveryRouteIsInTheDocsAndInTheOpenApiDocument) {
  TestHttpServer t;
  std::ifstream file(std::string(SGL_SOURCE_DIR) + "/docs/api.md");
  const std::string docs((std::istreambuf_iterator<char>(file)), {});
  const Json document = Json::parse(t.get("/openapi.json").body);
  EXPECT_EQ(document["info"]["version"], SGL_VERSION);
  std::set<std::pair<std::string, std::string>> served, documented;
  for (const auto& [path, methods] : served_routes()) {
    std::string name(path);
    if (name.ends_with('*')) name.replace(name.size() - 1, 1, "{model}");
    EXPECT_NE(docs.find("`" + name + "`"), std::string::npos) << name << " is not in docs/api.md";
    if (methods & kGet) served.emplace(name, "get");
    if (methods & kPost) served.emplace(name, "post");
    if (methods & kPut) served.emplace(name, "put");
  }
  for (const auto& [path, operations] : document["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) documented.emplace(path, method);
  }
  EXPECT_EQ(served, documented);
}

TEST(Operations, AFullQueueAndAServerThatEndsRefuseBeforeThePromptIsLookedAt) {
  TestHttpServer t;
  t.engine->set_refusal("The request queue is full.");
  for (const char* path : {"/generate", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/encode",
                           "/v1/score", "/v1/rerank"}) {
    const auto full = t.client().post(path, "not even JSON");
    EXPECT_EQ(full.status, 503) << path;
    EXPECT_EQ(full.headers.at("retry-after"), "1");
    EXPECT_NE(full.body.find("queue is full"), std::string::npos) << full.body;
  }
  EXPECT_TRUE(t.engine->submitted().empty());
  EXPECT_EQ(t.client().post("/tokenize", R"({"prompt":"a"})").status, 200);
  t.engine->set_refusal("");
  EXPECT_EQ(t.client().post("/generate", R"({"text":"a"})").status, 200);
}

// ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// A whole server in this process, until its destructor.
struct Running {
  explicit Running(ServerOptions options) {
    options.http.port = 0;
    std::promise<int> listening;
    thread = std::thread([this, options, &listening] {
      serve(
          options, [this] { return engine; }, [&](int p) { listening.set_value(p); });
    });
    port = listening.get_future().get();
    EXPECT_TRUE(eventually([&] { return TestClient(port).request("GET", "/ready").status == 200; }));
  }
  ~Running() {
    std::raise(SIGTERM);
    thread.join();
  }
  std::shared_ptr<FakeEngine> engine = std::make_shared<FakeEngine>();
  std::thread thread;
  int port = 0;
};

TEST(Signals, HangupReadsTheKeysAgain) {
  const std::string file = (std::filesystem::temp_directory_path() / "sgl_operations_test_keys").string();
  std::ofstream(file) << "old\n";
  ServerOptions options;
  options.keys.api_key_file = file;
  Running server(options);
  const auto status = [&](const std::string& key) {
    return TestClient(server.port).request("GET", "/v1/models", "", "Authorization: Bearer " + key + "\r\n").status;
  };
  EXPECT_EQ(status("old"), 200);
  EXPECT_EQ(status("new"), 401);
  std::ofstream(file) << "new\n";
  std::raise(SIGHUP);
  EXPECT_TRUE(eventually([&] { return status("new") == 200; }));
  EXPECT_EQ(status("old"), 401);
  std::filesystem::remove(file);
  std::raise(SIGHUP);
  EXPECT_EQ(status("new"), 200) << "a file that is gone locks nobody out";
}

TEST(Signals, TerminationTellsThoseWhoseTimeIsOver) {
  ServerOptions options;
  options.drain_timeout_s = 0.05;
  std::future<TestClient::Answer> whole, stream;
  {
    Running server(options);
    server.engine->hold(true);
    const auto post = [port = server.port](const char* body) { return TestClient(port).post("/generate", body); };
    whole = std::async(std::launch::async, post, kEndless);
    stream = std::async(std::launch::async, post, kEndlessStream);
    ASSERT_TRUE(server.engine->wait_running([](size_t n) { return n == 2; }));
  }
  for (auto* answer : {&whole, &stream}) {
    const auto got = answer->get();
    EXPECT_EQ(got.status, 503);
    EXPECT_NE(got.body.find("shutting down"), std::string::npos) << got.body;
  }
}

}  // namespace
}  // namespace sgl
