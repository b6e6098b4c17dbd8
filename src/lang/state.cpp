#include <exception>
#include <ostream>

#include <fmt/format.h>

#include "lang/node.h"
#include "lang/slot.h"
#include "lang/strand.h"
#include "sgl/program_state.h"

namespace sgl {

using lang::make_expr;
using lang::Slot;
using lang::Strand;

// ── Var ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const std::string& Var::name() const { return slot_->name(); }

const std::string& Var::str() const& {
  const std::vector<std::string>& values = slot_->values();
  if (values.size() != 1) {
    throw Error(ErrorKind::WrongType,
                fmt::format("reading \"{}\": it is a list of {} values; use list() or [i]", name(), values.size()));
  }
  return values[0];
}

std::string Var::str() && { return static_cast<const Var&>(*this).str(); }

std::vector<std::string> Var::list() const {
  if (!slot_->is_list()) return slot_->values();
  std::vector<std::string> out;
  for (const Var& part : branches()) out.push_back(part.str());
  return out;
}

std::vector<Var> Var::branches() const {
  std::vector<Var> out;
  for (size_t i = 0; i < slot_->parts().size(); ++i) out.push_back(branch(i));
  return out;
}

Var Var::branch(size_t i) const {
  const std::shared_ptr<Slot>& part = slot_->parts()[i];
  if (!part) {
    throw Error(ErrorKind::NotFound, fmt::format("reading \"{}\": branch {} did not define it", name(), i));
  }
  return Var(part);
}

bool Var::is_list() const { return slot_->is_list() || slot_->values().size() != 1; }

std::string Var::operator[](size_t i) const {
  const size_t size = slot_->is_list() ? slot_->parts().size() : slot_->values().size();
  if (i >= size) {
    throw Error(ErrorKind::InvalidArgument, fmt::format("reading \"{}\": element {} of a list of {}", name(), i, size));
  }
  return slot_->is_list() ? branch(i).str() : slot_->values()[i];
}

Meta Var::meta() const { return slot_->meta(); }
std::string Var::reasoning() const { return slot_->reasoning(); }
bool Var::ready() const { return slot_->ready(); }
bool Var::wait_for(std::chrono::milliseconds time) const { return slot_->wait_for(time); }
const Error* Var::error() const { return slot_->error(); }

const void* Var::choice_values(std::type_index type) const {
  if (slot_->is_list()) return nullptr;
  const lang::Choices* choices = slot_->choices();
  return choices != nullptr && choices->type == type ? choices->values.get() : nullptr;
}

size_t Var::choice() const { return slot_->meta().decision->index; }

std::ostream& operator<<(std::ostream& out, const Var& var) { return out << var.str(); }

namespace lang {

void throw_wrong_type(const Var& var, const std::string& type, const std::string& text) {
  const bool cut = !var.slot()->is_list() && var.slot()->meta().finish_reason == "length";
  throw Error(ErrorKind::WrongType, fmt::format("reading \"{}\": expected {}, got \"{}\"{}", var.name(), type, text,
                                                cut ? "; it was cut off by max_tokens" : ""));
}

}  // namespace lang

// ── TextStream ───────────────────────────────────────────────────────────────────────────────────────────────────────

TextStream::Iterator& TextStream::Iterator::operator++() {
  if (!stream_->next_(stream_->piece_)) stream_ = nullptr;
  return *this;
}

TextStream::Iterator TextStream::begin() { return ++Iterator(this); }

// ── State ────────────────────────────────────────────────────────────────────────────────────────────────────────────

State& State::operator+=(const Expr& expr) {
  strand_->append(expr);
  return *this;
}

Var State::operator[](std::string_view name) const {
  std::shared_ptr<Slot> slot = strand_->find(name);
  if (!slot)
    throw Error(ErrorKind::NotFound, fmt::format("reading \"{}\": nothing defines a variable of this name", name));
  return Var(std::move(slot));
}

void State::set(std::string_view name, std::string value) { strand_->set(name, std::move(value)); }
std::map<std::string, Var> State::variables() const {
  std::map<std::string, Var> out;
  for (const auto& [name, slot] : strand_->variables()) out.emplace(name, Var(slot));
  return out;
}
bool State::contains(std::string_view name) const { return strand_->contains(name); }

Forks State::fork(int n) {
  std::vector<State> states;
  for (std::shared_ptr<Strand>& child : strand_->fork(n)) states.emplace_back(std::move(child));
  return {*this, std::move(states)};
}

Branch State::copy() { return {*this, State(strand_->fork(1)[0])}; }

Scope State::role(std::string_view name) {
  *this += make_expr(lang::RoleBegin{std::string(name)});
  return {*this, make_expr(lang::RoleEnd{std::string(name)})};
}
Scope State::user() { return role("user"); }
Scope State::assistant() { return role("assistant"); }
Scope State::system() { return role("system"); }

Scope State::capture(std::string_view name) {
  *this += make_expr(lang::CaptureBegin{std::string(name)});
  return {*this, make_expr(lang::CaptureEnd{std::string(name)})};
}

std::string State::text() const { return strand_->text(); }
std::vector<Message> State::messages() const { return strand_->messages(); }
void State::sync() const { strand_->sync(); }
std::string State::partial_text() const { return strand_->partial_text(); }
const Error* State::error() const { return strand_->error(); }
std::shared_ptr<Backend> State::backend() const { return strand_->context()->backend; }

TextStream State::text_iter() const {
  return TextStream([strand = strand_, position = size_t{0}](std::string& piece) mutable {
    return strand->next_text(position, piece);
  });
}

TextStream State::text_iter(std::string_view name) const {
  return TextStream([strand = strand_, wanted = std::string(name), slot = std::shared_ptr<Slot>(),
                     position = size_t{0}](std::string& piece) mutable {
    if (!slot) slot = strand->wait_for_definition(wanted);
    return slot && slot->next_piece(position, piece);
  });
}

// ── Scope, Forks, Branch ─────────────────────────────────────────────────────────────────────────────────────────────

Scope::Scope(State state, Expr end)
    : state_(std::move(state)), end_(std::move(end)), exceptions_(std::uncaught_exceptions()) {}

Scope::~Scope() noexcept(false) {
  // While an exception passes, the turn stays open: what is in it is not what the program meant.
  if (std::uncaught_exceptions() == exceptions_) state_ += end_;
}

Forks& Forks::operator+=(const Expr& expr) {
  for (State& state : states_) state += expr;
  return *this;
}

Forks& Forks::operator+=(const std::vector<Expr>& exprs) {
  if (exprs.size() != states_.size()) {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("a fork of {} takes as many expressions, got {}", states_.size(), exprs.size()));
  }
  for (size_t i = 0; i < exprs.size(); ++i) states_[i] += exprs[i];
  return *this;
}

void Forks::finish() {
  for (const State& state : states_) {
    state.strand()->close();
    try {
      state.sync();
    } catch (const Error&) {  // the first of them is thrown when all is gathered
    }
  }
}

void Forks::join() {
  finish();
  std::vector<std::shared_ptr<Strand>> children;
  for (const State& state : states_) children.push_back(state.strand());
  parent_.strand()->gather(children);
  for (const State& state : states_) state.sync();
}

void Forks::join_text() {
  finish();
  for (const State& state : states_) parent_ += state.strand()->text_since_fork();
}

Branch::~Branch() {
  state_.strand()->close();
  parent_.strand()->adopt(*state_.strand());
}

}  // namespace sgl
