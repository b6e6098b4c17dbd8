#pragma once
// One definition of one variable: a value that comes once, in pieces if it is streamed, or an error instead.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lang/node.h"
#include "sgl/error.h"
#include "sgl/program_options.h"

namespace sgl::lang {

/// Runs `job` now, or after the job of this kind that this thread is in: chains of values that wait for each other
/// must not nest on the stack.
void run_flat(std::function<void()> job);

/// Thread: any.
class Slot {
 public:
  explicit Slot(std::string name) : name_(std::move(name)) {}
  /// The list of these slots; null where there is none.
  Slot(std::string name, std::vector<std::shared_ptr<Slot>> parts) : name_(std::move(name)), parts_(std::move(parts)) {}

  const std::string& name() const { return name_; }
  const std::vector<std::shared_ptr<Slot>>& parts() const { return parts_; }
  bool is_list() const { return !parts_.empty(); }

  // For the state that defines it. The first finish() or fail() counts. Calls continuations, so hold no lock.
  void add_piece(std::string_view text);
  void finish(std::vector<std::string> values, Meta meta, std::string reasoning = {}, const Choices* choices = nullptr);
  void fail(const Error& error);

  /// Calls `job` once the value or the error is there: now, or from whoever brings it.
  void when_ready(std::function<void()> job);

  bool ready() const;
  bool wait_for(std::chrono::milliseconds time) const;
  /// What failed, or null. Does not wait. Stays valid.
  const Error* error() const;
  // These wait, and throw the error with the variable's name before it.
  const std::vector<std::string>& values() const;
  const Meta& meta() const;
  const std::string& reasoning() const;
  const Choices* choices() const;  ///< of a typed select

  /// Waits for text behind `position` and moves it on; false at the end. Throws like values().
  bool next_piece(size_t& position, std::string& piece) const;

 private:
  void end(std::unique_lock<std::mutex>& lock);
  void wait(std::unique_lock<std::mutex>& lock) const;
  [[noreturn]] void throw_error() const;

  const std::string name_;
  const std::vector<std::shared_ptr<Slot>> parts_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool ended_ = false;
  std::string streamed_;
  std::vector<std::string> values_;
  Meta meta_;
  std::string reasoning_;
  std::optional<Choices> choices_;
  std::optional<Error> error_;
  std::vector<std::function<void()>> continuations_;
};

}  // namespace sgl::lang
