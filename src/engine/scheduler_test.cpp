#include "engine/scheduler.h"

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "engine/runner.h"
#include "sgl/error.h"

namespace sgl {
namespace {

constexpr int kVocab = 1000;

// A model whose next token is a hash of all tokens before it, on a KV cache that stores the tokens themselves. Each
// step checks that the pages of a sequence hold exactly its own tokens: a page freed too early, shared wrongly or
// reused shows. If it runs `ahead`, as a GPU does, it says so, and the scheduler plans the next step before it asks for
// this one's tokens.
class FakeModel {
 public:
  explicit FakeModel(int page_size) : page_size_(page_size) {}

  static int32_t next_token(const std::vector<int32_t>& tokens, size_t n) {
    uint64_t h = 1469598103934665603ULL;
    for (size_t i = 0; i < n; ++i) h = (h ^ static_cast<uint64_t>(tokens[i])) * 1099511628211ULL;
    return static_cast<int32_t>((h >> 33) % kVocab);
  }

  Step operator()(Plan plan) {
    if (lost) throw Error(ErrorKind::DeviceLost, "the device is gone");
    Step step;
    step.pending = ahead;
    max_tokens = std::max(max_tokens, plan.num_tokens());
    ++steps;
    int scored = 0;
    for (const Plan::Row& row : plan.rows) {
      Sequence& seq = *row.seq;
      EXPECT_GE(row.q_len, 1);
      const int end = row.begin + row.q_len;
      if (seq.logprob_start >= 0) scored += std::max(end - std::max(first_scored_position(seq), row.begin), 0);
      std::vector<int32_t> tokens = seq.tokens;
      if (end > static_cast<int>(tokens.size()))
        tokens.push_back(chosen_.at(&seq));  // which the scheduler does not know
      EXPECT_LE(end, static_cast<int>(tokens.size()));
      EXPECT_LE(end, static_cast<int>(seq.pages.size()) * page_size_);
      for (int p = row.begin; p < end; ++p) slot(seq, p) = tokens[static_cast<size_t>(p)];
      computed_tokens += row.q_len;
      for (int p = 0; p < end; ++p) {
        if (slot(seq, p) != tokens[static_cast<size_t>(p)]) ++corrupt;
      }
      Step::RowResult& result = step.results.emplace_back();
      if (end == static_cast<int>(tokens.size()) && seq.max_new_tokens > 0) {
        result.sampled = true;
        result.next.token = chosen_[&seq] = next_token(tokens, tokens.size());
      }
    }
    max_scored = std::max(max_scored, scored);
    step.work.weight_bytes = 100;
    step.plan = std::move(plan);
    return step;
  }

  bool ahead = false, lost = false;
  int corrupt = 0, max_tokens = 0, max_scored = 0, steps = 0;
  int64_t computed_tokens = 0;

 private:
  int32_t& slot(const Sequence& seq, int p) {
    PageId page = seq.pages[static_cast<size_t>(p / page_size_)];
    return kv_[int64_t{page} * page_size_ + p % page_size_];
  }
  int page_size_;
  std::map<int64_t, int32_t> kv_;
  std::map<const Sequence*, int32_t> chosen_;  ///< the last token that was chosen for each
};

std::vector<int32_t> expected_output(std::vector<int32_t> tokens, int n) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) {
    out.push_back(FakeModel::next_token(tokens, tokens.size()));
    tokens.push_back(out.back());
  }
  return out;
}

struct Result {
  std::vector<int32_t> prompt, ids;
  FinishReason finish;
  int cached = 0, retractions = 0;
};

class Harness {
 public:
  explicit Harness(const SchedulerConfig& c)
      : model(c.page_size), scheduler(with_quiet_log(c), {.launch = [this](Plan p) { return model(std::move(p)); }}) {}

  Result& submit(const std::string& rid, std::vector<int32_t> prompt, int max_new, const std::string& ns = "",
                 int logprob_start = -1, int priority = 0) {
    auto result = std::make_unique<Result>();
    Result& r = *result;
    r.prompt = prompt;
    results.push_back(std::move(result));
    auto seq = std::make_unique<Sequence>();
    seq->rid = rid;
    seq->prompt_len = static_cast<int>(prompt.size());
    seq->tokens = std::move(prompt);
    seq->max_new_tokens = max_new;
    seq->cache_namespace = ns;
    seq->logprob_start = logprob_start;
    seq->priority = priority;
    seq->on_output = [&r](Output&& out) {
      EXPECT_EQ(r.finish.type, FinishReason::Type::Running) << "a piece after the last one";
      r.ids.insert(r.ids.end(), out.token_ids.begin(), out.token_ids.end());
      r.finish = out.finish;
      r.cached = out.cached_tokens;
      r.retractions = out.num_retractions;
    };
    std::vector<std::unique_ptr<Sequence>> one;
    one.push_back(std::move(seq));
    scheduler.submit(std::move(one));
    return r;
  }

