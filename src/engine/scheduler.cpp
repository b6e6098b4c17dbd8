#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "sgl/error.h"

namespace sgl {
namespace {

// Facts of the admission estimate (SGLang): outputs are assumed to be at most this long, and only a share of what
// running requests may still generate is held back for them; the share falls while nothing goes wrong and rises on a
// retraction.
constexpr int kClippedNewTokens = 4096;
constexpr double kInitialRatio = 0.7, kSmallestRatio = 0.14;
constexpr int kRatioDecaySteps = 600;
constexpr double kRetractionMargin = 20;

// A request waits for another one's prefix only if that saves at least this many tokens.
constexpr int kWorthWaiting = 32;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

RadixTree::Key key_of(const Sequence& seq, int tokens) {
  return {TokenSpan(seq.tokens).first(static_cast<size_t>(tokens)), seq.cache_namespace};
}

// Whether `rid` is `name`, one of its batch ("name_0") or what a server makes of it to tell equal names apart
// ("name/…").
bool is_called(std::string_view rid, std::string_view name) {
  if (!rid.starts_with(name)) return false;
  return rid.size() == name.size() || rid[name.size()] == '_' || rid[name.size()] == '/';
}

// How many leading tokens may come from the cache: one must be computed, to have logits, and those whose
// log-probabilities are asked for.
int most_cached_tokens(const Sequence& seq) {
  const int limit = static_cast<int>(seq.tokens.size()) - 1;
  return seq.logprob_start < 0 ? limit : std::min(limit, first_scored_position(seq));
}

constexpr int kAborted = 499;  // the HTTP status that says: the client itself ended it

FinishReason aborted(const std::string& why, int status) {
  return {.type = FinishReason::Type::Abort, .message = why, .status = status};
}

double initial_ratio(double conservativeness) { return std::min(kInitialRatio * conservativeness, 1.0); }

}  // namespace

Scheduler::Scheduler(SchedulerConfig config, StepFunctions steps)
    : config_(std::move(config)),
      steps_(std::move(steps)),
      free_(static_cast<int32_t>(config_.num_pages)),
      tree_(config_.page_size),
      new_token_ratio_(initial_ratio(config_.conservativeness)),
      window_started_(now()) {
  publish_stats();
}

Scheduler::~Scheduler() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
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
  const double submitted_at = now();
  {
    std::lock_guard lock(mutex_);
    if (!stats_.failure.empty()) throw Error(ErrorKind::DeviceLost, stats_.failure);
    if (draining_ || stopping_)
      throw Error(ErrorKind::Unavailable, "the engine is shutting down and takes no requests");
    if (!unbounded && queued_ + n > config_.max_queued_requests) {
      throw Error(ErrorKind::ResourceExhausted, "The request queue is full.");
    }
    for (auto& seq : sequences) {
      seq->arrival = arrivals_++;
      seq->submitted_at = submitted_at;
      inbox_.push_back(std::move(seq));
    }
    in_flight_ += n;
    queued_ += n;
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
  if (!idle() && !(timeout_s > 0 && idle_.wait_for(lock, std::chrono::duration<double>(timeout_s), idle))) return false;
  const uint64_t target = flushes_done_ + 1;
  ++flush_requests_;
  wake_.notify_one();
  // A request may slip in before the scheduler's thread gets to it: then nothing is flushed.
  idle_.wait(lock, [&] { return flushes_done_ >= target || in_flight_ > 0 || stopping_; });
  return flushes_done_ >= target;
}

bool Scheduler::drain(double timeout_s) {
  resume();
  std::unique_lock lock(mutex_);
  draining_ = true;
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
  s.paused = paused_;
  return s;
}

// ── The loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::loop() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] {
        const bool work = !running_.empty() || !waiting_.empty() || flying_;
        return stopping_ || (work && !paused_) || !inbox_.empty() || !aborts_.empty() || flush_requests_ > 0 ||
               pause_wanted_;
      });
      if (stopping_) return;
    }
    turn();
  }
}

