#include "checkpoint/hub_http.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <curl/curl.h>
#include <fmt/format.h>

#include "base/file.h"
#include "base/file_writer.h"
#include "base/http.h"
#include "sgl/error.h"

namespace sgl::hub {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr int kMaxRedirects = 10;
constexpr int kMaxTransfers = 1000;  // of one file, even if each one makes some progress
constexpr size_t kMaxErrorBody = 4096;
constexpr milliseconds kMaxDelay{30'000};

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return c < 128 ? std::tolower(c) : c; });
  return out;
}

std::string_view trim(std::string_view s) {
  size_t begin = s.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(" \t\r\n") - begin + 1);
}

std::optional<int64_t> parse_int(std::string_view s) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error != std::errc() || end != s.data() + s.size() || value < 0) return std::nullopt;
  return value;
}

using UrlPtr = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

UrlPtr parse_url(const std::string& url) {
  UrlPtr u(curl_url(), curl_url_cleanup);
  if (!u || curl_url_set(u.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("'{}' is not a URL; expected http://… or https://…", url));
  }
  return u;
}

/// Empty if there is no such part.
std::string url_part(const UrlPtr& u, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(u.get(), part, &text, flags) != CURLUE_OK) return {};
  std::string out(text);
  curl_free(text);
  return out;
}

std::string whole(const UrlPtr& u) { return url_part(u, CURLUPART_URL); }

std::string origin_of(const UrlPtr& u) {
  std::string scheme = lower(url_part(u, CURLUPART_SCHEME));
  if (scheme != "http" && scheme != "https") {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("{}: only http and https are fetched, not '{}'", printable_url(whole(u)), scheme));
  }
  return fmt::format("{}://{}:{}", scheme, lower(url_part(u, CURLUPART_HOST)),
                     url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

/// What the header of an answer says.
struct Head {
  long status = 0;
  std::string content_type, etag, error_code, content_range;
  std::optional<int64_t> content_length, retry_after_s;
};

/// What one transfer, that is one hop, brought. Filled by libcurl's callbacks.
struct Hop : Head {
  CURLcode result = CURLE_OK;
  std::string detail;    ///< libcurl's own words about `result`
  std::string location;  ///< absolute, if the status is a redirect
  /// Takes the body of a success; false breaks the transfer off. What it throws is in `refused`.
  std::function<bool(const Head&, std::string_view)> on_body;
  std::exception_ptr refused;
  std::string error_body;
};

size_t on_header(char* data, size_t, size_t n, void* user) {
  Head& head = *static_cast<Hop*>(user);
  std::string_view line(data, n);
  if (line.starts_with("HTTP/")) {  // also after an informational 1xx answer: what came before does not count
    head = {};
    size_t space = line.find(' ');
    if (space != std::string_view::npos) head.status = parse_int(trim(line.substr(space, 4))).value_or(0);
    return n;
  }
  size_t colon = line.find(':');
  if (colon == std::string_view::npos) return n;
  std::string name = lower(trim(line.substr(0, colon)));
  std::string value(trim(line.substr(colon + 1)));
  if (name == "content-type") head.content_type = lower(value);
  if (name == "etag") head.etag = value;
  if (name == "x-error-code") head.error_code = value;
  if (name == "content-range") head.content_range = value;
  if (name == "content-length") head.content_length = parse_int(value);
  if (name == "retry-after") head.retry_after_s = parse_int(value);
  return n;
}

size_t on_data(char* data, size_t, size_t n, void* user) {
  Hop& hop = *static_cast<Hop*>(user);
  if (hop.status != 200 && hop.status != 206) {
    hop.error_body.append(data, std::min(n, kMaxErrorBody - hop.error_body.size()));
    return n;
  }
  try {
    return hop.on_body(hop, {data, n}) ? n : 0;
  } catch (...) {  // must not pass through libcurl
    hop.refused = std::current_exception();
    return 0;
  }
}

/// First byte of a "bytes 5-9/10" answer; nullopt if it is malformed.
std::optional<int64_t> range_start(std::string_view content_range) {
  if (!content_range.starts_with("bytes ")) return std::nullopt;
  content_range.remove_prefix(6);
  size_t dash = content_range.find('-');
  return dash == std::string_view::npos ? std::nullopt : parse_int(content_range.substr(0, dash));
}

[[noreturn]] void throw_too_long(const std::string& url, int64_t limit) {
  throw Error(ErrorKind::ResourceExhausted,
              fmt::format("{}: the answer is longer than the {} bytes expected at most", printable_url(url), limit));
}

int64_t size_of(const std::string& path) {
  std::error_code error;
  auto n = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(n);
}

void remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
}

}  // namespace