  void run_until_idle(int most_turns = 100000) {
    while (scheduler.turn() && most_turns-- > 0) scheduler.check();
    scheduler.check();
    EXPECT_GT(most_turns, 0) << "the scheduler does not come to an end";
  }

  void pause(PauseMode mode) {
    scheduler.pause(mode, /*wait=*/false);
    EXPECT_TRUE(scheduler.stats().pausing);
    scheduler.turn();
    EXPECT_FALSE(scheduler.stats().pausing);
    scheduler.check();
  }

  static SchedulerConfig with_quiet_log(SchedulerConfig c) {
    c.decode_log_interval = 0;
    return c;
  }

  FakeModel model;
  std::vector<std::unique_ptr<Result>> results;
  Scheduler scheduler;
};

std::vector<int32_t> numbers(int n, int start = 0) {
  std::vector<int32_t> v(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<size_t>(i)] = (start + i) % kVocab;
  return v;
}

TEST(Scheduler, OneRequestRunsToItsLength) {
  Harness h({.page_size = 4, .num_pages = 64});
  Result& r = h.submit("a", numbers(10), 7);
  h.run_until_idle();
  EXPECT_EQ(r.finish.type, FinishReason::Type::Length);
  EXPECT_EQ(r.ids, expected_output(numbers(10), 7));
  EXPECT_EQ(h.model.steps, 7);  // the prompt's step gives the first token
  EXPECT_EQ(h.scheduler.stats().work.weight_bytes, 700);
  EXPECT_GT(h.scheduler.stats().scheduling_seconds, 0);
}

TEST(Scheduler, StepsThatRunAheadComputeNothingInVainUnlessATextEndsEarly) {
  for (const bool disable : {false, true}) {
    Harness h({.page_size = 4, .num_pages = 256, .chunked_prefill_size = 16, .disable_overlap = disable});
    h.model.ahead = true;
    for (int i = 0; i < 5; ++i) h.submit("r", numbers(5 + 20 * i, 100 * i), 9 - i);
    h.run_until_idle();
    int64_t needed = 0;
    for (auto& r : h.results) {
      const int n = 9 - static_cast<int>(&r - h.results.data());
      EXPECT_EQ(r->ids, expected_output(r->prompt, n));
      needed += static_cast<int64_t>(r->prompt.size()) + n - 1;
    }
    EXPECT_EQ(h.model.computed_tokens, needed);
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, AStepThatIsInFlightOutlivesTheSequencesThatEnd) {
  Harness h({.page_size = 4, .num_pages = 64});
  h.model.ahead = true;
  Result& a = h.submit("a", numbers(30), 100);
  Result& b = h.submit("b", numbers(30, 500), 100);
  for (int i = 0; i < 5; ++i) h.scheduler.turn();
  h.scheduler.abort("a");
  h.scheduler.turn();
  h.scheduler.check();
  EXPECT_EQ(a.finish.type, FinishReason::Type::Abort);
  EXPECT_EQ(b.finish.type, FinishReason::Type::Running);
  h.submit("c", numbers(90, 200), 3);  // into the pages that are free now
  h.run_until_idle();
  EXPECT_EQ(b.ids, expected_output(b.prompt, 100));
  EXPECT_EQ(h.results[2]->ids, expected_output(h.results[2]->prompt, 3));
  EXPECT_EQ(h.model.corrupt, 0);
}

TEST(Scheduler, ZeroNewTokensComputesThePromptOnly) {
  Harness h({.page_size = 4, .num_pages = 64});
  Result& r = h.submit("a", numbers(10), 0);
  h.run_until_idle();
  EXPECT_EQ(r.finish.type, FinishReason::Type::Length);
  EXPECT_TRUE(r.ids.empty());
  EXPECT_EQ(h.submit("b", numbers(10), 0).ids.size(), 0U);
  h.run_until_idle();
  EXPECT_EQ(h.results[1]->cached, 8);  // two whole pages of four
}

TEST(Scheduler, ChunksStayWithinTheBudgetAndGiveTheSameTokens) {
  for (int chunk : {4, 7, 64, -1}) {
    Harness h({.page_size = 4, .num_pages = 256, .chunked_prefill_size = chunk});
    for (int i = 0; i < 5; ++i) h.submit("r", numbers(50 + i, 100 * i), 6);
    h.run_until_idle();
    for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, 6));
    if (chunk > 0) {
      EXPECT_LE(h.model.max_tokens, chunk + 5);
    }
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, UncutPromptsShareAStepUpToTheMostTokens) {
  Harness h({.page_size = 4, .num_pages = 1024, .chunked_prefill_size = -1, .max_prefill_tokens = 100});
  for (int i = 0; i < 5; ++i) h.submit("r", numbers(i == 2 ? 300 : 45, 150 * i), 3);
  h.run_until_idle();
  EXPECT_EQ(h.model.max_tokens, 300 + 2) << "the long one alone, beside rows that decode";
  for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, 3));
  EXPECT_EQ(h.model.steps, 5) << "prompts: 45 + 45, 300, 45 + 45; then the last ones' second and third token";
}

