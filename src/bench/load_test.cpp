// Workloads against servers and engines in this process.

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "bench/http_client.h"
#include "bench/http_load.h"
#include "bench/latency.h"
#include "bench/offline_load.h"
#include "server/fake_engine.h"
#include "server/http_server.h"
#include "server/routes.h"
#include "server/service.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

using Json = nlohmann::json;

/// A server at any free port.
struct TestServer {
  explicit TestServer(HttpServer::Handler handler) : http(at_any_port(), std::move(handler)) {}
  static HttpOptions at_any_port() {
    HttpOptions o;
    o.port = 0;
    return o;
  }
  Target target() const {
    return {.url = fmt::format("http://127.0.0.1:{}", http.port()), .api_key = "", .model = "m"};
  }
  HttpServer http;
};

/// The real routes over an engine without a model, whose tokens are bytes.
struct EngineServer {
  EngineServer() : engine(std::make_shared<FakeEngine>()), service(ServerOptions{}), server(handler()) {
    service.set_engine(engine);
    service.set_state(Service::State::Up);
  }
  HttpServer::Handler handler() {
    return [this](HttpRequest&& request, const std::shared_ptr<Responder>& responder) {
      dispatch(service, std::move(request), responder);
    };
  }
  std::shared_ptr<FakeEngine> engine;
  Service service;
  TestServer server;
};

WorkloadShape small_shape(int sessions, int concurrency, int turns = 1) {
  return {.name = "small",
          .about = "",
          .sessions = sessions,
          .concurrency = concurrency,
          .turns = turns,
          .input = {.mean = 6},
          .output = {.mean = 5}};
}

/// A stream of two pieces of text, and the usage.
std::string good_stream() {
  return "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\n"
         "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
}

TEST(HttpLoad, EveryRequestOfAWorkloadIsAnsweredInFull) {
  EngineServer s;
  Target target = s.server.target();
  target.model = "";
  prepare(target);
  EXPECT_EQ(target.model, "org/fake");
  EXPECT_TRUE(target.ignore_eos);
  const Workload workload = make_workload(small_shape(40, 7), 1);
  int ended = 0;
  const LoadResult run = run_http(target, workload, [&] { ++ended; });
  EXPECT_EQ(ended, 40);
  ASSERT_EQ(run.answers.size(), 40U);
  EXPECT_LE(run.max_in_flight, 7U);
  std::set<size_t> sessions;
  for (const Answer& a : run.answers) {
    EXPECT_EQ(a.error, "");
    EXPECT_EQ(a.output_tokens, 5);
    EXPECT_EQ(a.tokens_at.size(), 5U);
    EXPECT_GT(a.prompt_tokens, 10);
    EXPECT_EQ(a.cached_tokens, 3);
    EXPECT_LE(a.start, a.tokens_at.front());
    EXPECT_TRUE(std::is_sorted(a.tokens_at.begin(), a.tokens_at.end()));
    EXPECT_LE(a.tokens_at.back(), a.end);
    EXPECT_LE(a.end, run.duration_s);
    sessions.insert(a.session);
  }
  EXPECT_EQ(sessions.size(), 40U);
}

TEST(HttpLoad, PromptsAreThoseOfTheWorkload) {
  EngineServer s;
  const Workload workload = make_workload(small_shape(12, 3), 4);
  run_http(s.server.target(), workload);
  std::multiset<std::string> wanted, sent;
  for (const Session& session : workload.sessions) wanted.insert(session.turns[0].text);
  for (const Request& r : s.engine->submitted()) {
    sent.insert(std::get<std::string>(r.prompt));
    EXPECT_EQ(r.sampling.max_new_tokens, 5);
    EXPECT_EQ(r.sampling.temperature, 0);
    EXPECT_TRUE(r.sampling.ignore_eos);
  }
  EXPECT_EQ(sent, wanted);
}

TEST(HttpLoad, ATurnOfAConversationFollowsItsAnswer) {
  EngineServer s;
  WorkloadShape shape = small_shape(1, 1, 3);
  shape.prefix = 4;
  const Workload workload = make_workload(shape, 1);
  const LoadResult run = run_http(s.server.target(), workload);
  ASSERT_EQ(run.answers.size(), 3U);
  const std::vector<Request> sent = s.engine->submitted();
  ASSERT_EQ(sent.size(), 3U);
  std::string said = workload.sessions[0].prefix;
  for (size_t i = 0; i < 3; ++i) {
    said += " " + workload.sessions[0].turns[i].text;
    EXPECT_EQ(std::get<std::string>(sent[i].prompt), said);
    EXPECT_EQ(run.answers[i].turn, static_cast<int>(i));
    said += "Hello";  // the engine's answer, five tokens of it
  }
}

