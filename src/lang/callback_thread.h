#pragma once
// A backend may lose its last owner within a callback of its own: a dropped program's last call comes back, and with
// it goes the program, and with that the backend. Its thread cannot join itself, so the end is left to another.

#include <memory>
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

/// Destroys what owns the thread: here, or on a thread of its own if this is within a callback.
template <class T>
void destroy_owner(std::shared_ptr<T> owner) {
  if (callback_depth > 0) std::thread([o = std::move(owner)]() mutable { o.reset(); }).detach();
}

}  // namespace sgl::lang