TEST(Scheduler, AStepScoresBoundedlyManyPositions) {
  Harness h({.page_size = 4, .num_pages = 1024, .chunked_prefill_size = 1024, .max_prefill_tokens = 4096});
  for (int i = 0; i < 6; ++i) h.submit("r", numbers(400, 450 * i), 2, "", /*logprob_start=*/i % 2 == 0 ? 0 : 60);
  h.run_until_idle();
  EXPECT_LE(h.model.max_scored, kMostScoredRows + 6);
  EXPECT_GT(h.model.max_scored, kMostScoredRows - 6);
  for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, 2));
}

TEST(Scheduler, SharedPrefixSubmittedAtOnceIsComputedOnce) {
  Harness h({.page_size = 16, .num_pages = 1024, .max_running_requests = 64, .chunked_prefill_size = 256});
  for (int i = 0; i < 64; ++i) {
    std::vector<int32_t> prompt = numbers(1000);
    prompt.push_back(i);
    h.submit("r", prompt, 4);
  }
  h.run_until_idle();
  int64_t cached = 0;
  for (auto& r : h.results) {
    EXPECT_EQ(r->ids, expected_output(r->prompt, 4));
    cached += r->cached;
  }
  EXPECT_EQ(cached, 63 * 992);  // 62 whole pages of 16 for all but the first
  EXPECT_EQ(h.model.computed_tokens, 1001 + 63 * 9 + 64 * 3);
}

TEST(Scheduler, SharedPrefixIsComputedOnceForRequestsThatScoreTheirEnds) {
  Harness h({.page_size = 16, .num_pages = 1024, .max_running_requests = 64, .chunked_prefill_size = 256});
  for (int i = 0; i < 16; ++i) {
    std::vector<int32_t> prompt = numbers(1000);
    prompt.push_back(i);
    h.submit("r", prompt, 1, "", /*logprob_start=*/1000);
  }
  h.run_until_idle();
  for (size_t i = 0; i < h.results.size(); ++i) EXPECT_EQ(h.results[i]->cached, i == 0 ? 0 : 992);
}

TEST(Scheduler, NamespacesDoNotShare) {
  Harness h({.page_size = 4, .num_pages = 64});
  h.submit("a", numbers(20), 2, "x");
  h.run_until_idle();
  h.submit("b", numbers(20), 2, "y");
  h.run_until_idle();
  EXPECT_EQ(h.results[1]->cached, 0);
}

