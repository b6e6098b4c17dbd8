#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// Whether `rid` is `name`, one of its batch ("name_0") or what a server makes of it to tell equal names apart
// ("name/…").
bool is_called(std::string_view rid, std::string_view name) {
  if (!rid.starts_with(name)) return false;
  return rid.size() == name.size() || rid[name.size()] == '_' || rid[name.size()] == '/';
}

// Adds this thread's processor time in its scope to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum) {}
  ~Stopwatch() { sum_ += thread_cpu_seconds() - began_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& sum_;
  const double began_ = thread_cpu_seconds();
};

constexpr int kAborted = 499;        // the HTTP status that says: the client itself ended it
constexpr int kStepsPerWindow = 40;  // of the measured throughput, where no log line sets its length

FinishReason aborted(const std::string& why, int status) {
  return {.type = FinishReason::Type::Abort, .message = why, .status = status};
}

}  // namespace

Scheduler::Scheduler(SchedulerConfig config, StepFunctions steps)
    : config_(std::move(config)),
      steps_(std::move(steps)),
      free_(static_cast<int32_t>(config_.num_pages)),
      tree_(config_.page_size),
      new_token_ratio_(initial_ratio()) {
  publish_stats();
}

Scheduler::~Scheduler() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  idle_.notify_all();
  if (thread_.joinable()) thread_.join();
  drain_inbox();
  const FinishReason reason = aborted("the engine is shutting down", 503);
  for (auto& seq : running_) end_with(*seq, reason);
  for (auto& seq : waiting_) end_with(*seq, reason);
  running_.clear();
  waiting_.clear();
}

void Scheduler::start() {
  thread_ = std::thread([this] { loop(); });
}

// ── Calls from other threads ─────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::submit(std::vector<std::unique_ptr<Sequence>> sequences, bool unbounded) {
  const int n = static_cast<int>(sequences.size());
  const double submitted_at = steady_seconds();
  {
    std::lock_guard lock(mutex_);
    if (!stats_.failure.empty()) throw Error(ErrorKind::DeviceLost, stats_.failure);
    if (draining_ || stopping_)
      throw Error(ErrorKind::Unavailable, "the engine is shutting down and takes no requests");
    if (!unbounded && n > config_.max_queued_requests) {
      throw Error(
          ErrorKind::InvalidArgument,
          fmt::format("a call of {} generations is more than may wait at once (--max-queued-requests {}); split it", n,
                      config_.max_queued_requests));
    }
    if (const std::string why = unbounded ? "" : refusal(n); !why.empty()) {
      throw Error(ErrorKind::ResourceExhausted, why);
    }
    for (auto& seq : sequences) {
      const int before = places_before();
      if (before > 0 && forecast_.known() && !paused_) seq->expected_ttft_s = forecast_.expected(before);
      // Of a call of several only those that would have been taken alone.
      seq->is_bounded = config_.max_ttft_s > 0 && !unbounded && !paused_ && refusal(1).empty();
      ++queued_;
      seq->arrival = arrivals_++;
      seq->submitted_at = submitted_at;
      inbox_.push_back(std::move(seq));
    }
    in_flight_ += n;
    unanswered_ += n;
    ++stats_.requests;
  }
  wake_.notify_one();
}

void Scheduler::abort(std::string rid_prefix) {
  if (rid_prefix.empty()) return;
  {
    std::lock_guard lock(mutex_);
    aborts_.push_back({std::move(rid_prefix), aborted("the request was aborted", kAborted)});
  }
  wake_.notify_one();
}

void Scheduler::abort_all(const std::string& why, int status) {
  {
    std::lock_guard lock(mutex_);
    aborts_.push_back({std::nullopt, aborted(why, status)});
  }
  wake_.notify_one();
}

void Scheduler::pause(PauseMode mode, bool wait) {
  std::unique_lock lock(mutex_);
  if (draining_ || stopping_) throw Error(ErrorKind::Unavailable, "the engine is shutting down and does not pause");
  pause_wanted_ = mode;
  wake_.notify_one();
  if (wait) idle_.wait(lock, [&] { return !pause_wanted_ || stopping_; });
}

void Scheduler::resume() {
  {
    std::lock_guard lock(mutex_);
    pause_wanted_.reset();
    paused_ = false;
  }
  wake_.notify_one();
  idle_.notify_all();
}

