// A state as a program sees it: what may be appended where, and which names mean what.

#include <utility>

#include <fmt/format.h>

#include "lang/options.h"
#include "lang/strand.h"

namespace sgl::lang {
namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::string& message) { throw Error(kind, message); }

/// What may stand in one place of a program on one backend. Throws for the rest.
class Check {
 public:
  Check(const Context& context, const std::string& role, bool content, bool one_call)
      : context_(context), can_(context.capabilities), role_(role), content_(content), one_call_(one_call) {}

  void operator()(const Text& text) const {
    if (!text.text.empty()) needs_turn("a text");
  }
  void operator()(const Reference& reference) const {
    needs_turn(fmt::format("the variable \"{}\"", reference.slot->name()));
  }
  void operator()(const Gen& gen) const {
    const std::string what = call_name("gen", gen.name);
    needs_place(what);
    const GenOptions options = context_.options_of(gen);
    check_lengths(options, what);  // may contradict each other only now that the run's are merged in
    check_capabilities(options, can_, backend(), what);
  }
  void operator()(const Select& select) const {
    const std::string what = call_name("select", select.name);
    if (!can_.select || one_call_) {
      refuse(ErrorKind::Unsupported, fmt::format("{}: select is not supported by the backend {}{}", what, backend(),
                                                 can_.select ? " in a speculated turn" : ""));
    }
    if (select.method.needs_unconditional && !can_.unconditional) {
      refuse(ErrorKind::Unsupported,
             fmt::format("{}: the backend {} cannot score choices without the prompt, which the method {} needs", what,
                         backend(), select.method.name));
    }
    needs_place(what);
  }
  void operator()(const RoleBegin& begin) const {
    if (!role_.empty()) {
      refuse(ErrorKind::InvalidArgument,
             fmt::format("a {} turn begins inside of the {} turn; end that first", begin.role, role_));
    }
    const auto& roles = context_.format.roles;
    if (!can_.completion || roles.contains(begin.role)) return;  // an API may know more roles
    std::string names;
    for (const auto& [name, marks] : roles) names += (names.empty() ? "" : ", ") + name;
    refuse(ErrorKind::InvalidArgument, fmt::format("a {} turn: the chat format {} has no marks for it; it has {}",
                                                   begin.role, context_.format.name, names));
  }
  void operator()(const RoleEnd& end) const {
    if (role_ == end.role) return;
    refuse(ErrorKind::InvalidArgument, fmt::format("the end of a {} turn, but {}", end.role,
                                                   role_.empty() ? "none is open" : "the open one is of " + role_));
  }
  void operator()(const Media& media) const {
    if (!(media.is_video ? can_.videos : can_.images)) {
      refuse(ErrorKind::Unsupported,
             fmt::format("{} not supported by the backend {}; it needs a model that sees",
                         media.is_video ? "video(): videos are" : "image(): pictures are", backend()));
    }
    needs_turn("a picture");
  }
  void operator()(const CaptureBegin&) const {}
  void operator()(const CaptureEnd&) const {}
  void operator()(const Commit&) const {}

 private:
  std::string backend() const { return context_.backend->name(); }

  /// What stands between the turns would not arrive where only turns are sent.
  void needs_turn(const std::string& what) const {
    if (can_.completion || !role_.empty()) return;
    refuse(ErrorKind::Unsupported,
           fmt::format("{} outside of a turn: the backend {} takes messages, so it has to stand in one, as in user(…)",
                       what, backend()));
  }
  /// A chat API goes on only where an assistant turn begins; with speculation the turn is sent as a whole.
  void needs_place(const std::string& what) const {
    if (can_.completion || (role_ == "assistant" && (!content_ || one_call_))) return;
    refuse(ErrorKind::Unsupported,
           fmt::format("{}: the backend {} takes messages, so a generation has to come first in an assistant turn; {}",
                       what, backend(),
                       role_.empty() ? "no turn is open"
                                     : fmt::format("it comes {} the {} turn", content_ ? "later in" : "in", role_)));
  }

  const Context& context_;
  const Capabilities& can_;
  const std::string& role_;
  const bool content_, one_call_;
};

}  // namespace

void Strand::Front::pass(const Node& node) {
  if (const auto* begin = std::get_if<RoleBegin>(&node.what)) {
    *this = {.role = begin->role, .content = false};
  } else if (std::holds_alternative<RoleEnd>(node.what)) {
    *this = {};
  } else if (const auto* text = std::get_if<Text>(&node.what)) {
    content = content || !text->text.empty();
  } else if (!std::holds_alternative<CaptureBegin>(node.what) && !std::holds_alternative<CaptureEnd>(node.what) &&
             !std::holds_alternative<Commit>(node.what)) {
    content = true;
  }
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
      std::visit(Check(*context_, front.role, front.content, is_one_call(front.role)), node->what);
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

}  // namespace sgl::lang
