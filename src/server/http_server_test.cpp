// Sockets: requests that come in every way, clients that behave badly, limits, timeouts, and the end.

#include "server/http_server.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "server/test_client.h"
#include "sgl/error.h"

namespace sgl {
namespace {

using std::chrono::milliseconds;

struct Watcher final : ClientWatcher {
  void on_gone() override {
    std::lock_guard lock(mutex);
    gone = true;
    wake.notify_all();
  }
  void on_sent() override { ++sent; }
  bool wait_gone() {
    std::unique_lock lock(mutex);
    return wake.wait_for(lock, kPatience, [this] { return gone; });
  }
  std::mutex mutex;
  std::condition_variable wake;
  bool gone = false;
  std::atomic<int> sent{0};
};

// Answers "METHOD path body"; paths that begin with /wait are kept for the test to answer.
struct Echo {
  explicit Echo(const HttpOptions& options = {})
      : server(
            at_any_port(options),
            [this](HttpRequest&& r, std::shared_ptr<Responder> to) { handle(std::move(r), std::move(to)); },
            [](const HttpRequest& head) { return head.path != "/unwanted"; }) {}
  static HttpOptions at_any_port(HttpOptions o) {
    o.port = 0;
    return o;
  }
  void handle(HttpRequest&& request, std::shared_ptr<Responder> responder) {
    if (request.path.starts_with("/wait")) {
      responder->watch(watcher);
      std::lock_guard lock(mutex);
      waiting.push_back(std::move(responder));
      wake.notify_all();
      return;
    }
    if (request.path == "/forget") return;
    if (request.path == "/throw") throw std::bad_alloc();
    HttpResponse response{.status = 200, .content_type = "text/plain", .body = {}, .headers = {}};
    response.body = request.method + " " + request.path + " " + request.body;
    responder->respond(std::move(response));
  }
  std::shared_ptr<Responder> take() {
    std::unique_lock lock(mutex);
    if (!wake.wait_for(lock, kPatience, [this] { return !waiting.empty(); })) return nullptr;
    auto first = waiting.front();
    waiting.erase(waiting.begin());
    return first;
  }
  bool wait_connections(size_t n) {
    return eventually([&] { return server.connections() == n; });
  }

  std::shared_ptr<Watcher> watcher = std::make_shared<Watcher>();
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::shared_ptr<Responder>> waiting;
  HttpServer server;  // last: its thread uses the rest
};

HttpResponse text(const std::string& body) {
  return {.status = 200, .content_type = "text/plain", .body = body, .headers = {}};
}

TEST(HttpServer, OneConnectionServesManyRequests) {
  Echo echo;
  TestClient client(echo.server.port());
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.post("/a", "hello");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "POST /a hello");
    EXPECT_EQ(answer.headers.at("content-length"), "13");
    EXPECT_EQ(answer.headers.at("content-type"), "text/plain");
    EXPECT_EQ(answer.headers.at("date").size(), 29U);
    EXPECT_EQ(answer.headers.count("connection"), 0U);
  }
  EXPECT_EQ(echo.server.connections(), 1U);
  client.close();
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, HeadHasTheHeaderOfGetAndNoBody) {
  Echo echo;
  TestClient client(echo.server.port());
  EXPECT_EQ(client.request("HEAD", "/x").headers.at("content-length"), "8");
  EXPECT_EQ(client.request("GET", "/y").body, "GET /y ");
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send(
      "GET /wait HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /3 HTTP/1.1\r\nHost: "
      "h\r\nContent-Length: 2\r\n\r\nhi");
  const auto first = echo.take();
  ASSERT_NE(first, nullptr);
  first->respond(text("first"));
  EXPECT_EQ(client.receive().body, "first");
  EXPECT_EQ(client.receive().body, "GET /2 ");
  EXPECT_EQ(client.receive().body, "POST /3 hi");
}

TEST(HttpServer, ManyPipelinedRequestsBeyondTheBufferAreAllAnswered) {
  Echo echo;
  TestClient client(echo.server.port());
  constexpr int kCount = 5000;
  std::string bytes;
  for (int i = 0; i < kCount; ++i) bytes += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  std::thread sender([&] { client.send(bytes); });
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(client.receive().body, "GET /" + std::to_string(i) + " ");
  sender.join();
}

TEST(HttpServer, ARequestMayComeByteByByte) {
  Echo echo;
  TestClient client(echo.server.port());
  for (char c :
       std::string("\r\nPOST /slow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")) {
    client.send(std::string_view(&c, 1));
  }
  EXPECT_EQ(client.receive().body, "POST /slow ab");
}