// While the device computes a step, the next one is planned and launched; then the first one's tokens are taken, and
// with them the second one's masks and penalties are known before the device needs them.
bool Scheduler::turn() {
  drain_inbox();
  if (standing_still_) {
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
      steps_.sample(*next);
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
  if (running_.empty() && waiting_.empty()) new_token_ratio_ = initial_ratio(config_.conservativeness);
  publish_stats();
  log_progress();
  return worked;
}

Step Scheduler::launch(Plan plan) {
  for (const Plan::Row& row : plan.rows) {
    row.seq->in_flight += row.q_len;
    ++row.seq->launched;
  }
  return steps_.launch(std::move(plan));
}

// Finishes the step that is in flight, if there is one.
void Scheduler::land() {
  if (!flying_) return;
  Step step = std::move(*flying_);
  flying_.reset();
  steps_.collect(step);
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
    if (flush_requests_ > 0) {
      if (in_flight_ == 0) {
        tree_.clear(free_);
        flushed_ = true;
      }
      flush_requests_ = 0;
    }
  }
  for (auto& seq : arrived) waiting_.push_back(std::move(seq));
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
    while (!running_.empty()) retract_newest();
    batch_full_ = false;  // nothing runs that could make room by leaving
  }
  {
    std::lock_guard lock(mutex_);
    paused_ = pause_wanted_.has_value();  // resume() may have come in between
    standing_still_ = paused_;
    pause_wanted_.reset();
  }
  idle_.notify_all();
}

// ── Planning ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// Nothing if pages are so short that a sequence must be retracted while a step is in flight: that has to end first.
// Pages that were taken by then stay with their sequences.
std::optional<Plan> Scheduler::make_plan() {
  Plan plan;
  if (config_.priority_scheduling && !flying_) preempt();
  if (!plan_decode(plan)) return std::nullopt;
  Budget budget{.tokens = config_.max_prefill_tokens};
  if (config_.chunked_prefill_size > 0) {
    // However many rows decode, prompts get on by at least a page a step.
    const int chunk = std::max(config_.chunked_prefill_size - plan.num_tokens(), config_.page_size);
    budget.tokens = std::min(budget.tokens, chunk);
  }
  if (!plan_prefill(plan, budget)) return std::nullopt;
  admit_waiting(plan, budget);
  return plan;
}

// Decode rows first: each needs at most one new page. The oldest are served first, so the oldest always gets on.
bool Scheduler::plan_decode(Plan& plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& seq = *running_[i];
    if (!seq.on_output || seq.prefilling()) continue;
    // The token that is being chosen is the last one, if only by its number.
    if (seq.remaining() <= 0 && seq.output_len() + 1 >= seq.max_new_tokens) continue;
    while (!grow_pages(seq, 1)) {
      if (flying_) return false;
      Sequence* newest = running_.back().get();
      retract_newest();
      if (newest == &seq) return true;
    }
    add_row(plan, seq, 1);
  }
  return true;
}

// Then prompts that are partly computed, oldest first. Their pages were counted at admission but are taken as they go.
bool Scheduler::plan_prefill(Plan& plan, Budget& budget) {
  for (size_t i = 0; i < running_.size() && budget.tokens > 0; ++i) {
    Sequence& seq = *running_[i];
    if (!seq.on_output || !seq.prefilling()) continue;
    const int n = chunk_of(seq, seq.launched_to(), budget);
    if (n == 0) continue;
    while (!grow_pages(seq, n)) {
      if (flying_) return false;
      // Never take pages from a row that this plan already computes: those stand before `seq` or decode.
      Sequence* newest = running_.back().get();
      const bool planned =
          std::any_of(plan.rows.begin(), plan.rows.end(), [&](const Plan::Row& r) { return r.seq == newest; });
      if (planned) return true;
      retract_newest();
      if (newest == &seq) return true;
    }
    add_prefill(plan, seq, n, budget);
  }
  return true;
}