bool Scheduler::flush_cache(double timeout_s) {
  std::unique_lock lock(mutex_);
  auto idle = [&] { return in_flight_ == 0; };
  if (timeout_s > 0 && !idle_.wait_for(lock, std::chrono::duration<double>(timeout_s), idle)) return false;
  if (unanswered_ > 0) return false;
  // The scheduler's thread decides: whoever has its whole answer may ask before the turn has ended that gave it, and a
  // request may slip in.
  const uint64_t asked = ++flushes_asked_;
  wake_.notify_one();
  idle_.wait(lock, [&] { return flushes_answered_ >= asked || stopping_; });
  return flushes_done_ >= asked;
}

bool Scheduler::drain(double timeout_s) {
  std::unique_lock lock(mutex_);
  draining_ = true;  // from now on no pause is taken
  pause_wanted_.reset();
  paused_ = false;
  wake_.notify_one();
  idle_.notify_all();
  auto idle = [&] { return in_flight_ == 0; };
  if (timeout_s < 0) {
    idle_.wait(lock, idle);
    return true;
  }
  return idle_.wait_for(lock, std::chrono::duration<double>(timeout_s), idle);
}

EngineStats Scheduler::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats s = stats_;
  s.waiting = queued_;
  s.expected_ttft_s = expected_ttft();
  s.refusal = refusal(1);
  s.pausing = pause_wanted_.has_value();
  s.paused = paused_;
  return s;
}

// ── The loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::loop() {
  name_thread("sgl-scheduler");
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] {
        const bool work = !running_.empty() || !waiting_.empty() || flying_;
        return stopping_ || (work && !paused_) || !inbox_.empty() || !aborts_.empty() || pause_wanted_ ||
               flushes_answered_ < flushes_asked_;
      });
      if (stopping_) return;
    }
    turn();
  }
}

// While the device computes a step, the next one is planned and launched; then the first one's tokens are taken, and
// with them the second one's masks and penalties are known before the device needs them.
bool Scheduler::turn() {
  const double began = steady_seconds(), cpu_began = thread_cpu_seconds();
  computing_seconds_ = 0;
  drain_inbox();
  if (standing_still_) {
    ended_ = 0;  // what a pause has ended says nothing of the pace
    publish_stats();
    return false;
  }
  try {
    if (!totals_.failure.empty()) throw Error(ErrorKind::DeviceLost, totals_.failure);
    std::optional<Plan> plan = make_plan();
    if (!plan) {
      land();
      remove_finished();
      plan = make_plan();
    }
    // Nothing to run although something waits would be a bug: with no sequence running, any request that was accepted
    // fits the pool.
    SGL_ASSERT(!plan->empty() || waiting_.empty() || !running_.empty(),
               "the scheduler has waiting requests and admits none");
    std::optional<Step> next;
    if (!plan->empty()) next = launch(std::move(*plan));
    land();
    if (next) {
      {
        const Stopwatch computing(computing_seconds_);
        steps_.sample(*next);
      }
      flying_ = std::move(next);
      if (!flying_->pending || config_.disable_overlap) land();
    }
  } catch (const Error& e) {
    if (totals_.failure.empty()) log::error("a step failed: {}", e.what());
    fail_running(e.what());
    if (e.kind() == ErrorKind::DeviceLost) {
      totals_.failure = e.what();
      for (auto& seq : waiting_) end_with(*seq, aborted(e.what(), 500));
    }
  } catch (const std::exception& e) {
    log::error("a step failed: {}", e.what());
    fail_running(e.what());
  }
  const bool worked = !running_.empty() || !waiting_.empty();
  remove_finished();
  if (running_.empty() && waiting_.empty()) new_token_ratio_ = initial_ratio();
  const double seconds = steady_seconds() - began;
  if (worked) {
    window_seconds_ += seconds;
    totals_.scheduling_seconds += thread_cpu_seconds() - cpu_began - computing_seconds_;
  }
  ttft_.turn(seconds, std::exchange(ended_, 0), full_);
  close_window();
  publish_stats();
  return worked;
}

Step Scheduler::launch(Plan plan) {
  for (const Plan::Row& row : plan.rows) {
    row.seq->in_flight += row.q_len;
    ++row.seq->launched;
  }
  const Stopwatch computing(computing_seconds_);
  return steps_.launch(std::move(plan));
}

// Finishes the step that is in flight, if there is one.
void Scheduler::land() {
  if (!flying_) return;
  Step step = std::move(*flying_);
  flying_.reset();
  {
    const Stopwatch computing(computing_seconds_);
    steps_.collect(step);
  }
  finish(step);
}

