#pragma once
// Running programs: once, as a stream, over many rows. A program is any callable whose first parameter is State&.

#include <concepts>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "sgl/program_state.h"

namespace sgl {

struct RunOptions {
  std::shared_ptr<Backend> backend = {};  ///< null: the default one
  GenOptions gen = {};                    ///< defaults of every gen()
  /// > 0: on APIs where calls are dear, the gens of one assistant turn (chat) or of one text (completion) are tried
  /// with one call of so many tokens. Without effect on other backends, in streams and in forks.
  int api_spec_tokens = 0;
  std::stop_token stop = {};  ///< asks the run to give up: Cancelled
};

struct BatchOptions {
  int num_threads = 0;    ///< bodies at once; 0: max(96, 16 × CPUs), never more than rows
  bool progress = false;  ///< a bar on stderr
  bool precache = true;   ///< sends the text that the first two prompts begin with once, if it is > 64 bytes
  RunOptions run = {};
};

namespace lang {

/// A run without its result's type: its context, its root state, its thread if it has one.
class RunCore {
 public:
  RunCore(const RunOptions& options, bool streaming);
  explicit RunCore(std::shared_ptr<Context> context);
  ~RunCore();  ///< cancels what is unfinished and joins the thread
  RunCore(const RunCore&) = delete;
  RunCore& operator=(const RunCore&) = delete;

  State root() const;
  void run_here(const std::function<void(State&)>& body);  ///< throws what the body throws
  void run_in_thread(std::function<void(State&)> body);
  void keep_error(const std::function<void(State&)>& body);  ///< runs here; what it throws is kept
  /// Waits until something defines it; throws NotFound when nothing can any more.
  Var var(std::string_view name) const;
  void body_ended() const;     ///< waits for it, however it ends
  void wait_for_body() const;  ///< likewise; throws what the body threw
  void sync() const;           ///< likewise, and what the queue threw
  const Error* error() const;
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Runs `body(row, state)` for each row; `each` gets the finished runs as they end, one at a time.
void run_rows(size_t rows, const BatchOptions& options, const std::function<void(size_t, State&)>& body,
              const std::function<void(size_t, std::unique_ptr<RunCore>)>& each);

// What a thread may keep: texts and spans are copied.
template <class T>
struct Owned {
  using Type = std::decay_t<T>;
};
template <class T>
requires std::same_as<std::decay_t<T>, std::string_view> || std::same_as < std::decay_t<T>,
const char* > || std::same_as<std::decay_t<T>, char*> struct Owned<T> { using Type = std::string; };
template <class T>
struct OwnedSpan {
  using Type = typename Owned<T>::Type;
};
template <class T, size_t N>
struct OwnedSpan<std::span<T, N>> {
  using Type = std::vector<std::remove_cv_t<T>>;
};
template <class T>
using OwnedType = typename OwnedSpan<std::remove_cvref_t<T>>::Type;

template <class T>
OwnedType<T> own(T&& value) {
  if constexpr (std::same_as<OwnedType<T>, std::decay_t<T>>)
    return std::forward<T>(value);
  else if constexpr (std::same_as<OwnedType<T>, std::string>)
    return std::string(value);
  else
    return OwnedType<T>(value.begin(), value.end());
}

template <class R>
struct Box {
  std::optional<R> value;
};
template <>
struct Box<void> {};

}  // namespace lang

/// A run: its state, and what its body returned. Destroying an unfinished one cancels it. Move-only.
/// What it says of the state waits until the body has said it, or has ended.
template <class R>
class Run : public State {
 public:
  Run(std::unique_ptr<lang::RunCore> core, std::shared_ptr<lang::Box<R>> box)
      : State(core->root()), core_(std::move(core)), box_(std::move(box)) {}