void Scheduler::add_row(Plan& plan, Sequence& seq, int n) {
  plan.rows.push_back({.seq = &seq, .q_len = n, .begin = seq.launched_to(), .epoch = seq.epoch});
}

void Scheduler::admit_waiting(Plan& plan, Budget& budget) {
  if (waiting_.empty() || batch_full_ || budget.tokens <= 0) return;
  if (static_cast<int>(running_.size()) >= config_.max_running_requests) return;
  order_waiting(waiting_, config_.use_radix_cache ? config_.policy : Policy::Fcfs, tree_, rng_);
  if (config_.priority_scheduling) {
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [](const auto& a, const auto& b) { return a->priority > b->priority; });
  }
  std::deque<std::unique_ptr<Sequence>> rest;
  while (!waiting_.empty() && budget.tokens > 0 && static_cast<int>(running_.size()) < config_.max_running_requests) {
    std::unique_ptr<Sequence> seq = std::move(waiting_.front());
    waiting_.pop_front();
    const int matched = config_.use_radix_cache ? tree_.match_length(key_of(*seq, most_cached_tokens(*seq))) : 0;
    if (waits_for_prefix(*seq, matched) || chunk_of(*seq, matched, budget) == 0) {
      rest.push_back(std::move(seq));
      continue;
    }
    if (!admit(*seq, budget)) {
      waiting_.push_front(std::move(seq));
      batch_full_ = !running_.empty();
      break;
    }
    add_prefill(plan, *seq, chunk_of(*seq, seq->computed, budget), budget);
    running_.push_back(std::move(seq));
  }
  while (!rest.empty()) {
    waiting_.push_front(std::move(rest.back()));
    rest.pop_back();
  }
}

// Locks the cached prefix and takes pages for the first chunk, if the pool can be expected to hold the whole request.
bool Scheduler::admit(Sequence& seq, const Budget& budget) {
  const int size = static_cast<int>(seq.tokens.size());
  RadixTree::Match match;
  if (config_.use_radix_cache) match = tree_.match(key_of(seq, most_cached_tokens(seq)));
  const int matched = static_cast<int>(match.pages.size()) * config_.page_size;
  const double extend = size - matched;
  const double later = std::min(seq.remaining_new(), kClippedNewTokens);
  const double room = static_cast<double>(free_.free_pages() + tree_.counts().evictable()) * config_.page_size;
  if (!running_.empty() && extend + later + config_.page_size >= room - reserved_tokens()) return false;

  adopt(seq, std::move(match));
  if (!grow_pages(seq, chunk_of(seq, matched, budget))) {
    release(seq);
    return false;
  }
  if (!seq.admitted_before) {
    seq.admitted_before = true;
    seq.cached_tokens = std::min(matched, seq.prompt_len);
    seq.queue_time_s = now() - seq.submitted_at;
    totals_.prompt_tokens += seq.prompt_len;
    totals_.cached_tokens += seq.cached_tokens;
    std::lock_guard lock(mutex_);
    --queued_;
  }
  seq.admission = ++admissions_;
  return true;
}

// Whether a running sequence is computing a prefix that `seq` needs and that is not cached yet.
bool Scheduler::waits_for_prefix(const Sequence& seq, int matched) const {
  if (!config_.use_radix_cache) return false;
  for (const auto& other : running_) {
    // Its prompt is in the cache when the step that computes the rest is finished.
    const bool computing = other->computed + 1 < static_cast<int>(other->tokens.size());
    if (!other->on_output || !computing || other->cache_namespace != seq.cache_namespace) continue;
    const int limit = std::min(most_cached_tokens(seq), other->prompt_len);
    if (limit - matched < kWorthWaiting) continue;
    auto differs = std::mismatch(seq.tokens.begin(), seq.tokens.begin() + limit, other->tokens.begin());
    const int common = static_cast<int>(differs.first - seq.tokens.begin()) / config_.page_size * config_.page_size;
    if (common - matched >= kWorthWaiting && other->computed < common) return true;
  }
  return false;
}