TEST(Scheduler, RetractsAndAnswersAllWhenPagesRunOut) {
  // Eight requests that grow to 60 tokens each in a pool of 40 · 4 = 160.
  for (const bool ahead : {false, true}) {
    Harness h({.page_size = 4, .num_pages = 40, .conservativeness = 0.1});
    h.model.ahead = ahead;
    for (int i = 0; i < 8; ++i) h.submit("r", numbers(20, 50 * i), 40);
    h.run_until_idle();
    int retractions = 0;
    for (auto& r : h.results) {
      EXPECT_EQ(r->ids, expected_output(r->prompt, 40));
      retractions += r->retractions;
    }
    EXPECT_GT(retractions, 0);
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, AbortFreesPagesWithinOneTurn) {
  Harness h({.page_size = 4, .num_pages = 64});
  Result& a = h.submit("a_0", numbers(30), 100);
  Result& b = h.submit("ac", numbers(30, 500), 100);
  Result& c = h.submit("b", numbers(30, 700), 100);
  for (int i = 0; i < 5; ++i) h.scheduler.turn();
  h.scheduler.abort("a");  // by prefix
  h.scheduler.abort("");   // ignored
  h.scheduler.abort("zz");
  h.scheduler.turn();
  EXPECT_EQ(a.finish.type, FinishReason::Type::Abort);
  EXPECT_EQ(b.finish.type, FinishReason::Type::Abort);
  EXPECT_EQ(c.finish.type, FinishReason::Type::Running);
  EXPECT_EQ(h.scheduler.stats().running, 1);
  h.scheduler.abort_all("enough", 503);
  h.run_until_idle();
  EngineStats s = h.scheduler.stats();
  EXPECT_EQ(s.free_pages + s.cached_pages, s.total_pages);
  EXPECT_EQ(s.cached_pages_locked, 0);
  EXPECT_EQ(s.aborted, 3);
}

TEST(Scheduler, AbortOfANameThatNobodyHasHitsNone) {
  Harness h({.page_size = 4, .num_pages = 64});
  Result& random = h.submit("a3f09c", numbers(30), 100);
  Result& named = h.submit("job/77", numbers(30, 500), 100);
  h.scheduler.turn();
  h.scheduler.abort("a");
  h.scheduler.abort("jo");
  h.scheduler.turn();
  EXPECT_EQ(random.finish.type, FinishReason::Type::Running);
  EXPECT_EQ(named.finish.type, FinishReason::Type::Running);
  h.scheduler.abort("a3f09c");
  h.scheduler.abort("job");
  h.run_until_idle();
  EXPECT_EQ(random.finish.type, FinishReason::Type::Abort);
  EXPECT_EQ(named.finish.type, FinishReason::Type::Abort);
}

TEST(Scheduler, PausedRequestsGoOnWhereTheyStoodAndGiveTheSameTokens) {
  for (PauseMode mode : {PauseMode::InPlace, PauseMode::Retract}) {
    Harness h({.page_size = 4, .num_pages = 64});
    for (int i = 0; i < 3; ++i) h.submit("r", numbers(20, 50 * i), 12);
    for (int i = 0; i < 4; ++i) h.scheduler.turn();
    h.pause(mode);
    EXPECT_TRUE(h.scheduler.stats().paused);
    EXPECT_EQ(h.scheduler.stats().running, mode == PauseMode::InPlace ? 3 : 0);
    const int steps = h.model.steps;
    h.submit("late", numbers(9, 300), 5);
    for (int i = 0; i < 10; ++i) EXPECT_FALSE(h.scheduler.turn());
    EXPECT_EQ(h.model.steps, steps) << "a step while paused";
    h.scheduler.resume();
    h.run_until_idle();
    for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, r->prompt.size() == 9 ? 5 : 12));
    EXPECT_EQ(h.results[0]->retractions, mode == PauseMode::Retract ? 1 : 0);
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, PausingByAbortEndsAllAndTheNextOnesWait) {
  Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 1});
  h.submit("a", numbers(20), 12);
  h.submit("b", numbers(20), 12);
  h.scheduler.turn();
  h.pause(PauseMode::Abort);
  for (auto& r : h.results) EXPECT_EQ(r->finish.type, FinishReason::Type::Abort);
  const Result& c = h.submit("c", numbers(20), 3);
  h.scheduler.turn();
  EXPECT_EQ(c.finish.type, FinishReason::Type::Running);
  EXPECT_TRUE(h.scheduler.stats().paused);
  h.scheduler.resume();
  h.run_until_idle();
  EXPECT_EQ(c.ids, expected_output(numbers(20), 3));
}

TEST(Scheduler, DrainingEndsAPause) {
  Harness h({.page_size = 4, .num_pages = 64});
  h.pause(PauseMode::InPlace);
  const Result& r = h.submit("a", numbers(20), 3);
  h.scheduler.start();
  h.scheduler.pause(PauseMode::Retract);
  h.scheduler.resume();
  h.scheduler.pause(PauseMode::InPlace);
  EXPECT_TRUE(h.scheduler.drain(60));
  EXPECT_EQ(r.ids, expected_output(numbers(20), 3));
  EXPECT_THROW(h.scheduler.pause(PauseMode::InPlace), Error);
}

