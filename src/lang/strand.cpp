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

void Strand::check(const Node& node, const Front& front) const {
  const Capabilities& can = context_->capabilities;
  auto backend = [&] { return context_->backend->name(); };
  // A chat API goes on only where an assistant turn begins; with speculation the turn is sent as a whole.
  auto check_place = [&](const std::string& what) {
    if (can.completion) return;
    if (front.role != "assistant" || (front.content && api_spec_tokens_ == 0)) {
      refuse(
          ErrorKind::Unsupported,
          fmt::format("{}: the backend {} takes messages, so a generation has to come first in an assistant turn; {}",
                      what, backend(),
                      front.role.empty()
                          ? "no turn is open"
                          : fmt::format("it comes {} the {} turn", front.content ? "later in" : "in", front.role)));
    }
  };
  std::visit(
      Overload{
          [&](const Gen& gen) {
            const std::string what = call_name("gen", gen.name);
            check_place(what);
            check_capabilities(merge(gen.options, context_->defaults), can, backend(),
                               gen.type.empty() ? what : fmt::format("{} of type {}", what, gen.type));
          },
          [&](const Select& select) {
            const std::string what = call_name("select", select.name);
            if (!can.select || (!can.completion && api_spec_tokens_ > 0)) {
              refuse(ErrorKind::Unsupported, fmt::format("{}: select is not supported by the backend {}{}", what,
                                                         backend(), can.select ? " in a speculated turn" : ""));
            }
            check_place(what);
          },
          [&](const RoleBegin& begin) {
            if (!front.role.empty()) {
              refuse(ErrorKind::InvalidArgument,
                     fmt::format("a {} turn begins inside of the {} turn; end that first", begin.role, front.role));
            }
          },
          [&](const RoleEnd& end) {
            if (front.role != end.role) {
              refuse(ErrorKind::InvalidArgument,
                     fmt::format("the end of a {} turn, but {}", end.role,
                                 front.role.empty() ? "none is open" : "the open one is of " + front.role));
            }
          },
          [&](const Media&) {
            if (!can.images) {
              refuse(ErrorKind::Unsupported, fmt::format("image(): pictures are not supported by the backend {}; it "
                                                         "needs a model that sees",
                                                         backend()));
            }
          },
          [](const auto&) {}},
      node.what);
}

void Strand::Front::pass(const Node& node) {
  if (const auto* begin = std::get_if<RoleBegin>(&node.what))
    *this = {.role = begin->role, .content = false};
  else if (std::holds_alternative<RoleEnd>(node.what))
    *this = {};
  else if (const auto* text = std::get_if<Text>(&node.what))
    content = content || !text->text.empty();
  else if (!std::holds_alternative<CaptureBegin>(node.what) && !std::holds_alternative<CaptureEnd>(node.what))
    content = true;
}

std::shared_ptr<Slot> Strand::define(const std::string& name) {
  if (name.empty()) return nullptr;
  auto slot = std::make_shared<Slot>(name);
  (is_one_call(front_.role) ? unsent_ : variables_).insert_or_assign(name, slot);
  return slot;
}

/// A name means its new definition only when all that the definition needs is in the queue: a capture defines its name
/// at its end, a turn that is one call defines its names at its own. So what is appended refers to older things only,
/// and no state waits for itself.
Op Strand::define(const NodePtr& node) {
  Op op{node, nullptr, nullptr};
  if (const auto* gen = std::get_if<Gen>(&node->what)) {
    op.slot = define(gen->name);
    if (gen->reasoning != nullptr) op.thoughts = define(gen->name + "_reasoning_content");
  } else if (const auto* select = std::get_if<Select>(&node->what)) {
    op.slot = define(select->name);
  } else if (const auto* capture = std::get_if<CaptureEnd>(&node->what)) {
    op.slot = define(capture->name);
  } else if (std::holds_alternative<RoleEnd>(node->what)) {
    for (auto& [name, slot] : unsent_) variables_.insert_or_assign(name, std::move(slot));
    unsent_.clear();
  }
  return op;
}

void Strand::append(const Expr& expr) {
  std::vector<std::shared_ptr<Slot>> failed;
  Lock lock(mutex_);
  if (closed_) refuse(ErrorKind::InvalidArgument, "a branch that was joined takes no more appends");
  if (!error_) {
    Front front = front_;
    for (const NodePtr& node : expr.nodes()) {
      check(*node, front);
      front.pass(*node);
    }
  }
  for (const NodePtr& node : expr.nodes()) {
    Op op = define(node);
    front_.pass(*node);
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
  if (!error_ && unsent_.contains(name)) {
    refuse(ErrorKind::InvalidArgument,
           fmt::format("reading \"{}\": with api_spec_tokens the assistant turn that defines it is one call, so it can "
                       "be read when the turn has ended",
                       name));
  }
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
                 captures_.push_back({c.name, text_.size()});
               },
               [&](const CaptureEnd& c) { end_capture(op, c.name, lock); },
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
  surplus_.skip(text);
  text_ += text;
}

void Strand::add_reference(Op op, const Reference& reference, Lock& lock) {
  if (!reference.slot->ready()) {
    // The state waits, not who appended. A definition is older than its use (see define()), so waits form no cycle.
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
  plain_turn_ = false;
  const auto it = context_->format.roles.find(role);
  if (it != context_->format.roles.end()) add_text(it->second.suffix, true);
}

void Strand::end_capture(const Op& op, const std::string& name, Lock& lock) {
  const auto it = std::find_if(captures_.rbegin(), captures_.rend(), [&](const Capture& c) { return c.name == name; });
  std::string value = text_.substr(it->begin);  // a Scope begins and ends it in the same state
  captures_.erase(std::next(it).base());
  lock.unlock();
  if (op.slot) op.slot->finish({std::move(value)}, {});
  lock.lock();
}

}  // namespace sgl::lang
