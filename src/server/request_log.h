#pragma once
// --log-requests: what is asked and what is answered, as log lines.

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "server/http.h"
#include "sgl/request.h"

namespace sgl {

/// The lines of one generating call. How much they tell is a level, as in SGLang:
///   0  names, sizes, times     1  and sampling parameters     2  and 2,048 bytes of body and text     3  and all of
///   them
/// Thread: one at a time.
class RequestLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kLeastLevel = 0, kMostLevel = 3;

  /// Writes the first line. `samples`: of all requests together.
  RequestLog(int level, const HttpRequest& request, const std::vector<Request>& requests, size_t samples);

  /// A piece of sample `sample` of all, made at `at`. The last one of a sample writes a line.
  void piece(size_t sample, const Output& piece, Clock::time_point at);

 private:
  struct Sample {
    std::string text;
    Clock::time_point first{};
  };

  const int level_;
  const RequestTag tag_;
  const Clock::time_point start_;
  std::vector<Sample> samples_;
};

}  // namespace sgl