TEST(HttpServer, AClientThatExpectsContinueGetsIt) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send("POST /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  client.send("abc");
  EXPECT_EQ(client.receive().body, "POST /c abc");
}

TEST(HttpServer, ABodyThatIsNotWantedIsNotReadAndTheConnectionEnds) {
  Echo echo;
  for (const std::string size : {"Content-Length: 60000000", "Transfer-Encoding: chunked"}) {
    TestClient client(echo.server.port());
    client.send("POST /unwanted HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" + size + "\r\n\r\n");
    const auto answer = client.receive();
    EXPECT_EQ(answer.status, 200) << "not 100 Continue";
    EXPECT_EQ(answer.body, "POST /unwanted ");
    EXPECT_EQ(answer.headers.at("connection"), "close");
    client.send("1\r\nx\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    client.shutdown_send();
    EXPECT_EQ(client.receive().status, 0) << "what follows is no request";
  }
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, Http10ClosesUnlessAskedToStay) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(client.receive().headers.at("connection"), "keep-alive");
  client.send("GET /b HTTP/1.0\r\n\r\n");
  const auto answer = client.receive();
  EXPECT_EQ(answer.body, "GET /b ");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST(HttpServer, StreamsAreChunkedAndEndCleanly) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  const auto responder = echo.take();
  responder->stream("data: 1\n\n", false);
  const auto head = client.receive_head();
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(head.headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(client.read_line(), "9");
  EXPECT_EQ(client.read_line(), "data: 1\n\n");
  responder->stream("data: 2\n\n", false);
  responder->stream("", false);
  responder->stream("data: [DONE]\n\n", true);
  EXPECT_EQ(client.read_line(), "9");
  EXPECT_EQ(client.read_line(), "data: 2\n\n");
  EXPECT_EQ(client.read_line(), "e");
  EXPECT_EQ(client.read_line(), "data: [DONE]\n\n");
  EXPECT_EQ(client.read_line(), "0");
  EXPECT_EQ(client.read_line(), "");
  EXPECT_EQ(client.request("GET", "/next").body, "GET /next ") << "the connection stays";
}

TEST(HttpServer, AStreamToHttp10EndsWithTheConnection) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send("GET /wait HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto responder = echo.take();
  responder->stream("a", false);
  responder->stream("b", true);
  const auto answer = client.receive();
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_EQ(answer.body, "ab");
}

TEST(HttpServer, ManySmallPiecesAllArrive) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  const auto responder = echo.take();
  std::string expected;
  for (int i = 0; i < 10'000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    expected += piece;
    responder->stream(piece, false);
  }
  responder->stream("", true);
  EXPECT_EQ(client.receive().body, expected);
}

TEST(HttpServer, UnsentCountsWhatTheClientHasNotTaken) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  const auto responder = echo.take();
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 64; ++i) responder->stream(block, false);
  EXPECT_GT(responder->unsent(), 1U << 20) << "more than the kernel holds";
  std::thread finish([&] {
    EXPECT_TRUE(eventually([&] { return responder->unsent() == 0; }));
    responder->stream("", true);
  });
  EXPECT_EQ(client.receive().body.size(), 64U << 20);
  finish.join();
  EXPECT_GT(echo.watcher->sent, 0);
}

TEST(HttpServer, AClientThatGoesIsNoticedWhileItWaits) {
  for (const bool reset : {false, true}) {
    Echo echo;
    TestClient client(echo.server.port());
    client.send_request("POST", "/wait");
    const auto responder = echo.take();
    reset ? client.reset() : client.close();
    EXPECT_TRUE(echo.watcher->wait_gone());
    responder->stream("nobody reads this", false);
    responder->respond(text("nor this"));
    EXPECT_TRUE(echo.wait_connections(0));
  }
}

TEST(HttpServer, AClientThatGoesIsNoticedWhenItWatchesLate) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  const auto responder = echo.take();
  client.reset();
  ASSERT_TRUE(echo.watcher->wait_gone());
  const auto late = std::make_shared<Watcher>();
  responder->watch(late);
  EXPECT_TRUE(late->wait_gone());
}

TEST(HttpServer, WhatNeedsNoWatchingIsAnsweredAfterAHalfClose) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send("GET /half HTTP/1.0\r\n\r\n");
  client.shutdown_send();
  EXPECT_EQ(client.receive().body, "GET /half ");
}

TEST(HttpServer, AForgottenRequestClosesItsConnection) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/forget");
  EXPECT_EQ(client.receive().status, 0);
}

TEST(HttpServer, AnExceptionClosesItsConnectionAndNoOther) {
  Echo echo;
  TestClient other(echo.server.port());
  EXPECT_EQ(other.request("GET", "/a").status, 200);
  TestClient client(echo.server.port());
  client.send_request("POST", "/throw");
  EXPECT_EQ(client.receive().status, 0);
  EXPECT_EQ(other.request("GET", "/b").status, 200);
}