TEST(Scheduler, ALargerPriorityComesFirstAndTakesTheLowestOnesPlaceAlsoWhileAStepIsInFlight) {
  for (const bool ahead : {false, true}) {
    SCOPED_TRACE(ahead);
    Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 2, .priority_scheduling = true});
    h.model.ahead = ahead;
    const auto submit = [&](const char* rid, int start, int priority) -> const Result& {
      return h.submit(rid, numbers(20, start), 30, "", -1, priority);
    };
    const Result& low = submit("low", 0, 0);
    const Result& middle = submit("middle", 100, 5);
    h.scheduler.turn();
    const Result& near = submit("near", 200, 9);
    const Result& urgent = submit("urgent", 300, 10);
    for (int i = 0; i < 25; ++i) h.scheduler.turn();
    EXPECT_EQ(low.retractions + middle.retractions + near.retractions, 0) << "no piece says so before it runs again";
    EXPECT_GT(urgent.ids.size(), 20U);
    EXPECT_GT(middle.ids.size(), 20U);
    EXPECT_LE(low.ids.size(), 2U) << "it gave its place up: 10 is the threshold above it";
    EXPECT_EQ(near.ids.size(), 0U) << "9 is not";
    h.run_until_idle();
    EXPECT_EQ(low.retractions, 1);
    for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, 30));
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, WhenPagesRunOutTheLowestPriorityGoesThenTheLatest) {
  for (const bool ranked : {true, false}) {
    SCOPED_TRACE(ranked);
    // Each ends with 15 of the 36 pages: two of them fit.
    Harness h({.page_size = 4, .num_pages = 36, .conservativeness = 0.01, .priority_scheduling = ranked});
    const auto submit = [&](int start, int priority) -> const Result& {
      return h.submit("r" + std::to_string(start), numbers(20, start), 40, "", -1, priority);
    };
    const Result& low = submit(0, 1);
    const Result& first = submit(100, 5);
    const Result& second = submit(200, 5);
    h.run_until_idle();
    EXPECT_EQ(low.retractions > 0, ranked);
    EXPECT_EQ(first.retractions, 0);
    EXPECT_EQ(second.retractions > 0, !ranked);
    for (auto& r : h.results) EXPECT_EQ(r->ids, expected_output(r->prompt, 40));
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, PrioritiesDoNotCountUnlessAskedFor) {
  Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 1});
  h.submit("a", numbers(20), 3);
  h.scheduler.turn();
  h.submit("b", numbers(20, 100), 3, "", -1, 0);
  h.submit("c", numbers(20, 200), 3, "", -1, 100);
  while (h.results[1]->finish.type == FinishReason::Type::Running) h.scheduler.turn();
  EXPECT_EQ(h.results[2]->ids.size(), 0U);
  h.run_until_idle();
}

TEST(Scheduler, AFlushIsAnsweredWhateverComesInBetween) {
  Harness h({.page_size = 4, .num_pages = 64});
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> answered{false};
    std::thread flush([&] {
      h.scheduler.flush_cache(0);
      answered = true;
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!answered && std::chrono::steady_clock::now() < deadline) {
      // A request of one step: when the turn is over, nothing is in flight again.
      h.submit("one", numbers(5, i), 1);
      h.scheduler.turn();
    }
    if (!answered) h.scheduler.abort_all("the test has failed", 499);
    ASSERT_TRUE(answered);
    flush.join();
    h.results.clear();
  }
  h.run_until_idle();
}

TEST(Scheduler, WhoHasItsWholeAnswerMayFlushAtOnce) {
  FakeModel model(4);
  Scheduler scheduler({.page_size = 4, .num_pages = 64, .decode_log_interval = 0},
                      {.launch = [&](Plan plan) { return model(std::move(plan)); }});
  scheduler.start();
  for (int i = 0; i < 20; ++i) {
    std::promise<void> answered;
    std::vector<std::unique_ptr<Sequence>> one;
    one.push_back(std::make_unique<Sequence>());
    one[0]->tokens = numbers(6, i);
    one[0]->prompt_len = 6;
    one[0]->max_new_tokens = 2;
    one[0]->on_output = [&](Output&& out) {
      if (out.finish.type == FinishReason::Type::Running) return;
      answered.set_value();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the turn takes its time to end
    };
    scheduler.submit(std::move(one));
    answered.get_future().wait();
    EXPECT_TRUE(scheduler.flush_cache(0));
  }
}

