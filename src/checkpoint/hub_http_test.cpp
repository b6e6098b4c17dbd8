#include "checkpoint/hub_http.h"

#include <atomic>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/hub_test_support.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;

template <class F>
Error error_from(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::Internal, "none");
}

bool has(const Error& e, const std::string& part) { return std::string(e.what()).find(part) != std::string::npos; }

Download to_file(const std::string& url, const std::string& path) {
  Download d;
  d.url = url;
  d.path = path;
  return d;
}

class HubHttp : public testing::Test {
 protected:
  TemporaryFolder folder_;
  HubOptions options_ = test_options(folder_, "");
};

TEST_F(HubHttp, ServerFaultsAreRetried) {
  std::atomic<int> n{0};
  TestServer server([&](const TestRequest&) {
    return TestReply{.status = ++n < 3 ? 503 : 200, .headers = {}, .body = "ok", .cut_after = {}};
  });
  Response r = HttpClient(options_).get(server.url(), "", "*/*", 100);
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body, "ok");
  EXPECT_EQ(n, 3);
}

TEST_F(HubHttp, RetriesEndAndTheStatusIsTheCallers) {
  TestServer server(
      [](const TestRequest&) { return TestReply{.status = 500, .headers = {}, .body = "oops", .cut_after = {}}; });
  Response r = HttpClient(options_).get(server.url(), "", "*/*", 100);
  EXPECT_EQ(r.status, 500);
  EXPECT_EQ(r.body, "oops");
  EXPECT_EQ(server.requests().size(), 3U);
}

TEST_F(HubHttp, ARefusalIsNotRetried) {
  for (int status : {400, 401, 403, 404}) {
    TestServer server(
        [&](const TestRequest&) { return TestReply{.status = status, .headers = {}, .body = "", .cut_after = {}}; });
    EXPECT_EQ(HttpClient(options_).get(server.url(), "", "*/*", 100).status, status);
    EXPECT_EQ(server.requests().size(), 1U);
  }
}

TEST_F(HubHttp, NobodyListeningIsUnavailable) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor taken(io, boost::asio::ip::tcp::v4());
  taken.bind({boost::asio::ip::address_v4::loopback(), 0});  // so nobody else can listen there, and this one does not
  const std::string url = fmt::format("http://127.0.0.1:{}", taken.local_endpoint().port());
  Error e = error_from([&] { HttpClient(options_).get(url, "", "*/*", 100); });
  EXPECT_EQ(e.kind(), ErrorKind::Unavailable);
  EXPECT_TRUE(has(e, url) && has(e, "check the network")) << e.what();
}

TEST_F(HubHttp, AnAnswerThatIsTooLongIsRefused) {
  TestServer server(
      [](const TestRequest&) { return TestReply{.headers = {}, .body = std::string(101, 'x'), .cut_after = {}}; });
  EXPECT_EQ(error_from([&] { HttpClient(options_).get(server.url(), "", "*/*", 100); }).kind(),
            ErrorKind::ResourceExhausted);
}

TEST_F(HubHttp, ADownloadGoesOnAfterACutConnection) {
  const std::string content = random_bytes(300'000);
  std::atomic<int> n{0};
  TestServer server([&](const TestRequest& request) {
    TestReply reply = file_reply(request, content, "\"v1\"");
    if (++n <= 2) reply.cut_after = 100'000;
    return reply;
  });
  Download job = to_file(server.url(), folder_ / "f");
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_EQ(read_text(job.path), content);
  auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].header("range"), "");
  EXPECT_EQ(requests[1].header("range"), "bytes=100000-");
  EXPECT_EQ(requests[1].header("if-range"), "\"v1\"");
  EXPECT_EQ(requests[2].header("range"), "bytes=200000-");
  EXPECT_FALSE(fs::exists(job.path + ".etag"));
}