// How many of its tokens this step may compute if `computed` are already; 0: none, its turn comes in a later step.
int Scheduler::chunk_of(const Sequence& seq, int computed, const Budget& budget) const {
  int n = static_cast<int>(seq.tokens.size()) - computed;
  if (config_.chunked_prefill_size > 0) {
    n = std::min(n, budget.tokens);
  } else if (n > budget.tokens && budget.begun) {
    return 0;  // prompts are not cut, and this one is too long to go with the others
  }
  if (seq.logprob_start < 0) return n;
  return std::min(n, std::max(first_scored_position(seq) - computed, 0) + budget.scored);
}

void Scheduler::add_prefill(Plan& plan, Sequence& seq, int n, Budget& budget) {
  SGL_ASSERT(n > 0, "a prompt's share of a step is empty");
  add_row(plan, seq, n);
  budget.tokens -= n;
  budget.begun = true;
  if (seq.logprob_start >= 0) {
    const int begin = seq.launched_to();
    budget.scored -= std::max(begin + n - std::max(first_scored_position(seq), begin), 0);
  }
}

// What running requests are expected to generate yet.
double Scheduler::reserved_tokens() const {
  double sum = 0;
  for (const auto& seq : running_) {
    if (!seq->on_output) continue;
    sum += std::min(seq->remaining_new(), kClippedNewTokens) * (seq->sampling.ignore_eos ? 1.0 : new_token_ratio_);
    sum += std::max(0, static_cast<int>(seq->tokens.size()) - static_cast<int>(seq->pages.size()) * config_.page_size);
  }
  return sum;
}

bool Scheduler::grow_pages(Sequence& seq, int tokens) {
  const int needed = (seq.launched_to() + tokens + config_.page_size - 1) / config_.page_size;
  const int missing = needed - static_cast<int>(seq.pages.size());
  return missing <= 0 || take_pages(missing, seq.pages);
}

bool Scheduler::take_pages(int n, std::vector<PageId>& out) {
  if (free_.free_pages() < n) {
    totals_.evicted_tokens += int64_t{tree_.evict(n - free_.free_pages(), free_)} * config_.page_size;
  }
  return free_.allocate(n, out);
}

void Scheduler::retract_newest() { retract(running_.size() - 1); }