TEST(HttpServer, AHugeFieldIsRefusedHoweverItComes) {
  Echo echo;
  const std::string huge(65'600, 'a'), tail = "\r\n\r\n";
  const std::string chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
  const std::vector<std::vector<std::string>> requests = {
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + huge + tail},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + huge.substr(0, 60'000), huge.substr(60'000) + tail},
      {"GET / HTTP/1.1\r\nHost: h\r\n" + huge + ": a" + tail},
      {chunked, "X: " + huge + tail},
      {chunked, "X: " + huge.substr(0, 65'527), "aaaaaaa" + tail}};
  for (size_t i = 0; i < requests.size(); ++i) {
    TestClient client(echo.server.port());
    for (const std::string& part : requests[i]) client.send(part);
    EXPECT_EQ(client.receive().status, 431) << i;
    EXPECT_EQ(TestClient(echo.server.port()).request("GET", "/").status, 200) << i;
  }
}

TEST(HttpServer, GarbageIsRefusedAndTheConnectionCloses) {
  Echo echo;
  for (const char* bytes : {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello", "SSH-2.0-OpenSSH_9.2\r\n",
                            "GET /\r\n\r\n", "{}\r\n\r\n"}) {
    TestClient client(echo.server.port());
    client.send(bytes);
    const auto answer = client.receive();
    EXPECT_EQ(answer.status, 400) << bytes;
    EXPECT_NE(answer.body.find("malformed"), std::string::npos) << answer.body;
    EXPECT_EQ(answer.headers.at("connection"), "close");
    client.shutdown_send();
    EXPECT_TRUE(client.closed());
  }
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, LimitsAreKeptAndTheRefusalArrives) {
  HttpOptions options;
  options.max_header_bytes = 1000;
  options.max_body_bytes = 100'000;
  Echo echo(options);
  {
    TestClient client(echo.server.port());
    client.send("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(5000, 'x') + "\r\n\r\n");
    EXPECT_EQ(client.receive().status, 431);
  }
  {
    TestClient client(echo.server.port());
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n" + std::string(100'001, 'x'));
    EXPECT_EQ(client.receive().status, 413) << "although the client was still sending";
  }
  {
    TestClient client(echo.server.port());
    EXPECT_EQ(client.post("/", std::string(99'000, 'x')).body.size(), 99'000 + 7U);
  }
}

TEST(HttpServer, BodiesCountUntilTheirRequestsAreGone) {
  HttpOptions options;
  options.max_bodies_bytes = 1000;
  std::mutex mutex;
  std::vector<HttpRequest> waiting;  // as in the workers' queue
  HttpServer server(Echo::at_any_port(options),
                    [&](HttpRequest&& request, const std::shared_ptr<Responder>& responder) {
                      responder->respond(json_response("{}"));
                      std::lock_guard lock(mutex);
                      waiting.push_back(std::move(request));
                    });
  const std::string body(800, 'x');
  EXPECT_EQ(TestClient(server.port()).post("/", body).status, 200);
  EXPECT_EQ(TestClient(server.port()).post("/", body).status, 503);
  {
    std::lock_guard lock(mutex);
    waiting.clear();
  }
  EXPECT_EQ(TestClient(server.port()).post("/", body).status, 200);
}

TEST(HttpServer, AChunkWhoseHeaderDoesNotEndIsRefused) {
  HttpOptions options;
  options.max_header_bytes = 1000;
  Echo echo(options);
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* endless : {"5;", "5\r\nabcde\r\n0\r\nX: "}) {
    TestClient client(echo.server.port());
    client.send(head + endless + std::string(5000, 'a'));
    EXPECT_EQ(client.receive().status, 431);
  }
  TestClient client(echo.server.port());
  client.send(head + "5;name=value\r\nabcde\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive().body, "POST / abcde");
}

TEST(HttpServer, ABodyGetsTimeForWhatHasComeNotForWhatIsAnnounced) {
  HttpOptions options;
  options.body_timeout = options.linger_timeout = milliseconds(20);
  Echo echo(options);
  TestClient silent(echo.server.port());
  silent.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000000\r\n\r\nabc");
  EXPECT_EQ(silent.receive().status, 408);
}

TEST(HttpServer, SlowClientsAreDropped) {
  HttpOptions options;
  options.body_timeout = options.idle_timeout = options.linger_timeout = milliseconds(20);
  Echo echo(options);
  TestClient idle(echo.server.port()), body(echo.server.port());
  EXPECT_EQ(idle.request("GET", "/").status, 200);
  EXPECT_TRUE(idle.closed());
  body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(body.receive().status, 408);
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, ClientsThatBeginNoRequestOrEndNoHeaderAreDropped) {
  HttpOptions options;
  options.header_timeout = std::chrono::seconds(1);  // long enough for half a header to arrive on a loaded machine
  options.linger_timeout = milliseconds(20);
  Echo echo(options);
  TestClient header(echo.server.port());
  header.send("GET / HT");
  TestClient silent(echo.server.port());
  EXPECT_EQ(header.receive().status, 408);
  EXPECT_EQ(silent.receive().status, 0);
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, AClientThatDoesNotReadIsDropped) {
  HttpOptions options;
  options.write_timeout = milliseconds(50);
  Echo echo(options);
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  echo.take()->respond(text(std::string(64 << 20, 'x')));
  EXPECT_TRUE(echo.watcher->wait_gone());
  EXPECT_TRUE(echo.wait_connections(0));
}

TEST(HttpServer, ThousandsOfIdleConnectionsLeaveRoomForWork) {
  Echo echo;
  std::vector<std::unique_ptr<TestClient>> idle;
  for (int i = 0; i < 400; ++i) idle.push_back(std::make_unique<TestClient>(echo.server.port()));
  EXPECT_TRUE(echo.wait_connections(400));
  EXPECT_EQ(TestClient(echo.server.port()).request("GET", "/").status, 200);
  for (auto& client : idle) EXPECT_EQ(client->request("GET", "/").status, 200);
}

TEST(HttpServer, BeyondTheLimitIdleConnectionsMakeRoomForNewOnes) {
  HttpOptions options;
  options.max_connections = 2;
  Echo e(options);
  TestClient idle(e.server.port()), busy(e.server.port());
  EXPECT_EQ(idle.request("GET", "/a").status, 200);
  busy.send_request("GET", "/wait");
  const auto answer = e.take();
  ASSERT_NE(answer, nullptr);
  TestClient third(e.server.port());
  EXPECT_EQ(third.request("GET", "/b").status, 200);
  EXPECT_TRUE(idle.closed());
  third.send_request("GET", "/wait");
  const auto second_answer = e.take();
  ASSERT_NE(second_answer, nullptr);
  EXPECT_TRUE(TestClient(e.server.port()).closed()) << "nobody is idle or at its request: the new one goes";
  second_answer->respond(text("done"));
  EXPECT_EQ(third.receive().status, 200);
  third.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_TRUE(eventually([&] { return TestClient(e.server.port()).request("GET", "/c").status == 200; }));
  EXPECT_TRUE(third.closed()) << "it was at its request for longest";
  answer->respond(text("done"));
  EXPECT_EQ(busy.receive().status, 200);
}

TEST(HttpServer, ATakenPortIsAnErrorThatNamesIt) {
  Echo echo;
  HttpOptions options;
  options.port = echo.server.port();
  try {
    HttpServer second(options, [](HttpRequest&&, const std::shared_ptr<Responder>&) {});
    FAIL() << "two servers listen on one port";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(std::to_string(options.port)), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("in use"), std::string::npos) << e.what();
  }
  options.port = 70000;
  EXPECT_THROW(HttpServer(options, nullptr), Error);
  options.port = 0;
  options.host = "no such host";
  EXPECT_THROW(HttpServer(options, nullptr), Error);
}

TEST(HttpServer, StoppingLetsAnswersUnderWayEnd) {
  Echo echo;
  TestClient idle(echo.server.port()), busy(echo.server.port());
  EXPECT_EQ(idle.request("GET", "/").status, 200);
  busy.send_request("POST", "/wait");
  const auto responder = echo.take();
  responder->stream("a", false);
  EXPECT_EQ(busy.receive_head().status, 200);
  std::thread stop([&] { echo.server.stop(kPatience); });
  EXPECT_TRUE(idle.closed());
  responder->stream("b", true);
  EXPECT_EQ(busy.read_line(), "1");
  EXPECT_EQ(busy.read_line(), "a");
  EXPECT_EQ(busy.read_line(), "1");
  EXPECT_EQ(busy.read_line(), "b");
  stop.join();
  EXPECT_EQ(echo.server.connections(), 0U);
  responder->stream("after the end", true);  // to no effect
}

TEST(HttpServer, StoppingDropsWhatDoesNotEndInTime) {
  Echo echo;
  TestClient client(echo.server.port());
  client.send_request("POST", "/wait");
  const auto responder = echo.take();
  echo.server.stop(milliseconds(20));
  EXPECT_EQ(client.receive().status, 0);
  EXPECT_TRUE(echo.watcher->wait_gone());
}

}  // namespace
}  // namespace sgl
