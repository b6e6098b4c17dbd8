#include "server/observed.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "server/access.h"
#include "server/service.h"

namespace sgl {
namespace {

constexpr int kClientLeft = 499;  // nginx's name for it: nobody was there to take an answer

bool is_name(std::string_view text) {
  constexpr std::string_view kOthers = "-_.:/+=";
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool is_hex(std::string_view text, bool may_be_zero) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos &&
         (may_be_zero || text.find_first_not_of('0') != std::string_view::npos);
}

// "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; later versions may go on after another '-'.
void read_traceparent(std::string_view text, RequestTag& tag) {
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), span = text.substr(36, 16);
  if (!is_hex(version, true) || version == "ff" || !is_hex(trace, false) || !is_hex(span, false)) return;
  if (!is_hex(text.substr(53, 2), true)) return;
  if (text.size() > 55 && (version == "00" || text[55] != '-')) return;
  tag.trace_id = trace;
  tag.parent_span = span;
}

// A method that nobody serves would make another series for each of its names.
std::string_view known_method(std::string_view method) {
  constexpr std::array<std::string_view, 5> kKnown = {"GET", "HEAD", "POST", "PUT", "OPTIONS"};
  const auto* found = std::find(kKnown.begin(), kKnown.end(), method);
  return found == kKnown.end() ? "other" : *found;
}

}  // namespace

RequestTag tag_of(const HttpRequest& request) {
  RequestTag tag;
  const std::string_view given = request.header("X-Request-Id");
  tag.id = is_name(given) ? std::string(given) : random_hex(32);
  read_traceparent(request.header("traceparent"), tag);
  return tag;
}

log::Fields fields_of(const RequestTag& tag) {
  log::Fields out;
  out.add("id", tag.id);
  if (!tag.trace_id.empty()) out.add("trace_id", tag.trace_id).add("parent_span", tag.parent_span);
  return out;
}

Observed::Observed(std::shared_ptr<Responder> inner, const HttpRequest& request, std::string_view route,
                   std::shared_ptr<metrics::Metrics> metrics, log::Level least)
    : inner_(std::move(inner)),
      tag_(request.tag),
      method_(request.method),
      path_(request.path),
      route_(route),
      metrics_(std::move(metrics)),
      least_(least) {
  inner_->add_header("X-Request-Id", tag_.id);
  if (metrics_ != nullptr) metrics_->http.active.fetch_add(1, std::memory_order_relaxed);
}

Observed::~Observed() { end(kClientLeft); }

void Observed::respond(HttpResponse response) {
  end(response.status);
  inner_->respond(std::move(response));
}

void Observed::stream(std::string data, bool last) {
  if (last) end(200);
  inner_->stream(std::move(data), last);
}

void Observed::drop() {
  end(kClientLeft);
  inner_->drop();
}

void Observed::end(int status) {
  if (ended_.exchange(true)) return;
  if (metrics_ != nullptr) {
    metrics_->http.active.fetch_sub(1, std::memory_order_relaxed);
    metrics_->http.count(route_, known_method(method_), status);
  }
  // 503 is how a full queue answers, as often as it is asked: no news, and no flood in the logs.
  const bool fault = status >= 500 && status != 503;
  const log::Level level = is_open_to_all(path_) ? log::Level::debug : fault ? log::Level::warn : log::Level::info;
  if (level < least_) return;
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start_;
  log::Fields fields = fields_of(tag_);
  fields.add("method", method_).add("path", path_).add("status", int64_t{status});
  fields.add("ms", static_cast<double>(static_cast<int64_t>(took.count() * 1000)) / 1000);
  log::write(level, "answered", fields);
}

}  // namespace sgl