// A running sequence gives its pages back and waits again with its output kept. What it computed goes to the tree, from
// where it is evicted if nothing else is.
void Scheduler::retract(size_t place) {
  std::unique_ptr<Sequence> seq = std::move(running_[place]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
  cache_computed(*seq);
  release(*seq);
  seq->prompt_logprobs.clear();
  ++seq->num_retractions;
  ++totals_.retracted;
  double decoded = 0, allowed = 0;
  for (const auto& s : running_) {
    decoded += s->output_len();
    allowed += s->max_new_tokens;
  }
  const double n = static_cast<double>(running_.size());
  new_token_ratio_ = std::max(new_token_ratio_, std::min(1.0, (decoded + kRetractionMargin * n) / (allowed + 1)));
  batch_full_ = true;
  waiting_.push_front(std::move(seq));
}

// When there is no room, the most important waiting sequence may take the place of the least important running one: of
// several such, the newest. One a turn; if that is not enough the next turn takes another.
void Scheduler::preempt() {
  if (waiting_.empty() || running_.empty()) return;
  if (!batch_full_ && static_cast<int>(running_.size()) < config_.max_running_requests) return;
  const auto lower = [](const auto& a, const auto& b) { return a->priority < b->priority; };
  const auto& urgent = *std::max_element(waiting_.begin(), waiting_.end(), lower);
  const auto victim = std::min_element(running_.rbegin(), running_.rend(), lower);
  if (int64_t{urgent->priority} - (*victim)->priority < config_.preemption_threshold) return;
  retract(static_cast<size_t>(running_.rend() - victim) - 1);
  batch_full_ = false;
}

// ── After the step ───────────────────────────────────────────────────────────────────────────────────────────────────

void Scheduler::finish(Step& step) {
  ++totals_.steps;
  ++window_steps_;
  for (size_t i = 0; i < step.plan.rows.size(); ++i) {
    const Plan::Row& row = step.plan.rows[i];
    --row.seq->launched;
    if (row.epoch == row.seq->epoch) finish_row(*row.seq, row.q_len, step.results[i]);
  }
  const double first = initial_ratio(config_.conservativeness), last = kSmallestRatio * first;
  new_token_ratio_ = std::max(new_token_ratio_ - (first - last) / kRatioDecaySteps, last);
}

void Scheduler::finish_row(Sequence& seq, int q_len, Step::RowResult& result) {
  const bool was_prefill = seq.computed < seq.prompt_len;
  if (was_prefill || q_len > 1) window_prefill_ += q_len;
  for (SampleResult& scored : result.scored) {
    if (seq.prompt_logprobs.empty() && seq.logprob_start == 0) {  // nothing stands before the first token
      seq.prompt_logprobs.push_back({{std::nullopt, seq.tokens[0]}, {}, {}});
    }
    PositionLogprobs& p = seq.prompt_logprobs.emplace_back();
    p.token = {scored.logprob, scored.token};
    for (auto [id, logprob] : scored.top) p.top.push_back({logprob, id});
    for (auto [id, logprob] : scored.asked) p.asked.push_back({logprob, id});
  }
  seq.computed += q_len;
  seq.in_flight -= q_len;
  if (was_prefill) cache_computed(seq);
  if (seq.computed < static_cast<int>(seq.tokens.size())) return;  // more of the prompt to come

  Output out = std::exchange(seq.early, {});
  if (seq.logprob_start >= 0) {
    if (seq.prompt_logprobs.empty() && seq.logprob_start == 0) {  // a prompt of one token
      seq.prompt_logprobs.push_back({{std::nullopt, seq.tokens[0]}, {}, {}});
    }
    out.prompt_logprobs = std::move(seq.prompt_logprobs);
    seq.logprob_start = -1;
  }
  // What has been generated so far goes out with the error.
  const auto abort = [&](std::string message, int status) {
    end_with(seq, {.type = FinishReason::Type::Abort, .message = std::move(message), .status = status}, std::move(out));
  };
  if (!result.sampled) {
    out.finish = {.type = FinishReason::Type::Length};
  } else if (!result.error.empty()) {
    return abort(std::move(result.error), 400);
  } else if (result.next.bad) {
    return abort("the model's logits are not numbers; the checkpoint may be damaged", 500);
  } else {
    try {
      accept_token(seq, result.next, out);
    } catch (const Error& e) {  // the text drove its grammar beyond the limits
      return abort(e.what(), 400);
    }
  }
  deliver(seq, std::move(out));
}

// Appends the sampled token, and what a grammar forces behind it, and decides whether the text ends there.
void Scheduler::accept_token(Sequence& seq, SampleResult& next, Output& out) {
  const int before = seq.output_len();
  const int32_t id = next.token;
  PositionLogprobs logprobs;
  if (seq.return_logprob) {
    logprobs.token = {next.logprob, id};
    for (auto [top_id, logprob] : next.top) logprobs.top.push_back({logprob, top_id});
    for (auto [asked_id, logprob] : next.asked) logprobs.asked.push_back({logprob, asked_id});
  }
  seq.append_output(id, std::move(logprobs), out);
  if (seq.constraint) {
    const bool taken = seq.constraint->accept(id);
    SGL_ASSERT(taken, "a token was sampled that its mask did not allow");
  }
  std::optional<std::string> stop;
  if (!is_stop_id(seq, id) || seq.sampling.no_stop_trim) stop = seq.text.append(id, out.text);
  if (!ends_at(seq, id, std::move(stop), out) && seq.constraint) extend_by_forced(seq, out);
  if (out.finish.type != FinishReason::Type::Running) seq.text.finish(out.text);
  count_output(seq.output_len() - before);
}

// What the grammar forces needs no sampling: it is appended here, and the next step computes it like a piece of a
// prompt.
void Scheduler::extend_by_forced(Sequence& seq, Output& out) {
  while (std::optional<OutputConstraint::Jump> jump = seq.constraint->jump(seq.output(), seq.return_logprob)) {
    forget_computed(seq, seq.prompt_len + static_cast<int>(jump->keep));
    seq.drop_output(jump->keep, out);
    size_t shown = 0;
    for (size_t i = 0; i < jump->ids.size(); ++i) {
      const int32_t id = jump->ids[i];
      if (i < jump->respelled) {
        seq.append_output(id, {}, out);
      } else {
        seq.append_forced(id, out);
      }
      std::optional<std::string> stop;
      if (!is_stop_id(seq, id) || seq.sampling.no_stop_trim) {
        stop = seq.text.append_text(std::string_view(jump->text).substr(shown, jump->ends[i] - shown), out.text);
      }
      shown = jump->ends[i];
      if (ends_at(seq, id, std::move(stop), out)) return;
    }
    seq.text.resume(seq.output());
  }
  if (!seq.constraint->must_end()) return;
  out.finish.type = FinishReason::Type::Stop;
  if (!config_.eos_ids.empty()) seq.append_forced(config_.eos_ids.front(), out);
  out.finish.matched = seq.tokens.back();
}

bool Scheduler::is_stop_id(const Sequence& seq, int32_t id) const {
  auto contains = [&](const std::vector<int32_t>& ids) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
  if (seq.constraint && seq.constraint->ended()) return true;
  return !seq.sampling.ignore_eos && (contains(config_.eos_ids) || contains(seq.sampling.stop_token_ids));
}

// Whether the output ends with its last token `id`: by a stop string, then a stop id, then the length.
bool Scheduler::ends_at(const Sequence& seq, int32_t id, std::optional<std::string> stop, Output& out) const {
  if (stop) {
    out.finish.type = FinishReason::Type::Stop;
    out.finish.matched = std::move(*stop);
  } else if (is_stop_id(seq, id)) {
    out.finish.type = FinishReason::Type::Stop;
    out.finish.matched = id;
  } else if (seq.output_len() >= seq.max_new_tokens) {
    out.finish.type = FinishReason::Type::Length;
  }
  return out.finish.type != FinishReason::Type::Running;
}

void Scheduler::count_output(int tokens) {
  totals_.generation_tokens += tokens;
  window_tokens_ += tokens;
}

void Scheduler::deliver(Sequence& seq, Output&& out) {
  out.rid = seq.rid;
  out.index = seq.index;
  out.prompt_tokens = seq.prompt_len;
  out.completion_tokens = seq.output_len();
  out.cached_tokens = seq.cached_tokens;
  out.num_retractions = seq.num_retractions;
  out.queue_time_s = seq.queue_time_s;
  out.forced_tokens = seq.forced_tokens;
  const bool ended = out.finish.type != FinishReason::Type::Running;
  if (ended) {
    cache_computed(seq);
    release(seq);
  }
  OutputCallback callback = ended ? std::move(seq.on_output) : nullptr;
  (ended ? callback : seq.on_output)(std::move(out));
  if (ended) seq.on_output = nullptr;  // marks the sequence for remove_finished()
}

// Gives the tree the whole pages of what is computed, and takes its pages for those it had already.
void Scheduler::cache_computed(Sequence& seq) {
  if (!config_.use_radix_cache) return;
  const int whole = seq.computed / config_.page_size;
  if (whole <= seq.tree_pages) return;
  RadixTree::Inserted inserted =
      tree_.insert(key_of(seq, whole * config_.page_size), std::span(seq.pages).first(static_cast<size_t>(whole)));
  std::copy(inserted.pages.begin(), inserted.pages.end(), seq.pages.begin());
  free_.free(inserted.duplicates);
  seq.lock = std::move(inserted.lock);
  seq.tree_pages = whole;
}

// Frees the pages that are the sequence's own and lets go of the tree's.
void Scheduler::release(Sequence& seq) {
  free_.free(std::span(seq.pages).subspan(static_cast<size_t>(seq.tree_pages)));
  seq.pages.clear();
  seq.tree_pages = 0;
  seq.lock.release();
  seq.computed = 0;
  seq.forget_launched();
}

// Keeps what is computed of the first `tokens` tokens only: the others will be different.
void Scheduler::forget_computed(Sequence& seq, int tokens) {
  if (seq.launched_to() <= tokens) return;
  if (tokens >= seq.tree_pages * config_.page_size) {
    seq.computed = std::min(seq.computed, tokens);
    seq.forget_launched();
    return;
  }
  // Pages that the tree owns, after a retraction, must not be written to.
  release(seq);
  adopt(seq, tree_.match(key_of(seq, tokens)));
}

// Begins with what the tree has of the sequence.
void Scheduler::adopt(Sequence& seq, RadixTree::Match match) {
  seq.pages = std::move(match.pages);
  seq.lock = std::move(match.lock);
  seq.tree_pages = static_cast<int>(seq.pages.size());
  seq.computed = seq.tree_pages * config_.page_size;
}

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
  // A step that is in flight still refers to its sequences.
  auto ended = [](const std::unique_ptr<Sequence>& seq) { return !seq->on_output && seq->launched == 0; };
  int from_waiting = 0;
  for (auto& seq : waiting_) {
    if (ended(seq) && !seq->admitted_before) ++from_waiting;
  }
  const auto before = running_.size() + waiting_.size();
  const auto running_before = running_.size();
  std::erase_if(waiting_, ended);
  std::erase_if(running_, ended);
  if (running_.size() != running_before) batch_full_ = false;
  const int gone = static_cast<int>(before - running_.size() - waiting_.size());
  if (gone == 0) return;
  std::lock_guard lock(mutex_);
  in_flight_ -= gone;
  queued_ -= from_waiting;
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
  if (flushed_) ++flushes_done_;
  flushed_ = false;
  idle_.notify_all();
}