TEST(Scheduler, ThroughputLeavesOutTheTimeWithoutWork) {
  Harness h({.page_size = 4, .num_pages = 64});
  double worked = 0;  // seconds, at least those of the scheduler's own count
  for (int i = 0; i < 2; ++i) {
    h.submit("a", numbers(5, 100 * i), 20);
    for (bool more = true; more;) {
      const double began = steady_seconds();
      more = h.scheduler.turn();
      worked += steady_seconds() - began;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(h.scheduler.turn()) << "and a turn for nothing";
  }
  EXPECT_GE(h.scheduler.stats().gen_throughput, 40 / worked);
}

TEST(Scheduler, QueueIsBounded) {
  Harness h({.page_size = 4, .num_pages = 64, .max_queued_requests = 2});
  h.submit("a", numbers(5), 1);
  h.submit("b", numbers(5), 1);
  try {
    h.submit("c", numbers(5), 1);
    FAIL() << "a third request was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::ResourceExhausted);
  }
  h.run_until_idle();
  h.submit("d", numbers(5), 1);
  h.run_until_idle();
  EXPECT_EQ(h.results.back()->finish.type, FinishReason::Type::Length);
}

TEST(Scheduler, LongestOutputsComeFirstIfToldSo) {
  for (const bool cache : {true, false}) {
    Harness h(
        {.policy = Policy::Lof, .page_size = 4, .num_pages = 64, .max_running_requests = 1, .use_radix_cache = cache});
    h.submit("a", numbers(5), 2);
    h.scheduler.turn();
    const Result& brief = h.submit("b", numbers(6, 10), 2);
    const Result& lengthy = h.submit("c", numbers(7, 20), 9);
    h.scheduler.turn();
    EXPECT_EQ(h.scheduler.stats().waiting_uncached_tokens, 13);
    while (lengthy.finish.type == FinishReason::Type::Running) h.scheduler.turn();
    EXPECT_EQ(brief.finish.type, FinishReason::Type::Running);
    h.run_until_idle();
    EXPECT_EQ(brief.finish.type, FinishReason::Type::Length);
    EXPECT_EQ(h.scheduler.stats().waiting_uncached_tokens, 0);
  }
}

TEST(Scheduler, AQueueThatIsTooSlowTakesNoMoreButFreePlacesDo) {
  Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 2, .max_ttft_s = 1e-9});
  const auto refused = [&] {
    try {
      h.submit("b", numbers(5), 2);
    } catch (const Error& e) {
      h.results.pop_back();
      EXPECT_EQ(e.what(), h.scheduler.stats().refusal);
      return h.scheduler.stats().refusal;
    }
    return std::string();
  };
  // Two will run and two may wait for them, since nobody knows how long.
  for (int i = 0; i < 2; ++i) h.submit("a", numbers(5, 10 * i), 2);
  h.scheduler.turn();
  for (int i = 2; i < 4; ++i) h.submit("a", numbers(5, 10 * i), 2);
  EXPECT_NE(refused().find("2 requests wait, as many as can run"), std::string::npos);
  while (h.scheduler.stats().expected_ttft_s == 0) h.scheduler.turn();
  EXPECT_NE(refused().find("up to 0.0 s, and --max-ttft is 1e-09 s"), std::string::npos);
  h.run_until_idle();
  EXPECT_EQ(h.scheduler.stats().expected_ttft_s, 0) << "nothing is before it";
  h.submit("c", numbers(5), 2);
  h.submit("d", numbers(5), 2);
  h.run_until_idle();
  for (auto& r : h.results) EXPECT_EQ(r->finish.type, FinishReason::Type::Length);
}

// A bound this short makes every first token urgent from the start.
TEST(Scheduler, AnUrgentFirstTokenTakesThePlaceOfTheOneThatHasMostToCome) {
  for (const bool ahead : {false, true}) {
    SCOPED_TRACE(ahead);
    Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 2, .max_ttft_s = 1e-9});
    h.model.ahead = ahead;
    const Result& brief = h.submit("brief", numbers(20), 20);
    const Result& lengthy = h.submit("lengthy", numbers(20, 100), 40);
    while (lengthy.ids.size() < 3) h.scheduler.turn();
    const Result& urgent = h.submit("urgent", numbers(20, 200), 30);
    for (int i = 0; i < 4; ++i) h.scheduler.turn();
    EXPECT_GT(urgent.ids.size(), 0U);
    const size_t stood_at = lengthy.ids.size();
    while (brief.finish.type == FinishReason::Type::Running) h.scheduler.turn();
    EXPECT_EQ(lengthy.ids.size(), stood_at);
    for (int i = 0; i < 4; ++i) h.scheduler.turn();
    EXPECT_GT(lengthy.ids.size(), stood_at) << "the first place that is free again is for who lost one";
    EXPECT_EQ(urgent.finish.type, FinishReason::Type::Running);
    h.run_until_idle();
    EXPECT_EQ(brief.retractions, 0);
    EXPECT_EQ(lengthy.retractions, 1);
    EXPECT_EQ(urgent.retractions, 0);
    const int lengths[] = {20, 40, 30};
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(h.results[i]->ids, expected_output(h.results[i]->prompt, lengths[i]));
    EXPECT_EQ(h.model.corrupt, 0);
  }
}

TEST(Scheduler, NobodyGivesWayBeforeItsOwnFirstTokenOrToWhoHasTime) {
  Harness h(
      {.page_size = 4, .num_pages = 64, .max_running_requests = 1, .max_ttft_s = 1e-9, .chunked_prefill_size = 8});
  const Result& first = h.submit("first", numbers(40), 5);
  h.scheduler.turn();
  const Result& second = h.submit("second", numbers(20, 100), 5);
  while (first.ids.empty()) {
    EXPECT_TRUE(second.ids.empty());
    h.scheduler.turn();
  }
  h.run_until_idle();
  EXPECT_EQ(first.retractions, 1) << "then it does";

  Harness patient({.page_size = 4, .num_pages = 64, .max_running_requests = 1, .max_ttft_s = 3600});
  patient.submit("first", numbers(40), 5);
  patient.scheduler.turn();
  patient.submit("second", numbers(20, 100), 5);
  patient.run_until_idle();
  EXPECT_EQ(patient.results[0]->retractions, 0);
}

