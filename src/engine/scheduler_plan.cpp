// What the next step computes: rows that decode, parts of prompts, waiting sequences that are admitted; and who gives
// its place up where pages or rank demand it.

#include <algorithm>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/scheduler.h"

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

// How many leading tokens may come from the cache: one must be computed, to have logits, and those whose
// log-probabilities or states are asked for.
int most_cached_tokens(const Sequence& seq) {
  const int limit = static_cast<int>(seq.tokens.size()) - 1;
  if (seq.pooled) return seq.pooled->most_cached(static_cast<int>(seq.tokens.size()));
  return seq.logprob_start < 0 ? limit : std::min(limit, first_scored_position(seq));
}

// With a bound on the time to the first token, free places go to those that have lost theirs, then to urgent ones, the
// oldest first, and at last to others, by the policy.
std::pair<int, uint64_t> turn_of(const Sequence& seq) {
  if (seq.is_urgent) return {1, seq.arrival};
  if (seq.admitted_before) return {seq.stands_back ? 2 : 0, 0};
  return {3, 0};
}

}  // namespace

// Whether a sequence that comes now has to wait: for a place, for pages, or for the prompts of others.
bool Scheduler::is_full() const {
  return batch_full_ || static_cast<int>(running_.size()) >= config_.max_running_requests ||
         (out_of_tokens_ && !waiting_.empty());
}

double Scheduler::initial_ratio() const { return std::min(kInitialRatio * config_.conservativeness, 1.0); }

// A step has gone well.
void Scheduler::lower_ratio() {
  const double first = initial_ratio(), last = kSmallestRatio * first;
  new_token_ratio_ = std::max(new_token_ratio_ - (first - last) / kRatioDecaySteps, last);
}

// Nothing if a sequence must be retracted while a step is in flight: that has to end first.
// Pages that were taken by then stay with their sequences.
std::optional<Plan> Scheduler::make_plan() {
  Plan plan;
  if (config_.priority_scheduling) {
    std::stable_sort(running_.begin(), running_.end(),
                     [this](const auto& a, const auto& b) { return outranks(*a, *b); });
    if (const auto victim = outranked()) {
      if (flying_) return std::nullopt;
      retract(*victim);
      batch_full_ = false;
    }
  }
  if (config_.max_ttft_s > 0 && !give_way_to_urgent()) return std::nullopt;
  if (!plan_decode(plan)) return std::nullopt;
  Budget budget{.tokens = config_.max_prefill_tokens};
  if (config_.chunked_prefill_size > 0) {
    // However many rows decode, prompts get on by at least a page a step.
    const int chunk = std::max(config_.chunked_prefill_size - plan.num_tokens(), config_.page_size);
    budget.tokens = std::min(budget.tokens, chunk);
  }
  // Long prompts leave a part to those that got a place because they are urgent.
  const bool is_urgent = config_.max_ttft_s > 0 &&
                         std::any_of(waiting_.begin(), waiting_.end(), [](const auto& seq) { return seq->has_place; });
  const int kept = is_urgent ? budget.tokens / 2 : 0;
  budget.tokens -= kept;
  if (!plan_prefill(plan, budget)) return std::nullopt;
  budget.tokens += kept;
  admit_waiting(plan, budget);
  out_of_tokens_ = budget.tokens <= 0;
  full_ = is_full();
  return plan;
}

// Decode rows first: each needs at most one new page. The first in running_ are served first, so the first one always
// gets on.
bool Scheduler::plan_decode(Plan& plan) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& seq = *running_[i];
    if (!seq.on_output || seq.prefilling()) continue;
    // The token that is being chosen is the last one, if only by its number.
    if (seq.remaining() <= 0 && seq.output_len() + 1 >= seq.max_new_tokens) continue;
    while (!grow_pages(seq, 1)) {
      if (flying_) return false;
      Sequence* last = running_.back().get();
      retract_for_pages();
      if (last == &seq) return true;
    }
    add_row(plan, seq, 1);
  }
  return true;
}

