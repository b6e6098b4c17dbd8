#include "lang/strand.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "lang/options.h"

namespace sgl::lang {
namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

std::string without_leading_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n\r\v\f");
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin));
}

/// Number of bytes at the end of `text` that begin a character and lack its rest.
size_t incomplete_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    const size_t size = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return back < size ? back : 0;
  }
  return 0;
}

[[noreturn]] void refuse(ErrorKind kind, const std::string& message) { throw Error(kind, message); }

}  // namespace

std::shared_ptr<Strand> Strand::create(std::shared_ptr<Context> context) {
  auto strand = std::make_shared<Strand>(std::move(context));
  strand->context_->add(strand);
  return strand;
}

Strand::Strand(std::shared_ptr<Context> context)
    : context_(std::move(context)), number_(context_->next_state()), api_spec_tokens_(context_->api_spec_tokens) {}

// ── Appending ────────────────────────────────────────────────────────────────────────────────────────────────────────

void Strand::check(const Node& node, Front& front) const {
  const Capabilities& can = context_->capabilities;
  // A chat API goes on only where an assistant turn begins; with speculation the turn is sent as a whole.
  auto check_place = [&](const std::string& what) {
    if (can.completion) return;
    if (front.role != "assistant" || (front.content && api_spec_tokens_ == 0)) {
      refuse(ErrorKind::Unsupported,
             fmt::format("{}: the backend {} takes messages, so a generation has to come first in an assistant turn; {}",
                         what, context_->backend->name(),
                         front.role.empty() ? "no turn is open" : fmt::format("it comes {} the {} turn", front.content ? "later in" : "in", front.role)));
    }
  };
  std::visit(
      Overload{[&](const Text& t) { front.content = front.content || !t.text.empty(); },
               [&](const Reference&) { front.content = true; },
               [&](const Gen& gen) {
                 const std::string what = call_name("gen", gen.name);
                 check_place(what);
                 check_capabilities(merge(gen.options, context_->defaults), can, context_->backend->name(),
                                    gen.type.empty() ? what : fmt::format("{} of type {}", what, gen.type));
                 front.content = true;
               },
               [&](const Select& select) {
                 const std::string what = call_name("select", select.name);
                 if (!can.select || (!can.completion && api_spec_tokens_ > 0)) {
                   refuse(ErrorKind::Unsupported, fmt::format("{}: select is not supported by the backend {}{}", what,
                                                              context_->backend->name(), can.select ? " in a speculated turn" : ""));
                 }
                 check_place(what);
                 front.content = true;
               },
               [&](const RoleBegin& begin) {
                 if (!front.role.empty()) {
                   refuse(ErrorKind::InvalidArgument, fmt::format("a {} turn begins inside of the {} turn; end that first",
                                                                  begin.role, front.role));
                 }
                 front = {.role = begin.role, .content = false};
               },
               [&](const RoleEnd& end) {
                 if (front.role != end.role) {
                   refuse(ErrorKind::InvalidArgument, fmt::format("the end of a {} turn, but {}", end.role,
                                                                  front.role.empty() ? "none is open" : "the open one is of " + front.role));
                 }
                 front = {};
               },
               [&](const Media&) {
                 if (!can.images) {
                   refuse(ErrorKind::Unsupported, fmt::format("image(): pictures are not supported by the backend {}; it "
                                                              "needs a model that sees", context_->backend->name()));
                 }
                 front.content = true;
               },
               [](const auto&) {}},
      node.what);
}

std::shared_ptr<Slot> Strand::declare(const std::string& name) {
  if (name.empty()) return nullptr;
  auto slot = std::make_shared<Slot>(name);
  variables_.insert_or_assign(name, slot);
  return slot;
}

std::shared_ptr<Slot> Strand::declare(const Node& node) {
  if (const auto* gen = std::get_if<Gen>(&node.what)) return declare(gen->name);
  if (const auto* select = std::get_if<Select>(&node.what)) return declare(select->name);
  if (const auto* capture = std::get_if<CaptureBegin>(&node.what)) return declare(capture->name);
  return nullptr;
}

void Strand::append(const Expr& expr) {
  std::vector<std::shared_ptr<Slot>> failed;
  Lock lock(mutex_);
  if (closed_) refuse(ErrorKind::InvalidArgument, "a branch that was joined takes no more appends");
  if (!error_) {
    Front front = front_;
    for (const NodePtr& node : expr.nodes()) check(*node, front);
    front_ = std::move(front);
  }
  for (const NodePtr& node : expr.nodes()) {
    Op op{node, declare(*node), nullptr};
    if (const auto* gen = std::get_if<Gen>(&node->what); gen != nullptr && gen->reasoning != nullptr) {
      op.thoughts = declare(gen->name + "_reasoning_content");
    }
    if (!error_) {
      queue_.push_back(std::move(op));
    } else {
      failed.insert(failed.end(), {std::move(op.slot), std::move(op.thoughts)});
    }
  }
  if (error_) {
    const Error error = *error_;
    lock.unlock();
    for (const std::shared_ptr<Slot>& slot : failed) {
      if (slot) slot->fail(error);
    }
    return;
  }
  drive(lock);
}

