#include "base/progress.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "base/terminal.h"

namespace sgl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

std::string amount(int64_t n, Progress::Unit unit) {
  return unit == Progress::Unit::Bytes ? format_bytes(n) : fmt::format("{}", n);
}

std::string rate_text(double rate, Progress::Unit unit) {
  return unit == Progress::Unit::Bytes ? format_bytes(std::llround(rate)) + "/s" : fmt::format("{:.3g}/s", rate);
}

}  // namespace

std::string format_bytes(int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!(seconds < 1e9)) return "?";
  auto s = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

std::string format_progress(const std::string& label, int64_t done, int64_t total, Progress::Unit unit, double rate,
                            int columns) {
  std::string tail = total > 0 ? fmt::format(" {}/{}", amount(done, unit), amount(total, unit))
                               : fmt::format(" {}", amount(done, unit));
  if (rate > 0) {
    tail += fmt::format("  {}", rate_text(rate, unit));
    if (total > done) tail += fmt::format("  {} left", format_duration(static_cast<double>(total - done) / rate));
  }
  std::string line = label + " ";
  if (total > 0) {
    double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    int room = columns - static_cast<int>(line.size() + tail.size()) - 8;  // 8: " [" "]" and " 100 %"
    if (room >= 5) {
      int width = std::min(room, 30);
      int filled = static_cast<int>(share * width);
      std::string bar(static_cast<size_t>(filled), '=');
      if (filled < width) bar += '>';
      bar.resize(static_cast<size_t>(width), ' ');
      line += fmt::format("[{}]", bar);
    }
    line += fmt::format(" {:3} %", static_cast<int>(share * 100));
  }
  line += tail;
  if (static_cast<int>(line.size()) > columns) line.resize(static_cast<size_t>(std::max(columns, 0)));
  return line;
}

Progress::Progress(std::string label, int64_t total, Unit unit, int64_t done)
    : label_(std::move(label)),
      total_(total),
      done_(done),
      skipped_(done),
      unit_(unit),
      terminal_(is_terminal(stderr)),
      start_(Clock::now()),
      last_draw_(start_) {
  if (terminal_) {
    draw(false);
  } else if (unit_ == Unit::Bytes) {
    fmt::print(stderr, "{}: {}{}\n", label_, total_ > 0 ? amount(total_, unit_) : std::string("size unknown"),
               done_ > 0 ? fmt::format(", of which {} are already here", amount(done_, unit_)) : "");
  }
}

Progress::~Progress() {
  if (terminal_ && drawn_ && !finished_) fmt::print(stderr, "\n");
}

void Progress::update(int64_t done) {
  done_ = done;
  double pause = terminal_ ? 0.1 : 10.0;
  if (seconds_since(last_draw_) >= pause) draw(false);
}

void Progress::finish() {
  if (finished_) return;
  draw(true);
  finished_ = true;
}

void Progress::draw(bool last) {
  last_draw_ = Clock::now();
  drawn_ = true;
  double elapsed = seconds_since(start_);
  double rate = elapsed > 0.2 ? static_cast<double>(done_ - skipped_) / elapsed : 0;
  if (terminal_) {
    // \x1b[K clears what a longer line left; one column stays free so that the cursor does not wrap.
    fmt::print(stderr, "\r{}\x1b[K{}",
               format_progress(label_, done_, total_, unit_, rate, terminal_columns(stderr) - 1), last ? "\n" : "");
    std::fflush(stderr);
  } else if (last) {
    fmt::print(stderr, "{}: done, {}{} in {}\n", label_, amount(done_, unit_), unit_ == Unit::Items ? " items" : "",
               format_duration(elapsed));
  } else {
    fmt::print(stderr, "{}\n", format_progress(label_ + ":", done_, total_, unit_, rate, 200).c_str());
  }
}

}  // namespace sgl