// Then prompts that are partly computed, in the same order. Their pages were counted at admission but are taken as they
// go.
bool Scheduler::plan_prefill(Plan& plan, Budget& budget) {
  for (size_t i = 0; i < running_.size() && budget.tokens > 0; ++i) {
    Sequence& seq = *running_[i];
    if (!seq.on_output || !seq.prefilling()) continue;
    const int n = chunk_of(seq, seq.launched_to(), budget);
    if (n == 0) continue;
    while (!grow_pages(seq, n)) {
      if (flying_) return false;
      // A row that this plan computes already stands before `seq`, or decodes: it keeps its pages, unless it must
      // yield.
      Sequence* last = running_.back().get();
      const auto is_last = [&](const Plan::Row& r) { return r.seq == last; };
      if (!outranks(seq, *last) && std::any_of(plan.rows.begin(), plan.rows.end(), is_last)) return true;
      std::erase_if(plan.rows, is_last);
      retract_for_pages();
      if (last == &seq) return true;
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
  order_waiting(waiting_, config_.use_radix_cache || !needs_cache(config_.policy) ? config_.policy : Policy::Fcfs,
                tree_, rng_);
  if (config_.priority_scheduling) {
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [this](const auto& a, const auto& b) { return outranks(*a, *b); });
  }
  size_t made = 0;  // of the free places for urgent ones
  if (config_.max_ttft_s > 0) {
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [](const auto& a, const auto& b) { return turn_of(*a) < turn_of(*b); });
    for (const auto& seq : waiting_) made += seq->has_place ? 1 : 0;
  }
  std::deque<std::unique_ptr<Sequence>> rest;
  while (!waiting_.empty() && budget.tokens > 0 && static_cast<int>(running_.size()) < config_.max_running_requests) {
    std::unique_ptr<Sequence> seq = std::move(waiting_.front());
    waiting_.pop_front();
    if (!seq->has_place && static_cast<int>(running_.size() + made) >= config_.max_running_requests) {
      rest.push_back(std::move(seq));
      continue;
    }
    waiting_sums_.remove(*seq);
    const int matched = cached_tokens(*seq);
    seq->matched = matched;
    if (waits_for_prefix(*seq, matched) || chunk_of(*seq, matched, budget) == 0) {
      waiting_sums_.add(*seq);
      rest.push_back(std::move(seq));
      continue;
    }
    if (seq->has_place) --made;
    seq->has_place = false;
    if (!admit(*seq, budget)) {
      waiting_sums_.add(*seq);
      waiting_.push_front(std::move(seq));
      batch_full_ = !running_.empty();
      break;
    }
    add_prefill(plan, *seq, chunk_of(*seq, seq->computed, budget), budget);
    seq->runs = true;
    running_.push_back(std::move(seq));
  }
  while (!rest.empty()) {
    waiting_.push_front(std::move(rest.back()));
    rest.pop_back();
  }
}

int Scheduler::cached_tokens(const Sequence& seq) const {
  return config_.use_radix_cache ? tree_.match_length(seq.key(most_cached_tokens(seq))) : 0;
}