struct HttpClient::Impl {
  Impl(const HubOptions& o, IsPublic is_public)
      : options(o), curl(curl_easy_init(), curl_easy_cleanup), guard(o.allow_private, std::move(is_public)) {
    if (!curl) throw Error(ErrorKind::Internal, "libcurl could not be started");
  }

  const HubOptions options;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl;
  AddressGuard guard;
  std::mt19937 random{std::random_device{}()};

  void perform(const std::string& url, const std::vector<std::string>& headers, Hop& hop);
  std::string follow(std::string url, const std::string& token, const std::vector<std::string>& headers, Hop& hop);
  void pause(int attempt, const Hop& hop);
  bool may_retry(int attempt, const Hop& hop) const;
};

/// One request to one server. Fills `hop`; throws what on_body threw, and Unavailable where it must not connect.
void HttpClient::Impl::perform(const std::string& url, const std::vector<std::string>& headers, Hop& hop) {
  CURL* c = curl.get();
  curl_easy_reset(c);  // keeps the connections
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> list(nullptr, curl_slist_free_all);
  for (const std::string& h : headers) list.reset(curl_slist_append(list.release(), h.c_str()));
  std::array<char, CURL_ERROR_SIZE> detail{};

  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_USERAGENT, "sgl/" SGL_VERSION);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, list.get());
  curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout.count()));
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail.data());
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, &hop);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &hop);
  if (const char* path = ca_bundle_from_environment()) curl_easy_setopt(c, CURLOPT_CAINFO, path);
  guard.watch(c, hub::origin_of(url).starts_with("https:") ? "https" : "http");

  hop.result = curl_easy_perform(c);
  guard.note_reached(c);
  hop.detail = detail[0] != '\0' ? detail.data() : curl_easy_strerror(hop.result);
  char* location = nullptr;
  curl_easy_getinfo(c, CURLINFO_REDIRECT_URL, &location);
  if (location != nullptr) hop.location = location;
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, nullptr);
  if (hop.refused) std::rethrow_exception(hop.refused);
  if (hop.result != CURLE_OK && !guard.refused().empty()) {
    throw Error(ErrorKind::Unavailable,
                fmt::format("{} is at the private address {}, where a server on the Internet led; refused. Set "
                            "SGL_HUB_ALLOW_PRIVATE=1 if that is meant",
                            printable_url(url), guard.refused()));
  }
}

/// perform() through redirects; returns the last URL. The token goes with a hop only if its origin is the first one's.
std::string HttpClient::Impl::follow(std::string url, const std::string& token, const std::vector<std::string>& headers,
                                     Hop& hop) {
  const std::string first = hub::origin_of(url);
  guard.begin_chain();
  for (int i = 0; i <= kMaxRedirects; ++i) {
    std::string origin = hub::origin_of(url);
    std::vector<std::string> all = headers;
    if (!token.empty() && origin == first) all.push_back("Authorization: Bearer " + token);
    auto on_body = hop.on_body;
    hop = Hop{};
    hop.on_body = std::move(on_body);
    perform(url, all, hop);
    if (hop.result != CURLE_OK || hop.status < 300 || hop.status >= 400 || hop.location.empty()) return url;
    if (origin.starts_with("https:") && !hub::origin_of(hop.location).starts_with("https:")) {
      throw Error(ErrorKind::Unavailable, fmt::format("{} redirects from https to http ({}); refused",
                                                      printable_url(url), printable_url(hop.location)));
    }
    url = hop.location;
  }
  throw Error(ErrorKind::Unavailable, fmt::format("{}: more than {} redirects", printable_url(url), kMaxRedirects));
}

