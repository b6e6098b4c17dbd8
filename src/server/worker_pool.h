#pragma once
// The threads that parse, tokenize and word answers.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace sgl {

/// Jobs come in three lanes. Requests may take long (a prompt of a megabyte to tokenize); outputs must not wait for
/// them, or every open stream would stutter: at least one thread is always left to the Output lane, which is also
/// served first. Grammars may take very long to compile: one at a time, on a thread that requests do not get. Thread:
/// all functions may be called from any thread.
class WorkerPool {
 public:
  enum class Lane { Output, Request, Grammar };
  using Job = std::function<void()>;
  using Clock = std::chrono::steady_clock;

  /// `threads` ≥ 2 for outputs and requests; one more is for grammars.
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// After stop() jobs are dropped. What a job throws is logged; nobody else hears of it.
  void post(Lane lane, Job job);
  /// A delayed job's place among the others.
  using Ticket = std::pair<Clock::time_point, uint64_t>;
  /// Runs the job in the Output lane, not before `delay` has passed.
  Ticket post_after(std::chrono::milliseconds delay, Job job);
  /// Forgets a delayed job, unless its time has come: then nothing happens.
  void cancel(const Ticket& ticket);
  /// Jobs of the Grammar lane that wait or run.
  int num_grammars() const;
  /// Ends the jobs that run, drops those that wait, joins. Must not be called from a job.
  void stop();

 private:
  void run();
  bool take(std::unique_lock<std::mutex>& lock, Job& job, Lane& lane);

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> outputs_, requests_, grammars_;
  std::map<Ticket, Job> delayed_;
  uint64_t tickets_ = 0;
  int requests_running_ = 0;
  int most_requests_;
  bool grammar_running_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sgl
