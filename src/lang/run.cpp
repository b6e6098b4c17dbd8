#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <thread>

#include "base/progress.h"
#include "lang/context.h"
#include "lang/options.h"
#include "lang/strand.h"
#include "sgl/program_run.h"

namespace sgl::lang {

RunOptions merge_options(const RunOptions& call, const RunOptions& program) {
  return {.backend = call.backend ? call.backend : program.backend,
          .gen = merge(call.gen, program.gen),
          .api_spec_tokens = call.api_spec_tokens > 0 ? call.api_spec_tokens : program.api_spec_tokens,
          .stop = call.stop.stop_possible() ? call.stop : program.stop};
}

struct RunCore::Impl {
  explicit Impl(std::shared_ptr<Context> c) : context(std::move(c)), root(Strand::create(context)) {}

  void body_ended(std::exception_ptr thrown) {
    {
      std::lock_guard lock(mutex);
      body_error = std::move(thrown);
      if (body_error) {
        try {
          std::rethrow_exception(body_error);
        } catch (const Error& e) {
          error = e;
        } catch (const std::exception& e) {
          error = Error(ErrorKind::Internal, e.what());
        } catch (...) {
          error = Error(ErrorKind::Internal, "the program threw something that is no std::exception");
        }
      }
      ended = true;
    }
    changed.notify_all();
    // Nobody will define more, and readers of what the body did not get to must not wait for it.
    if (error) root->poison(*error);
    context->finish();
  }

  const std::shared_ptr<Context> context;
  const std::shared_ptr<Strand> root;
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  std::exception_ptr body_error;
  std::optional<Error> error;
  std::jthread thread;
};

RunCore::RunCore(const RunOptions& options, bool streaming) : RunCore(Context::create(options, streaming)) {}
RunCore::RunCore(std::shared_ptr<Context> context) : impl_(std::make_unique<Impl>(std::move(context))) {}

// What still runs is given up: its requests are aborted, a body that reads gets Cancelled. If nothing runs, nothing
// happens, and variables stay readable.
RunCore::~RunCore() {
  impl_->context->cancel_unfinished();
  if (impl_->thread.joinable()) impl_->thread.join();
}

State RunCore::root() const { return State(impl_->root); }

void RunCore::run_here(const std::function<void(State&)>& body) {
  keep_error(body);
  wait_for_body();
}

void RunCore::keep_error(const std::function<void(State&)>& body) {
  std::exception_ptr thrown;
  try {
    const BodyScope scope(impl_->context.get());
    State s = root();
    body(s);
  } catch (...) {
    thrown = std::current_exception();
  }
  impl_->body_ended(std::move(thrown));
}

void RunCore::run_in_thread(std::function<void(State&)> body) {
  impl_->thread = std::jthread([this, body = std::move(body)] { keep_error(body); });
}

Var RunCore::var(std::string_view name) const {
  std::shared_ptr<Slot> slot = impl_->root->wait_for_definition(name);
  return slot ? Var(std::move(slot)) : root()[name];
}

void RunCore::body_ended() const {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [&] { return impl_->ended; });
}

void RunCore::wait_for_body() const {
  body_ended();
  if (impl_->body_error) std::rethrow_exception(impl_->body_error);
}

void RunCore::sync() const {
  wait_for_body();
  impl_->root->sync();
}

const Error* RunCore::error() const {
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->error) return &*impl_->error;
  }
  return impl_->root->error();
}

void RunCore::cancel() { impl_->context->cancel(); }

void run_rows(size_t rows, const BatchOptions& options, const std::function<void(size_t, State&)>& body,
              const std::function<void(size_t, std::unique_ptr<RunCore>)>& each) {
  if (rows == 0) return;
  if (options.num_threads < 0) {
    throw Error(ErrorKind::InvalidArgument, "BatchOptions::num_threads must be at least 0");
  }
  const size_t wanted = options.num_threads > 0
                            ? static_cast<size_t>(options.num_threads)
                            : std::max<size_t>(96, 16 * std::max(1U, std::thread::hardware_concurrency()));
  const size_t num_threads = std::min(wanted, rows);

  std::shared_ptr<Gate> gate;
  {
    const std::shared_ptr<Context> probe = Context::create(options.run, false);  // throws here what rows would throw
    // With one thread row 1 begins when row 0 has ended, and the cache has its prompt anyway.
    if (options.precache && rows >= 2 && num_threads >= 2 && probe->capabilities.prefix_cache) {
      gate = std::make_shared<Gate>(probe->backend);
    }
  }
  std::atomic<size_t> next{0};
  std::mutex mutex;  // of `each` and the bar
  std::optional<Progress> bar;
  if (options.progress) bar.emplace("rows", static_cast<int64_t>(rows), Progress::Unit::Items);
  int64_t done = 0;
  std::exception_ptr failed;  // what `each` threw

  auto work = [&, outer = BodyScope::innermost()] {
    const BodyScope scope(outer);
    for (size_t row; (row = next++) < rows;) {
      const std::shared_ptr<Context> context = Context::create(options.run, false);
      context->gate = gate;
      context->row = row;
      auto core = std::make_unique<RunCore>(context);
      core->keep_error([&](State& s) { body(row, s); });
      try {
        core->root().sync();
      } catch (const Error&) {  // kept: Run::error()
      }
      if (gate) gate->row_ended(row);
      std::lock_guard lock(mutex);
      try {
        if (!failed) each(row, std::move(core));
      } catch (...) {
        failed = std::current_exception();
        next = rows;
      }
      if (bar) bar->update(++done);
    }
  };
  {
    std::vector<std::jthread> pool;
    for (size_t i = 0; i < num_threads; ++i) pool.emplace_back(work);
  }
  if (failed) std::rethrow_exception(failed);
  if (bar) bar->finish();
}

}  // namespace sgl::lang
