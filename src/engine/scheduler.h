#pragma once
// Continuous batching over a paged KV cache with prefix sharing.
//
// Everything is an extend: a step is a list of (sequence, how many of its tokens to compute). Decode rows and chunks of
// prompts ride in the same step. A sequence is in exactly one place: the inbox, waiting_, or running_.
//
//   submit → inbox → waiting_ ── admit ──► running_ ──► finished
//                       ▲                     │
//                       └────── retract ──────┘   its output kept: the last when pages run out, or one whose place
//                                                 goes to a higher priority or an urgent first token

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cache/kv_pool.h"
#include "cache/page_allocator.h"
#include "cache/radix_tree.h"
#include "engine/plan.h"
#include "engine/policy.h"
#include "engine/runner.h"
#include "engine/ttft_forecast.h"
#include "sgl/engine.h"

namespace sgl {

struct SchedulerConfig {
  Policy policy = Policy::Lpm;
  int page_size = 16;
  int64_t num_pages = 0;
  int max_running_requests = 64;
  int max_queued_requests = 4096;
  double max_ttft_s = 0;           ///< to a sequence's first token, for which running ones give way; 0: no limit
  int chunked_prefill_size = 512;  ///< tokens a step may compute; ≤ 0: prompts are not cut
  int max_prefill_tokens = 16384;  ///< tokens of prompts in a step; a longer prompt that is not cut has one for itself
  double conservativeness = 1.0;
  bool use_radix_cache = true;
  bool disable_overlap = false;      ///< each step is finished before the next one is planned
  bool priority_scheduling = false;  ///< waiting sequences of a larger priority come first, whatever the policy
  int preemption_threshold = 10;     ///< and retract running ones that are so much lower, when there is no room
  int decode_log_interval = 40;
  std::vector<int32_t> eos_ids{};
};

/// Thread: the constructor's caller makes and joins it; submit, abort, flush, stats and drain may be called from any
/// thread; all else happens on the scheduler's own thread, which start() makes.
class Scheduler {
 public:
  /// `steps` are called on the scheduler's thread.
  Scheduler(SchedulerConfig config, StepFunctions steps);
  /// Aborts what is left and joins.
  ~Scheduler();

  void start();

  /// Takes all of `sequences` or, throwing ResourceExhausted (queue full or too slow, unless `unbounded`), Unavailable
  /// (draining) or DeviceLost (a step threw it: then all requests have failed), none.
  void submit(std::vector<std::unique_ptr<Sequence>> sequences, bool unbounded = false);
  void abort(std::string rid_prefix);                  ///< as Engine::abort
  void abort_all(const std::string& why, int status);  ///< as Engine::abort_all
  void pause(PauseMode mode, bool wait = true);        ///< as Engine::pause; without `wait`, the next turn does it
  void resume();
  /// Empties the prefix cache when nothing runs or waits; waits up to `timeout_s` for that.
  bool flush_cache(double timeout_s);
  bool drain(double timeout_s);
  EngineStats stats() const;

  /// One turn of the loop, for tests that drive the scheduler by hand (without start()). Returns whether there was
  /// work.
  bool turn();
  /// Asserts that every page has one owner. Scheduler's thread, or not started.
  void check() const;

 private:
  struct Abort {
    std::optional<std::string> prefix;  ///< nullopt: all
    FinishReason reason;
  };

  void loop();
  void drain_inbox();
  void apply(const Abort& abort);
  void apply(PauseMode mode);

  // What prompts may still take of a step.
  struct Budget {
    int tokens = 0;
    int scored = kMostScoredRows;  ///< positions whose log-probabilities are asked for
    bool begun = false;            ///< a prompt is in the plan
  };

  Step launch(Plan plan);
  void land();
  std::optional<Plan> make_plan();
  bool plan_decode(Plan& plan);
  bool plan_prefill(Plan& plan, Budget& budget);
  static void add_row(Plan& plan, Sequence& seq, int n);
  void admit_waiting(Plan& plan, Budget& budget);
  int cached_tokens(const Sequence& seq) const;
  bool admit(Sequence& seq, const Budget& budget);
  bool is_full() const;
  bool waits_for_prefix(const Sequence& seq, int matched) const;
  int chunk_of(const Sequence& seq, int computed, const Budget& budget) const;
  void add_prefill(Plan& plan, Sequence& seq, int n, Budget& budget);
  bool grow_pages(Sequence& seq, int tokens);
  bool take_pages(int n, std::vector<PageId>& out);
  void retract_for_pages();
  void retract(size_t place);
  bool outranks(const Sequence& a, const Sequence& b) const;
  std::optional<size_t> outranked() const;
  bool give_way_to_urgent();
  std::vector<Sequence*> find_urgent();
  std::optional<size_t> gives_way(const Sequence& seq) const;
  double reserved_tokens() const;
  double initial_ratio() const;
  void lower_ratio();

