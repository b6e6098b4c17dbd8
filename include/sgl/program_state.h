#pragma once
// States: the prompt that a program builds, its variables, its branches and its turns.
//
// Appending never waits; reading does. A state runs what is appended strictly in order, states run independently.
// When a call fails, the state is poisoned: later appends are ignored, each value that was not finished throws the
// original error when it is read, and what was finished stays readable.
// Thread: handles may be used from several threads; who appends from several decides the order.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

#include "sgl/error.h"
#include "sgl/program_backend.h"
#include "sgl/program_expr.h"

namespace sgl {

class State;
class Forks;
class Branch;
class Scope;

namespace lang {
class Slot;
class Strand;
class Context;
[[noreturn]] void throw_wrong_type(const Var& var, const std::string& type, const std::string& text);
}  // namespace lang

/// One definition of one variable: a handle that outlives its state. A value never changes once it is there; a second
/// gen() of the name is another definition.
class Var {
 public:
  explicit Var(std::shared_ptr<lang::Slot> slot) : slot_(std::move(slot)) {}

  const std::string& name() const;
  // Each of these waits for the value and throws the error that it became instead.
  const std::string& str() const&;  ///< valid as long as this Var. A list (n > 1, join()): throws WrongType
  std::string str() &&;
  std::vector<std::string> list() const;   ///< of a single value: that one
  bool is_list() const;                    ///< there are several values, or they are gathered from branches
  std::string operator[](size_t i) const;  ///< element of the list; throws InvalidArgument behind its end
  /// The value as T: what select() mapped the choice to, or the parsed text. Throws WrongType if it cannot be read.
  template <class T>
  T as() const {
    if (const void* values = choice_values(typeid(T))) return (*static_cast<const std::vector<T>*>(values))[choice()];
    return parse<T>(str());
  }
  /// The elements of list() as T, likewise.
  template <class T>
  std::vector<T> list_as() const {
    std::vector<T> out;
    for (const Var& part : branches()) out.push_back(part.as<T>());
    if (!out.empty()) return out;
    if (choice_values(typeid(T)) != nullptr) return {as<T>()};
    for (const std::string& text : list()) out.push_back(parse<T>(text));
    return out;
  }
  Meta meta() const;
  std::string reasoning() const;                               ///< what separate_reasoning() took out
  operator std::string() const { return std::string(str()); }  // NOLINT(google-explicit-constructor)

  bool ready() const;                                   ///< str() would not wait
  bool wait_for(std::chrono::milliseconds time) const;  ///< ready(), after at most `time`
  /// Null unless the value became an error. Does not wait.
  const Error* error() const;

  const std::shared_ptr<lang::Slot>& slot() const { return slot_; }

 private:
  template <class T>
  T parse(const std::string& text) const {
    if constexpr (lang::Described<T>) {
      std::optional<T> value = lang::parse_as<T>(text);
      if (!value) lang::throw_wrong_type(*this, lang::type_name<T>(), text);
      return std::move(*value);
    } else {
      lang::throw_wrong_type(*this, "a value that select() gave its choices", text);
    }
  }
  std::vector<Var> branches() const;  ///< of a gathered list; none: it is not gathered
  Var branch(size_t i) const;
  const void* choice_values(std::type_index type) const;
  size_t choice() const;
  std::shared_ptr<lang::Slot> slot_;
};

inline bool operator==(const Var& var, std::string_view text) { return var.str() == text; }
std::ostream& operator<<(std::ostream& out, const Var& var);

/// A value or the error that it became.
template <class T>
class Maybe {
 public:
  explicit Maybe(T value) : value_(std::move(value)) {}
  explicit Maybe(Error error) : value_(std::move(error)) {}
  explicit operator bool() const { return std::holds_alternative<T>(value_); }
  const T& operator*() const { return std::get<T>(value_); }
  const T* operator->() const { return &std::get<T>(value_); }
  const Error& error() const { return std::get<Error>(value_); }  ///< Requires: !*this

 private:
  std::variant<T, Error> value_;
};

namespace lang {
template <class T, class F>
Maybe<T> attempt(F read) {
  try {
    return Maybe<T>(read());
  } catch (const Error& error) {
    return Maybe<T>(error);
  }
}
}  // namespace lang

namespace programs {

/// New text as it comes; `for (std::string_view piece : s.text_iter("x"))`. Pieces are whole UTF-8 characters and
/// live until the next step. begin() and ++ wait, and throw the error that ended the text.
class TextStream {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;

    std::string_view operator*() const { return stream_->piece_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return stream_ == nullptr; }

   private:
    friend class TextStream;
    explicit Iterator(TextStream* stream) : stream_(stream) {}
    TextStream* stream_;
  };

  /// `next` returns false at the end.
  explicit TextStream(std::function<bool(std::string& piece)> next) : next_(std::move(next)) {}
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