  /// What the body returned; waits for the body. Throws what it threw.
  std::add_lvalue_reference_t<R> value() requires(!std::is_void_v<R>) {
    core_->wait_for_body();
    return *box_->value;
  }
  /// As State's, but waits until the body has defined the name. Throws NotFound when the body ends without.
  Var operator[](std::string_view name) const { return core_->var(name); }
  template <class T>
  T operator[](const Key<T>& key) const {
    return core_->var(key.name).template as<T>();
  }
  template <class T>
  std::vector<T> list(const Key<T>& key) const {
    return core_->var(key.name).template list_as<T>();
  }
  std::vector<std::string> list(std::string_view name) const { return core_->var(name).list(); }
  template <class T>
  Maybe<T> try_get(const Key<T>& key) const {
    return lang::attempt<T>([&] { return (*this)[key]; });
  }
  Maybe<std::string> try_get(std::string_view name) const { return try_get(Key<std::string>{name}); }
  /// Waits until something defines the name, or the body has ended.
  bool contains(std::string_view name) const {
    if (!State::contains(name)) core_->body_ended();
    return State::contains(name);
  }
  /// Waits for the body, as those below do.
  std::map<std::string, Var> variables() const {
    core_->body_ended();
    return State::variables();
  }
  std::string text() const {
    core_->wait_for_body();
    return State::text();
  }
  std::vector<Message> messages() const {
    core_->wait_for_body();
    return State::messages();
  }
  /// Waits for the body and all that it appended; throws.
  void sync() const { core_->sync(); }
  /// What the body or a call failed with, so far; null: nothing. Does not wait.
  const Error* error() const { return core_->error(); }
  /// Gives up: requests are aborted, readers get Cancelled. Does not wait.
  void cancel() { core_->cancel(); }

 private:
  std::unique_ptr<lang::RunCore> core_;
  std::shared_ptr<lang::Box<R>> box_;
};

namespace lang {

template <class F, class... A>
using ResultOf = std::remove_cvref_t<std::invoke_result_t<F&, State&, A...>>;

template <class R, class F, class... A>
void call_into(Box<R>& box, F& f, State& s, A&&... args) {
  if constexpr (std::is_void_v<R>)
    std::invoke(f, s, std::forward<A>(args)...);
  else
    box.value.emplace(std::invoke(f, s, std::forward<A>(args)...));
}

// A row is one argument, or a tuple of all.
template <class F, class Row>
struct RowResult {
  using Type = ResultOf<F, Row&>;
};
template <class F, class... A>
struct RowResult<F, std::tuple<A...>> {
  using Type = ResultOf<F, A&...>;
};
template <class R, class F, class Row>
void call_row(Box<R>& box, F& f, State& s, Row& row) {
  call_into(box, f, s, row);
}
template <class R, class F, class... A>
void call_row(Box<R>& box, F& f, State& s, std::tuple<A...>& row) {
  std::apply([&](auto&... args) { call_into(box, f, s, args...); }, row);
}

}  // namespace lang

/// A program with its options; called, it runs. Options that are given where it runs, in a RunOptions or a
/// BatchOptions, beat them one by one.
template <class F>
class Program;

namespace lang {
template <class F>
struct IsProgram : std::false_type {};
template <class F>
struct IsProgram<Program<F>> : std::true_type {};
template <class F>
concept Body = !IsProgram<std::remove_cvref_t<F>>::value;
/// What a program's own options say where those of the call do not.
RunOptions merge_options(const RunOptions& call, const RunOptions& program);
}  // namespace lang

template <class F>
class Program {
 public:
  Program(F f, RunOptions options) : f_(std::move(f)), options_(std::move(options)) {}
  template <class... A>
  requires std::invocable<const F&, State&, A...>
  auto operator()(A&&... args) const { return run_with(options_, f_, std::forward<A>(args)...); }
  const F& body() const { return f_; }
  const RunOptions& options() const { return options_; }