void Scheduler::log_progress() {
  if (config_.decode_log_interval <= 0 || window_steps_ < config_.decode_log_interval) return;
  const double t = now(), elapsed = std::max(t - window_started_, 1e-9);
  totals_.gen_throughput = static_cast<double>(window_tokens_) / elapsed;
  const double used =
      1.0 - static_cast<double>(free_.free_pages() + tree_.counts().evictable()) / std::max(free_.total(), 1);
  log::info(
      "running {}, waiting {}, output {:.1f} tok/s, prefill {:.1f} tok/s, cache hit rate {:.1f} %, KV in use {:.1f} %",
      running_.size(), waiting_.size(), totals_.gen_throughput, static_cast<double>(window_prefill_) / elapsed,
      100.0 * static_cast<double>(totals_.cached_tokens) /
          static_cast<double>(std::max<int64_t>(totals_.prompt_tokens, 1)),
      100.0 * used);
  window_started_ = t;
  window_tokens_ = window_prefill_ = window_steps_ = 0;
}

void Scheduler::check() const {
  tree_.check();
  int64_t own = 0;
  for (const auto& seq : running_) own += static_cast<int64_t>(seq->pages.size()) - seq->tree_pages;
  SGL_ASSERT(own + free_.free_pages() + tree_.counts().cached == free_.total(), "a page is lost or has two owners");
  if (running_.empty()) SGL_ASSERT(tree_.counts().locked == 0, "an idle scheduler holds a lock on the tree");
}

}  // namespace sgl
