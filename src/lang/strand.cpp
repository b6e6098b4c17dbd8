// A state at work: its queue, step by step.

#include "lang/strand.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

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

}  // namespace

std::shared_ptr<Strand> Strand::create(std::shared_ptr<Context> context) {
  auto strand = std::make_shared<Strand>(std::move(context));
  strand->context_->add(strand);
  return strand;
}

Strand::Strand(std::shared_ptr<Context> context)
    : context_(std::move(context)), number_(context_->next_state()), api_spec_tokens_(context_->api_spec_tokens) {}

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
      Overload{
          [&](const Text& t) { add_text(t.text); }, [&](const Reference& r) { add_reference(std::move(op), r, lock); },
          [&](const Gen& gen) { generate(op, gen, lock); }, [&](const Select& s) { select(std::move(op), s, lock); },
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
      throw Error(ErrorKind::WrongType,
                  fmt::format("appending \"{}\": it is a list of {} values; append one of them, [i]",
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
  const Prompt shown = gate && context_->row < 2 ? prompt() : Prompt{};  // the first two say what is shared
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
