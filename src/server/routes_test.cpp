// All routes over real sockets and a fake engine: who may do what, clients that leave or do not read, many at once, and
// the server's life from start to drain.

#include "server/routes.h"

#include <csignal>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "server/test_server.h"

namespace sgl {
namespace {

using std::chrono::milliseconds;

TEST(Routes, RootHealthAndReadyAnswer) {
  TestHttpServer t;
  EXPECT_EQ(t.get("/").status, 200);
  EXPECT_NE(t.get("/").body.find("sgl"), std::string::npos);
  EXPECT_EQ(t.client().request("HEAD", "/").status, 200);
  for (const char* path : {"/health", "/health_generate", "/ready"}) {
    const auto answer = t.get(path);
    EXPECT_EQ(answer.status, 200) << path;
    EXPECT_EQ(answer.body, "") << path;
  }
  EXPECT_TRUE(t.engine->last().rid.starts_with("HEALTH_CHECK"));
  EXPECT_EQ(t.engine->last().sampling.max_new_tokens, 1);
}

// A proof holds for a second.
size_t most_probes(std::chrono::steady_clock::time_point since) {
  return 1 + static_cast<size_t>(std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count());
}

TEST(Routes, WhoeverAsksForHealthOftenCostsAStepASecond) {
  TestHttpServer t;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(t.get("/health").status, 200);
  EXPECT_LE(t.engine->submitted().size(), most_probes(began));
  t.engine->fail("the device is gone");
  EXPECT_EQ(t.get("/health").status, 503) << "whatever was proved before";
}

TEST(Routes, WhoeverAsksForHealthAtTheSameTimeIsAnsweredByOneProbe) {
  TestHttpServer t;
  t.engine->hold_compiling(true);  // the probe cannot be submitted
  std::deque<TestClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(t.http.port());
    clients.back().send_request("GET", "/health");
  }
  const auto began = std::chrono::steady_clock::now();
  t.engine->hold_compiling(false);
  for (TestClient& client : clients) EXPECT_EQ(client.receive().status, 200);
  EXPECT_LE(t.engine->submitted().size(), most_probes(began));
}

TEST(Routes, HealthIs503WhileStartingAndDraining) {
  TestHttpServer t;
  for (const auto state : {Service::State::Starting, Service::State::Draining}) {
    t.service.set_state(state);
    for (const char* path : {"/health", "/health_generate", "/ready"}) EXPECT_EQ(t.get(path).status, 503) << path;
  }
  EXPECT_EQ(t.get("/").status, 200);
}

TEST(Routes, WithoutAModelWorkIsRefusedFor503) {
  TestHttpServer t;
  t.service.set_engine(nullptr);
  t.service.set_state(Service::State::Starting);
  EXPECT_EQ(t.client().post("/generate", R"({"text":"a"})").status, 503);
  EXPECT_EQ(t.client().post("/v1/chat/completions", "{}").status, 503);
  EXPECT_EQ(t.get("/v1/models").status, 503);
  EXPECT_EQ(t.get("/get_model_info").status, 503);
  EXPECT_EQ(t.get("/health").status, 503);
}

TEST(Routes, HealthWithAFullQueueIsProvedByOthersSteps) {
  TestHttpServer t;
  t.engine->set_step_time(milliseconds(5));
  TestClient busy = t.client();
  busy.send_request("POST", "/generate", kEndless);
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  t.engine->set_full(true);
  EXPECT_EQ(t.get("/health").status, 200);
}

TEST(Routes, ModelsAreListedAndFound) {
  TestHttpServer t;
  const Json list = Json::parse(t.get("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 1U);
  EXPECT_EQ(list["data"][0]["id"], "org/fake");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["owned_by"], "sglang");
  EXPECT_EQ(list["data"][0]["parent"], nullptr);
  EXPECT_EQ(list["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(Json::parse(t.get("/v1/models/org/fake").body), list["data"][0]);
  EXPECT_EQ(Json::parse(t.get("/v1/models/org%2Ffake").body), list["data"][0]);
  const auto unknown = t.get("/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "model_not_found");
  EXPECT_EQ(Json::parse(unknown.body)["error"]["param"], "model");
  EXPECT_EQ(Json::parse(unknown.body)["error"]["type"], "invalid_request_error");
}

TEST(Routes, InformationHasTheKeysThatClientsRead) {
  ServerOptions options;
  options.keys.api_key = "secret-key";
  TestHttpServer t(options);
  const auto get = [&](const std::string& path) {
    const auto answer = t.client().request("GET", path, "", "Authorization: Bearer secret-key\r\n");
    EXPECT_EQ(answer.body.find("secret-key"), std::string::npos) << "the key must not be told";
    return Json::parse(answer.body);
  };
  const Json model = get("/get_model_info");
  for (const char* key :
       {"model_path", "served_model_name", "tokenizer_path", "is_generation", "preferred_sampling_params",
        "weight_version", "load_format", "reasoning_parser", "tool_call_parser", "disaggregation_mode",
        "has_image_understanding", "has_audio_understanding", "model_type", "architectures"}) {
    EXPECT_TRUE(model.contains(key)) << key;
  }
  EXPECT_EQ(model["model_path"], "/models/fake");
  EXPECT_EQ(model["is_generation"], true);
  EXPECT_EQ(model["architectures"], Json::parse(R"(["FakeForCausalLM"])"));
  EXPECT_EQ(get("/model_info"), model);
  const Json server = get("/server_info");
  EXPECT_EQ(server["status"], "ready");
  EXPECT_EQ(server["version"], SGL_VERSION);
  EXPECT_EQ(server["max_total_num_tokens"], 1600);
  EXPECT_EQ(server["max_req_input_len"], 1598);
  EXPECT_EQ(server["schedule_policy"], "lpm");
  EXPECT_EQ(server["tp_size"], 2);
  for (const char* key : {"dp_size", "pp_size", "ep_size"}) EXPECT_EQ(server[key], 1) << key;
  EXPECT_EQ(server["disaggregation_mode"], "null");
  EXPECT_EQ(server["chat_template"], nullptr);
  EXPECT_EQ(server["internal_states"][0]["free_pages"], 100);
  EXPECT_TRUE(server["internal_states"][0].contains("last_gen_throughput"));
  EXPECT_EQ(get("/get_server_info")["version"], SGL_VERSION);
}

TEST(Routes, UnknownRoutesAndMethodsAreJsonErrors) {
  TestHttpServer t;
  const auto missing = t.get("/nowhere/\xff");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(Json::parse(missing.body)["object"], "error");
  const auto wrong = t.get("/generate");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "OPTIONS, POST, PUT");
  EXPECT_EQ(Json::parse(wrong.body)["message"], "/generate takes OPTIONS, POST, PUT, got GET");
  EXPECT_EQ(Json::parse(wrong.body)["code"], 405);
  EXPECT_EQ(t.client().request("BREW", "/health").status, 405);
  const auto options = t.client().request("OPTIONS", "/flush_cache");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "OPTIONS, GET, HEAD, POST");
  const auto any = t.client().request("OPTIONS", "*");
  EXPECT_EQ(any.status, 204);
  EXPECT_EQ(any.headers.at("allow"), "OPTIONS, GET, HEAD, POST, PUT");
  for (const char* path :
       {"/classify", "/v1/audio/transcriptions", "/v1/responses/abc/cancel", "/update_weights_from_disk"}) {
    const auto later = t.client().post(path, "{}");
    EXPECT_EQ(later.status, 501) << path;
    EXPECT_NE(Json::parse(later.body)["message"].get<std::string>().find(path), std::string::npos);
  }
}

TEST(Routes, AKeyOpensWhatIsNotOpenToAll) {
  ServerOptions options;
  options.keys.api_key = "sesame";
  TestHttpServer t(options);
  for (const char* path : {"/health", "/health_generate", "/ready"}) EXPECT_EQ(t.get(path).status, 200) << path;
  EXPECT_EQ(t.client().request("OPTIONS", "/generate").status, 204);
  for (const char* authorization :
       {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer sesam\r\n", "Authorization: Bearer sesames\r\n",
        "Authorization: Bearer \r\n", "Authorization: sesame\r\n", "Authorization: Bearer sesamesesame\r\n"}) {
    for (const char* path : {"/", "/v1/models", "/flush_cache", "/nowhere"}) {
      const auto answer = t.client().request("GET", path, "", authorization);
      EXPECT_EQ(answer.status, 401) << path << " " << authorization;
      EXPECT_EQ(answer.body, R"({"error":"Unauthorized"})");
    }
  }
  EXPECT_EQ(t.client().request("GET", "/v1/models", "", "authorization: Bearer sesame\r\n").status, 200);
}

// The status of the answer to a header alone, whose body would be 64 MiB.
int status_of_head(TestHttpServer& t, const std::string& line, const std::string& fields) {
  TestClient client = t.client();
  client.send(line + " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 67108864\r\n" + fields + "\r\n");
  return client.receive().status;
}

TEST(Routes, WhatTheHeaderRulesOutIsRefusedBeforeTheBodyComes) {
  ServerOptions options;
  options.keys.api_key = "k";
  options.keys.admin_api_key = "a";
  TestHttpServer t(options);
  const std::string key = "Authorization: Bearer k\r\n", json = "Content-Type: application/json\r\n";
  EXPECT_EQ(status_of_head(t, "POST /v1/completions", json), 401);
  EXPECT_EQ(status_of_head(t, "POST /generate", "Authorization: Bearer x\r\n"), 401);
  EXPECT_EQ(status_of_head(t, "POST /abort_request", key), 403);
  EXPECT_EQ(status_of_head(t, "POST /nowhere", key), 404);
  EXPECT_EQ(status_of_head(t, "DELETE /generate", key), 405);
  EXPECT_EQ(status_of_head(t, "POST /classify", key), 501);
  EXPECT_EQ(status_of_head(t, "POST /v1/completions", key + "Content-Type: text/plain\r\n"), 400);
  EXPECT_EQ(status_of_head(t, "POST /v1/completions", key + json + "Content-Encoding: gzip\r\n"), 415);
  EXPECT_EQ(status_of_head(t, "POST /v1/completions", key + json), 100);
  EXPECT_EQ(status_of_head(t, "POST /generate", key + "Content-Encoding: Identity\r\n"), 100);
}

TEST(Routes, AnEncodedBodyIsRefusedByName) {
  TestHttpServer t;
  const auto answer = t.client().request("POST", "/generate", "x", "Content-Encoding: gzip\r\n");
  EXPECT_EQ(answer.status, 415);
  EXPECT_NE(answer.body.find(R"(Content-Encoding \"gzip\")"), std::string::npos) << answer.body;
}

TEST(Routes, TheCacheIsFlushedWhenIdleOnly) {
  TestHttpServer t;
  EXPECT_EQ(t.get("/flush_cache").status, 200);
  EXPECT_TRUE(t.client().post("/flush_cache", "").body.starts_with("Cache flushed."));
  t.engine->hold(true);
  TestClient busy = t.client();
  busy.send_request("POST", "/generate", R"({"text":"a"})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  EXPECT_EQ(t.get("/flush_cache").status, 400);
  TestClient waiting = t.client();
  waiting.send_request("POST", "/flush_cache?timeout=60");
  t.engine->hold(false);
  EXPECT_EQ(waiting.receive().status, 200) << "it waited for the idle moment";
  for (const char* bad : {"x", "-1", "nan", "1e99", ""})
    EXPECT_EQ(t.get(std::string("/flush_cache?timeout=") + bad).status, 400) << bad;
}

TEST(Routes, AbortsAreAlways200) {
  TestHttpServer t;
  for (const char* body : {"", "{}", R"({"rid":"unknown"})", R"({"rid":"","abort_all":false})", R"({"rid":null})"}) {
    const auto answer = t.client().post("/abort_request", body);
    EXPECT_EQ(answer.status, 200) << body;
    EXPECT_EQ(answer.body, "");
  }
  EXPECT_EQ(t.client().post("/abort_request", R"({"rid":5})").status, 400);
  t.engine->hold(true);
  TestClient first = t.client(), second = t.client();
  first.send_request("POST", "/generate", R"({"text":"a","rid":"job_1"})");
  second.send_request("POST", "/generate", R"({"text":"a","rid":"other"})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 2; }));
  t.client().post("/abort_request", R"({"rid":"job"})");
  EXPECT_EQ(Json::parse(first.receive().body)["meta_info"]["finish_reason"]["type"], "abort");
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  t.engine->hold(false);
  EXPECT_EQ(Json::parse(second.receive().body)["meta_info"]["finish_reason"]["type"], "stop");
}

TEST(Routes, TheClientsConcatenationIsAccepted) {
  TestHttpServer t;
  EXPECT_EQ(t.client().post("/concate_and_append_request", R"({"src_rids":["a"],"dst_rid":"b"})").body, "{}");
}

TEST(Routes, AClientThatLeavesEndsItsRequest) {
  for (const char* body : {kEndless, kEndlessStream}) {
    for (const bool reset : {false, true}) {
      TestHttpServer t;
      t.engine->set_step_time(milliseconds(1));
      TestClient client = t.client();
      client.send_request("POST", "/generate", body);
      ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
      if (body == kEndlessStream) {
        ASSERT_EQ(client.receive_head().status, 200);
      }
      reset ? client.reset() : client.close();
      EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
      EXPECT_EQ(t.engine->aborted(), 1U);
    }
  }
}

TEST(Routes, AClientThatLeavesEndsNobodyElses) {
  TestHttpServer t;
  t.engine->hold(true);
  TestClient leaves = t.client(), stays = t.client();
  leaves.send_request("POST", "/generate", R"({"text":"a","rid":"a"})");
  stays.send_request("POST", "/generate", R"({"text":"a","rid":"ab"})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 2; }));
  leaves.reset();
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  t.engine->hold(false);
  EXPECT_EQ(Json::parse(stays.receive().body)["meta_info"]["finish_reason"]["type"], "stop");
}

TEST(Routes, AClientThatLeavesABatchEndsAllOfIt) {
  TestHttpServer t;
  t.engine->hold(true);
  TestClient client = t.client();
  client.send_request("POST", "/v1/completions", R"({"prompt":["a","b","c"],"n":2})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 6; }));
  client.close();
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

TEST(Routes, AClientThatDoesNotReadItsStreamIsDropped) {
  ServerOptions options;
  options.http.max_unsent_bytes = 64 << 10;
  TestHttpServer t(options);
  TestClient client = t.client();
  client.socket().set_option(boost::asio::socket_base::receive_buffer_size(4096));
  client.send_request("POST", "/v1/completions",
                      R"({"prompt":"a","stream":true,"max_tokens":1000000000,"ignore_eos":true})");
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
  EXPECT_EQ(t.engine->aborted(), 1U);
  EXPECT_TRUE(eventually([&] { return t.http.connections() == 0; }));
}

TEST(Routes, AClientThatReadsSlowlyStillGetsAll) {
  ServerOptions options;
  options.http.max_unsent_bytes = 4 << 20;
  TestHttpServer t(options);
  t.engine->hold(true);
  TestClient client = t.client();
  client.socket().set_option(boost::asio::socket_base::receive_buffer_size(4096));
  // Every event holds all ids so far: 3000 of them are 20 MB, more than is kept for a client. It gets fewer events.
  client.send_request("POST", "/generate",
                      R"({"text":"a","stream":true,"sampling_params":{"max_new_tokens":3000,"ignore_eos":true}})");
  ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  t.engine->hold(false);
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
  const auto events = json_events_of(client.receive().body);
  EXPECT_LT(events.size(), 3000U);
  EXPECT_EQ(events.back()["output_ids"].size(), 3000U);
  EXPECT_EQ(events.back()["meta_info"]["finish_reason"]["type"], "length");
}

TEST(Routes, AStreamThatFailsMidwayEndsWithAnErrorEvent) {
  TestHttpServer t;
  t.engine->set_step_time(milliseconds(1));
  TestClient client = t.client();
  client.send_request("POST", "/v1/completions",
                      R"({"prompt":"a","stream":true,"max_tokens":1000000,"ignore_eos":true})");
  auto answer = client.receive_head();
  EXPECT_EQ(answer.status, 200) << "the stream has begun";
  t.engine->fail_with(500, "the model broke");
  const auto events = json_events_of(client.receive_chunks());
  EXPECT_EQ(events.front()["object"], "text_completion");
  EXPECT_EQ(events.back(), Json::parse(R"({"error":{"message":"the model broke","type":"server_error","code":500,
      "retryable":false}})"));
}

TEST(Routes, TwoHundredClientsAtOnce) {
  TestHttpServer t;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(std::make_unique<TestClient>(t.http.port()));
  for (int i = 0; i < 200; ++i) {
    const char* const bodies[] = {R"({"prompt":"a","max_tokens":20})",
                                  R"({"prompt":"a","max_tokens":20,"stream":true})"};
    clients[static_cast<size_t>(i)]->send_request("POST", "/v1/completions", bodies[i % 2]);
  }
  for (int i = 0; i < 200; ++i) {
    const auto answer = clients[static_cast<size_t>(i)]->receive();
    ASSERT_EQ(answer.status, 200);
    std::string text;
    if (i % 2 == 0) {
      text = Json::parse(answer.body)["choices"][0]["text"];
    } else {
      for (const Json& c : json_events_of(answer.body)) text += c["choices"][0]["text"];
    }
    EXPECT_EQ(text, "Hello, wörld!");
  }
}

TEST(Routes, RandomBytesToEveryRouteAreAnsweredOrRefused) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  TestHttpServer t;
  const std::vector<std::string> bodies = {
      R"({"text":"a","sampling_params":{"max_new_tokens":3,"stop":["x"]},"stream":true,"return_logprob":true,"rid":"r"})",
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"n":2,"logprobs":true,"max_tokens":3})",
      R"({"prompt":[[1,2],[3]],"logprobs":1,"echo":true,"stream":true,"stream_options":{"include_usage":true},"max_tokens":3})"};
  const char* const paths[] = {"/generate", "/v1/chat/completions", "/v1/completions"};
  std::map<int, int> statuses;
  for (int i = 0; i < 3000; ++i) {
    const size_t which = rng() % 3;
    std::string body = bodies[which];
    for (unsigned n = rng() % 4; n > 0; --n) {
      const size_t at = rng() % body.size();
      switch (rng() % 4) {
        case 0:
          body[at] = static_cast<char>(rng());
          break;
        case 1:
          body.insert(at, bodies[rng() % 3].substr(rng() % 60, rng() % 12));
          break;
        case 2:
          body.erase(at, rng() % 5);
          break;
        default:
          body[at] = "{}[]\",:0n-"[rng() % 10];
          break;
      }
      if (body.empty()) body.push_back('0');
    }
    const HttpResponse answer = t.post(paths[which], body);
    ++statuses[answer.status];
    if (answer.content_type == "application/json") {
      EXPECT_TRUE(Json::accept(answer.body)) << body;
    }
  }
  EXPECT_EQ(statuses.size(), 2U) << "only 200 and 400";
  EXPECT_GT(statuses[200], 0);
  EXPECT_GT(statuses[400], 0);
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; }));
}

// ── Start and stop ───────────────────────────────────────────────────────────────────────────────────────────────────

TEST(Serve, ListensThenLoadsThenWarmsUpThenIsUpAndDrainsOnSigterm) {
  ServerOptions options;
  options.http.port = 0;
  std::promise<int> port;
  std::promise<void> may_load;
  auto engine = std::make_shared<FakeEngine>();
  engine->hold(true);
  int status = -1;
  std::thread server([&] {
    status = serve(
        options,
        [&]() -> std::shared_ptr<EngineApi> {
          may_load.get_future().wait();
          return engine;
        },
        [&](int p) { port.set_value(p); });
  });
  const int at = port.get_future().get();
  const auto get = [&](const std::string& path) { return TestClient(at).request("GET", path).status; };
  EXPECT_EQ(get("/health"), 503) << "it listens while the model loads";
  EXPECT_EQ(get("/ready"), 503);
  EXPECT_EQ(get("/v1/models"), 503);
  may_load.set_value();
  EXPECT_TRUE(engine->wait_running([](size_t n) { return n == 1; })) << "the warm-up request";
  EXPECT_EQ(get("/ready"), 503);
  EXPECT_EQ(engine->last().sampling.max_new_tokens, 8);
  engine->hold(false);
  EXPECT_TRUE(eventually([&] { return get("/ready") == 200; }));
  EXPECT_EQ(get("/health"), 200);
  EXPECT_TRUE(engine->wait_running([](size_t n) { return n == 0; })) << "the health check's own request";

  engine->hold(true);
  TestClient client(at);
  client.send_request("POST", "/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}]})");
  ASSERT_TRUE(engine->wait_running([](size_t n) { return n == 1; }));
  std::raise(SIGTERM);
  EXPECT_TRUE(eventually([&] { return engine->drained(); }));
  EXPECT_EQ(get("/health"), 503);
  EXPECT_EQ(TestClient(at).post("/generate", R"({"text":"late"})").status, 503);
  engine->hold(false);
  const auto answer = client.receive();
  EXPECT_EQ(answer.status, 200) << "what ran is finished";
  EXPECT_EQ(Json::parse(answer.body)["choices"][0]["finish_reason"], "stop");
  server.join();
  EXPECT_EQ(status, 0);
}

TEST(Serve, EndsWithAnErrorWhenTheEngineHasFailed) {
  ServerOptions options;
  options.http.port = 0;
  std::promise<int> port;
  auto engine = std::make_shared<FakeEngine>();
  int status = -1;
  std::thread server([&] {
    status = serve(
        options, [&]() -> std::shared_ptr<EngineApi> { return engine; }, [&](int p) { port.set_value(p); });
  });
  const int at = port.get_future().get();
  EXPECT_TRUE(eventually([&] { return TestClient(at).request("GET", "/ready").status == 200; }));
  engine->fail("the device is gone");
  server.join();
  EXPECT_EQ(status, 1);
}

TEST(Serve, ATakenPortIsSaidBeforeTheModelLoads) {
  TestHttpServer other;
  ServerOptions options;
  options.http.port = other.http.port();
  bool loaded = false;
  EXPECT_THROW(serve(options,
                     [&]() -> std::shared_ptr<EngineApi> {
                       loaded = true;
                       return nullptr;
                     }),
               Error);
  EXPECT_FALSE(loaded);
}

TEST(Serve, AModelThatDoesNotLoadEndsIt) {
  ServerOptions options;
  options.http.port = 0;
  EXPECT_THROW(
      serve(options, []() -> std::shared_ptr<EngineApi> { throw Error(ErrorKind::NotFound, "no such model"); }), Error);
}

TEST(Serve, AWarmUpThatFailsEndsIt) {
  ServerOptions options;
  options.http.port = 0;
  auto engine = std::make_shared<FakeEngine>();
  engine->set_full(true);
  try {
    serve(options, [&]() -> std::shared_ptr<EngineApi> { return engine; });
    FAIL() << "it serves with an engine that answers nothing";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("warm-up"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sgl
