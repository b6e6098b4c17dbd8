#include "lang/http_client.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include <curl/curl.h>
#include <fmt/format.h>

#include "base/http.h"
#include "lang/callback_thread.h"
#include "sgl/program_json.h"

namespace sgl::lang {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kLongestRetryAfter{60};
constexpr size_t kMostBytes = size_t{1} << 28;  // of an answer

/// A proxy of the environment must not stand between a program and a server on its own machine.
std::string no_proxy() {
  std::string out = "localhost,127.0.0.1,::1";
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    if (const char* more = std::getenv(name); more != nullptr && *more != '\0') return out + "," + more;
  }
  return out;
}

/// One call, over all its attempts.
struct Transfer {
  Transfer(HttpCall c, HttpSink s) : call(std::move(c)), sink(std::move(s)) {}
  ~Transfer() {
    if (easy != nullptr) curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  std::shared_ptr<void> stay = Endings::all().hold();  // goes last: after the program that the sink owns
  HttpCall call;
  HttpSink sink;
  int attempt = 0;
  Clock::time_point due;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;

  // Of the attempt.
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::array<char, CURL_ERROR_SIZE> detail{};
  HttpAnswer answer;
  std::optional<seconds> retry_after;
  std::string line;
  bool had_event = false;
};

void take_line(Transfer& t) {
  std::string_view line = t.line;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("data:")) {
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (line != "[DONE]") {
      t.had_event = true;
      t.call.on_event(line);
    }
  } else if (!line.empty() && !line.starts_with("event:") && !line.starts_with(':') && !line.starts_with("id:")) {
    t.answer.body += line;
  }
  t.line.clear();
}

size_t on_header(char* data, size_t, size_t n, void* user) {
  Transfer& t = *static_cast<Transfer*>(user);
  const std::string_view line(data, n);
  if (line.starts_with("HTTP/")) {
    const size_t space = line.find(' ');
    t.answer.status = space == std::string_view::npos ? 0 : parse_integer(trim(line.substr(space, 4))).value_or(0);
    t.retry_after.reset();
    return n;
  }
  constexpr std::string_view kName = "retry-after:";
  const bool is_retry = n > kName.size() && std::equal(kName.begin(), kName.end(), data, [](char a, char b) {
                          return a == std::tolower(static_cast<unsigned char>(b));
                        });
  if (!is_retry) return n;
  const std::string value(trim(line.substr(kName.size())));
  if (std::optional<int64_t> whole = parse_integer(value)) {
    t.retry_after = seconds(std::clamp<int64_t>(*whole, 0, kLongestRetryAfter.count()));
  } else if (const time_t date = curl_getdate(value.c_str(), nullptr); date > 0) {
    t.retry_after = seconds(std::clamp<int64_t>(date - time(nullptr), 0, kLongestRetryAfter.count()));
  }
  return n;
}

size_t on_data(char* data, size_t, size_t n, void* user) {
  Transfer& t = *static_cast<Transfer*>(user);
  if (!t.call.on_event || t.answer.status != 200) {
    if (t.answer.body.size() + n > kMostBytes) return 0;
    t.answer.body.append(data, n);
    return n;
  }
  for (std::string_view rest(data, n); !rest.empty();) {
    const size_t end = rest.find('\n');
    t.line += rest.substr(0, end);
    if (end == std::string_view::npos) break;
    take_line(t);
    rest.remove_prefix(end + 1);
  }
  return t.line.size() > kMostBytes ? 0 : n;
}

}  // namespace

milliseconds retry_pause(const ApiOptions& options, int attempt, std::optional<seconds> asked, double random) {
  const milliseconds base = options.retry_delay * (1 << std::clamp(attempt - 1, 0, 16));
  const auto spread = milliseconds(static_cast<int64_t>(static_cast<double>(base.count()) * (1 + random / 4)));
  return std::max(std::min(spread, options.max_retry_delay), milliseconds(asked.value_or(seconds(0))));
}