  void finish(Step& step);
  void finish_row(Sequence& seq, int q_len, Step::RowResult& result);
  void finish_embedding(Sequence& seq);
  void accept_token(Sequence& seq, SampleResult& next, Output& out);
  bool ends_at(const Sequence& seq, int32_t id, std::optional<std::string> stop, Output& out) const;
  bool is_stop_id(const Sequence& seq, int32_t id) const;
  void extend_by_forced(Sequence& seq, Output& out);
  void adopt(Sequence& seq, RadixTree::Match match);
  void forget_computed(Sequence& seq, int tokens);
  void count_output(int tokens);
  void deliver(Sequence& seq, Output&& out);
  void cache_computed(Sequence& seq);
  void release(Sequence& seq);
  void end_with(Sequence& seq, FinishReason finish);
  void end_with(Sequence& seq, FinishReason finish, Output&& out);
  void fail_running(const std::string& why);
  void remove_finished();
  int places_before() const;
  double expected_ttft() const;
  std::string refusal(int sequences) const;
  void publish_stats();
  void close_window();

  SchedulerConfig config_;
  StepFunctions steps_;

  PageAllocator free_;
  RadixTree tree_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  ///< by rank, if that counts, then in order of admission
  std::optional<Step> flying_;                      ///< launched, its tokens are not known yet
  double new_token_ratio_;
  bool batch_full_ = false;  ///< the last admission failed for lack of pages; cleared when a sequence leaves
  std::mt19937_64 rng_{0};

  mutable std::mutex mutex_;      ///< guards what follows
  std::condition_variable wake_;  ///< something for the scheduler's thread
  std::condition_variable idle_;  ///< the scheduler has run out of work, or flushed
  std::vector<std::unique_ptr<Sequence>> inbox_;
  std::vector<Abort> aborts_;
  uint64_t flushes_asked_ = 0, flushes_answered_ = 0, flushes_done_ = 0;  ///< the last one done, by its number
  bool stopping_ = false, draining_ = false;
  std::optional<PauseMode> pause_wanted_;  ///< asked for, not done yet
  bool paused_ = false;
  int in_flight_ = 0;   ///< sequences submitted and not ended
  int unanswered_ = 0;  ///< of them, whose last piece has not gone out
  int queued_ = 0;      ///< of them, not admitted yet
  uint64_t arrivals_ = 0;
  EngineStats stats_;
  int retracted_ = 0;  ///< of those that wait, admitted once and not counted in queued_, as far as the last turn knows
  int free_places_ = 0;    ///< sequences that could be admitted without waiting, as far as the last turn knows
  TtftForecast forecast_;  ///< as the last turn left it

  // Scheduler's thread.
  EngineStats totals_;
  TtftRecord ttft_;
  bool full_ = false;           ///< the last plan could admit no more
  bool out_of_tokens_ = false;  ///< its step computes as many tokens as one may
  /// Sums over waiting_.
  struct WaitingSums {
    int retracted = 0;
    int64_t uncached_tokens = 0;
    void add(const Sequence& seq) { count(seq, 1); }
    void remove(const Sequence& seq) { count(seq, -1); }
    bool operator==(const WaitingSums&) const = default;

   private:
    void count(const Sequence& seq, int n) {
      retracted += seq.admitted_before ? n : 0;
      uncached_tokens += n * (static_cast<int64_t>(seq.tokens.size()) - seq.matched);
    }
  };
  WaitingSums waiting_sums_;
  int finished_running_ = 0, finished_waiting_ = 0;  ///< whose last piece is out, and that are still in the list
  int ended_ = 0;                                    ///< running sequences that ended in this turn
  bool standing_still_ = false;                      ///< what paused_ was at the start of this turn
  double computing_seconds_ = 0;                     ///< processor time of this turn in steps_' functions
  double window_seconds_ = 0;                        ///< of turns with work, since the last report of speed
  int64_t window_tokens_ = 0, window_prefill_ = 0, window_steps_ = 0;
  std::thread thread_;
};

}  // namespace sgl
