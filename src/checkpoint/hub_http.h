#pragma once
// Outgoing HTTP for model downloads: small answers into memory, large ones into files that can be resumed.
//
// Redirects are followed here, not by libcurl, since rules hang on them: the token goes to the origin it was made for
// and nowhere else, HTTPS never becomes HTTP, and nothing on the Internet leads to a private address (hub_guard.h).

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/hub.h"
#include "checkpoint/hub_guard.h"

namespace sgl::hub {

/// An answer that arrived whole, whatever its status.
struct Response {
  long status = 0;
  std::string body;  ///< of a download: empty, or the first 4 kB of what explains an error
  std::string content_type;
  std::string error_code;  ///< X-Error-Code, which the hub sends with its errors
  std::string url;         ///< where it came from, after redirects
};

/// What to fetch into a file.
struct Download {
  std::string url;
  std::string token;            ///< sent as Bearer to the origin of `url` only; empty: none
  std::string path;             ///< the unfinished file; stays there, with `path`.etag, when the transfer breaks off
  std::optional<int64_t> size;  ///< what must come; nullopt: what the server says
  int64_t max_size = int64_t{1} << 42;  ///< bytes; more is an error
  bool verified = false;                ///< the caller checks the content, so resuming needs no ETag
  std::function<void(int64_t done, int64_t total)> on_progress;  ///< bytes in the file; total 0: unknown
};

/// One connection pool, one transfer at a time. Thread: one.
class HttpClient {
 public:
  /// The first server it is asked for is the operator's choice: AddressGuard.
  explicit HttpClient(const HubOptions& options, IsPublic is_public = sgl::is_public);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Body of at most `max_bytes`. Retries connection faults and statuses 408, 425, 429 and 5xx with growing pauses.
  /// Throws Unavailable when no answer came, ResourceExhausted when it is too long. Other statuses are the caller's.
  Response get(const std::string& url, const std::string& token, const std::string& accept, size_t max_bytes);

  /// As get(), into a file, beginning where that file ends. Status 200 on success: the file is whole and synced.
  Response download(const Download& job);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// scheme://host:port, by which the token's addressee is known. Throws InvalidArgument unless it is http or https.
std::string origin_of(const std::string& url);
/// `relative` as a link on the page `base`; user and password of `base` stay if the origin does. Throws as origin_of().
std::string resolve_url(const std::string& base, const std::string& relative);
/// The URL without user, password and query (signatures), for messages.
std::string printable_url(const std::string& url);
/// Percent-encodes all but unreserved characters and those in `keep`.
std::string url_encode(std::string_view text, std::string_view keep = "");

}  // namespace sgl::hub
