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

/// While it lives, keys on stdin come at once, without echo, and Ctrl-C is the byte 3. Restores what was there before.
/// Requires: is_terminal(stdin). Thread: one such object at a time.
class RawTerminal {
 public:
  RawTerminal();
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