/// Whether the transfer failed in a way that may pass. `attempt`: how many there were without progress.
bool HttpClient::Impl::may_retry(int attempt, const Hop& hop) const {
  if (attempt >= options.attempts) return false;
  switch (hop.result) {
    case CURLE_OK:
      return is_passing_failure(hop.status);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return false;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return attempt < 2;  // most often there is no network: say so soon
    default:
      return true;
  }
}

void HttpClient::Impl::pause(int attempt, const Hop& hop) {
  auto delay = options.retry_delay * (1 << std::min(attempt - 1, 10));
  delay += delay * static_cast<int>(random() % 256) / 1024;  // up to a quarter more, so that clients spread
  if (hop.result == CURLE_OK && hop.retry_after_s) {
    delay = std::max(delay, milliseconds(1000 * std::min<int64_t>(*hop.retry_after_s, 60)));
  }
  std::this_thread::sleep_for(std::min(delay, kMaxDelay));
}

namespace {

[[noreturn]] void throw_unreachable(const std::string& url, const Hop& hop) {
  const char* advice = hop.result == CURLE_PEER_FAILED_VERIFICATION || hop.result == CURLE_SSL_CACERT_BADFILE
                           ? "name your certificates with SSL_CERT_FILE"
                           : "check the network and https_proxy, or give --model-path a local model";
  throw Error(ErrorKind::Unavailable, fmt::format("cannot fetch {}: {}; {}", printable_url(url), hop.detail, advice));
}

Response to_response(const Hop& hop, std::string url, long status) {
  return {.status = status,
          .body = hop.error_body,
          .content_type = hop.content_type,
          .error_code = hop.error_code,
          .url = std::move(url)};
}

/// The unfinished file of a download: where it stands, how to go on, and what comes in.
class PartialFile {
 public:
  explicit PartialFile(const Download& job)
      : job_(job), etag_path_(job.path + ".etag"), file_(job.path, FileWriter::Mode::Append) {}

  int64_t size() const { return file_.size(); }
  std::optional<int64_t> total() const { return job_.size ? job_.size : announced_; }
  bool complete() const { return total() == size(); }

  /// Request headers that go on where the file ends. Empties it if nothing ensures that the rest will fit.
  std::vector<std::string> begin() {
    begun_ = false;
    announced_.reset();
    if (job_.size && size() > *job_.size) file_.clear();
    if (size() == 0) return {};
    std::string etag;
    if (size_of(etag_path_) > 0) etag = read_file(etag_path_, 4096);
    if (etag.empty() && !job_.verified) {
      file_.clear();
      return {};
    }
    std::vector<std::string> headers = {fmt::format("Range: bytes={}-", size())};
    if (!etag.empty()) headers.push_back("If-Range: " + etag);
    return headers;
  }

  /// Part of an answer's body; false: it is not the part that was asked for.
  bool receive(const Head& head, std::string_view data) {
    if (!begun_) {
      begun_ = true;
      if (head.status == 206 && range_start(head.content_range) != size()) {
        file_.clear();
        return false;
      }
      if (head.status == 200) file_.clear();
      if (head.content_length) announced_ = size() + *head.content_length;
      check_size();
      // A weak ETag (W/…) does not promise equal bytes, so it cannot guard a resumed transfer.
      if (head.etag.starts_with('"')) {
        write_file(etag_path_, head.etag);
      } else {
        remove(etag_path_);
      }
    }
    int64_t limit = total().value_or(job_.max_size);
    if (size() + static_cast<int64_t>(data.size()) > limit) {
      file_.clear();
      throw_too_long(job_.url, limit);
    }
    file_.write(std::as_bytes(std::span(data)));
    if (job_.on_progress) job_.on_progress(size(), total().value_or(0));
    return true;
  }

  void clear() { file_.clear(); }
  void finish() {
    file_.sync();
    remove(etag_path_);
  }

 private:
  void check_size() {
    if (!announced_) return;
    if (job_.size && *announced_ != *job_.size) {
      file_.clear();
      throw Error(ErrorKind::CorruptFile,
                  fmt::format("{} has {} bytes, but {} were expected; the file on the server is "
                              "not the one that its list of files names",
                              printable_url(job_.url), *announced_, *job_.size));
    }
    if (*announced_ > job_.max_size) throw_too_long(job_.url, job_.max_size);
  }

