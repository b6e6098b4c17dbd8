#pragma once
// What one request got, and when.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sgl::bench {

/// Times are seconds since the run began; counts are −1 where the server does not say.
struct Answer {
  size_t session = 0;
  int turn = 0;
  double start = 0;  ///< when it was sent, or, of a request that arrived at a given time, that time
  double end = 0;
  std::vector<double> tokens_at;  ///< when each piece of text came; usually a token each
  std::string text;
  std::string error;  ///< empty: all went well
  int status = 0;     ///< of HTTP; 0 if there was none
  int prompt_tokens = -1, output_tokens = -1, cached_tokens = -1;

  double ttft() const { return tokens_at.empty() ? end - start : tokens_at.front() - start; }
  double e2e() const { return end - start; }
  /// Tokens of the answer, or if the server does not say, the pieces that came.
  int outputs() const { return output_tokens >= 0 ? output_tokens : static_cast<int>(tokens_at.size()); }
  /// Mean time between two tokens after the first; 0 if there was one only.
  double tpot() const {
    return outputs() > 1 && !tokens_at.empty() ? (tokens_at.back() - tokens_at.front()) / (outputs() - 1) : 0;
  }
};

/// Reads the events of OpenAI's streams, of /v1/completions and of /v1/chat/completions.
class EventReader {
 public:
  EventReader();
  ~EventReader();
  EventReader(EventReader&&) noexcept;
  EventReader& operator=(EventReader&&) noexcept;

  /// One event's data, which came at `now`. "[DONE]" is skipped; what is no JSON becomes the answer's error.
  void read(std::string_view data, double now, Answer& answer);
  /// A body that is no stream: an error's, or a whole answer of a server that ignores "stream".
  void read_body(std::string_view body, double now, Answer& answer);

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace sgl::bench
