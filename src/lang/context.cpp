#include "lang/context.h"

#include <algorithm>
#include <utility>

#include "lang/options.h"
#include "lang/strand.h"
#include "sgl/error.h"

namespace sgl {
namespace {

std::mutex default_mutex;
std::shared_ptr<Backend>& default_slot() {
  static std::shared_ptr<Backend> backend;
  return backend;
}

}  // namespace

void set_default_backend(std::shared_ptr<Backend> backend) {
  std::lock_guard lock(default_mutex);
  default_slot().swap(backend);
}

std::shared_ptr<Backend> default_backend() {
  std::lock_guard lock(default_mutex);
  return default_slot();
}

namespace lang {
namespace {

thread_local const BodyScope* innermost_scope = nullptr;

constexpr size_t kShortestPrefix = 64;  // bytes; a shorter one is not worth a call

/// Length of the text that both begin with, whole UTF-8 characters.
size_t common_prefix(const std::string& a, const std::string& b) {
  size_t n = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  auto continues = [&](const std::string& s) {
    return n < s.size() && (static_cast<unsigned char>(s[n]) & 0xC0) == 0x80;
  };
  while (n > 0 && (continues(a) || continues(b))) --n;
  return n;
}

}  // namespace

void Gate::pass(size_t row, const Prompt& prompt, std::function<void()> go) {
  std::unique_lock lock(mutex_);
  if (open_) {
    lock.unlock();
    go();
    return;
  }
  waiting_.push_back(std::move(go));
  if (row < 2 && !first_[row]) first_[row] = prompt;
  decide(lock);
}

void Gate::row_ended(size_t row) {
  std::unique_lock lock(mutex_);
  if (row >= 2) return;
  ended_[row] = true;
  decide(lock);
}

void Gate::decide(std::unique_lock<std::mutex>& lock) {
  auto known = [&](int row) { return first_[row].has_value() || ended_[row]; };
  if (decided_ || !known(0) || !known(1)) return;
  decided_ = true;
  Prompt shared;
  if (first_[0] && first_[1] && first_[0]->images.empty()) {
    const std::string& text = first_[0]->text;
    const size_t n = common_prefix(text, first_[1]->text);
    if (n > kShortestPrefix) shared.text = text.substr(0, n);
  }
  lock.unlock();
  if (shared.text.empty()) {
    open();
  } else {
    backend_->commit_prefix(shared, [self = shared_from_this()] { self->open(); });
  }
}

void Gate::open() {
  std::unique_lock lock(mutex_);
  open_ = true;
  std::vector<std::function<void()>> all = std::exchange(waiting_, {});
  lock.unlock();
  for (std::function<void()>& go : all) run_flat(std::move(go));
}

BodyScope::BodyScope(Context* context) : context_(context), outer_(std::exchange(innermost_scope, this)) {}
BodyScope::~BodyScope() { innermost_scope = outer_; }
Context* BodyScope::innermost() { return innermost_scope != nullptr ? innermost_scope->context_ : nullptr; }

std::shared_ptr<Context> Context::create(const RunOptions& options, bool streaming) {
  std::shared_ptr<Backend> backend = options.backend ? options.backend : default_backend();
  if (!backend) {
    throw Error(ErrorKind::InvalidArgument,
                "a program needs a backend: call set_default_backend(engine({…})) or give RunOptions::backend");
  }
  check_options(options.gen, "RunOptions::gen");
  auto context = std::make_shared<Context>(options, std::move(backend), streaming);
  const auto cancel = [weak = std::weak_ptr<Context>(context)] {
    if (std::shared_ptr<Context> self = weak.lock()) self->cancel();
  };
  if (options.stop.stop_possible()) context->on_stop_.emplace(options.stop, cancel);
  if (Context* outer = BodyScope::innermost()) context->on_outer_stop_.emplace(outer->cancelled_.get_token(), cancel);
  return context;
}

Context::Context(const RunOptions& options, std::shared_ptr<Backend> chosen, bool is_streaming)
    : backend(std::move(chosen)),
      capabilities(backend->capabilities()),
      format(backend->chat_format()),
      defaults(merge(options.gen, table_of_defaults())),
      api_spec_tokens(capabilities.api_speculation && !is_streaming ? options.api_spec_tokens : 0),
      streaming(is_streaming) {}

GenOptions Context::options_of(const Gen& gen) const {
  GenOptions options = merge(gen.options, defaults);
  if (gen.typed && !capabilities.regex) options.regex.clear();
  if (gen.typed && !capabilities.json_schema) options.json_schema.clear();
  if (format.stop.empty()) return options;
  std::vector<std::string> stop = options.stop.items();
  for (const std::string& s : format.stop) {
    if (std::find(stop.begin(), stop.end(), s) == stop.end()) stop.push_back(s);
  }
  options.stop = std::move(stop);
  return options;
}

void Context::add(const std::shared_ptr<Strand>& strand) {
  bool cancelled = false;
  {
    std::lock_guard lock(mutex_);
    if (strands_.size() == strands_.capacity()) {
      std::erase_if(strands_, [](const std::weak_ptr<Strand>& s) { return s.expired(); });
    }
    strands_.push_back(strand);
    cancelled = cancelled_.stop_requested();
  }
  if (cancelled) strand->poison(Error(ErrorKind::Cancelled, "the program was cancelled"));
}

std::vector<std::shared_ptr<Strand>> Context::strands() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Strand>> out;
  for (const std::weak_ptr<Strand>& weak : strands_) {
    if (std::shared_ptr<Strand> strand = weak.lock()) out.push_back(std::move(strand));
  }
  return out;
}

void Context::finish() {
  finished_ = true;
  for (const std::shared_ptr<Strand>& strand : strands()) strand->wake();
}

bool Context::runs_here() const {
  const BodyScope* scope = innermost_scope;
  while (scope != nullptr && scope->context_ != this) scope = scope->outer_;
  return scope != nullptr;
}

void Context::cancel() {
  cancelled_.request_stop();
  for (const std::shared_ptr<Strand>& strand : strands()) {
    strand->poison(Error(ErrorKind::Cancelled, "the program was cancelled"));
  }
}

void Context::cancel_unfinished() {
  bool busy = !finished_;
  for (const std::shared_ptr<Strand>& strand : strands()) busy = busy || strand->busy();
  if (busy) cancel();
}

}  // namespace lang
}  // namespace sgl