std::shared_ptr<Slot> Strand::find(std::string_view name) {
  std::lock_guard lock(mutex_);
  const auto it = variables_.find(name);
  if (it != variables_.end()) return it->second;
  if (error_) throw Error(*error_);
  return nullptr;
}

bool Strand::contains(std::string_view name) const {
  std::lock_guard lock(mutex_);
  return variables_.contains(name);
}

Strand::Variables Strand::variables() const {
  std::lock_guard lock(mutex_);
  return variables_;
}

void Strand::set(std::string_view name, std::string value) {
  auto slot = std::make_shared<Slot>(std::string(name));
  slot->finish({std::move(value)}, {});
  std::lock_guard lock(mutex_);
  variables_.insert_or_assign(std::string(name), std::move(slot));
  changed_.notify_all();
}

// ── The queue ────────────────────────────────────────────────────────────────────────────────────────────────────────

void Strand::drive(Lock& lock) {
  if (driving_) return;  // a driver further up on this stack, or on another thread, goes on
  driving_ = true;
  while (!in_flight_ && head_ < queue_.size()) {
    Op op = std::move(queue_[head_++]);
    if (head_ == queue_.size()) {
      queue_.clear();
      head_ = 0;
    }
    step(std::move(op), lock);
  }
  driving_ = false;
  changed_.notify_all();
}

void Strand::resume() {
  Lock lock(mutex_);
  in_flight_ = false;
  pending_.reset();
  stop_.reset();
  drive(lock);
}

void Strand::step(Op op, Lock& lock) {
  const NodePtr node = op.node;  // keeps it alive: op moves on
  const bool in_pattern = std::holds_alternative<Text>(node->what) || std::holds_alternative<Gen>(node->what) ||
                          std::holds_alternative<CaptureBegin>(node->what) || std::holds_alternative<CaptureEnd>(node->what);
  if (in_pattern && speculates_turn()) {
    pattern_.push_back(std::move(op));
    return;
  }
  std::visit(Overload{[&](const Text& t) { add_text(t.text); },
                      [&](const Reference& r) { add_reference(std::move(op), r, lock); },
                      [&](const Gen& gen) { generate(std::move(op), gen, lock); },
                      [&](const Select& s) { select(std::move(op), s, lock); },
                      [&](const RoleBegin& r) { begin_role(r.role); },
                      [&](const RoleEnd& r) { end_role(r.role, lock); },
                      [&](const CaptureBegin& c) { captures_.push_back({c.name, std::move(op.slot), text_.size()}); },
                      [&](const CaptureEnd& c) { end_capture(c.name, lock); },
                      [&](const Media& m) {
                        images_.push_back(m.base64);
                        turn_images_.push_back(m.base64);
                        add_text(context_->format.image_mark);
                      },
                      [&](const Commit&) { commit(lock); }},
             node->what);
}

void Strand::add_text(const std::string& text, bool mark) {
  if (!mark && speculates_turn()) {
    pattern_.push_back({make_expr(Text{text}).nodes()[0], nullptr, nullptr});
    return;
  }
  if (speculates_text()) surplus_.skip(text);
  text_ += text;
}

void Strand::add_reference(Op op, const Reference& reference, Lock& lock) {
  if (!reference.slot->ready()) {
    // The state waits, not who appended. A definition is older than its use, so waits form no cycle.
    in_flight_ = true;
    queue_.insert(queue_.begin() + static_cast<std::ptrdiff_t>(head_), std::move(op));
    lock.unlock();
    reference.slot->when_ready([self = shared_from_this()] { self->resume(); });
    lock.lock();
    return;
  }
  try {
    const std::vector<std::string>& values = reference.slot->values();
    if (values.size() != 1) {
      refuse(ErrorKind::WrongType, fmt::format("appending \"{}\": it is a list of {} values; append one of them, [i]",
                                               reference.slot->name(), values.size()));
    }
    add_text(values[0]);
  } catch (const Error& error) {
    fail_locked(error, lock);
  }
}

void Strand::commit(Lock& lock) {
  if (text_.empty()) return;
  launch(
      [self = shared_from_this(), prompt = prompt()](const std::stop_token&) {
        self->context_->backend->commit_prefix(prompt, [self] { self->resume(); });
      },
      lock);
}

