#include "server/tls.h"

#include <algorithm>
#include <csignal>
#include <limits>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string>

#include <fmt/format.h>

#include "sgl/error.h"

namespace sgl {
namespace {

// Of OpenSSL's queue of errors the last one, which is the outermost, says most.
std::string openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : fmt::format("error {:#x}", code);
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::InvalidArgument, fmt::format("{}: {}", what, openssl_error()));
}

int give_password(char* to, int size, int /*writing*/, void* options) {
  const std::string& password = static_cast<const TlsOptions*>(options)->key_password;
  const size_t n = std::min(password.size(), static_cast<size_t>(size));
  std::copy_n(password.data(), n, to);
  return static_cast<int>(n);
}

}  // namespace

TlsContext::TlsContext(const TlsOptions& options) : context_(SSL_CTX_new(TLS_server_method())) {
  if (context_ == nullptr) refuse("cannot set TLS up");
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> guard(context_, SSL_CTX_free);
  if (options.certificate_file.empty() || options.key_file.empty()) {
    throw Error(ErrorKind::InvalidArgument, "TLS needs both --ssl-certfile and --ssl-keyfile");
  }
  SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
  // Many clients just close; that a body is whole is known from its length or its last chunk.
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION);
  // Idle connections give their buffers of 34 KB back.
  SSL_CTX_set_mode(context_,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_passwd_cb(context_, give_password);
  SSL_CTX_set_default_passwd_cb_userdata(context_, const_cast<TlsOptions*>(&options));
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context_, options.certificate_file.c_str()) != 1) {
    refuse(fmt::format("cannot use the certificate of --ssl-certfile {}", options.certificate_file));
  }
  if (SSL_CTX_use_PrivateKey_file(context_, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    refuse(fmt::format("cannot use the key of --ssl-keyfile {}", options.key_file));
  }
  if (SSL_CTX_check_private_key(context_) != 1) {
    refuse(
        fmt::format("the key in {} is not that of the certificate in {}", options.key_file, options.certificate_file));
  }
  SSL_CTX_set_default_passwd_cb_userdata(context_, nullptr);
  // OpenSSL writes to sockets without MSG_NOSIGNAL: a client that has gone would end the process.
  std::signal(SIGPIPE, SIG_IGN);
  SSL_CTX_up_ref(context_);
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::unique_ptr<TlsSession> TlsContext::accept(int socket) {
  SSL* ssl = SSL_new(context_);
  if (ssl == nullptr || SSL_set_fd(ssl, socket) != 1) {
    SSL_free(ssl);
    ERR_clear_error();
    return nullptr;
  }
  SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsSession>(new TlsSession(ssl));
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

TlsSession::Result TlsSession::read(std::span<char> to) {
  ERR_clear_error();
  const size_t most = std::min(to.size(), static_cast<size_t>(std::numeric_limits<int>::max()));
  return result_of(SSL_read(ssl_, to.data(), static_cast<int>(most)));
}

TlsSession::Result TlsSession::write(std::string_view data) {
  ERR_clear_error();
  const size_t most = std::min(data.size(), static_cast<size_t>(std::numeric_limits<int>::max()));
  return result_of(SSL_write(ssl_, data.data(), static_cast<int>(most)));
}

TlsSession::Result TlsSession::result_of(int returned) {
  if (returned > 0) return {State::Open, static_cast<size_t>(returned)};
  switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
      wants_write_ = false;
      return {State::Blocked, 0};
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      return {State::Blocked, 0};
    case SSL_ERROR_ZERO_RETURN:
      return {State::Ended, 0};
    default:
      broken_ = true;
      ERR_clear_error();
      return {State::Failed, 0};
  }
}

void TlsSession::shut_down() {
  if (broken_ || SSL_is_init_finished(ssl_) == 0) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace sgl