struct HttpClient::Impl {
  explicit Impl(ApiOptions o) : options(std::move(o)), multi(curl_multi_init()) {
    if (multi == nullptr) throw Error(ErrorKind::Internal, "libcurl could not be started");
    thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~Impl() {
    thread.request_stop();
    curl_multi_wakeup(multi);
    thread.join();
    curl_multi_cleanup(multi);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void send(std::unique_ptr<Transfer> t) {
    {
      std::lock_guard lock(mutex);
      inbox.push_back(std::move(t));
    }
    curl_multi_wakeup(multi);
  }

  void run(const std::stop_token& stop);
  void take_inbox();
  void start_due();
  void start(std::unique_ptr<Transfer> t);
  void finish(CURL* easy, CURLcode result);
  void drop_stopped(bool all);
  void end(std::unique_ptr<Transfer> t, std::optional<Error> error);
  Error unreachable(const Transfer& t, CURLcode result) const;
  int milliseconds_to_next() const;

  const ApiOptions options;
  CURLM* const multi;
  mutable std::mutex mutex;
  std::list<std::unique_ptr<Transfer>> inbox;
  std::atomic<bool> some_stopped{false};
  // The thread's own.
  std::list<std::unique_ptr<Transfer>> waiting;  ///< for their time or for a connection
  std::map<CURL*, std::unique_ptr<Transfer>> active;
  Clock::time_point next_start;  ///< by max_requests_per_second
  std::mt19937 random{std::random_device{}()};
  std::jthread thread;
};

void HttpClient::Impl::run(const std::stop_token& stop) {
  CallbackScope scope;
  while (!stop.stop_requested()) {
    take_inbox();
    if (some_stopped.exchange(false)) drop_stopped(false);
    start_due();
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg == CURLMSG_DONE) finish(message->easy_handle, message->data.result);
    }
    curl_multi_poll(multi, nullptr, 0, milliseconds_to_next(), nullptr);
  }
  take_inbox();
  drop_stopped(true);
}

void HttpClient::Impl::take_inbox() {
  std::list<std::unique_ptr<Transfer>> fresh;
  {
    std::lock_guard lock(mutex);
    fresh.swap(inbox);
  }
  for (std::unique_ptr<Transfer>& t : fresh) {
    t->on_stop.emplace(t->call.stop, [this] {
      some_stopped = true;
      curl_multi_wakeup(multi);
    });
  }
  waiting.splice(waiting.end(), fresh);
}

int HttpClient::Impl::milliseconds_to_next() const {
  {
    std::lock_guard lock(mutex);
    if (!inbox.empty()) return 0;
  }
  Clock::time_point first = Clock::now() + seconds(1);
  if (active.size() < static_cast<size_t>(options.max_connections)) {
    for (const std::unique_ptr<Transfer>& t : waiting) first = std::min(first, std::max(t->due, next_start));
  }
  const auto left = std::chrono::ceil<milliseconds>(first - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1000));
}

void HttpClient::Impl::start_due() {
  for (auto it = waiting.begin(); it != waiting.end();) {
    const Clock::time_point now = Clock::now();
    if (active.size() >= static_cast<size_t>(std::max(options.max_connections, 1)) || now < next_start) return;
    if ((*it)->due > now) {
      ++it;
      continue;
    }
    std::unique_ptr<Transfer> t = std::move(*it);
    it = waiting.erase(it);
    if (options.max_requests_per_second > 0) {
      next_start = now + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(1 / options.max_requests_per_second));
    }
    start(std::move(t));
  }
}

void HttpClient::Impl::start(std::unique_ptr<Transfer> t) {
  ++t->attempt;
  t->answer = {};
  t->retry_after.reset();
  t->line.clear();
  t->detail[0] = '\0';
  if (t->easy == nullptr) t->easy = curl_easy_init();
  if (t->headers == nullptr) {
    for (const std::string& header : t->call.headers) t->headers = curl_slist_append(t->headers, header.c_str());
    t->headers = curl_slist_append(t->headers, "Expect:");  // no round trip before a large body
  }
  CURL* c = t->easy;
  static const std::string direct = no_proxy();
  curl_easy_setopt(c, CURLOPT_URL, t->call.url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_USERAGENT, "sgl/" SGL_VERSION);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_NOPROXY, direct.c_str());
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(c, CURLOPT_TIMEOUT, static_cast<long>(options.timeout.count()));
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->detail.data());
  curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(c, CURLOPT_HEADERDATA, t.get());
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, t.get());
  if (t->call.post) {
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, t->call.body.data());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t->call.body.size()));
  }
  if (const char* path = ca_bundle_from_environment()) curl_easy_setopt(c, CURLOPT_CAINFO, path);
  curl_multi_add_handle(multi, c);
  active.emplace(c, std::move(t));
}

