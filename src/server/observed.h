#pragma once
// What is seen of every request, whatever its route: its name, its answer's status, how long that took.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "server/http.h"
#include "server/metrics.h"

namespace sgl {

/// From X-Request-Id, if it is 1 to 128 letters, digits and "-_.:/+=", and from a valid W3C traceparent
/// (https://www.w3.org/TR/trace-context/); without the former, a random name.
RequestTag tag_of(const HttpRequest& request);

/// The fields by which the log lines of one request are found.
log::Fields fields_of(const RequestTag& tag);

/// Passes an answer on, counts it and writes a line about it: info, or warn for faults of the server, debug for probes.
class Observed final : public Responder {
 public:
  /// `route` must outlive this: a name from a table. `metrics` may be null. Lines below `least` are not written.
  Observed(std::shared_ptr<Responder> inner, const HttpRequest& request, std::string_view route,
           std::shared_ptr<metrics::Metrics> metrics, log::Level least);
  ~Observed() override;

  void add_header(std::string name, std::string value) override {
    inner_->add_header(std::move(name), std::move(value));
  }
  void respond(HttpResponse response) override;
  void stream(std::string data, bool last) override;
  size_t unsent() const override { return inner_->unsent(); }
  void drop() override;
  void watch(std::weak_ptr<ClientWatcher> watcher) override { inner_->watch(std::move(watcher)); }

 private:
  void end(int status);

  const std::shared_ptr<Responder> inner_;
  const RequestTag tag_;
  const std::string method_, path_;
  const std::string_view route_;
  const std::shared_ptr<metrics::Metrics> metrics_;
  const log::Level least_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<bool> ended_{false};
};

}  // namespace sgl
