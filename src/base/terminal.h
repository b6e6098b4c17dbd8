#pragma once
// The terminal: is there one, how wide is it, keys as they are pressed, and Ctrl-C as a fact instead of an end.

#include <cstdio>
#include <memory>
#include <optional>

namespace sgl {

/// Whether a person sees (or types) what goes through `stream`.
bool is_terminal(std::FILE* stream);

/// Width of the terminal behind `stream`; 80 if there is none or it does not say.
int terminal_columns(std::FILE* stream);

/// While it lives, keys on stdin come at once and without echo. Restores what was there before; keys that nobody has
/// read stay for the next reader. Does nothing where stdin is no terminal. Thread: one such object at a time.
class RawTerminal {
 public:
  enum class CtrlC { Key, Signal };  ///< the byte 3, or SIGINT as usual
  explicit RawTerminal(CtrlC ctrl_c = CtrlC::Key);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  /// The next byte typed; nullopt at the end of the input or, with `timeout_ms` ≥ 0, when none came in time.
  static std::optional<unsigned char> read_byte(int timeout_ms = -1);

 private:
  struct State;
  std::unique_ptr<State> saved_;
};

/// While it lives, Ctrl-C (SIGINT) sets a flag and makes a blocking read return, instead of ending the process.
/// Thread: one such object at a time; its functions may be called from any thread.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether Ctrl-C was pressed since the last call.
  static bool take();

 private:
  struct State;
  std::unique_ptr<State> saved_;
};

}  // namespace sgl