void Scheduler::drain_inbox() {
  std::vector<std::unique_ptr<Sequence>> arrived;
  std::vector<Abort> aborts;
  std::optional<PauseMode> pause;
  {
    std::lock_guard lock(mutex_);
    pause = pause_wanted_;
    standing_still_ = paused_;
    arrived.swap(inbox_);
    aborts.swap(aborts_);
    if (flushes_answered_ < flushes_asked_) {
      const bool answered = std::all_of(running_.begin(), running_.end(), [](const auto& s) { return !s->on_output; });
      if (arrived.empty() && waiting_.empty() && answered) {
        tree_.clear(free_);
        flushes_done_ = flushes_asked_;
      }
      flushes_answered_ = flushes_asked_;
    }
  }
  for (auto& seq : arrived) {
    waiting_sums_.add(*seq);
    waiting_.push_back(std::move(seq));
  }
  for (const Abort& a : aborts) apply(a);
  if (pause) apply(*pause);
}

void Scheduler::apply(const Abort& abort) {
  // Made-up names are random, and any short prefix fits some of them: a name that nobody has must hit none.
  auto named = [&](const std::unique_ptr<Sequence>& seq) { return is_called(seq->rid, *abort.prefix); };
  if (abort.prefix && std::none_of(running_.begin(), running_.end(), named) &&
      std::none_of(waiting_.begin(), waiting_.end(), named)) {
    return;
  }
  auto hit = [&](const Sequence& seq) { return !abort.prefix || seq.rid.starts_with(*abort.prefix); };
  for (auto& seq : running_) {
    if (hit(*seq)) end_with(*seq, abort.reason);
  }
  for (auto& seq : waiting_) {
    if (hit(*seq)) end_with(*seq, abort.reason);
  }
  remove_finished();
}

void Scheduler::apply(PauseMode mode) {
  try {
    land();  // what is in flight is taken before anything stands still or gives its pages back
  } catch (const std::exception& e) {
    fail_running(e.what());
  }
  remove_finished();
  if (mode == PauseMode::Abort) apply(Abort{std::nullopt, aborted("generation was paused", kAborted)});
  if (mode == PauseMode::Retract) {
    while (!running_.empty()) retract(running_.size() - 1);
    batch_full_ = false;  // nothing runs that could make room by leaving
  }
  // How long they stand still says nothing of the pace, and is not what anyone was to wait.
  const auto forget_times = [](auto& sequences) {
    for (auto& seq : sequences) {
      seq->expected_ttft_s.reset();
      seq->taker.reset();
      seq->is_bounded = seq->is_timed = false;
    }
  };
  forget_times(running_);
  forget_times(waiting_);
  {
    std::lock_guard lock(mutex_);
    forget_times(inbox_);
    paused_ = pause_wanted_.has_value();  // resume() may have come in between
    standing_still_ = paused_;
    if (pause_wanted_ == mode) pause_wanted_.reset();  // else somebody asked for another one meanwhile: next turn
  }
  idle_.notify_all();
}

// ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::end_with(Sequence& seq, FinishReason finish) {
  if (seq.on_output) end_with(seq, std::move(finish), std::exchange(seq.early, {}));
}

// Ends it with the piece `out`, and what its text held back.
void Scheduler::end_with(Sequence& seq, FinishReason finish, Output&& out) {
  if (finish.type == FinishReason::Type::Abort) ++totals_.aborted;
  seq.text.finish(out.text);
  out.finish = std::move(finish);
  deliver(seq, std::move(out));
}

void Scheduler::fail_running(const std::string& why) {
  flying_.reset();
  for (auto& seq : running_) {
    seq->launched = 0;
    seq->forget_launched();
  }
  for (auto& seq : running_) end_with(*seq, aborted(why, 500));
}

void Scheduler::remove_finished() {
  if (finished_running_ + finished_waiting_ == 0) return;
  // A step that is in flight still refers to its sequences.
  auto ended = [](const std::unique_ptr<Sequence>& seq) { return !seq->on_output && seq->launched == 0; };
  int from_queue = 0;
  const auto from_waiting = finished_waiting_ == 0 ? 0 : std::erase_if(waiting_, [&](const auto& seq) {
    if (!ended(seq)) return false;
    waiting_sums_.remove(*seq);
    if (!seq->admitted_before) ++from_queue;
    return true;
  });
  const auto from_running = std::erase_if(running_, ended);
  if (from_running > 0) batch_full_ = false;
  ended_ += static_cast<int>(from_running);
  finished_waiting_ -= static_cast<int>(from_waiting);
  finished_running_ -= static_cast<int>(from_running);
  std::lock_guard lock(mutex_);
  in_flight_ -= static_cast<int>(from_waiting + from_running);
  queued_ -= from_queue;
}