TEST(HttpLoad, AChatHasItsTurnsAsMessages) {
  EngineServer s;
  Target target = s.server.target();
  target.chat = true;
  const Workload workload = make_workload(small_shape(2, 2, 2), 1);
  const LoadResult run = run_http(target, workload);
  ASSERT_EQ(run.answers.size(), 4U);
  for (const Answer& a : run.answers) EXPECT_EQ(a.error, "");
  const Request request = s.engine->last();
  const auto& last = std::get<ChatPrompt>(request.prompt);
  ASSERT_EQ(last.messages.size(), 3U);
  EXPECT_EQ(last.messages[1].role, "assistant");
  EXPECT_EQ(last.messages[1].parts[0].text, "Hello");
}

TEST(HttpLoad, ArrivalsDoNotWaitForAnswers) {
  EngineServer s;
  s.engine->hold(true);
  const Workload workload = make_workload(small_shape(20, 1), 1, 2000.0);
  std::thread release([&] {
    s.engine->wait_running([](size_t n) { return n == 20; });
    s.engine->hold(false);
  });
  const LoadResult run = run_http(s.server.target(), workload);
  release.join();
  EXPECT_EQ(run.max_in_flight, 20U);
  std::vector<double> starts;
  for (const Answer& a : run.answers) starts.push_back(a.start);
  std::sort(starts.begin(), starts.end());
  EXPECT_EQ(starts, workload.arrivals) << "a request's time begins when it should have been sent";
}

TEST(HttpLoad, RefusedRequestsAreFailedAnswersAndTheRestGoesOn) {
  std::atomic<int> count{0};
  TestServer server([&](HttpRequest&&, const std::shared_ptr<Responder>& to) {
    if (++count % 3 == 0) {
      to->respond({.status = 503,
                   .content_type = "application/json",
                   .body = R"({"error":{"message":"full"}})",
                   .headers = {}});
    } else {
      to->stream(good_stream(), true);
    }
  });
  const LoadResult run = run_http(server.target(), make_workload(small_shape(9, 1), 1));
  ASSERT_EQ(run.answers.size(), 9U);
  int failed = 0;
  for (const Answer& a : run.answers) {
    if (a.error.empty()) continue;
    ++failed;
    EXPECT_EQ(a.error, "status 503: full");
  }
  EXPECT_EQ(failed, 3);
}

TEST(HttpLoad, AConnectionThatBreaksFailsItsRequestOnly) {
  std::atomic<int> count{0};
  TestServer server([&](HttpRequest&&, const std::shared_ptr<Responder>& to) {
    if (++count == 2) {
      to->stream("data: {\"choices\":[{\"text\":\"a\"}]}\n\n", false);
      to->drop();
    } else {
      to->stream(good_stream(), true);
    }
  });
  const LoadResult run = run_http(server.target(), make_workload(small_shape(4, 1), 1));
  ASSERT_EQ(run.answers.size(), 4U);
  EXPECT_EQ(std::count_if(run.answers.begin(), run.answers.end(), [](const Answer& a) { return !a.error.empty(); }), 1);
  EXPECT_NE(run.answers[1].error, "");
}

TEST(HttpLoad, AServerThatClosesIdleConnectionsIsAskedAgain) {
  HttpOptions options = TestServer::at_any_port();
  options.idle_timeout = std::chrono::milliseconds(1);
  std::atomic<int> count{0};
  HttpServer server(options, [&](HttpRequest&&, const std::shared_ptr<Responder>& to) {
    ++count;
    to->stream(good_stream(), true);
  });
  const Target target{.url = fmt::format("http://127.0.0.1:{}", server.port()), .api_key = "", .model = "m"};
  Workload workload = make_workload(small_shape(3, 1), 1);
  workload.arrivals = {0, 0.1, 0.2};  // long after the timeout
  const LoadResult run = run_http(target, workload);
  for (const Answer& a : run.answers) EXPECT_EQ(a.error, "");
  EXPECT_EQ(count, 3);
}

TEST(HttpLoad, AnAnswerThatNeverEndsRunsIntoTheTimeout) {
  std::mutex mutex;
  std::vector<std::shared_ptr<Responder>> kept;
  TestServer server([&](HttpRequest&&, const std::shared_ptr<Responder>& to) {
    std::lock_guard lock(mutex);
    kept.push_back(to);
  });
  Target target = server.target();
  target.timeout_s = 0.05;
  const LoadResult run = run_http(target, make_workload(small_shape(1, 1), 1));
  ASSERT_EQ(run.answers.size(), 1U);
  EXPECT_NE(run.answers[0].error.find("timeout"), std::string::npos) << run.answers[0].error;
}

