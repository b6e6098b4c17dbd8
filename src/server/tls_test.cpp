// HTTPS against OpenSSL's own client, with a certificate that signs itself.

#include "server/tls.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string>

#include <gtest/gtest.h>

#include "base/eventually.h"
#include "server/test_client.h"
#include "server/test_server.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// PEM files that go with the object.
struct Certificate {
  explicit Certificate(const std::string& name, const char* password = nullptr)
      : certificate(path(name + ".crt")), key(path(name + ".key")) {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> x(X509_new(), X509_free);
    X509_set_version(x.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(x.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(x.get()), 3600);
    X509_set_pubkey(x.get(), pair.get());
    X509_NAME* subject = X509_get_subject_name(x.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                               -1, 0);
    X509_set_issuer_name(x.get(), subject);
    X509_sign(x.get(), pair.get(), EVP_sha256());
    const std::unique_ptr<BIO, decltype(&BIO_free)> to_key(BIO_new_file(key.c_str(), "w"), BIO_free);
    PEM_write_bio_PrivateKey(to_key.get(), pair.get(), password != nullptr ? EVP_aes_256_cbc() : nullptr, nullptr, 0,
                             nullptr, const_cast<char*>(password));
    const std::unique_ptr<BIO, decltype(&BIO_free)> to_x(BIO_new_file(certificate.c_str(), "w"), BIO_free);
    PEM_write_bio_X509(to_x.get(), x.get());
  }
  ~Certificate() {
    std::filesystem::remove(certificate);
    std::filesystem::remove(key);
  }
  static std::string path(const std::string& name) {
    return (std::filesystem::temp_directory_path() / ("sgl_tls_test_" + name)).string();
  }
  const std::string certificate, key;
};

// A blocking client; it trusts anybody.
class TlsClient {
 public:
  explicit TlsClient(int port) : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    bio_ = BIO_new_ssl_connect(context_.get());
    BIO_set_conn_hostname(bio_, ("127.0.0.1:" + std::to_string(port)).c_str());
    connected_ = BIO_do_connect(bio_) == 1;
  }
  ~TlsClient() { BIO_free_all(bio_); }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool connected() const { return connected_; }
  void send(const std::string& text) { BIO_write(bio_, text.data(), static_cast<int>(text.size())); }
  // All until the server closes.
  std::string read_all() {
    std::string out;
    char data[4096];
    for (int n = 0; (n = BIO_read(bio_, data, sizeof data)) > 0;) out.append(data, static_cast<size_t>(n));
    return out;
  }
  std::string subject() {
    SSL* ssl = nullptr;
    BIO_get_ssl(bio_, &ssl);
    const std::unique_ptr<X509, decltype(&X509_free)> x(SSL_get1_peer_certificate(ssl), X509_free);
    char name[256] = {};
    X509_NAME_oneline(X509_get_subject_name(x.get()), name, sizeof name);
    return name;
  }

 private:
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  BIO* bio_ = nullptr;
  bool connected_ = false;
};

ServerOptions with(const Certificate& c) {
  ServerOptions options;
  options.http.tls = {.certificate_file = c.certificate, .key_file = c.key};
  return options;
}

std::string post(const std::string& path, const std::string& body, bool close = true) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
         (close ? "Connection: close\r\n" : "") + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(Tls, RequestsAndStreamsAreAnswered) {
  const Certificate c("answers");
  TestHttpServer t(with(c));
  TlsClient client(t.http.port());
  ASSERT_TRUE(client.connected());
  client.send(post("/generate", R"({"text":"a"})", false) + post("/generate", R"({"text":"a","stream":true})"));
  const std::string answers = client.read_all();
  EXPECT_NE(answers.find(R"("text":"Hello, wörld!")"), std::string::npos) << answers;
  EXPECT_NE(answers.find("data: [DONE]"), std::string::npos) << "pipelined behind it";
  EXPECT_TRUE(answers.ends_with("0\r\n\r\n"));
}

TEST(Tls, LongBodiesGoThroughBothWays) {
  const Certificate c("long");
  HttpOptions options = with(c).http;
  options.port = 0;
  HttpServer echo(options, [](HttpRequest&& request, const std::shared_ptr<Responder>& to) {
    to->respond(text_response(200, std::move(request.body)));
  });
  TlsClient client(echo.port());
  ASSERT_TRUE(client.connected());
  std::string body;
  for (int i = 0; body.size() < 4'000'000; ++i) body += std::to_string(i) + " ";
  client.send(post("/", body));
  const std::string answer = client.read_all();
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + body)) << answer.size();
}

TEST(Tls, WhoeverSpeaksNoTlsOrLeavesIsDropped) {
  const Certificate c("plain");
  TestHttpServer t(with(c));
  TestClient plain(t.http.port());
  plain.send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(plain.closed());
  t.engine->set_step_time(std::chrono::microseconds(100));
  {
    TlsClient leaves(t.http.port());
    leaves.send(
        post("/generate", R"({"text":"a","stream":true,"sampling_params":{"max_new_tokens":null,"ignore_eos":true}})"));
    ASSERT_TRUE(t.engine->wait_running([](size_t n) { return n == 1; }));
  }
  EXPECT_TRUE(t.engine->wait_running([](size_t n) { return n == 0; })) << "its request is aborted";
  EXPECT_TRUE(eventually([&] { return t.http.connections() == 0; }));
}

TEST(Tls, ARenewedCertificateIsUsedByTheNextConnections) {
  const Certificate c("first"), renewed("second");
  TestHttpServer t(with(c));
  EXPECT_NE(TlsClient(t.http.port()).subject().find("first"), std::string::npos);
  const auto overwrite = std::filesystem::copy_options::overwrite_existing;
  std::filesystem::copy_file(renewed.certificate, c.certificate, overwrite);
  EXPECT_THROW(t.http.reload_certificate(), Error) << "the key is not its";
  EXPECT_NE(TlsClient(t.http.port()).subject().find("first"), std::string::npos);
  std::filesystem::copy_file(renewed.key, c.key, overwrite);
  t.http.reload_certificate();
  EXPECT_TRUE(eventually([&] { return TlsClient(t.http.port()).subject().find("second") != std::string::npos; }));
}

TEST(Tls, WhatIsWrongWithTheFilesIsSaid) {
  const Certificate c("wrong"), other("other"), locked("locked", "word");
  const auto error_of = [](const TlsOptions& options) -> std::string {
    try {
      TlsContext context(options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(error_of({.certificate_file = c.certificate, .key_file = c.key}), "");
  EXPECT_EQ(error_of({.certificate_file = locked.certificate, .key_file = locked.key, .key_password = "word"}), "");
  EXPECT_NE(error_of({.certificate_file = c.certificate}).find("--ssl-keyfile"), std::string::npos);
  EXPECT_NE(error_of({.certificate_file = "/no/such", .key_file = c.key}).find("/no/such"), std::string::npos);
  EXPECT_NE(error_of({.certificate_file = c.certificate, .key_file = other.key}).find(other.key), std::string::npos);
  EXPECT_NE(error_of({.certificate_file = locked.certificate, .key_file = locked.key}).find(locked.key),
            std::string::npos);
}

}  // namespace
}  // namespace sgl