TEST(Scheduler, AnUrgentOneGetsOnePlaceAndAPartOfTheStepBesideALongPrompt) {
  Harness h(
      {.page_size = 4, .num_pages = 256, .max_running_requests = 4, .max_ttft_s = 1e-9, .chunked_prefill_size = 16});
  for (int i = 0; i < 3; ++i) h.submit("runs", numbers(5, 100 * i), 60);
  while (h.results[2]->ids.empty()) h.scheduler.turn();
  const Result& prompt = h.submit("long", numbers(300, 1000), 5);
  h.scheduler.turn();
  const Result& urgent = h.submit("urgent", numbers(20, 2000), 5);
  for (int i = 0; i < 8; ++i) h.scheduler.turn();
  EXPECT_GT(urgent.ids.size(), 0U);
  EXPECT_EQ(prompt.ids.size(), 0U) << "its prompt is not done";
  h.run_until_idle();
  EXPECT_EQ(h.scheduler.stats().retracted, 1);
  EXPECT_EQ(h.model.corrupt, 0);
}

TEST(Scheduler, WhoWasNotPromisedAnythingTakesNoPlace) {
  for (const bool pause : {false, true}) {
    SCOPED_TRACE(pause);
    Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 1, .max_ttft_s = 1e-9});
    const Result& runs = h.submit("runs", numbers(20), 20);
    while (runs.ids.empty()) h.scheduler.turn();
    if (pause) {
      h.submit("waits", numbers(20, 100), 5);
      h.scheduler.pause(PauseMode::InPlace, false);
      h.scheduler.turn();
      h.scheduler.resume();
    } else {
      std::vector<std::unique_ptr<Sequence>> one;
      one.push_back(std::make_unique<Sequence>());
      one[0]->tokens = numbers(20, 100);
      one[0]->prompt_len = 20;
      one[0]->max_new_tokens = 5;
      one[0]->on_output = [](Output&&) {};
      h.scheduler.submit(std::move(one), /*unbounded=*/true);
    }
    h.run_until_idle();
    EXPECT_EQ(h.scheduler.stats().retracted, 0);
  }
}

TEST(Scheduler, AStepThatThrowsFailsItsRequestsAndNothingElse) {
  bool broken = true;
  FakeModel model(4);
  auto launch = [&](Plan plan) -> Step {
    if (broken) throw Error(ErrorKind::Internal, "the device fell off");
    return model(std::move(plan));
  };
  Scheduler scheduler({.page_size = 4, .num_pages = 16, .decode_log_interval = 0}, {.launch = launch});
  FinishReason last;
  auto submit = [&] {
    std::vector<std::unique_ptr<Sequence>> one;
    one.push_back(std::make_unique<Sequence>());
    one[0]->tokens = numbers(6);
    one[0]->prompt_len = 6;
    one[0]->max_new_tokens = 2;
    one[0]->on_output = [&](Output&& out) { last = out.finish; };
    scheduler.submit(std::move(one));
  };
  submit();
  scheduler.turn();
  EXPECT_EQ(last.type, FinishReason::Type::Abort);
  EXPECT_EQ(last.status, 500);
  EXPECT_EQ(last.message, "the device fell off");
  broken = false;
  submit();
  while (scheduler.turn()) scheduler.check();
  EXPECT_EQ(last.type, FinishReason::Type::Length);
}

TEST(Scheduler, ALostDeviceFailsWhatRunsAndWhatWaitsAndTakesNoMore) {
  Harness h({.page_size = 4, .num_pages = 64, .max_running_requests = 1});
  h.model.ahead = true;
  Result& runs = h.submit("a", numbers(9), 50);
  Result& waits = h.submit("b", numbers(9, 300), 50);
  for (int i = 0; i < 4; ++i) h.scheduler.turn();
  EXPECT_TRUE(h.scheduler.stats().failure.empty());
  h.model.lost = true;
  h.run_until_idle();
  for (const Result* r : {&runs, &waits}) {
    EXPECT_EQ(r->finish.type, FinishReason::Type::Abort);
    EXPECT_EQ(r->finish.status, 500);
    EXPECT_EQ(r->finish.message, "the device is gone");
  }
  EXPECT_EQ(h.scheduler.stats().failure, "the device is gone");
  EXPECT_EQ(h.scheduler.stats().running, 0);
  try {
    h.submit("c", numbers(5), 1);
    FAIL() << "a request was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::DeviceLost);
  }
}

