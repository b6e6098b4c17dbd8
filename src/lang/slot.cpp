#include "lang/slot.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include <fmt/format.h>

namespace sgl::lang {

void run_flat(std::function<void()> job) {
  thread_local std::vector<std::function<void()>>* jobs = nullptr;
  if (jobs != nullptr) {
    jobs->push_back(std::move(job));
    return;
  }
  std::vector<std::function<void()>> mine;
  jobs = &mine;
  job();
  for (size_t i = 0; i < mine.size(); ++i) {
    const std::function<void()> next = std::move(mine[i]);  // next may make `mine` grow
    next();
  }
  jobs = nullptr;
}

void Slot::end(std::unique_lock<std::mutex>& lock) {
  ended_ = true;
  changed_.notify_all();
  std::vector<std::function<void()>> jobs = std::exchange(continuations_, {});
  lock.unlock();
  for (std::function<void()>& job : jobs) run_flat(std::move(job));
}

void Slot::add_piece(std::string_view text) {
  std::lock_guard lock(mutex_);
  if (ended_) return;
  streamed_ += text;
  changed_.notify_all();
}

void Slot::finish(std::vector<std::string> values, Meta meta, std::string reasoning, const Choices* choices) {
  std::unique_lock lock(mutex_);
  if (ended_) return;
  values_ = std::move(values);
  meta_ = std::move(meta);
  reasoning_ = std::move(reasoning);
  if (choices != nullptr && choices->values != nullptr) choices_ = *choices;
  end(lock);
}

void Slot::fail(const Error& error) {
  std::unique_lock lock(mutex_);
  if (ended_) return;
  error_ = error;
  end(lock);
}

void Slot::when_ready(std::function<void()> job) {
  if (is_list()) {  // a list is ready with its last part
    auto left = std::make_shared<std::atomic<size_t>>(parts_.size());
    auto count = [left, job = std::move(job)] {
      if (left->fetch_sub(1) == 1) job();
    };
    for (const std::shared_ptr<Slot>& part : parts_) {
      if (part)
        part->when_ready(count);
      else
        count();
    }
    return;
  }
  {
    std::lock_guard lock(mutex_);
    if (!ended_) {
      continuations_.push_back(std::move(job));
      return;
    }
  }
  run_flat(std::move(job));
}

bool Slot::ready() const { return wait_for(std::chrono::milliseconds(0)); }

bool Slot::wait_for(std::chrono::milliseconds time) const {
  const auto deadline = std::chrono::steady_clock::now() + time;
  for (const std::shared_ptr<Slot>& part : parts_) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (part && !part->wait_for(std::max(left, std::chrono::milliseconds(0)))) return false;
  }
  if (is_list()) return true;
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return ended_; });
}

const Error* Slot::error() const {
  for (const std::shared_ptr<Slot>& part : parts_) {
    if (const Error* e = part ? part->error() : nullptr) return e;
  }
  std::lock_guard lock(mutex_);
  return error_ ? &*error_ : nullptr;
}

void Slot::throw_error() const {
  throw Error(error_->kind(), fmt::format("reading \"{}\": {}", name_, error_->what()), error_->status(),
              error_->rid());
}

void Slot::wait(std::unique_lock<std::mutex>& lock) const {
  if (is_list()) {
    throw Error(ErrorKind::WrongType,
                fmt::format("reading \"{}\": it is a list of {} values; use list() or [i]", name_, parts_.size()));
  }
  changed_.wait(lock, [&] { return ended_; });
  if (error_) throw_error();
}

// What is returned by reference never changes after the end.
const std::vector<std::string>& Slot::values() const {
  std::unique_lock lock(mutex_);
  wait(lock);
  return values_;
}

const Meta& Slot::meta() const {
  std::unique_lock lock(mutex_);
  wait(lock);
  return meta_;
}

const std::string& Slot::reasoning() const {
  std::unique_lock lock(mutex_);
  wait(lock);
  return reasoning_;
}

const Choices* Slot::choices() const {
  std::unique_lock lock(mutex_);
  wait(lock);
  return choices_ ? &*choices_ : nullptr;
}

bool Slot::next_piece(size_t& position, std::string& piece) const {
  std::unique_lock lock(mutex_);
  if (is_list()) wait(lock);  // throws
  changed_.wait(lock, [&] { return ended_ || position < streamed_.size(); });
  const std::string& text = ended_ && !error_ && !values_.empty() ? values_[0] : streamed_;
  if (position < text.size()) {
    piece = text.substr(position);
    position = text.size();
    return true;
  }
  if (error_) throw_error();
  return false;
}

}  // namespace sgl::lang