// How many must end before a sequence that comes now can run. Requires: the lock.
int Scheduler::places_before() const { return std::max(queued_ + retracted_ + 1 - free_places_, 0); }

// Requires: the lock.
double Scheduler::expected_ttft() const {
  const int before = places_before();
  if (before == 0 || !forecast_.known()) return 0;
  return forecast_.expected(before) + (steady_seconds() < forecast_.margin_until ? forecast_.margin : 0);
}

// Why so many sequences that come now are not taken; empty: they are. Requires: the lock.
// Of a call of several the first one counts: the others wait for their own.
std::string Scheduler::refusal(int sequences) const {
  if (queued_ + sequences > config_.max_queued_requests) return "The request queue is full.";
  if (config_.max_ttft_s <= 0) return "";
  if (!forecast_.known() && places_before() > config_.max_running_requests) {
    return fmt::format(
        "{} requests wait, as many as can run, and none has ended that would say how long they wait; "
        "--max-ttft is {} s; try again later",
        queued_ + retracted_, config_.max_ttft_s);
  }
  const double expected = expected_ttft();
  if (expected <= config_.max_ttft_s) return "";
  return fmt::format(
      "a request that comes now would have its first token after up to {:.1f} s, and --max-ttft is {} s; "
      "try again later",
      expected, config_.max_ttft_s);
}

// ── What others see ──────────────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::publish_stats() {
  const RadixTree::Counts counts = tree_.counts();
  std::lock_guard lock(mutex_);
  const int64_t requests = stats_.requests;
  stats_ = totals_;
  stats_.requests = requests;
  stats_.running = static_cast<int>(running_.size());
  stats_.total_pages = free_.total();
  stats_.free_pages = free_.free_pages();
  stats_.cached_pages = counts.cached;
  stats_.cached_pages_locked = counts.locked;
  stats_.page_size = config_.page_size;
  stats_.max_running_requests = config_.max_running_requests;
  stats_.new_token_ratio = new_token_ratio_;
  free_places_ = is_full() ? 0 : config_.max_running_requests - stats_.running;
  retracted_ = waiting_sums_.retracted;
  stats_.waiting_uncached_tokens = waiting_sums_.uncached_tokens;
  forecast_ = ttft_.forecast(steady_seconds());
  idle_.notify_all();
}

// Every so many steps: the speed of those steps. Time in which there was nothing to do is no part of it.
void Scheduler::close_window() {
  const bool logs = config_.decode_log_interval > 0;
  if (window_steps_ < (logs ? config_.decode_log_interval : kStepsPerWindow)) return;
  const double seconds = std::max(window_seconds_, 1e-9);
  totals_.gen_throughput = static_cast<double>(window_tokens_) / seconds;
  if (logs) {
    const double used =
        1.0 - static_cast<double>(free_.free_pages() + tree_.counts().evictable()) / std::max(free_.total(), 1);
    log::info(
        "running {}, waiting {}, output {:.1f} tok/s, prefill {:.1f} tok/s, cache hit rate {:.1f} %, KV in use {:.1f} "
        "%",
        running_.size(), waiting_.size(), totals_.gen_throughput, static_cast<double>(window_prefill_) / seconds,
        100.0 * static_cast<double>(totals_.cached_tokens) /
            static_cast<double>(std::max<int64_t>(totals_.prompt_tokens, 1)),
        100.0 * used);
  }
  window_seconds_ = 0;
  window_tokens_ = window_prefill_ = window_steps_ = 0;
}

void Scheduler::check() const {
  tree_.check();
  int64_t own = 0;
  for (const auto& seq : running_) own += static_cast<int64_t>(seq->pages.size()) - seq->tree_pages;
  SGL_ASSERT(own + free_.free_pages() + tree_.counts().cached == free_.total(), "a page is lost or has two owners");
  WaitingSums sums;
  int finished_waiting = 0, finished_running = 0;
  for (const auto& seq : waiting_) {
    sums.add(*seq);
    finished_waiting += seq->on_output ? 0 : 1;
  }
  for (const auto& seq : running_) finished_running += seq->on_output ? 0 : 1;
  SGL_ASSERT(sums == waiting_sums_, "what waits is counted wrongly");
  SGL_ASSERT(finished_waiting == finished_waiting_ && finished_running == finished_running_,
             "sequences that have ended are counted wrongly");
  if (running_.empty()) SGL_ASSERT(tree_.counts().locked == 0, "an idle scheduler holds a lock on the tree");
}

}  // namespace sgl
