// A state seen from outside: errors, waiting, and its branches.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lang/strand.h"

namespace sgl::lang {

void Strand::fail_locked(const Error& error, Lock& lock) {
  if (error_) return;
  error_ = error;
  std::vector<std::shared_ptr<Slot>> failed;
  auto take = [&](Op& op) {
    failed.push_back(std::move(op.slot));
    failed.push_back(std::move(op.thoughts));
  };
  take(pending_);
  for (size_t i = head_; i < queue_.size(); ++i) take(queue_[i]);
  for (Op& op : pattern_) take(op);
  queue_.clear();
  head_ = 0;
  pattern_.clear();
  captures_.clear();
  in_flight_ = false;
  std::optional<std::stop_source> stop = std::exchange(stop_, {});
  changed_.notify_all();
  lock.unlock();
  if (stop) stop->request_stop();
  for (const std::shared_ptr<Slot>& slot : failed) {
    if (slot) slot->fail(error);
  }
  lock.lock();
}

void Strand::poison(const Error& error) {
  Lock lock(mutex_);
  fail_locked(error, lock);
}

void Strand::wait_idle(Lock& lock) const {
  changed_.wait(lock, [&] { return error_ || (head_ == queue_.size() && !in_flight_ && !driving_); });
  if (error_) throw Error(*error_);
}

void Strand::sync() const {
  Lock lock(mutex_);
  wait_idle(lock);
}

std::string Strand::text() const {
  Lock lock(mutex_);
  wait_idle(lock);
  return text_;
}

std::string Strand::partial_text() const {
  std::lock_guard lock(mutex_);
  return text_ + partial_;
}

std::vector<Message> Strand::messages() const {
  Lock lock(mutex_);
  wait_idle(lock);
  return messages_;
}

const Error* Strand::error() const {
  std::lock_guard lock(mutex_);
  return error_ ? &*error_ : nullptr;
}

bool Strand::busy() const {
  std::lock_guard lock(mutex_);
  return !error_ && (head_ != queue_.size() || in_flight_ || driving_);
}

bool Strand::next_text(size_t& position, std::string& piece) const {
  Lock lock(mutex_);
  auto ended = [&, last = context_->runs_here()] {
    return (last || closed_ || context_->finished()) && head_ == queue_.size() && !in_flight_ && !driving_;
  };
  changed_.wait(lock, [&] { return position < text_.size() + partial_.size() || error_ || ended(); });
  if (position < text_.size() + partial_.size()) {
    piece = text_.substr(std::min(position, text_.size()));
    piece += partial_.substr(std::min(position - std::min(position, text_.size()), partial_.size()));
    position = text_.size() + partial_.size();
    return true;
  }
  if (error_) throw Error(*error_);
  return false;
}

std::shared_ptr<Slot> Strand::wait_for_definition(std::string_view name) const {
  Lock lock(mutex_);
  changed_.wait(lock, [&, last = context_->runs_here()] {
    return variables_.contains(name) || error_ || last || closed_ || context_->finished();
  });
  const auto it = variables_.find(name);
  if (it != variables_.end()) return it->second;
  if (error_) throw Error(*error_);
  return nullptr;
}

// ── Branches ─────────────────────────────────────────────────────────────────────────────────────────────────────────

std::vector<std::shared_ptr<Strand>> Strand::fork(int n) {
  if (n < 1)
    throw Error(ErrorKind::InvalidArgument, fmt::format("fork: the number of branches must be at least 1, got {}", n));
  Lock lock(mutex_);
  if (front_.content && is_one_call(front_.role)) {
    throw Error(
        ErrorKind::InvalidArgument,
        "fork: with api_spec_tokens the open assistant turn is one call, so branches can begin when it has ended");
  }
  if (n > 1 && context_->capabilities.prefix_cache) {
    lock.unlock();
    append(make_expr(Commit{}));
    lock.lock();
  }
  wait_idle(lock);
  std::vector<std::shared_ptr<Strand>> children;
  for (int i = 0; i < n; ++i) {
    auto child = std::make_shared<Strand>(context_);
    child->api_spec_tokens_ = 0;
    child->front_ = front_;
    child->text_ = text_;
    child->variables_ = variables_;
    child->messages_ = messages_;
    child->role_ = role_;
    child->role_begin_ = role_begin_;
    child->fork_begin_ = text_.size();
    child->images_ = images_;
    children.push_back(std::move(child));
  }
  lock.unlock();
  for (const std::shared_ptr<Strand>& child : children) context_->add(child);
  return children;
}

void Strand::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Strand::gather(const std::vector<std::shared_ptr<Strand>>& children) {
  std::map<std::string, std::vector<std::shared_ptr<Slot>>, std::less<>> lists;
  for (size_t i = 0; i < children.size(); ++i) {
    std::lock_guard lock(children[i]->mutex_);
    for (const auto& [name, slot] : children[i]->variables_) {
      auto& list = lists[name];
      list.resize(children.size());
      list[i] = slot;
    }
  }
  std::lock_guard lock(mutex_);
  for (auto& [name, list] : lists) {
    if (!variables_.contains(name)) variables_[name] = std::make_shared<Slot>(name, std::move(list));
  }
  changed_.notify_all();
}

void Strand::adopt(Strand& child) {
  Variables theirs;
  {
    std::lock_guard lock(child.mutex_);
    theirs = child.variables_;
  }
  std::lock_guard lock(mutex_);
  variables_.merge(theirs);  // keeps those that are here
  changed_.notify_all();
}

std::string Strand::text_since_fork() const {
  Lock lock(mutex_);
  wait_idle(lock);
  return text_.substr(fork_begin_);
}

}  // namespace sgl::lang
