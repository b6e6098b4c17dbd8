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
      refuse(
          ErrorKind::Unsupported,
          fmt::format("{}: the backend {} takes messages, so a generation has to come first in an assistant turn; {}",
                      what, context_->backend->name(),
                      front.role.empty()
                          ? "no turn is open"
                          : fmt::format("it comes {} the {} turn", front.content ? "later in" : "in", front.role)));
    }
  };
  std::visit(Overload{[&](const Text& t) { front.content = front.content || !t.text.empty(); },
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
                          refuse(ErrorKind::Unsupported,
                                 fmt::format("{}: select is not supported by the backend {}{}", what,
                                             context_->backend->name(), can.select ? " in a speculated turn" : ""));
                        }
                        check_place(what);
                        front.content = true;
                      },
                      [&](const RoleBegin& begin) {
                        if (!front.role.empty()) {
                          refuse(ErrorKind::InvalidArgument,
                                 fmt::format("a {} turn begins inside of the {} turn; end that first", begin.role,
                                             front.role));
                        }
                        front = {.role = begin.role, .content = false};
                      },
                      [&](const RoleEnd& end) {
                        if (front.role != end.role) {
                          refuse(ErrorKind::InvalidArgument,
                                 fmt::format("the end of a {} turn, but {}", end.role,
                                             front.role.empty() ? "none is open" : "the open one is of " + front.role));
                        }
                        front = {};
                      },
                      [&](const Media&) {
                        if (!can.images) {
                          refuse(ErrorKind::Unsupported,
                                 fmt::format("image(): pictures are not supported by the backend {}; it "
                                             "needs a model that sees",
                                             context_->backend->name()));
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
  pending_ = {};
  stop_.reset();
  drive(lock);
}

void Strand::step(Op op, Lock& lock) {
  const NodePtr node = op.node;  // keeps it alive: op moves on
  const bool in_pattern = std::holds_alternative<Text>(node->what) || std::holds_alternative<Gen>(node->what) ||
                          std::holds_alternative<CaptureBegin>(node->what) ||
                          std::holds_alternative<CaptureEnd>(node->what);
  if (in_pattern && speculates_turn()) {
    pattern_.push_back(std::move(op));
    return;
  }
  std::visit(
      Overload{[&](const Text& t) { add_text(t.text); },
               [&](const Reference& r) { add_reference(std::move(op), r, lock); },
               [&](const Gen& gen) { generate(std::move(op), gen, lock); },
               [&](const Select& s) { select(std::move(op), s, lock); },
               [&](const RoleBegin& r) { begin_role(r.role); }, [&](const RoleEnd& r) { end_role(r.role, lock); },
               [&](const CaptureBegin& c) {
                 captures_.push_back({c.name, std::move(op.slot), text_.size()});
               },
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
  launch([self = shared_from_this(), prompt = prompt()](
             const std::stop_token&) { self->context_->backend->commit_prefix(prompt, [self] { self->resume(); }); },
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
  if (gate)
    gate->pass(context_->row, shown, std::move(go));
  else
    go();
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
  if (speculates_turn())
    send_turn(role, 1, lock);
  else
    finish_role(role);
}

void Strand::finish_role(const std::string& role) {
  messages_.push_back(
      {role, without_leading_blanks(std::string_view(text_).substr(role_begin_)), std::exchange(turn_images_, {})});
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

}  // namespace sgl::lang