TEST(HttpLoad, AServerWithoutIgnoreEosIsAskedWithoutIt) {
  TestServer server([&](HttpRequest&& request, const std::shared_ptr<Responder>& to) {
    if (Json::parse(request.body).contains("ignore_eos")) {
      to->respond({.status = 400,
                   .content_type = "application/json",
                   .body = R"({"error":{"message":"what?"}})",
                   .headers = {}});
    } else {
      to->stream(good_stream(), true);
    }
  });
  Target target = server.target();
  prepare(target);
  EXPECT_FALSE(target.ignore_eos);
}

TEST(HttpLoad, TheKeyIsSent) {
  std::string key;
  TestServer server([&](HttpRequest&& request, const std::shared_ptr<Responder>& to) {
    key = request.header("Authorization");
    to->stream(good_stream(), true);
  });
  Target target = server.target();
  target.api_key = "secret";
  run_http(target, make_workload(small_shape(1, 1), 1));
  EXPECT_EQ(key, "Bearer secret");
}

TEST(HttpLoad, AServerThatIsNotThereIsSaidAtOnce) {
  Target target;
  {
    TestServer server([](HttpRequest&&, const std::shared_ptr<Responder>&) {});
    target = server.target();
  }
  EXPECT_THROW(run_http(target, make_workload(small_shape(1, 1), 1)), Error);
}

TEST(Url, HasHostPortAndPath) {
  const Url plain = parse_url("http://localhost:30000"), bare = parse_url("http://host/"),
            deep = parse_url("http://[::1]:8/a/b/");
  EXPECT_EQ(plain.host + "|" + plain.port + "|" + plain.path, "localhost|30000|");
  EXPECT_EQ(bare.host + "|" + bare.port + "|" + bare.path, "host|80|");
  EXPECT_EQ(deep.host + "|" + deep.port + "|" + deep.path, "::1|8|/a/b");
  for (const char* bad : {"https://x", "localhost:1", "http://", "http://:80", "http://host:"}) {
    EXPECT_THROW(parse_url(bad), Error) << bad;
  }
}

TEST(OfflineLoad, AnswersTheSameWorkloadAsAServer) {
  FakeEngine engine;
  const Workload workload = make_workload(small_shape(6, 2, 3), 1);
  const LoadResult run = run_offline(engine, workload);
  ASSERT_EQ(run.answers.size(), 18U);
  EXPECT_LE(run.max_in_flight, 2U);
  for (const Answer& a : run.answers) {
    EXPECT_EQ(a.error, "");
    EXPECT_EQ(a.output_tokens, 5);
    EXPECT_EQ(a.tokens_at.size(), 5U);
    EXPECT_LE(a.start, a.tokens_at.front());
  }
  EngineServer s;
  run_http(s.server.target(), workload);
  std::multiset<std::string> here, there;
  for (const Request& r : engine.submitted()) here.insert(std::get<std::string>(r.prompt));
  for (const Request& r : s.engine->submitted()) there.insert(std::get<std::string>(r.prompt));
  EXPECT_EQ(here, there);
}