 private:
  std::function<bool(std::string&)> next_;
  std::string piece_;
};

}  // namespace programs
using programs::TextStream;

/// A handle of a prompt under construction.
class State {
 public:
  explicit State(std::shared_ptr<lang::Strand> strand) : strand_(std::move(strand)) {}

  /// Queues the expression. Throws InvalidArgument for turns inside of turns, Unsupported if the backend cannot do it;
  /// the state is as before then.
  State& operator+=(const Expr& expr);

  /// The newest definition of a variable. Throws NotFound if nothing defines it.
  Var operator[](std::string_view name) const;
  /// Its value as T; waits. Throws NotFound, WrongType, or what failed.
  template <class T>
  T operator[](const Key<T>& key) const {
    return (*this)[key.name].template as<T>();
  }
  template <class T>
  std::vector<T> list(const Key<T>& key) const {
    return (*this)[key.name].template list_as<T>();
  }
  std::vector<std::string> list(std::string_view name) const { return (*this)[name].list(); }
  /// As s[key], for where failure is normal.
  template <class T>
  Maybe<T> try_get(const Key<T>& key) const {
    return lang::attempt<T>([&] { return (*this)[key]; });
  }
  Maybe<std::string> try_get(std::string_view name) const { return try_get(Key<std::string>{name}); }
  /// Defines a variable; the text stays as it is.
  void set(std::string_view name, std::string value);
  std::map<std::string, Var> variables() const;  ///< the newest definition of each name
  bool contains(std::string_view name) const;    ///< something defines it; s[name].ready() says whether it is there

  /// `n` ≥ 1 states that begin with this one's text and variables. Waits for all that was appended.
  Forks fork(int n = 1);
  /// A branch to try something: its new variables are this state's when it ends.
  Branch copy();

  // Open turns: `{ auto turn = s.user(); s += …; }`. The end of the scope ends the turn, unless an exception passes.
  Scope user();
  Scope assistant();
  Scope system();
  Scope role(std::string_view name);
  /// All text added in the scope becomes the variable `name` when it ends.
  Scope capture(std::string_view name);

  std::string text() const;               ///< waits for all that was appended; throws
  std::vector<Message> messages() const;  ///< likewise: the finished turns
  void sync() const;                      ///< likewise
  std::string partial_text() const;       ///< the text so far
  const Error* error() const;             ///< what poisoned the state; null: nothing. Does not wait
  /// All text from the beginning, constants and marks of turns included; of a stream() as it is made. Ends with the
  /// program or, within its body, with what the body has appended by then.
  TextStream text_iter() const;
  /// The pieces of one variable. Waits until something defines it; without pieces if the program ends before, or within
  /// its body if nothing has.
  TextStream text_iter(std::string_view name) const;

  std::shared_ptr<Backend> backend() const;
  const std::shared_ptr<lang::Strand>& strand() const { return strand_; }

 private:
  std::shared_ptr<lang::Strand> strand_;
};

/// Ends a turn or a capture when it goes out of scope.
class [[nodiscard]] Scope {
 public:
  Scope(State state, Expr end);
  ~Scope() noexcept(false);
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  State state_;
  Expr end_;
  int exceptions_;
};

/// The branches of a fork.
class Forks {
 public:
  Forks(State parent, std::vector<State> states) : parent_(std::move(parent)), states_(std::move(states)) {}

  Forks& operator+=(const Expr& expr);                ///< to each
  Forks& operator+=(const std::vector<Expr>& exprs);  ///< one to each; throws InvalidArgument if there are not as many
  template <std::invocable<int> F>
  Forks& operator+=(F&& make) {
    for (size_t i = 0; i < states_.size(); ++i) states_[i] += Expr(make(static_cast<int>(i)));
    return *this;
  }

  size_t size() const { return states_.size(); }
  State& operator[](size_t i) { return states_.at(i); }
  auto begin() { return states_.begin(); }
  auto end() { return states_.end(); }

  /// Waits for the branches. Each variable that the parent lacks becomes, in the parent, the list of the branches'
  /// values in their order; where a branch lacks it, reading throws NotFound. The parent's text stays as it is. The
  /// branches take no more appends. Throws the first error of a branch after all have ended and all is gathered.
  void join();
  /// Waits for the branches and appends the text that each has added, in their order.
  void join_text();

 private:
  void finish();
  State parent_;
  std::vector<State> states_;
};

/// A branch of its own; see State::copy(). Ending it does not wait: variables that it still computes are the parent's
/// at once, and readable when they are there.
class [[nodiscard]] Branch {
 public:
  Branch(State parent, State state) : parent_(std::move(parent)), state_(std::move(state)) {}
  ~Branch();
  Branch(const Branch&) = delete;
  Branch& operator=(const Branch&) = delete;
  State& operator*() { return state_; }
  State* operator->() { return &state_; }

 private:
  State parent_, state_;
};

}  // namespace sgl
