// Scripted answers, for tests of programs: at once and on the caller's thread, or later and on another.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <thread>
#include <utility>

#include "lang/callback_thread.h"
#include "lang/speculation.h"
#include "sgl/error.h"
#include "sgl/program_backend.h"

namespace sgl {

// NOLINTNEXTLINE(performance-unnecessary-value-param): those that can keep them
void Backend::score(ScoreCall, ScoreSink sink) {
  sink({.value = {}, .error = Error(ErrorKind::Unsupported, "select is not supported by the backend " + name())});
}

namespace {

using Clock = std::chrono::steady_clock;

/// Jobs that are due at a time, on one thread.
class Timer {
 public:
  Timer() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

  void at(Clock::time_point when, std::function<void()> job) {
    std::lock_guard lock(mutex_);
    jobs_.emplace(when, std::move(job));
    changed_.notify_all();
  }

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested() || !jobs_.empty()) {
      if (jobs_.empty()) {
        changed_.wait(lock, stop, [&] { return !jobs_.empty(); });
        continue;
      }
      const Clock::time_point due = jobs_.begin()->first;
      if (due > Clock::now()) {
        changed_.wait_until(lock, due);
        continue;
      }
      std::function<void()> job = std::move(jobs_.begin()->second);
      jobs_.erase(jobs_.begin());
      lock.unlock();
      {
        lang::CallbackScope scope;
        job();
        job = nullptr;
      }
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::multimap<Clock::time_point, std::function<void()>> jobs_;
  std::jthread thread_;  // last: runs while the rest lives
};

}  // namespace

struct ScriptedBackend::Impl {
  Answer answer;
  Score score;
  ChatFormat format = ChatFormat::named("default");
  std::chrono::microseconds latency{0};
  size_t piece_size = 3;

  mutable std::mutex mutex;
  std::vector<GenerateCall> calls;
  std::vector<ScoreCall> score_calls;
  std::vector<std::string> committed;
  int cancelled = 0;
  std::unique_ptr<Timer> timer;

  /// Now, or on the timer's thread after the latency.
  void later(std::function<void()> job) {
    if (timer)
      timer->at(Clock::now() + latency, std::move(job));
    else
      job();
  }

  /// Whether the call was given up.
  bool gave_up(const std::stop_token& stop) {
    if (!stop.stop_requested()) return false;
    std::lock_guard lock(mutex);
    ++cancelled;
    return true;
  }

  Outcome<Generated> make(const GenerateCall& call) {
    Outcome<Generated> out;
    for (int i = 0; i < call.options.n.value_or(1); ++i) {
      out.value.texts.push_back(answer(call));
    }
    out.value.meta.finish_reason = "stop";
    lang::cut_at_stop(out.value, call.options.stop.items());
    return out;
  }
};

ScriptedBackend::ScriptedBackend(Answer answer, Capabilities capabilities)
    : capabilities_(capabilities), impl_(std::make_shared<Impl>()) {
  impl_->answer = std::move(answer);
}

ScriptedBackend::ScriptedBackend(std::vector<std::string> answers, Capabilities capabilities)
    : ScriptedBackend(Answer{}, capabilities) {
  if (answers.empty()) throw Error(ErrorKind::InvalidArgument, "a ScriptedBackend needs an answer at least");
  impl_->answer = [answers = std::move(answers), next = std::make_shared<std::atomic<size_t>>(0)](const GenerateCall&) {
    return answers[std::min(next->fetch_add(1), answers.size() - 1)];
  };
}

ScriptedBackend::~ScriptedBackend() { lang::destroy_owner(std::move(impl_)); }

Capabilities ScriptedBackend::all() {
  return {.completion = true,
          .chat = false,
          .select = true,
          .unconditional = true,
          .regex = true,
          .json_schema = true,
          .ebnf = true,
          .stop_regex = true,
          .stop_token_ids = true,
          .logprobs = true,
          .images = true,
          .videos = true,
          .multiple = true,
          .prefix_cache = true,
          .api_speculation = true};
}

Capabilities ScriptedBackend::chat() {
  return {.completion = false,
          .chat = true,
          .json_schema = true,
          .images = true,
          .multiple = true,
          .api_speculation = true};
}

void ScriptedBackend::set_score(Score score) { impl_->score = std::move(score); }
void ScriptedBackend::set_format(ChatFormat format) { impl_->format = std::move(format); }
void ScriptedBackend::set_piece_size(size_t bytes) { impl_->piece_size = std::max<size_t>(bytes, 1); }
void ScriptedBackend::set_latency(std::chrono::microseconds latency) {
  impl_->latency = latency;
  impl_->timer.reset();
  if (latency.count() > 0) impl_->timer = std::make_unique<Timer>();
}
const ChatFormat& ScriptedBackend::chat_format() const { return impl_->format; }

std::vector<GenerateCall> ScriptedBackend::calls() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->calls;
}
std::vector<ScoreCall> ScriptedBackend::score_calls() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->score_calls;
}
std::vector<std::string> ScriptedBackend::committed() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->committed;
}
int ScriptedBackend::cancelled() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->cancelled;
}

void ScriptedBackend::generate(GenerateCall call, GenerateSink sink) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->calls.push_back(call);
  }
  impl_->later([impl = impl_.get(), call = std::move(call), sink = std::move(sink)] {
    Outcome<Generated> out;
    if (impl->gave_up(call.stop)) {
      out.error = Error(ErrorKind::Cancelled, "the call was given up");
    } else {
      try {
        out = impl->make(call);
      } catch (const Error& error) {
        out.error = error;
      } catch (const std::exception& error) {
        out.error = Error(ErrorKind::Internal, error.what());
      }
    }
    if (sink.on_text && !out.error) {
      const std::string_view text = out.value.texts[0];
      for (size_t i = 0; i < text.size(); i += impl->piece_size) sink.on_text(text.substr(i, impl->piece_size));
    }
    sink.on_done(std::move(out));
  });
}

void ScriptedBackend::score(ScoreCall call, ScoreSink sink) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->score_calls.push_back(call);
  }
  impl_->later([impl = impl_.get(), call = std::move(call), sink = std::move(sink)] {
    Outcome<ChoiceScores> out;
    if (impl->gave_up(call.stop)) {
      out.error = Error(ErrorKind::Cancelled, "the call was given up");
    } else if (impl->score) {
      try {
        out.value = impl->score(call);
      } catch (const Error& error) {
        out.error = error;
      } catch (const std::exception& error) {
        out.error = Error(ErrorKind::Internal, error.what());
      }
    } else {  // the first choice is the likeliest
      out.value.choices = call.choices;
      for (size_t i = 0; i < call.choices.size(); ++i) {
        out.value.tokens.push_back({-static_cast<double>(i)});
        out.value.unconditional.push_back({0.0});
      }
    }
    sink(std::move(out));
  });
}

void ScriptedBackend::commit_prefix(const Prompt& prompt, std::function<void()> done) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->committed.push_back(prompt.text);
  }
  impl_->later(std::move(done));
}

}  // namespace sgl