TEST_F(HubHttp, ALaterRunGoesOnWhereAnEarlierOneEnded) {
  const std::string content = random_bytes(50'000);
  std::atomic<bool> cut{true};
  TestServer server([&](const TestRequest& request) {
    if (cut && !request.header("range").empty())
      return TestReply{.status = 503, .headers = {}, .body = "", .cut_after = {}};
    TestReply reply = file_reply(request, content, "\"v1\"");
    if (cut) reply.cut_after = 20'000;
    return reply;
  });
  Download job = to_file(server.url(), folder_ / "f");
  EXPECT_EQ(HttpClient(options_).download(job).status, 503);
  EXPECT_EQ(fs::file_size(job.path), 20'000U);
  cut = false;
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_EQ(server.requests().back().header("range"), "bytes=20000-");
  EXPECT_EQ(read_text(job.path), content);
}

TEST_F(HubHttp, AChangedFileIsFetchedFromItsStart) {
  const std::string content = random_bytes(50'000);
  write_text(folder_ / "f", "start of an older version");
  write_text(folder_ / "f.etag", "\"old\"");
  TestServer server([&](const TestRequest& request) { return file_reply(request, content, "\"new\""); });
  Download job = to_file(server.url(), folder_ / "f");
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_EQ(server.requests()[0].header("if-range"), "\"old\"");
  EXPECT_EQ(read_text(job.path), content);
}

TEST_F(HubHttp, WithoutAnETagNothingIsResumedUnlessTheCallerVerifies) {
  const std::string content = random_bytes(50'000);
  TestServer server([&](const TestRequest& request) { return file_reply(request, content, ""); });
  for (bool verified : {false, true}) {
    Download job = to_file(server.url(), folder_ / "f");
    write_text(job.path, content.substr(0, 1000));
    job.verified = verified;
    EXPECT_EQ(HttpClient(options_).download(job).status, 200);
    EXPECT_EQ(server.requests().back().header("range"), verified ? "bytes=1000-" : "");
    EXPECT_EQ(read_text(job.path), content);
  }
}

TEST_F(HubHttp, AServerWithoutRangesAndAPartThatIsTooLongStartAnew) {
  const std::string content = random_bytes(50'000);
  TestServer whole([&](const TestRequest&) { return TestReply{.headers = {}, .body = content, .cut_after = {}}; });
  TestServer ranges([&](const TestRequest& request) { return file_reply(request, content, ""); });
  for (const TestServer* server : {&whole, &ranges}) {
    Download job = to_file(server->url(), folder_ / "f");
    job.verified = true;
    write_text(job.path, std::string(server == &whole ? 1000 : 60'000, 'x'));
    EXPECT_EQ(HttpClient(options_).download(job).status, 200);
    EXPECT_EQ(read_text(job.path), content);
  }
}

TEST_F(HubHttp, APartFromTheWrongPlaceIsNotTaken) {
  const std::string content = random_bytes(50'000);
  TestServer server([&](const TestRequest& request) {
    if (request.header("range").empty()) return file_reply(request, content, "");
    return TestReply{
        .status = 206, .headers = {{"Content-Range", "bytes 5-9/50000"}}, .body = "12345", .cut_after = {}};
  });
  Download job = to_file(server.url(), folder_ / "f");
  job.verified = true;
  write_text(job.path, content.substr(0, 1000));
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_EQ(read_text(job.path), content);
}

TEST_F(HubHttp, AFileOfAnotherSizeThanExpectedIsRefused) {
  TestServer server([](const TestRequest& request) { return file_reply(request, std::string(100, 'x'), ""); });
  for (int64_t size : {99, 101}) {
    Download job = to_file(server.url(), folder_ / "f");
    job.size = size;
    Error e = error_from([&] { HttpClient(options_).download(job); });
    EXPECT_EQ(e.kind(), ErrorKind::CorruptFile);
    EXPECT_TRUE(has(e, "100") && has(e, std::to_string(size))) << e.what();
  }
  EXPECT_EQ(server.requests().size(), 2U);
}

TEST_F(HubHttp, AnEndlessAnswerEndsAtTheLimit) {
  TestServer server([](const TestRequest&) {
    return TestReply{.headers = {}, .body = std::string(1'000'000, 'x'), .cut_after = {}, .announce_length = false};
  });
  Download job = to_file(server.url(), folder_ / "f");
  job.size = 1000;
  EXPECT_EQ(error_from([&] { HttpClient(options_).download(job); }).kind(), ErrorKind::ResourceExhausted);
  EXPECT_EQ(fs::file_size(job.path), 0U);
}

TEST_F(HubHttp, AnAnswerThatEndsEarlyDoesNotLoopForever) {
  TestServer server([](const TestRequest& request) {
    TestReply reply = file_reply(request, std::string(100, 'x'), "\"a\"");
    reply.announce_length = false;
    return reply;
  });
  Download job = to_file(server.url(), folder_ / "f");
  job.size = 200;
  EXPECT_EQ(error_from([&] { HttpClient(options_).download(job); }).kind(), ErrorKind::Unavailable);
  EXPECT_LE(server.requests().size(), 3U);
}

TEST_F(HubHttp, AnEmptyFileIsAFile) {
  TestServer server([](const TestRequest&) { return TestReply{}; });
  Download job = to_file(server.url(), folder_ / "f");
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_TRUE(fs::exists(job.path));
  job.path = folder_ / "g";
  job.size = 0;
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_TRUE(fs::exists(job.path));
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(HubHttp, TheTokenStaysWithItsOrigin) {
  TestServer other([](const TestRequest& request) { return file_reply(request, "content", ""); });
  TestServer server([&](const TestRequest& request) {
    if (request.target == "/a")
      return TestReply{.status = 307, .headers = {{"Location", "/b"}}, .body = "", .cut_after = {}};
    return TestReply{
        .status = 302, .headers = {{"Location", other.url() + "/c?signature=1"}}, .body = "", .cut_after = {}};
  });
  Download job = to_file(server.url() + "/a", folder_ / "f");
  job.token = "hf_secret";
  EXPECT_EQ(HttpClient(options_).download(job).status, 200);
  EXPECT_EQ(read_text(job.path), "content");
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.requests()[0].header("authorization"), "Bearer hf_secret");
  EXPECT_EQ(server.requests()[1].header("authorization"), "Bearer hf_secret");
  ASSERT_EQ(other.requests().size(), 1U);
  EXPECT_EQ(other.requests()[0].headers.count("authorization"), 0U);
}

TEST_F(HubHttp, RedirectsThatLoopOrLeaveHttpEnd) {
  TestServer loop([](const TestRequest&) {
    return TestReply{.status = 302, .headers = {{"Location", "/again"}}, .body = "", .cut_after = {}};
  });
  EXPECT_TRUE(has(error_from([&] { HttpClient(options_).get(loop.url(), "", "*/*", 100); }), "redirects"));
  TestServer leave([](const TestRequest&) {
    return TestReply{.status = 302, .headers = {{"Location", "file:///etc/passwd"}}, .body = "", .cut_after = {}};
  });
  Error e = error_from([&] { HttpClient(options_).get(leave.url(), "", "*/*", 100); });
  EXPECT_TRUE(has(e, "only http and https")) << e.what();
  EXPECT_EQ(error_from([&] { HttpClient(options_).get("ftp://host/x", "", "*/*", 100); }).kind(),
            ErrorKind::InvalidArgument);
}

TEST(HubUrl, RelativeLinksKeepTheUserOfTheSameOriginOnly) {
  EXPECT_EQ(resolve_url("https://u:p@host/simple/x/", "../../f/w.whl#sha256=1"), "https://u:p@host/f/w.whl#sha256=1");
  EXPECT_EQ(resolve_url("https://u:p@host/simple/", "https://host/w.whl"), "https://u:p@host/w.whl");
  EXPECT_EQ(resolve_url("https://u:p@host/simple/", "https://other/w.whl"), "https://other/w.whl");
}

TEST(HubUrl, OriginsDifferByPortAndScheme) {
  EXPECT_EQ(origin_of("https://HOST/a"), origin_of("https://host:443/b"));
  EXPECT_NE(origin_of("https://host/"), origin_of("https://host:8443/"));
  EXPECT_NE(origin_of("http://host:443/"), origin_of("https://host/"));
}

TEST(HubUrl, MessagesShowNoSecrets) {
  EXPECT_EQ(printable_url("https://user:secret@host/a?X-Signature=secret#x"), "https://host/a");
}

TEST(HubUrl, EncodesWhatAPathCannotHold) {
  EXPECT_EQ(url_encode("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(url_encode("a b/ü?.gguf", "/"), "a%20b/%C3%BC%3F.gguf");
}

}  // namespace
}  // namespace sgl::hub