  const Download& job_;
  std::string etag_path_;
  FileWriter file_;
  bool begun_ = false;
  std::optional<int64_t> announced_;
};

}  // namespace

HttpClient::HttpClient(const HubOptions& options, IsPublic is_public) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  impl_ = std::make_unique<Impl>(options, std::move(is_public));
}

HttpClient::~HttpClient() = default;

Response HttpClient::get(const std::string& url, const std::string& token, const std::string& accept,
                         size_t max_bytes) {
  for (int attempt = 1;; ++attempt) {
    std::string body;
    Hop hop;
    hop.on_body = [&](const Head&, std::string_view data) {
      if (body.size() + data.size() > max_bytes) throw_too_long(url, static_cast<int64_t>(max_bytes));
      body += data;
      return true;
    };
    std::string last = impl_->follow(url, token, {"Accept: " + accept}, hop);
    if (impl_->may_retry(attempt, hop)) {
      impl_->pause(attempt, hop);
      continue;
    }
    if (hop.result != CURLE_OK) throw_unreachable(last, hop);
    Response response = to_response(hop, last, hop.status);
    if (hop.status == 200) response.body = std::move(body);
    return response;
  }
}

Response HttpClient::download(const Download& job) {
  PartialFile file(job);
  if (job.size && file.complete()) {
    file.finish();
    return {.status = 200, .body = {}, .content_type = {}, .error_code = {}, .url = job.url};
  }
  int attempt = 0;
  for (int transfer = 1;; ++transfer) {
    std::vector<std::string> headers = file.begin();
    int64_t before = file.size();
    Hop hop;
    hop.on_body = [&](const Head& head, std::string_view data) { return file.receive(head, data); };
    std::string last = impl_->follow(job.url, job.token, headers, hop);

    bool whole_answer = hop.result == CURLE_OK;
    bool success = whole_answer && (hop.status == 200 || hop.status == 206);
    if (success && (!file.total() || file.complete())) {
      file.finish();
      return to_response(hop, last, 200);
    }
    // A cut connection that moved something starts the count anew; an answer that ended as it should does not.
    attempt = !whole_answer && file.size() > before ? 1 : attempt + 1;
    if (hop.status == 416) file.clear();  // the server's file ends before ours
    bool again = success || hop.status == 416 ? attempt < impl_->options.attempts : impl_->may_retry(attempt, hop);
    if (again && transfer < kMaxTransfers) {
      impl_->pause(attempt, hop);
    } else if (whole_answer && !success) {
      return to_response(hop, last, hop.status);
    } else {
      if (success) hop.detail = fmt::format("{} of {} bytes came", file.size(), *file.total());
      throw_unreachable(last, hop);
    }
  }
}

std::string origin_of(const std::string& url) { return origin_of(parse_url(url)); }

std::string resolve_url(const std::string& base, const std::string& relative) {
  UrlPtr from = parse_url(base);
  UrlPtr to(curl_url_dup(from.get()), curl_url_cleanup);
  if (!to || curl_url_set(to.get(), CURLUPART_URL, relative.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    throw Error(ErrorKind::CorruptFile,
                fmt::format("{} links to '{}', which is not a URL", printable_url(base), relative));
  }
  bool same = origin_of(from) == origin_of(to);
  for (CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD}) {
    std::string value = url_part(from, part);
    if (same && !value.empty() && url_part(to, part).empty()) curl_url_set(to.get(), part, value.c_str(), 0);
  }
  return whole(to);
}

std::string printable_url(const std::string& url) {
  UrlPtr u(curl_url(), curl_url_cleanup);
  if (!u || curl_url_set(u.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) return url;
  for (CURLUPart part : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(u.get(), part, nullptr, 0);
  }
  return whole(u);
}

std::string url_encode(std::string_view text, std::string_view keep) {
  std::string out;
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    bool plain = (u < 128 && std::isalnum(u) != 0) || std::string_view("-._~").find(c) != std::string_view::npos ||
                 keep.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", u);
    }
  }
  return out;
}

}  // namespace sgl::hub
