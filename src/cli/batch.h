#pragma once
// Many requests through one engine, answers in the order of the requests.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "server/engine_api.h"
#include "server/generation.h"

namespace sgl::cli {

/// The work that one line of input asks for: a JSON object as /generate takes it, or with `prompt` instead of `text`,
/// or with `messages` as /v1/chat/completions takes them; or a JSON string, which is a prompt. `sampling` holds
/// the sampling parameters that the line does not give; with messages, what neither gives comes from the model's
/// generation config, as the server has it. Throws InvalidArgument, Unsupported.
Call parse_line(const std::string& line, const nlohmann::ordered_json& sampling, EngineApi& engine);

/// `sampling`, and the model's own generation config for what it does not give.
nlohmann::ordered_json with_generation_defaults(const nlohmann::ordered_json& sampling, const ModelInfo& info);

/// Runs lines with a bounded number in flight. Thread: one; the engine's callbacks come on its own.
class Batch {
 public:
  /// `write` gets each answer, one line of JSON without its end, in the order of the lines.
  Batch(EngineApi& engine, nlohmann::ordered_json sampling, size_t max_in_flight,
        std::function<void(const std::string&)> write);
  /// Aborts what still runs.
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  /// Starts a line; waits while too many run. An error becomes the line's answer: {"error": {"message", "line"}}.
  void add(const std::string& line, size_t line_number);
  /// Waits for the rest.
  void finish();

  size_t written() const { return written_; }
  /// Lines whose answer is an error, or was aborted.
  size_t failed() const { return failed_; }
  std::optional<size_t> first_failed_line() const { return first_failed_line_; }

 private:
  struct Line {
    size_t number = 0;
    std::vector<std::string> rids;
    std::unique_ptr<Reply> reply;
    size_t open = 0;       ///< samples that were submitted and have not ended
    bool started = false;  ///< all are submitted
    bool broken = false;   ///< one of them was aborted
    std::string answer;    ///< not empty once it is known
  };
  struct Piece {
    std::shared_ptr<Line> line;
    size_t request;
    Output output;
  };
  /// Shared with the callbacks, which may outlive nothing else of the batch.
  struct Inbox {
    std::mutex mutex;
    std::condition_variable arrived;
    std::vector<Piece> pieces;
  };

  void start(const std::shared_ptr<Line>& line, Call call);
  void submit(Request request, const OutputCallback& callback);
  void fail(Line& line, const std::string& message);
  void wait_for_pieces();
  void take(Piece&& piece);
  void complete(Line& line);
  void count_failure(const Line& line);
  void write_ready();

  EngineApi& engine_;
  const nlohmann::ordered_json sampling_;
  const size_t max_in_flight_;
  const std::function<void(const std::string&)> write_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::deque<std::shared_ptr<Line>> lines_;  ///< not written yet, oldest first
  size_t in_flight_ = 0;                     ///< samples
  size_t written_ = 0, failed_ = 0;
  std::optional<size_t> first_failed_line_;
};

}  // namespace sgl::cli