void Strand::launch(std::function<void(std::stop_token)> call, Lock& lock) {
  in_flight_ = true;
  auto go = [self = shared_from_this(), call = std::move(call), token = stop_.emplace().get_token()] {
    try {
      call(token);
    } catch (const Error& error) {
      self->poison(error);
    } catch (const std::exception& error) {
      self->poison(Error(ErrorKind::Internal, error.what()));
    }
  };
  const std::shared_ptr<Gate> gate = context_->gate;
  const Prompt shown = gate ? prompt() : Prompt{};
  lock.unlock();
  if (gate) gate->pass(context_->row, shown, std::move(go));
  else go();
  lock.lock();
}

// ── Turns and captures ───────────────────────────────────────────────────────────────────────────────────────────────

void Strand::begin_role(const std::string& role) {
  const ChatFormat& format = context_->format;
  if (messages_.empty() && role != "system" && !format.default_system.empty()) {
    begin_role("system");
    add_text(format.default_system);
    finish_role("system");
  }
  auto prefix_of = [&](const std::string& name) {
    const auto it = format.roles.find(name);
    return it == format.roles.end() ? std::string() : it->second.prefix;
  };
  std::string prefix = prefix_of(role);
  if (format.system_in_first_user) {
    if (role == "system" && messages_.empty()) prefix = prefix_of("user") + prefix;
    if (role == "user" && messages_.size() == 1) prefix.clear();
  }
  add_text(prefix, true);
  role_ = role;
  role_begin_ = text_.size();
}

void Strand::end_role(const std::string& role, Lock& lock) {
  if (speculates_turn()) send_turn(role, 1, lock);
  else finish_role(role);
}

void Strand::finish_role(const std::string& role) {
  messages_.push_back({role, without_leading_blanks(std::string_view(text_).substr(role_begin_)),
                       std::exchange(turn_images_, {})});
  role_.clear();
  const auto it = context_->format.roles.find(role);
  if (it != context_->format.roles.end()) add_text(it->second.suffix, true);
}

void Strand::end_capture(const std::string& name, Lock& lock) {
  const auto it = std::find_if(captures_.rbegin(), captures_.rend(), [&](const Capture& c) { return c.name == name; });
  if (it == captures_.rend()) return;  // begun in the state that this one was forked from
  const Capture capture = *it;
  captures_.erase(std::next(it).base());
  std::string value = text_.substr(std::min(capture.begin, text_.size()));
  lock.unlock();
  capture.slot->finish({std::move(value)}, {});
  lock.lock();
}

// ── Generations ──────────────────────────────────────────────────────────────────────────────────────────────────────

Prompt Strand::prompt() const {
  Prompt out{.text = text_, .messages = {}, .images = images_};
  if (context_->capabilities.chat) out.messages = messages_;
  return out;
}

GenOptions Strand::options_of(const Gen& gen) const {
  GenOptions options = merge(gen.options, context_->defaults);
  if (!context_->format.stop.empty()) {
    std::vector<std::string> stop = options.stop.items();
    for (const std::string& s : context_->format.stop) {
      if (std::find(stop.begin(), stop.end(), s) == stop.end()) stop.push_back(s);
    }
    options.stop = std::move(stop);
  }
  return options;
}

void Strand::generate(Op op, const Gen& gen, Lock& lock) {
  if (speculates_text() && gen.options.n.value_or(1) == 1) {
    generate_from_surplus(std::move(op), gen, lock);
    return;
  }
  GenerateCall call{.variable = gen.name, .state = number_, .prompt = prompt(), .options = options_of(gen)};
  auto on_done = [self = shared_from_this(), op](Outcome<Generated>&& outcome) { self->generated(op, std::move(outcome)); };
  send_generate(std::move(op), std::move(call), std::move(on_done), lock);
}

void Strand::send_generate(Op op, GenerateCall call, std::function<void(Outcome<Generated>&&)> on_done, Lock& lock) {
  pending_ = op.slot;
  GenerateSink sink{.on_text = {}, .on_done = std::move(on_done)};
  const auto* gen = std::get_if<Gen>(&op.node->what);
  if (context_->streaming && call.options.n == 1) {
    if (gen != nullptr && gen->reasoning != nullptr) splitter_.emplace(*gen->reasoning);
    sink.on_text = [self = shared_from_this(), op](std::string_view piece) { self->receive_piece(op, piece); };
  }
  launch(
      [self = shared_from_this(), call = std::move(call), sink = std::move(sink)](std::stop_token token) {
        GenerateCall sent = call;
        sent.stop = std::move(token);
        self->context_->backend->generate(std::move(sent), sink);
      },
      lock);
}

void Strand::receive_piece(const Op& op, std::string_view piece) {
  std::lock_guard lock(mutex_);
  if (error_) return;
  utf8_ += piece;
  const size_t whole = utf8_.size() - incomplete_tail(utf8_);
  std::string text = utf8_.substr(0, whole);
  utf8_.erase(0, whole);
  if (splitter_) text = splitter_->add(text);
  if (text.empty()) return;
  partial_ += text;
  if (op.slot) op.slot->add_piece(text);
  changed_.notify_all();
}

