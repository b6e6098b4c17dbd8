#include "server/worker_pool.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"

namespace sgl {

WorkerPool::WorkerPool(int threads) : most_requests_(std::max(threads, 2) - 1) {
  for (int i = 0; i < most_requests_ + 2; ++i) threads_.emplace_back([this] { run(); });
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::post(Lane lane, Job job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    (lane == Lane::Output ? outputs_ : lane == Lane::Request ? requests_ : grammars_).push_back(std::move(job));
  }
  wake_.notify_one();
}

WorkerPool::Ticket WorkerPool::post_after(std::chrono::milliseconds delay, Job job) {
  Ticket ticket;
  {
    std::lock_guard lock(mutex_);
    ticket = {Clock::now() + delay, tickets_++};
    if (stopping_) return ticket;
    delayed_.emplace(ticket, std::move(job));
  }
  wake_.notify_one();
  return ticket;
}

void WorkerPool::cancel(const Ticket& ticket) {
  decltype(delayed_)::node_type job;  // destroyed without the lock
  std::lock_guard lock(mutex_);
  job = delayed_.extract(ticket);
}

int WorkerPool::num_grammars() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(grammars_.size()) + (grammar_running_ ? 1 : 0);
}

void WorkerPool::stop() {
  std::deque<Job> outputs, requests, grammars;  // destroyed without the lock: what a job holds may post another
  decltype(delayed_) delayed;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    outputs.swap(outputs_);
    requests.swap(requests_);
    grammars.swap(grammars_);
    std::swap(delayed, delayed_);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkerPool::run() {
  name_thread("sgl-worker");
  std::unique_lock lock(mutex_);
  Job job;
  Lane lane = Lane::Output;
  while (take(lock, job, lane)) {
    lock.unlock();
    try {
      job();
    } catch (const std::exception& e) {
      log::error("a worker's job failed: {}", e.what());
    }
    job = nullptr;
    lock.lock();
    if (lane == Lane::Request) {
      --requests_running_;
      if (!requests_.empty()) wake_.notify_one();
    } else if (lane == Lane::Grammar) {
      grammar_running_ = false;
      if (!grammars_.empty()) wake_.notify_one();
    }
  }
}

// Waits for a job that this thread may run; false when the pool stops.
bool WorkerPool::take(std::unique_lock<std::mutex>& lock, Job& job, Lane& lane) {
  while (!stopping_) {
    while (!delayed_.empty() && delayed_.begin()->first.first <= Clock::now()) {
      outputs_.push_back(std::move(delayed_.begin()->second));
      delayed_.erase(delayed_.begin());
    }
    if (!outputs_.empty()) {
      lane = Lane::Output;
      job = std::move(outputs_.front());
      outputs_.pop_front();
      return true;
    }
    if (!requests_.empty() && requests_running_ < most_requests_) {
      job = std::move(requests_.front());
      requests_.pop_front();
      ++requests_running_;
      lane = Lane::Request;
      return true;
    }
    if (!grammars_.empty() && !grammar_running_) {
      job = std::move(grammars_.front());
      grammars_.pop_front();
      grammar_running_ = true;
      lane = Lane::Grammar;
      return true;
    }
    if (delayed_.empty()) {
      wake_.wait(lock);
    } else {
      const Clock::time_point due = delayed_.begin()->first.first;
      wake_.wait_until(lock, due);
    }
  }
  return false;
}

}  // namespace sgl
