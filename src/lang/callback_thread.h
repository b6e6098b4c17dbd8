#pragma once
// A backend may lose its last owner within a callback of its own: a dropped program's last call comes back, and with
// it goes the program, and with that the backend. Its thread cannot join itself, so the end is left to another.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace sgl::lang {

inline thread_local int callback_depth = 0;

/// Stands around every callback on a backend's own thread.
struct CallbackScope {
  CallbackScope() { ++callback_depth; }
  ~CallbackScope() { --callback_depth; }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
};

/// What must end before a process leaves: threads that end backends, and calls, which own the program and with it its
/// backend until their last callback is over. Statics that these work with would go under them otherwise.
class Endings {
 public:
  /// Backends call it when they are made: it then waits before anything is destroyed that had been there by then.
  static Endings& all() {
    static Endings endings;
    return endings;
  }
  ~Endings() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ == 0; });
  }

  /// The process stays until the result goes.
  std::shared_ptr<void> hold() {
    std::lock_guard lock(mutex_);
    ++held_;
    return {this, [](Endings* all) {
              std::lock_guard release(all->mutex_);
              --all->held_;
              all->changed_.notify_all();
            }};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0;
};

/// Destroys what owns the thread: here, or on a thread of its own if this is within a callback.
template <class T>
void destroy_owner(std::shared_ptr<T> owner) {
  if (callback_depth == 0) return;
  std::thread([stay = Endings::all().hold(), o = std::move(owner)]() mutable { o.reset(); }).detach();
}

}  // namespace sgl::lang
