#include "bench/offline_load.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "bench/dialogue.h"
#include "bench/random_text.h"
#include "sgl/error.h"

namespace sgl::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// A piece of output, with its time; from the scheduler's thread to this one.
struct Piece {
  size_t session;
  double at;
  Output output;
};

class Inbox {
 public:
  void put(Piece piece) {
    // Only an end has something follow; to be woken for each token costs the scheduler's thread more than the token.
    const bool ended = piece.output.finish.type != FinishReason::Type::Running;
    std::lock_guard lock(mutex_);
    pieces_.push_back(std::move(piece));
    if (ended) arrived_.notify_one();
  }
  /// The next piece; nullopt if none comes until `deadline`, if there is one.
  std::optional<Piece> take(std::optional<Clock::time_point> deadline) {
    std::unique_lock lock(mutex_);
    auto there = [this] { return !pieces_.empty(); };
    if (!deadline) {
      arrived_.wait(lock, there);
    } else if (!arrived_.wait_until(lock, *deadline, there)) {
      return std::nullopt;
    }
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    return piece;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Piece> pieces_;
};

/// A token for each word, always the same one.
void append_words(std::vector<int32_t>& ids, std::string_view text, int vocab_size) {
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    Random hash(std::accumulate(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(space), uint64_t{0},
                                [](uint64_t sum, char c) { return sum * 31 + static_cast<unsigned char>(c); }));
    if (space > 0) ids.push_back(static_cast<int32_t>(hash.below(static_cast<uint64_t>(vocab_size))));
    text.remove_prefix(std::min(space + 1, text.size()));
  }
}

class Load {
 public:
  Load(EngineApi& engine, const Workload& workload, const std::function<void()>& on_answer)
      : engine_(engine), workload_(workload), on_answer_(on_answer), talks_(workload.sessions.size()) {}

  LoadResult run() {
    const std::clock_t cpu = std::clock();
    if (workload_.arrivals.empty()) {
      for (int i = 0; i < workload_.shape.concurrency; ++i) start_session(0);
    }
    while (in_flight_ > 0 || next_session_ < workload_.sessions.size()) {
      if (std::optional<Piece> piece = inbox_->take(next_arrival())) {
        receive(std::move(*piece));
      } else {
        start_session(workload_.arrivals[next_session_]);
      }
    }
    run_.duration_s = seconds();
    run_.client_cpu_s = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    return std::move(run_);
  }

 private:
  struct Talk {
    std::optional<Dialogue> dialogue;
    std::vector<int32_t> ids;  ///< the same, where the engine has no tokenizer
    Answer answer;
  };

  int vocab_size() const { return engine_.info().vocab_size; }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  std::optional<Clock::time_point> next_arrival() const {
    if (workload_.arrivals.empty() || next_session_ == workload_.sessions.size()) return std::nullopt;
    return start_ + std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>(workload_.arrivals[next_session_]));
  }

  void start_session(double at) {
    if (next_session_ == workload_.sessions.size()) return;
    const size_t session = next_session_++;
    talks_[session].dialogue.emplace(false, workload_.sessions[session].prefix);
    if (takes_ids_) append_words(talks_[session].ids, workload_.sessions[session].prefix, vocab_size());
    start_turn(session, 0, at);
  }

  void start_turn(size_t session, int number, double at) {
    Talk& talk = talks_[session];
    const Turn& turn = workload_.sessions[session].turns[static_cast<size_t>(number)];
    talk.dialogue->user(turn.text);
    talk.answer = Answer();
    talk.answer.session = session;
    talk.answer.turn = number;
    talk.answer.start = at;
    Request request;
    if (takes_ids_) {
      append_words(talk.ids, turn.text, vocab_size());
      request.prompt = talk.ids;
    } else {
      request.prompt = talk.dialogue->text();
    }
    request.sampling.max_new_tokens = turn.output_tokens;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    run_.max_in_flight = std::max(run_.max_in_flight, ++in_flight_);
    try {
      // The engine may outlive this run; its callback holds what it uses.
      engine_.submit(std::move(request), [inbox = inbox_, session, start = start_](Output&& output) {
        const double now = std::chrono::duration<double>(Clock::now() - start).count();
        inbox->put({session, now, std::move(output)});
      });
    } catch (const Error& e) {
      talk.answer.error = e.what();
      end_turn(session, seconds());
    }
  }

  void receive(Piece&& piece) {
    Answer& answer = talks_[piece.session].answer;
    Output& o = piece.output;
    answer.text += o.text;
    std::vector<int32_t>& ids = talks_[piece.session].ids;
    if (takes_ids_) ids.insert(ids.end(), o.token_ids.begin(), o.token_ids.end());
    if (!o.token_ids.empty()) answer.tokens_at.push_back(piece.at);
    answer.prompt_tokens = o.prompt_tokens;
    answer.output_tokens = o.completion_tokens;
    answer.cached_tokens = o.cached_tokens;
    if (o.finish.type == FinishReason::Type::Abort) answer.error = o.finish.message;
    if (o.finish.type != FinishReason::Type::Running) end_turn(piece.session, piece.at);
  }

  void end_turn(size_t session, double at) {
    --in_flight_;
    Talk& talk = talks_[session];
    talk.answer.end = at;
    const bool failed = !talk.answer.error.empty();
    const int next_turn = talk.answer.turn + 1;
    talk.dialogue->assistant(std::exchange(talk.answer.text, ""));
    run_.answers.push_back(std::move(talk.answer));
    if (on_answer_) on_answer_();
    if (!failed && static_cast<size_t>(next_turn) < workload_.sessions[session].turns.size()) {
      start_turn(session, next_turn, seconds());
    } else {
      talk.dialogue.reset();
      talk.ids = {};
      if (workload_.arrivals.empty()) start_session(seconds());
    }
  }

  EngineApi& engine_;
  const bool takes_ids_ = engine_.tokenizer() == nullptr;
  const Workload& workload_;
  const std::function<void()>& on_answer_;
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::vector<Talk> talks_;  ///< by session
  size_t next_session_ = 0, in_flight_ = 0;
  const Clock::time_point start_ = Clock::now();
  LoadResult run_;
};

}  // namespace

LoadResult run_offline(EngineApi& engine, const Workload& workload, const std::function<void()>& on_answer) {
  return Load(engine, workload, on_answer).run();
}

}  // namespace sgl::bench