TEST(OfflineLoad, AnEngineWithoutATokenizerGetsAnIdForEachWord) {
  FakeEngine engine;
  engine.set_tokenizer(false);
  WorkloadShape shape = small_shape(4, 2, 3);
  shape.prefix = 3;
  const LoadResult run = run_offline(engine, make_workload(shape, 1));
  ASSERT_EQ(run.answers.size(), 12U);
  for (const Answer& a : run.answers) {
    EXPECT_EQ(a.error, "");
    EXPECT_EQ(a.output_tokens, 5);
  }
  std::vector<std::vector<int32_t>> prompts;
  for (const Request& r : engine.submitted()) prompts.push_back(std::get<std::vector<int32_t>>(r.prompt));
  std::sort(prompts.begin(), prompts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  const auto first = static_cast<size_t>(shape.prefix) + static_cast<size_t>(shape.input.mean);
  for (size_t i = 0; i < prompts.size(); ++i) {
    // A turn's new words come after its answer.
    const size_t turn = i / 4;
    EXPECT_EQ(prompts[i].size(), first + turn * (static_cast<size_t>(shape.input.mean) + 5));
    EXPECT_TRUE(std::equal(prompts[0].begin(), prompts[0].begin() + shape.prefix, prompts[i].begin()));
    if (turn == 0) continue;
    EXPECT_TRUE(std::any_of(prompts.begin(), prompts.begin() + static_cast<std::ptrdiff_t>(4 * turn),
                            [&](auto& p) { return std::equal(p.begin(), p.end(), prompts[i].begin()); }));
  }
}

TEST(OfflineLoad, ArrivalsAndRefusalsWork) {
  FakeEngine engine;
  const LoadResult timed = run_offline(engine, make_workload(small_shape(10, 1), 1, 500.0));
  EXPECT_EQ(timed.answers.size(), 10U);
  engine.set_full(true);
  const LoadResult refused = run_offline(engine, make_workload(small_shape(5, 2), 1));
  ASSERT_EQ(refused.answers.size(), 5U);
  for (const Answer& a : refused.answers) EXPECT_NE(a.error, "");
}

TEST(Latency, CountsThePromptsAndTheTokensAfterTheFirst) {
  FakeEngine engine;
  Random random(1);
  const LatencyFigures f =
      measure_latency(engine, {.batch = 4, .input = 20, .output = 6, .cached_prefixes = 3}, 2, random);
  EXPECT_GT(f.prefill_tok_s.p50, 0);
  EXPECT_GT(f.decode_tok_s.p50, 0);
  EXPECT_GT(f.step_ms.p50, 0);
  const std::vector<Request> sent = engine.submitted();
  ASSERT_EQ(sent.size(), 3U + 2 * 2 * 4);
  std::set<std::vector<int32_t>> beginnings;
  for (size_t i = 0; i < 3; ++i) {
    auto ids = std::get<std::vector<int32_t>>(sent[i].prompt);
    ids.resize(16);
    beginnings.insert(ids);
  }
  for (size_t i = 3; i < sent.size(); ++i) {
    auto ids = std::get<std::vector<int32_t>>(sent[i].prompt);
    EXPECT_EQ(ids.size(), 20U);
    EXPECT_EQ(sent[i].sampling.max_new_tokens, (i - 3) / 4 % 2 == 0 ? 1 : 6);
    ids.resize(16);
    EXPECT_EQ(beginnings.count(ids), 1U) << "each prompt begins with a cached prefix";
  }
}

TEST(Latency, SharesOfRoofsAreThoseOfTheWorkThatTheEngineCounts) {
  FakeEngine engine;
  engine.set_step_time(std::chrono::milliseconds(2));
  ThreadPool pool(1);
  RoofProbe roofs(pool, 1 << 16);
  Random random(1);
  const LatencyCase what{.batch = 1, .input = 20, .output = 6};
  const LatencyFigures f = measure_latency(engine, what, 3, random, &roofs);
  ASSERT_TRUE(f.prefill_share && f.decode_share && f.read_gb_s);
  EXPECT_GT(f.prefill_share->p50, 0);
  // A step reads as much as the fake engine says, once in its time.
  const double bytes_s = static_cast<double>(FakeEngine::kStepWork.weight_bytes) * f.decode_tok_s.p50;
  EXPECT_NEAR(f.decode_share->p50 * f.read_gb_s->p50 * 1e9 / bytes_s, 1, 0.5);
  EXPECT_FALSE(measure_latency(engine, what, 1, random).decode_share);
  const LatencyFigures prompt = measure_latency(engine, {.batch = 1, .input = 20, .output = 1}, 1, random, &roofs);
  EXPECT_TRUE(prompt.prefill_share);
  EXPECT_FALSE(prompt.decode_share);
}

TEST(Latency, OperationsTakeTheirUnitsTime) {
  Roofs r;
  r.units = {{"vector", Arithmetic::Float32, 1e9}, {"bytes", Arithmetic::Int8, 8e9}};
  EXPECT_DOUBLE_EQ(
      least_seconds({.weight_bytes = 1, .quantized_ops = 4'000'000'000, .bfloat16_ops = 0, .float_ops = 0}, r), 0.5);
  EXPECT_DOUBLE_EQ(
      least_seconds({.weight_bytes = 1, .quantized_ops = 0, .bfloat16_ops = 1'000'000'000, .float_ops = 2'000'000'000},
                    r),
      3)
      << "bfloat16 by float32's unit, where it has none";
}

TEST(Latency, RequestsThatWaitAreTakenBackWhenTheBatchHasEnded) {
  FakeEngine engine;
  engine.set_step_time(std::chrono::microseconds(200));
  Random random(1);
  measure_latency(engine, {.batch = 2, .input = 8, .output = 4, .waiting = 5}, 3, random);
  EXPECT_EQ(engine.submitted().size(), 3U * (2 + 2 + 5));
  EXPECT_TRUE(engine.wait_running([](size_t n) { return n == 0; }));
}

TEST(Latency, ARequestThatFailsIsAnError) {
  FakeEngine engine;
  engine.hold(true);
  engine.fail_with(500, "no pages");
  Random random(1);
  try {
    measure_latency(engine, {.batch = 1, .input = 4, .output = 4}, 1, random);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no pages"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sgl::bench