// Locks the cached prefix and takes pages for the first chunk, if the pool can be expected to hold the whole request.
bool Scheduler::admit(Sequence& seq, const Budget& budget) {
  const int size = static_cast<int>(seq.tokens.size());
  RadixTree::Match match;
  if (config_.use_radix_cache) match = tree_.match(seq.key(most_cached_tokens(seq)));
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
  if (const auto taker = std::exchange(seq.taker, std::nullopt)) {
    const double now = steady_seconds();
    ttft_.error(now, now - taker->submitted_at + ttft_.running() - taker->expected_ttft_s);
  }
  if (!seq.admitted_before) {
    seq.admitted_before = true;
    seq.cached_tokens = std::min(matched, seq.prompt_len);
    seq.queue_time_s = steady_seconds() - seq.submitted_at;
    totals_.prompt_tokens += seq.prompt_len;
    totals_.cached_tokens += seq.cached_tokens;
    std::lock_guard lock(mutex_);
    --queued_;
    free_places_ = std::max(free_places_ - 1, 0);
  }
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

// Pages are short: the last running sequence goes, and fewer are admitted from now on.
void Scheduler::retract_for_pages() {
  retract(running_.size() - 1);
  double decoded = 0, allowed = 0;
  for (const auto& s : running_) {
    decoded += s->output_len();
    allowed += s->max_new_tokens;
  }
  const double n = static_cast<double>(running_.size());
  new_token_ratio_ = std::max(new_token_ratio_, std::min(1.0, (decoded + kRetractionMargin * n) / (allowed + 1)));
  batch_full_ = true;
}

// A running sequence gives its pages back and waits again with its output kept. What it computed goes to the tree, from
// where it is evicted if nothing else is.
void Scheduler::retract(size_t place) {
  std::unique_ptr<Sequence> seq = std::move(running_[place]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
  cache_computed(*seq);
  release(*seq);
  seq->prompt_logprobs.clear();
  if (seq->pooled) seq->pooled->clear();
  ++seq->num_retractions;
  ++totals_.retracted;
  seq->runs = false;
  waiting_sums_.add(*seq);
  waiting_.push_front(std::move(seq));
}

bool Scheduler::outranks(const Sequence& a, const Sequence& b) const {
  return config_.priority_scheduling && a.priority > b.priority;
}

// When there is no room, the most important waiting sequence may take the place of the least important running one (of
// several such, the newest): its place in running_. One a turn; if that is not enough the next turn takes another.
std::optional<size_t> Scheduler::outranked() const {
  if (waiting_.empty() || running_.empty()) return std::nullopt;
  if (!batch_full_ && static_cast<int>(running_.size()) < config_.max_running_requests) return std::nullopt;
  const auto lower = [](const auto& a, const auto& b) { return a->priority < b->priority; };
  const auto& urgent = *std::max_element(waiting_.begin(), waiting_.end(), lower);
  const auto victim = std::min_element(running_.rbegin(), running_.rend(), lower);
  if (int64_t{urgent->priority} - (*victim)->priority < config_.preemption_threshold) return std::nullopt;
  return static_cast<size_t>(running_.rend() - victim) - 1;
}

// Under a bound on the time to the first token: how long a waiting one will wait was only estimated when it was taken.
// Those whose time is nearly over get places of running ones that have had their first tokens, unless there are enough
// for all that wait longer. False: not while a step is in flight.
bool Scheduler::give_way_to_urgent() {
  std::vector<Sequence*> urgent = find_urgent();
  if (urgent.empty()) return true;
  int free = batch_full_ ? 0 : config_.max_running_requests - static_cast<int>(running_.size());
  for (const auto& seq : waiting_) free -= seq->has_place ? 1 : 0;
  for (auto& seq : waiting_) seq->stands_back = seq->admitted_before && !seq->is_urgent && free-- <= 0;
  for (Sequence* seq : urgent) {
    if (seq->has_place || free-- > 0) continue;
    // One that waits for a prefix that is being computed would not take the place.
    if (waits_for_prefix(*seq, cached_tokens(*seq))) continue;
    const auto place = gives_way(*seq);
    if (!place) continue;
    if (flying_) return false;
    retract(*place);
    Sequence& victim = *waiting_.front();
    victim.stands_back = true;
    // How far the expectation was off shows when the place would have come, so when the victim has one again.
    if (seq->expected_ttft_s) victim.taker = {seq->submitted_at, *seq->expected_ttft_s};
    seq->expected_ttft_s.reset();
    seq->has_place = true;
    batch_full_ = false;
  }
  return true;
}

// Marks them; the oldest first, and no more than can run at once.
std::vector<Sequence*> Scheduler::find_urgent() {
  const double now = steady_seconds(), bound = config_.max_ttft_s;
  std::vector<Sequence*> urgent;
  for (auto& seq : waiting_) {
    seq->is_urgent = seq->stands_back = false;
    if (seq->is_bounded && seq->first_token_s == 0 && now - seq->submitted_at > bound / 2) urgent.push_back(seq.get());
  }
  std::sort(urgent.begin(), urgent.end(), [](const auto* a, const auto* b) { return a->arrival < b->arrival; });
  urgent.resize(std::min(urgent.size(), static_cast<size_t>(config_.max_running_requests)));
  // A first token comes some time after admission, at most what it was lately, and twice that to be sure; those of
  // several come one after the other.
  size_t num_urgent = 0;
  for (size_t i = 0; i < urgent.size(); ++i) {
    const double takes = 2 * ttft_.longest_running() + static_cast<double>(i) * ttft_.running();
    if (urgent[i]->has_place || now - urgent[i]->submitted_at + takes > bound) num_urgent = i + 1;
  }
  urgent.resize(num_urgent);
  for (Sequence* seq : urgent) seq->is_urgent = true;
  return urgent;
}

// Which running one gives way to `seq`: of those that have had their first token and are not nearly done, the one that
// has given way least often and has most to come. None if `seq` would not fit into the pages of all of them.
std::optional<size_t> Scheduler::gives_way(const Sequence& seq) const {
  std::optional<size_t> best;
  const auto better = [](const Sequence& a, const Sequence& b) {
    return std::pair(a.num_retractions, -a.remaining_new()) < std::pair(b.num_retractions, -b.remaining_new());
  };
  size_t pages = static_cast<size_t>(free_.free_pages() + tree_.counts().evictable());
  for (size_t i = 0; i < running_.size(); ++i) {
    const Sequence& other = *running_[i];
    if (!other.on_output || other.first_token_s == 0 || other.remaining_new() < 2) continue;
    pages += other.pages.size();
    if (!best || better(other, *running_[*best])) best = i;
  }
  const bool fits = seq.tokens.size() < pages * static_cast<size_t>(config_.page_size);
  return fits ? best : std::nullopt;
}

}  // namespace sgl
