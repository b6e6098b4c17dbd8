#pragma once
// A state at work: a queue of operations and at most one of them in flight.
//
//   append ─→ queue ─→ step: text at once ─→ text, variables, messages
//                        └─→ a call: Backend::generate … on_done ─→ store, wake readers, step on
//
// There is no thread here. Whoever appends to an idle queue drives it; when a call is in flight the driver leaves, and
// the call's end, on a thread of the backend's, drives on. Two locks never nest but strand → slot, and no lock is held
// while the backend or a continuation is called.

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lang/context.h"
#include "lang/node.h"
#include "lang/reasoning.h"
#include "lang/slot.h"
#include "lang/speculation.h"
#include "sgl/error.h"

namespace sgl::lang {

/// Thread: any, for every public function.
class Strand : public std::enable_shared_from_this<Strand> {
 public:
  using Variables = std::map<std::string, std::shared_ptr<Slot>, std::less<>>;

  static std::shared_ptr<Strand> create(std::shared_ptr<Context> context);
  explicit Strand(std::shared_ptr<Context> context);

  void append(const Expr& expr);
  /// The newest definition, or null. Throws InvalidArgument for a variable of the open turn if that is one call, and
  /// what poisoned the state instead of null.
  std::shared_ptr<Slot> find(std::string_view name);
  bool contains(std::string_view name) const;
  Variables variables() const;
  void set(std::string_view name, std::string value);

  void sync() const;  ///< throws
  std::string text() const;
  std::string partial_text() const;
  std::vector<Message> messages() const;
  const Error* error() const;
  bool busy() const;  ///< something is queued or in flight

  std::vector<std::shared_ptr<Strand>> fork(int n);
  /// No more appends.
  void close();
  void gather(const std::vector<std::shared_ptr<Strand>>& children);
  /// New variables of `child` become variables here.
  void adopt(Strand& child);
  std::string text_since_fork() const;

  /// The first error counts: what is queued is dropped, what is pending fails, the call in flight is given up.
  void poison(const Error& error);
  /// Has those who wait look again.
  void wake() const {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  /// Waits for text behind `position`; false at the end of the program, in its body at the end of what it appended.
  bool next_text(size_t& position, std::string& piece) const;
  /// Waits for a definition of `name`; null if the program ends before, in its body at once. Throws what poisoned the
  /// state.
  std::shared_ptr<Slot> wait_for_definition(std::string_view name) const;

  const std::shared_ptr<Context>& context() const { return context_; }

 private:
  /// Where the next append stands; known before the queue gets there.
  struct Front {
    std::string role;      ///< the open turn; empty: none
    bool content = false;  ///< something is in it
    void pass(const Node& node);
  };
  struct Capture {
    std::string name;
    size_t begin;
  };
  using Lock = std::unique_lock<std::mutex>;

  Op define(const NodePtr& node);
  std::shared_ptr<Slot> define(const std::string& name);

  void drive(Lock& lock);
  void step(Op op, Lock& lock);
  void resume();  ///< what was in flight has ended

  void add_text(const std::string& text, bool mark = false);
  void add_reference(Op op, const Reference& reference, Lock& lock);
  void begin_role(const std::string& role);
  void end_role(const std::string& role, Lock& lock);
  void finish_role(const std::string& role);
  void end_capture(const Op& op, const std::string& name, Lock& lock);
  void commit(Lock& lock);

  Prompt prompt() const;
  /// `call` is run once.
  void launch(std::function<void(std::stop_token)> call, Lock& lock);
  void generate(const Op& op, const Gen& gen, Lock& lock);
  void send_generate(const Op& op, GenerateCall call, std::function<void(Outcome<Generated>&&)> on_done, Lock& lock);
  void receive_piece(const Op& op, std::string_view piece);
  void generated(const Op& op, Outcome<Generated>&& outcome);
  void deliver(const Op& op, const Gen& gen, std::vector<std::string> texts, Meta meta, Lock& lock);
  void select(Op op, const Select& select, Lock& lock);
  void selected(const Op& op, Outcome<ChoiceScores>&& outcome);

  // API speculation (speculation.h).
  bool is_one_call(const std::string& role) const {
    return api_spec_tokens_ > 0 && !context_->capabilities.completion && role == "assistant";
  }
  bool speculates_turn() const { return !plain_turn_ && is_one_call(role_); }
  bool speculate(const Op& op, const Gen& gen, const GenOptions& options, Lock& lock);
  void send_turn(const std::string& role, int attempt, Lock& lock);
  void turn_came(const std::string& role, int attempt, Outcome<Generated>&& outcome);
  void end_turn(const std::string& role, std::vector<std::string> texts, const Meta& meta, Lock& lock);

  void fail_locked(const Error& error, Lock& lock);
  void wait_idle(Lock& lock) const;

  const std::shared_ptr<Context> context_;
  const int number_;
  int api_spec_tokens_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Op> queue_;
  size_t head_ = 0;  ///< queue_[head_] is next
  bool driving_ = false, in_flight_ = false, closed_ = false;
  Front front_;
  std::optional<Error> error_;
  Op pending_;  ///< what is in flight, with the variables that it defines
  std::optional<std::stop_source> stop_;

  std::string text_, partial_;  ///< partial_: pieces of the call in flight
  std::string utf8_;            ///< the beginning of a character that a piece ended in
  std::optional<ReasoningSplitter> splitter_;
  Variables variables_;
  Variables unsent_;  ///< of the open turn, if it is one call: variables when the turn ends
  std::vector<Message> messages_;
  std::string role_;
  size_t role_begin_ = 0, fork_begin_ = 0;
  std::vector<std::string> images_, turn_images_;
  std::vector<Capture> captures_;
  std::vector<Op> pattern_;                 ///< of a turn that is tried with one call
  bool plain_turn_ = false;                 ///< the open turn is not worth it
  Surplus surplus_;                         ///< text that a call brought beyond its gen
  std::shared_ptr<const Gen> surplus_gen_;  ///< whose options it was made with
};

}  // namespace sgl::lang