 private:
  F f_;
  RunOptions options_;
};

template <class F>
Program<F> program(F f, RunOptions options = {}) {
  return {std::move(f), std::move(options)};
}

/// Runs `f(state, args…)` on this thread and returns when the body has; what it appended may still run.
template <lang::Body F, class... A>
auto run_with(const RunOptions& options, F&& f, A&&... args) {
  using R = lang::ResultOf<std::remove_reference_t<F>, A...>;
  auto core = std::make_unique<lang::RunCore>(options, false);
  auto box = std::make_shared<lang::Box<R>>();
  core->run_here([&](State& s) { lang::call_into(*box, f, s, std::forward<A>(args)...); });
  return Run<R>(std::move(core), std::move(box));
}
template <class F, class... A>
auto run_with(const RunOptions& options, const Program<F>& p, A&&... args) {
  return run_with(lang::merge_options(options, p.options()), p.body(), std::forward<A>(args)...);
}

/// Starts `f(state, args…)` on a thread of its own and returns at once; texts can be read as they are made. Arguments
/// are copied, as std::thread does; views become strings and vectors.
template <lang::Body F, class... A>
auto stream_with(const RunOptions& options, F f, A&&... args) {
  using R = lang::ResultOf<F, lang::OwnedType<A>&...>;
  auto core = std::make_unique<lang::RunCore>(options, true);
  auto box = std::make_shared<lang::Box<R>>();
  auto kept = std::make_shared<std::tuple<lang::OwnedType<A>...>>(lang::own(std::forward<A>(args))...);
  core->run_in_thread([box, kept, f = std::move(f)](State& s) mutable { lang::call_row(*box, f, s, *kept); });
  return Run<R>(std::move(core), std::move(box));
}
template <class F, class... A>
auto stream_with(const RunOptions& options, const Program<F>& p, A&&... args) {
  return stream_with(lang::merge_options(options, p.options()), p.body(), std::forward<A>(args)...);
}

template <class F, class... A>
auto run(F&& f, A&&... args) {
  return run_with({}, f, std::forward<A>(args)...);
}

template <class F, class... A>
auto stream(F f, A&&... args) {
  return stream_with({}, std::move(f), std::forward<A>(args)...);
}

/// Runs `f(state, row)` for every row (a tuple is spread over the parameters) on a pool of threads. `each(index, run)`
/// gets every finished run, one at a time, in the order in which they end; then the run goes. A failed row keeps its
/// error (Run::error()) and does not disturb the others. What `each` throws ends the batch: no more rows begin, and it
/// is thrown when those under way have ended.
template <lang::Body F, class Rows, class Each>
void run_batch(F&& f, Rows&& rows, const BatchOptions& options, Each&& each) {
  using Row = std::remove_cvref_t<decltype(*std::begin(rows))>;
  using R = typename lang::RowResult<std::remove_reference_t<F>, lang::OwnedType<Row>>::Type;
  std::vector<lang::OwnedType<Row>> kept;
  for (auto&& row : rows) kept.push_back(lang::own(row));
  std::vector<std::shared_ptr<lang::Box<R>>> boxes(kept.size());
  lang::run_rows(
      kept.size(), options,
      [&](size_t i, State& s) {
        boxes[i] = std::make_shared<lang::Box<R>>();
        lang::call_row(*boxes[i], f, s, kept[i]);
      },
      [&](size_t i, std::unique_ptr<lang::RunCore> core) {
        each(i, Run<R>(std::move(core), boxes[i] ? std::move(boxes[i]) : std::make_shared<lang::Box<R>>()));
      });
}

/// The same; returns the runs in the order of the rows.
template <lang::Body F, class Rows>
auto run_batch(F&& f, Rows&& rows, const BatchOptions& options = {}) {
  using Row = std::remove_cvref_t<decltype(*std::begin(rows))>;
  using R = typename lang::RowResult<std::remove_reference_t<F>, lang::OwnedType<Row>>::Type;
  std::vector<std::optional<Run<R>>> found(static_cast<size_t>(std::distance(std::begin(rows), std::end(rows))));
  run_batch(f, rows, options, [&](size_t i, Run<R>&& run) { found[i].emplace(std::move(run)); });
  std::vector<Run<R>> out;
  out.reserve(found.size());
  for (auto& run : found) out.push_back(std::move(*run));
  return out;
}

template <class F, class Rows, class Each>
void run_batch(const Program<F>& p, Rows&& rows, BatchOptions options, Each&& each) {
  options.run = lang::merge_options(options.run, p.options());
  run_batch(p.body(), std::forward<Rows>(rows), options, std::forward<Each>(each));
}
template <class F, class Rows>
auto run_batch(const Program<F>& p, Rows&& rows, BatchOptions options = {}) {
  options.run = lang::merge_options(options.run, p.options());
  return run_batch(p.body(), std::forward<Rows>(rows), options);
}

/// A call that a program made, as trace() saw it.
struct TracedCall {
  int state = 0;                          ///< 0: the root; branches are counted in the order in which they begin
  std::string name = {};                  ///< of the variable; may be empty
  std::string prompt = {};                ///< the text before it
  GenOptions options = {};                ///< of a gen()
  std::vector<std::string> choices = {};  ///< of a select(); empty: it is a gen()
};

namespace lang {
std::shared_ptr<Backend> make_recorder();
std::vector<TracedCall> recorded_calls(const Backend& recorder);
}  // namespace lang

/// Runs the program on a backend that answers each gen() with its name in braces and each select() with its first
/// choice; returns the calls in order. For tests, and for explain(). `options`: all but the backend count.
template <class F, class... A>
std::vector<TracedCall> trace_with(RunOptions options, F&& f, A&&... args) {
  options.backend = lang::make_recorder();
  run_with(options, f, std::forward<A>(args)...).sync();
  return lang::recorded_calls(*options.backend);
}
template <class F, class... A>
std::vector<TracedCall> trace(F&& f, A&&... args) {
  return trace_with({}, f, std::forward<A>(args)...);
}

/// The calls as a text for people: a line each.
std::string explain(const std::vector<TracedCall>& calls);

}  // namespace sgl