Error HttpClient::Impl::unreachable(const Transfer& t, CURLcode result) const {
  return {ErrorKind::Unavailable,
          fmt::format("no answer from {}: {} (attempt {} of {})", t.call.url,
                      t.detail[0] != '\0' ? t.detail.data() : curl_easy_strerror(result), t.attempt, options.attempts)};
}

void HttpClient::Impl::finish(CURL* easy, CURLcode result) {
  const auto it = active.find(easy);
  std::unique_ptr<Transfer> t = std::move(it->second);
  active.erase(it);
  curl_multi_remove_handle(multi, easy);
  if (!t->line.empty()) take_line(*t);

  bool may_pass = is_passing_failure(t->answer.status);
  if (result != CURLE_OK) {
    may_pass = result != CURLE_URL_MALFORMAT && result != CURLE_UNSUPPORTED_PROTOCOL &&
               result != CURLE_PEER_FAILED_VERIFICATION && result != CURLE_SSL_CACERT_BADFILE &&
               result != CURLE_WRITE_ERROR;
  }
  if (may_pass && !t->had_event && t->attempt < options.attempts && !t->call.stop.stop_requested()) {
    const double r = std::uniform_real_distribution<double>(0, 1)(random);
    t->due = Clock::now() + retry_pause(options, t->attempt, t->retry_after, r);
    waiting.push_back(std::move(t));
    return;
  }
  std::optional<Error> error;
  if (result != CURLE_OK) error = unreachable(*t, result);
  end(std::move(t), std::move(error));
}

void HttpClient::Impl::drop_stopped(bool all) {
  std::list<std::unique_ptr<Transfer>> dropped;
  for (auto it = active.begin(); it != active.end();) {
    if (all || it->second->call.stop.stop_requested()) {
      curl_multi_remove_handle(multi, it->first);  // closes the connection: the server sees that nobody listens
      dropped.push_back(std::move(it->second));
      it = active.erase(it);
    } else {
      ++it;
    }
  }
  for (auto it = waiting.begin(); it != waiting.end();) {
    if (all || (*it)->call.stop.stop_requested()) {
      dropped.push_back(std::move(*it));
      it = waiting.erase(it);
    } else {
      ++it;
    }
  }
  for (std::unique_ptr<Transfer>& t : dropped) end(std::move(t), Error(ErrorKind::Cancelled, "the call was given up"));
}

void HttpClient::Impl::end(std::unique_ptr<Transfer> t, std::optional<Error> error) {
  t->on_stop.reset();
  t->sink({std::move(t->answer), std::move(error)});
}

HttpClient::HttpClient(ApiOptions options) {
  Endings::all();
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  impl_ = std::make_shared<Impl>(std::move(options));
}

HttpClient::~HttpClient() { destroy_owner(std::move(impl_)); }

void HttpClient::send(HttpCall call, HttpSink sink) {
  impl_->send(std::make_unique<Transfer>(std::move(call), std::move(sink)));
}

HttpAnswer HttpClient::fetch(HttpCall call) {
  std::promise<Outcome<HttpAnswer>> promise;
  std::future<Outcome<HttpAnswer>> future = promise.get_future();
  send(std::move(call), [&](Outcome<HttpAnswer>&& outcome) { promise.set_value(std::move(outcome)); });
  Outcome<HttpAnswer> outcome = future.get();
  if (outcome.error) throw Error(*outcome.error);
  return std::move(outcome.value);
}

}  // namespace sgl::lang