void Strand::generated(const Op& op, Outcome<Generated>&& outcome) {
  {
    Lock lock(mutex_);
    if (error_) return;  // given up meanwhile
    if (outcome.error) {
      fail_locked(*outcome.error, lock);
      return;
    }
    deliver(op, std::get<Gen>(op.node->what), std::move(outcome.value.texts), std::move(outcome.value.meta), lock);
  }
  resume();
}

void Strand::deliver(const Op& op, const Gen& gen, std::vector<std::string> texts, Meta meta, Lock& lock) {
  if (texts.empty()) texts.emplace_back();
  std::string thoughts;
  if (gen.reasoning != nullptr) {
    for (std::string& text : texts) {
      ReasoningSplitter splitter(*gen.reasoning);
      text = splitter.add(text) + splitter.finish();
      if (&text == &texts.front()) thoughts = splitter.reasoning();
    }
  }
  text_ += texts.front();
  partial_.clear();
  utf8_.clear();
  splitter_.reset();
  lock.unlock();
  // Readers of the slot may look at the text, which is there already.
  if (op.thoughts) op.thoughts->finish({thoughts}, {});
  if (op.slot) op.slot->finish(std::move(texts), std::move(meta), std::move(thoughts));
  lock.lock();
}

void Strand::select(Op op, const Select& select, Lock& lock) {
  pending_ = op.slot;
  ScoreCall call{.variable = select.name, .state = number_, .prompt = prompt(), .choices = select.choices.texts,
                 .unconditional = select.method.needs_unconditional};
  launch(
      [self = shared_from_this(), call = std::move(call), op](std::stop_token token) {
        ScoreCall sent = call;
        sent.stop = std::move(token);
        self->context_->backend->score(std::move(sent), [self, op](Outcome<ChoiceScores>&& outcome) {
          self->selected(op, std::move(outcome));
        });
      },
      lock);
}

void Strand::selected(const Op& op, Outcome<ChoiceScores>&& outcome) {
  const Select& select = std::get<Select>(op.node->what);
  Decision decision;
  if (!outcome.error) {
    try {
      decision = select.method.decide(outcome.value);
      if (decision.index >= select.choices.texts.size()) {
        refuse(ErrorKind::InvalidArgument,
               fmt::format("{}: the method {} decided for choice {} of {}", call_name("select", select.name),
                           select.method.name, decision.index, select.choices.texts.size()));
      }
    } catch (const Error& error) {
      outcome.error = error;
    } catch (const std::exception& error) {
      outcome.error = Error(ErrorKind::Internal, fmt::format("{}: the method {} failed: {}",
                                                             call_name("select", select.name), select.method.name, error.what()));
    }
  }
  {
    Lock lock(mutex_);
    if (error_) return;
    if (outcome.error) {
      fail_locked(*outcome.error, lock);
      return;
    }
    const std::string& chosen = select.choices.texts[decision.index];
    add_text(chosen);
    lock.unlock();
    Meta meta;
    meta.scores = std::move(outcome.value);
    meta.decision = std::move(decision);
    if (op.slot) op.slot->finish({chosen}, std::move(meta), {}, &select.choices);
  }
  resume();
}

// ── Errors and waiting ───────────────────────────────────────────────────────────────────────────────────────────────

void Strand::fail_locked(const Error& error, Lock& lock) {
  if (error_) return;
  error_ = error;
  std::vector<std::shared_ptr<Slot>> failed{std::move(pending_)};
  auto take = [&](Op& op) {
    failed.push_back(std::move(op.slot));
    failed.push_back(std::move(op.thoughts));
  };
  for (size_t i = head_; i < queue_.size(); ++i) take(queue_[i]);
  for (Op& op : pattern_) take(op);
  for (Capture& capture : captures_) failed.push_back(std::move(capture.slot));
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
  auto ended = [&] {
    return (closed_ || context_->finished()) && head_ == queue_.size() && !in_flight_ && !driving_;
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
  changed_.wait(lock, [&] { return variables_.contains(name) || error_ || closed_ || context_->finished(); });
  const auto it = variables_.find(name);
  if (it != variables_.end()) return it->second;
  if (error_) throw Error(*error_);
  return nullptr;
}

// ── Branches ─────────────────────────────────────────────────────────────────────────────────────────────────────────

std::vector<std::shared_ptr<Strand>> Strand::fork(int n) {
  if (n < 1) refuse(ErrorKind::InvalidArgument, fmt::format("fork: the number of branches must be at least 1, got {}", n));
  if (n > 1 && context_->capabilities.prefix_cache) append(make_expr(Commit{}));
  Lock lock(mutex_);
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
