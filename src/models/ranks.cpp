#include "models/ranks.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/thread_name.h"
#include "base/thread_pool.h"
#include "models/registry.h"
#include "sgl/error.h"

namespace sgl {

// One thread for each rank but the first. They wait for a job, run it, and wait for the next.
class Ranks::Threads {
 public:
  explicit Threads(RankGroup& group) : group_(group), errors_(static_cast<size_t>(group.size())) {
    try {
      for (int rank = 1; rank < group.size(); ++rank) threads_.emplace_back([this, rank] { work(rank); });
    } catch (...) {  // the system has no more threads
      end();
      throw;
    }
  }
  ~Threads() { end(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  // Of each rank, its error or nothing.
  const std::vector<std::exception_ptr>& run(const std::function<void(int)>& job) {
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      running_ = threads_.size();
      ++jobs_;
    }
    begin_.notify_all();
    attempt(0);
    std::unique_lock lock(mutex_);
    end_.wait(lock, [&] { return running_ == 0; });
    return errors_;
  }

 private:
  void attempt(int rank) {
    std::exception_ptr& error = errors_[static_cast<size_t>(rank)];
    error = nullptr;
    try {
      (*job_)(rank);
    } catch (...) {
      error = std::current_exception();
      group_.cancel();
    }
  }

  void end() {
    {
      const std::lock_guard lock(mutex_);
      job_ = nullptr;
      ++jobs_;
    }
    begin_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  void work(int rank) {
    name_thread(fmt::format("sgl-rank-{}", rank).c_str());
    for (uint64_t done = 0;;) {
      {
        std::unique_lock lock(mutex_);
        begin_.wait(lock, [&] { return jobs_ != done; });
        done = jobs_;
        if (job_ == nullptr) return;
      }
      attempt(rank);
      const std::lock_guard lock(mutex_);
      if (--running_ == 0) end_.notify_one();
    }
  }

  RankGroup& group_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  const std::function<void(int)>* job_ = nullptr;  ///< null: end
  uint64_t jobs_ = 0;
  size_t running_ = 0;
  std::vector<std::exception_ptr> errors_;  ///< each rank writes its own, between begin_ and end_
  std::vector<std::thread> threads_;
};

Ranks::Ranks(const BackendOptions& options, int size) {
  if (size < 1 || size > RankGroup::kMost) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("--tp-size must be in [1, {}], got {}", RankGroup::kMost, size));
  }
  ranks_.resize(static_cast<size_t>(size));
  if (size > 1) {
    group_ = std::make_shared<RankGroup>(size);
    threads_ = std::make_unique<Threads>(*group_);
  }
  run([&](int r) {
    BackendOptions own = options;
    own.group = group_;
    own.rank = r;
    if (size > 1) {  // they load at the same time
      own.threads = std::max(1, (options.threads > 0 ? options.threads : default_compute_threads()) / size);
    }
    ranks_[static_cast<size_t>(r)].backend = Backend::create(own);
  });
}

Ranks::~Ranks() {
  // None frees what another one still reads; and what a rank has goes on the thread that made it.
  run_all([&](int r) { ranks_[static_cast<size_t>(r)].backend->wait(); });
  run_all([&](int r) { std::exchange(ranks_[static_cast<size_t>(r)], {}); });
}

std::exception_ptr Ranks::run_all(const std::function<void(int)>& job) const {
  std::vector<std::exception_ptr> errors(1);
  if (threads_ != nullptr) {
    errors = threads_->run(job);
  } else {
    try {
      job(0);
    } catch (...) {
      errors[0] = std::current_exception();
    }
  }
  // A device that is lost, else the first rank's that did not fall over another one's.
  std::exception_ptr worst;
  int most = -1;
  for (const std::exception_ptr& error : errors) {
    if (!error) continue;
    int weight = 1;
    try {
      std::rethrow_exception(error);
    } catch (const AnotherRankFailed&) {
      weight = 0;
    } catch (const Error& e) {
      weight = e.kind() == ErrorKind::DeviceLost ? 2 : 1;
    } catch (...) {  // of weight 1
    }
    if (weight > most) worst = error;
    most = std::max(most, weight);
  }
  if (worst && group_ != nullptr) group_->restart();
  return worst;
}

void Ranks::run(const std::function<void(int)>& job) const {
  if (const std::exception_ptr error = run_all(job)) std::rethrow_exception(error);
}

std::string Ranks::describe() const {
  return backend().describe() + (size() > 1 ? fmt::format(", {} ranks", size()) : "");
}

int64_t Ranks::available_memory() {
  std::vector<int64_t> each(ranks_.size());
  run([&](int r) { each[static_cast<size_t>(r)] = ranks_[static_cast<size_t>(r)].backend->available_memory(); });
  return *std::min_element(each.begin(), each.end());
}

void Ranks::load(const Checkpoint& checkpoint, int context_length, ModelResult result, const KvGeometry& geometry,
                 int64_t num_pages) {
  run([&](int r) {
    Rank& rank = ranks_[static_cast<size_t>(r)];
    rank.model = build_model(checkpoint, *rank.backend, context_length, result);
    rank.kv = std::make_unique<KvPool>(*rank.backend, geometry, num_pages);
    rank.backend->wait();  // errors of the last weights are loading's
    if (r == 0) return;
    rank.arena =
        std::make_unique<Arena>([backend = rank.backend.get()](size_t bytes) { return backend->allocate(bytes); });
  });
}

Tensor Ranks::forward(Backend& ops, Arena& arena, const KvPool& kv, const PagedBatch& batch,
                      std::span<const int32_t> rows) const {
  Tensor result;
  run([&](int r) {
    const Rank& rank = ranks_[static_cast<size_t>(r)];
    if (r == 0) {
      result = rank.model->forward(ops, arena, kv, batch, rows);
      return;
    }
    rank.arena->reset();
    rank.model->forward(*rank.backend, *rank.arena, *rank.kv, batch, rows);
  });
  return result;
}

}  // namespace sgl