TEST(Scheduler, RandomTrafficKeepsEveryPageAndEveryToken) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 rng(seed);
  auto pick = [&](int n) { return static_cast<int>(rng() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 24; ++round) {
    const char* policies[] = {"lpm", "fcfs", "dfs-weight", "random", "lof"};
    SchedulerConfig config;
    config.policy = parse_policy(policies[round % 5]);
    config.page_size = 1 << pick(5);
    config.num_pages = std::max(160 / config.page_size + pick(200) / config.page_size, 4);
    config.max_running_requests = 1 + pick(12);
    config.chunked_prefill_size = pick(4) == 0 ? -1 : 5 + pick(60);
    config.conservativeness = 0.1 + 0.3 * pick(5);
    config.use_radix_cache = pick(5) != 0;
    config.priority_scheduling = pick(3) == 0;
    if (!config.priority_scheduling && pick(2) == 0) config.max_ttft_s = 1e-4;
    Harness h(config);
    h.model.ahead = pick(3) != 0;
    const int longest = static_cast<int>(config.num_pages) * config.page_size - 1;
    std::vector<std::pair<Result*, int>> wanted;
    int submitted = 0;
    while (submitted < 60 || h.scheduler.stats().running + h.scheduler.stats().waiting > 0) {
      if (submitted < 60 && pick(2) == 0) {
        std::vector<int32_t> prompt = numbers(1 + pick(60), 100 * pick(3));  // few starts: many shared prefixes
        if (pick(2) == 0) prompt.push_back(kVocab - 1 - pick(3));
        int max_new = std::min(pick(40), longest - static_cast<int>(prompt.size()));
        const std::string rid = "r" + std::to_string(submitted++), space = pick(6) == 0 ? "other" : "";
        const int priority = 6 * pick(4);
        try {
          wanted.emplace_back(&h.submit(rid, prompt, max_new, space, -1, priority), max_new);
        } catch (const Error& e) {
          ASSERT_EQ(e.kind(), ErrorKind::ResourceExhausted);
          h.results.pop_back();
        }
      }
      if (pick(15) == 0) h.scheduler.abort("r" + std::to_string(pick(60)));
      h.scheduler.turn();
      h.scheduler.check();
    }
    h.run_until_idle();
    for (auto [r, max_new] : wanted) {
      std::vector<int32_t> expected = expected_output(r->prompt, max_new);
      if (r->finish.type == FinishReason::Type::Abort) {
        ASSERT_LE(r->ids.size(), expected.size());
        expected.resize(r->ids.size());
      } else {
        EXPECT_EQ(r->finish.type, FinishReason::Type::Length);
      }
      ASSERT_EQ(r->ids, expected);
    }
    EXPECT_EQ(h.model.corrupt, 0);
    EngineStats s = h.scheduler.stats();
    EXPECT_EQ(s.free_pages + s.cached_pages, s.total_pages);
    EXPECT_EQ(s.cached_pages_locked, 0);
  }
}

TEST(Scheduler, ServesSubmittersOnManyThreadsAndDrains) {
  FakeModel model(8);
  Scheduler scheduler({.page_size = 8, .num_pages = 200, .decode_log_interval = 0},
                      {.launch = [&](Plan plan) { return model(std::move(plan)); }});
  model.ahead = true;
  scheduler.start();
  std::atomic<int> ended{0}, wrong{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        std::vector<std::unique_ptr<Sequence>> one;
        one.push_back(std::make_unique<Sequence>());
        one[0]->rid = "t" + std::to_string(t) + "_" + std::to_string(i);
        one[0]->tokens = numbers(20 + i, t * 7);
        one[0]->prompt_len = 20 + i;
        one[0]->max_new_tokens = 5;
        auto ids = std::make_shared<std::vector<int32_t>>();
        auto expected = expected_output(one[0]->tokens, 5);
        one[0]->on_output = [&, ids, expected](Output&& out) {
          ids->insert(ids->end(), out.token_ids.begin(), out.token_ids.end());
          if (out.finish.type == FinishReason::Type::Running) return;
          if (out.finish.type == FinishReason::Type::Length && *ids != expected) ++wrong;
          ++ended;
        };
        const std::string rid = one[0]->rid;
        scheduler.submit(std::move(one));
        if (i % 5 == 0) scheduler.abort(rid);
        if (i % 9 == 0) (void)scheduler.stats();
      }
    });
  }
  for (std::thread& c : clients) c.join();
  EXPECT_TRUE(scheduler.drain(60));
  EXPECT_EQ(ended.load(), 200);
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_TRUE(scheduler.flush_cache(1));
  EngineStats s = scheduler.stats();
  EXPECT_EQ(s.free_pages, s.total_pages);
  std::vector<std::unique_ptr<Sequence>> one;
  one.push_back(std::make_unique<Sequence>());
  EXPECT_THROW(scheduler.submit(std::move(one)), Error);
}

}  // namespace
}  // namespace sgl
