#include "base/terminal.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace sgl {
namespace {

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

void on_interrupt(int) { g_interrupted.store(true); }

}  // namespace

bool is_terminal(std::FILE* stream) { return ::isatty(::fileno(stream)) == 1; }

int terminal_columns(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

struct RawTerminal::State {
  termios mode{};
};

RawTerminal::RawTerminal(CtrlC ctrl_c) : saved_(std::make_unique<State>()) {
  if (::tcgetattr(STDIN_FILENO, &saved_->mode) != 0) {
    saved_.reset();
    return;
  }
  termios raw = saved_->mode;
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN);
  if (ctrl_c == CtrlC::Key) raw.c_lflag &= ~static_cast<tcflag_t>(ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

RawTerminal::~RawTerminal() {
  if (saved_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_->mode);
}

std::optional<unsigned char> RawTerminal::read_byte(int timeout_ms) {
  if (timeout_ms >= 0) {
    pollfd p{STDIN_FILENO, POLLIN, 0};
    if (::poll(&p, 1, timeout_ms) <= 0) return std::nullopt;
  }
  unsigned char c = 0;
  while (true) {
    ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n == 1) return c;
    if (n == 0 || errno != EINTR) return std::nullopt;
  }
}

struct InterruptGuard::State {
  struct sigaction action {};
};

InterruptGuard::InterruptGuard() : saved_(std::make_unique<State>()) {
  g_interrupted.store(false);
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read that waits for input returns
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &saved_->action);
}

InterruptGuard::~InterruptGuard() { ::sigaction(SIGINT, &saved_->action, nullptr); }

bool InterruptGuard::take() { return g_interrupted.exchange(false); }

}  // namespace sgl
