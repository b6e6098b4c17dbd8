#pragma once
// What the states of one run share: backend, defaults, and the end, by itself or by cancelling.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "lang/node.h"
#include "sgl/program_run.h"

namespace sgl::lang {

class Strand;

/// Where the first calls of a batch's rows wait until the prefix that they share is computed: the first two rows'
/// prompts say which it is. Thread: any.
class Gate : public std::enable_shared_from_this<Gate> {
 public:
  explicit Gate(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}
  /// Calls `go` when the row's call may leave: now, or from another thread.
  void pass(size_t row, const Prompt& prompt, std::function<void()> go);
  /// The row is over, perhaps without a call. Thereafter nobody waits for it.
  void row_ended(size_t row);

 private:
  void decide(std::unique_lock<std::mutex>& lock);
  void open();

  const std::shared_ptr<Backend> backend_;
  std::mutex mutex_;
  bool decided_ = false, open_ = false;
  std::optional<Prompt> first_[2];
  bool ended_[2] = {false, false};
  std::vector<std::function<void()>> waiting_;
};

class Context;

/// Stands where a thread runs a body, or what belongs to it: runs that begin there are cancelled with that body's.
class BodyScope {
 public:
  explicit BodyScope(Context* context);
  ~BodyScope();
  BodyScope(const BodyScope&) = delete;
  BodyScope& operator=(const BodyScope&) = delete;
  /// Of the innermost body that this thread is in; null: none.
  static Context* innermost();

 private:
  friend class Context;
  Context* const context_;
  const BodyScope* const outer_;
};

class Context : public std::enable_shared_from_this<Context> {
 public:
  /// Throws InvalidArgument if there is no backend or the defaults are wrong.
  static std::shared_ptr<Context> create(const RunOptions& options, bool streaming);

  /// What a gen() asks for here: its options over the run's over the table's, and the chat format's stop strings. The
  /// constraint of a type is left out where the backend has none: what comes is parsed anyway.
  GenOptions options_of(const Gen& gen) const;
  void add(const std::shared_ptr<Strand>& strand);
  int next_state() { return num_states_++; }
  /// The body has returned: nothing more will be defined.
  void finish();
  bool finished() const { return finished_; }
  /// This thread is in the body, so nobody else will append while it waits.
  bool runs_here() const;
  /// Poisons all states with Cancelled.
  void cancel();
  /// cancel(), unless all has been done.
  void cancel_unfinished();

  const std::shared_ptr<Backend> backend;
  const Capabilities capabilities;
  const ChatFormat& format;
  const GenOptions defaults;
  const int api_spec_tokens;
  const bool streaming;
  std::shared_ptr<Gate> gate;  ///< null: none
  size_t row = 0;              ///< of a batch

  Context(const RunOptions& options, std::shared_ptr<Backend> chosen, bool streaming);

 private:
  std::vector<std::shared_ptr<Strand>> strands();

  std::atomic<int> num_states_{0};
  std::atomic<bool> finished_{false};
  std::mutex mutex_;
  std::stop_source cancelled_;
  std::vector<std::weak_ptr<Strand>> strands_;
  std::optional<std::stop_callback<std::function<void()>>> on_stop_, on_outer_stop_;
};

}  // namespace sgl::lang
