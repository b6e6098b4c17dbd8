#include "checkpoint/hub_guard.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/hub_http.h"
#include "checkpoint/hub_test_support.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

// Servers on this machine, some of which count as if they were on the Internet.
class HubGuard : public testing::Test {
 protected:
  HubGuard() { setenv("no_proxy", "*", 1); }
  ~HubGuard() override {
    unsetenv("http_proxy");
    setenv("no_proxy", "127.0.0.1", 1);
  }

  static TestServer::Handler says(const std::string& body) {
    return [body](const TestRequest&) { return TestReply{.headers = {}, .body = body, .cut_after = {}}; };
  }
  static TestServer::Handler leads_to(const std::string& url) {
    return [url](const TestRequest&) {
      return TestReply{.status = 302, .headers = {{"Location", url}}, .body = "", .cut_after = {}};
    };
  }
  HttpClient client() const {
    return HttpClient(options_, [](const IpAddress& ip) { return to_string(ip).starts_with("127.0.1."); });
  }
  /// The answer's body, or the error's words.
  static std::string get(HttpClient& client, const std::string& url) {
    try {
      return client.get(url, "", "*/*", 100).body;
    } catch (const Error& e) {
      return e.what();
    }
  }
  static bool refused(const std::string& text, const std::string& address) {
    return text.find("is at the private address " + address + ",") != std::string::npos;
  }

  TemporaryFolder folder_;
  HubOptions options_ = test_options(folder_, "");
};

TEST_F(HubGuard, APublicServerDoesNotLeadToAPrivateAddress) {
  TestServer secret(says("secret"), "127.0.2.1");
  TestServer evil(leads_to(secret.url()), "127.0.1.1");
  HttpClient c = client();
  const std::string answer = get(c, evil.url());
  EXPECT_TRUE(refused(answer, "127.0.2.1")) << answer;
  EXPECT_EQ(evil.requests().size(), 1U) << "and nothing is tried again";
  EXPECT_TRUE(refused(get(c, secret.url()), "127.0.2.1")) << "nor does a link on its page";
  EXPECT_EQ(secret.requests().size(), 0U);

  options_.allow_private = true;
  HttpClient trusting = client();
  EXPECT_EQ(get(trusting, evil.url()), "secret");
}

TEST_F(HubGuard, NamesCountByTheirAddresses) {
  TestServer secret(says("secret"));
  std::string named = secret.url();
  named.replace(named.find("127.0.0.1"), 9, "localhost");
  TestServer evil(leads_to(named), "127.0.1.1");
  HttpClient c = client();
  const std::string answer = get(c, evil.url());
  EXPECT_NE(answer.find("is at the private address"), std::string::npos) << answer;
  EXPECT_EQ(secret.requests().size(), 0U);
}

TEST_F(HubGuard, APrivateMirrorIsTheOperatorsChoiceAndMayLeadToAnother) {
  TestServer storage(says("content"), "127.0.2.2");
  TestServer mirror(leads_to(storage.url()), "127.0.2.1");
  HttpClient c = client();
  EXPECT_EQ(get(c, mirror.url()), "content");
  EXPECT_EQ(get(c, storage.url()), "content");
}

TEST_F(HubGuard, TheWayFromAMirrorToTheInternetDoesNotLeadBack) {
  TestServer secret(says("secret"), "127.0.2.2");
  TestServer evil(leads_to(secret.url()), "127.0.1.1");
  TestServer mirror(leads_to(evil.url()), "127.0.2.1");
  HttpClient c = client();
  EXPECT_TRUE(refused(get(c, mirror.url()), "127.0.2.2"));
  EXPECT_TRUE(refused(get(c, mirror.url()), "127.0.2.2")) << "also over connections that are open still";
  EXPECT_EQ(secret.requests().size(), 0U);
}

TEST_F(HubGuard, AProxyMayBePrivateButWhatGoesPastItMayNot) {
  TestServer secret(says("secret"), "127.0.2.2");
  TestServer proxy(
      [&](const TestRequest& request) {
        if (request.target.find("evil") == std::string::npos) return says("through the proxy")(request);
        return leads_to(request.target.find("/out") != std::string::npos ? "http://other.example/"
                                                                         : secret.url())(request);
      },
      "127.0.2.1");
  setenv("http_proxy", proxy.url().c_str(), 1);
  setenv("no_proxy", "127.0.2.2", 1);
  HttpClient c = client();
  EXPECT_EQ(get(c, "http://hub.example/"), "through the proxy");
  EXPECT_EQ(get(c, "http://evil.example/out"), "through the proxy");
  EXPECT_TRUE(refused(get(c, "http://evil.example/in"), "127.0.2.2"));
  EXPECT_EQ(secret.requests().size(), 0U);
}

}  // namespace
}  // namespace sgl::hub
