#include "server/http_parser.h"

#include <chrono>
#include <stdexcept>
#include <utility>

#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "base/assert.h"

namespace sgl {
namespace {

namespace http = boost::beast::http;

constexpr size_t kSlack = 4096;
constexpr size_t kLongestField = 65'533;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

// The target is "/path?query" or "http://host/path?query"; anything else is not ours to answer.
bool split_target(std::string_view target, HttpRequest& out) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
    break;
  }
  if (target != "*" && !target.starts_with('/')) return false;
  const size_t question = target.find('?');
  auto path = percent_decode(target.substr(0, question));
  if (!path) return false;
  out.path = std::move(*path);
  if (question != std::string_view::npos) out.query = target.substr(question + 1);
  return true;
}

// A target that cannot be read matches no route: 404.
HttpRequest head_of(const http::request_header<>& header) {
  HttpRequest out;
  out.method = view(header.method_string());
  out.http11 = header.version() >= 11;
  if (!split_target(view(header.target()), out)) out.path = view(header.target());
  for (const auto& field : header) out.headers.emplace_back(view(field.name_string()), view(field.value()));
  return out;
}

}  // namespace

struct HttpParser::Impl {
  http::request_parser<http::string_body> parser;
  size_t max_header_bytes, max_body_bytes, max_url_bytes;
  size_t header_bytes = 0;  ///< consumed so far
  HttpRequest request{};    ///< all but the body, once the header is complete
};

HttpParser::HttpParser(size_t max_header_bytes, size_t max_body_bytes, size_t max_url_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->max_header_bytes = max_header_bytes;
  impl_->max_body_bytes = max_body_bytes;
  impl_->max_url_bytes = max_url_bytes;
  // Where exactly Beast's own limit lies depends on how the bytes are cut. It bounds what follows a chunked body.
  impl_->parser.header_limit(static_cast<std::uint32_t>(2 * max_header_bytes + kSlack));
  impl_->parser.body_limit(max_body_bytes);
}

HttpParser::~HttpParser() = default;

size_t HttpParser::feed(std::string_view data) {
  size_t consumed = 0;
  while (consumed < data.size() && (state_ == State::Header || state_ == State::Body)) {
    boost::beast::error_code error;
    size_t n = 0;
    try {
      n = impl_->parser.put(boost::asio::const_buffer(data.data() + consumed, data.size() - consumed), error);
    } catch (const std::length_error&) {
      // Beast keeps the sizes of a name and a value in 16 bits, whatever the limits are.
      fail(431, fmt::format("a field of the request's header or trailer is longer than {} bytes", kLongestField));
      return data.size();
    }
    consumed += n;
    if (state_ == State::Header) {
      impl_->header_bytes += n;
      const size_t behind = impl_->parser.is_header_done() ? 0 : data.size() - consumed;
      const bool good = !error || error == http::error::need_more;
      if (good && impl_->header_bytes + behind > impl_->max_header_bytes) error = http::error::header_limit;
    }
    if (error == http::error::need_more) break;
    if (error == http::error::header_limit) {
      fail(431, fmt::format("the request's header is longer than {} bytes", impl_->max_header_bytes));
    } else if (error == http::error::body_limit) {
      fail(413, fmt::format("the request's body is longer than {} bytes", impl_->max_body_bytes));
    } else if (error == http::error::bad_version) {
      fail(505, "the request is not HTTP/1.0 or HTTP/1.1");
    } else if (error) {
      fail(400, "malformed HTTP request: " + error.message());
    } else {
      if (impl_->parser.is_header_done()) check_header();
      if (state_ != State::Failed && impl_->parser.is_done()) state_ = State::Done;
      if (n == 0) break;
    }
  }
  return consumed;
}

// Called when the header is complete and before anything behind it is parsed: trailers, which Beast adds to the fields,
// must not pass for headers (RFC 9110, section 6.5.1).
void HttpParser::check_header() {
  if (state_ != State::Header) return;
  state_ = State::Body;
  const auto& message = impl_->parser.get();
  impl_->request = head_of(message);
  impl_->request.keep_alive = impl_->parser.keep_alive();
  if (message.target().size() > impl_->max_url_bytes) {
    return fail(414, fmt::format("the request's URL is longer than {} bytes", impl_->max_url_bytes));
  }
  const auto expect = message[http::field::expect];
  if (!expect.empty() && !boost::beast::iequals(expect, "100-continue")) {
    return fail(417, fmt::format("unknown expectation \"{}\"", view(expect.substr(0, 64))));
  }
  const size_t hosts = message.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) {  // RFC 9112, section 3.2
    return fail(400, fmt::format("a request has one Host field, got {}", hosts));
  }
  const std::string_view host = view(message[http::field::host]);
  if (host.find_first_of(" \t\"#,/<>?@\\^`{|}") != std::string_view::npos) {
    return fail(400, fmt::format("the Host field holds no host: \"{}\"", host.substr(0, 64)));
  }
  std::string encoding;  // of the transfer
  for (const auto& field : message) {
    if (field.name() != http::field::transfer_encoding) continue;
    encoding += (encoding.empty() ? "" : ", ") + std::string(view(field.value()));
  }
  // Beast takes what it does not know for no body, and the body for the next request (RFC 9112, section 6.1).
  if (message.count(http::field::transfer_encoding) > 0 && !boost::beast::iequals(encoding, "chunked")) {
    return fail(501, fmt::format("Transfer-Encoding \"{}\" is not supported; send chunked, or a Content-Length",
                                 encoding.substr(0, 64)));
  }
  impl_->parser.eager(true);
}

bool HttpParser::expects_continue() const { return impl_->request.http11 && !impl_->request.header("Expect").empty(); }

HttpRequest HttpParser::head() const {
  return state_ == State::Header || impl_->request.method.empty() ? head_of(impl_->parser.get()) : impl_->request;
}

size_t HttpParser::body_bytes() const { return impl_->parser.get().body().size(); }

HttpRequest HttpParser::take() {
  SGL_ASSERT(state_ == State::Done, "the request is not complete");
  HttpRequest out = std::move(impl_->request);
  out.body = std::move(impl_->parser.release().body());
  out.arrived = std::chrono::steady_clock::now();
  return out;
}

void HttpParser::fail(int status, std::string message) {
  state_ = State::Failed;
  error_status_ = status;
  error_message_ = std::move(message);
}

}  // namespace sgl
