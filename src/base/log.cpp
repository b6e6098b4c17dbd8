#include "base/log.h"

#include <atomic>
#include <cmath>
#include <iterator>
#include <memory>

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "sgl/error.h"

namespace sgl::log {
namespace {

// The logger whose messages are members of a JSON object already.
constexpr const char* kWithFields = "sgl_fields";

// %v is a JSON string, or the members that write() has made.
class JsonPayload final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& to) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    std::string out;
    if (std::string_view(message.logger_name.data(), message.logger_name.size()) == kWithFields) {
      out = payload;
    } else {
      append_json_string(out, payload);
    }
    to.append(out.data(), out.data() + out.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonPayload>(); }
};

std::unique_ptr<spdlog::formatter> json_formatter() {
  auto out = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  out->add_flag<JsonPayload>('*').set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%*})");
  return out;
}

// How many bytes the well-formed UTF-8 character at the start of `s` has; 0: it is none.
size_t character_length(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((at(i) & 0xc0U) != 0x80) return 0;
  }
  const unsigned second = at(1);
  const bool too_long = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool no_character = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return too_long || no_character ? 0 : n;
}

// Of a character of one to three bytes; 0: it has more.
unsigned code_point(std::string_view character) {
  const auto bits = [&](size_t i) { return static_cast<unsigned char>(character[i]) & 0x3fU; };
  if (character.size() == 2) return (static_cast<unsigned char>(character[0]) & 0x1fU) << 6 | bits(1);
  if (character.size() == 3) return (static_cast<unsigned char>(character[0]) & 0x0fU) << 12 | bits(1) << 6 | bits(2);
  return character.size() == 1 ? static_cast<unsigned char>(character[0]) : 0;
}

// What is no text to a terminal or a reader of lines: the second control set, of which U+009B begins commands,
// separators of lines, and marks that turn the direction of what follows.
bool is_command(unsigned code) {
  return (code >= 0x80 && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

struct Loggers {
  std::shared_ptr<spdlog::sinks::stderr_color_sink_mt> sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  std::shared_ptr<spdlog::logger> plain = std::make_shared<spdlog::logger>("sgl", sink);
  std::shared_ptr<spdlog::logger> with_fields = std::make_shared<spdlog::logger>(kWithFields, sink);
  std::atomic<bool> json{false};
};

Loggers& loggers() {
  static Loggers all;
  return all;
}

}  // namespace

Level parse_level(const std::string& name) {
  const Level value = spdlog::level::from_str(name == "warning" ? "warn" : name);
  if (value == spdlog::level::off && name != "off") {
    throw Error(ErrorKind::InvalidArgument,
                fmt::format("log level must be debug, info, warn, error, critical or off, got \"{}\"", name));
  }
  return value;
}

void init(const std::string& level, const std::string& format) {
  const Level value = parse_level(level);
  if (format != "text" && format != "json") {
    throw Error(ErrorKind::InvalidArgument, fmt::format("log format must be text or json, got \"{}\"", format));
  }
  Loggers& all = loggers();
  all.json = format == "json";
  if (all.json) {
    all.sink->set_formatter(json_formatter());
  } else {
    all.sink->set_pattern("[%Y-%m-%d %H:%M:%S.%e] [%l] %v");
  }
  all.plain->set_level(value);
  all.with_fields->set_level(value);
  spdlog::set_default_logger(all.plain);
}

void write(Level level, std::string_view message, const Fields& fields) {
  auto* plain = spdlog::default_logger_raw();
  if (!plain->should_log(level)) return;
  if (!loggers().json) return plain->log(level, "{}{}", message, fields.text());
  std::string members;
  append_json_string(members, message);
  members += fields.json();
  loggers().with_fields->log(level, "{}", members);
}

Fields& Fields::add(std::string_view key, std::string_view text) {
  std::string quoted;
  append_json_string(quoted, text);
  fmt::format_to(std::back_inserter(json_), ",\"{}\":{}", key, quoted);
  // Bare where nothing in it could be taken for the next field.
  const bool bare =
      !text.empty() && text.find_first_of(" =\"\\") == std::string_view::npos && quoted.size() == text.size() + 2;
  fmt::format_to(std::back_inserter(text_), " {}={}", key, bare ? text : std::string_view(quoted));
  return *this;
}

Fields& Fields::add(std::string_view key, int64_t n) {
  fmt::format_to(std::back_inserter(json_), ",\"{}\":{}", key, n);
  fmt::format_to(std::back_inserter(text_), " {}={}", key, n);
  return *this;
}

Fields& Fields::add(std::string_view key, double x) {
  if (!std::isfinite(x)) return *this;
  fmt::format_to(std::back_inserter(json_), ",\"{}\":{}", key, x);
  fmt::format_to(std::back_inserter(text_), " {}={}", key, x);
  return *this;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const char c = text.front();
    const size_t n = character_length(text);
    if (n == 0) {
      out += "\xef\xbf\xbd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else if (const unsigned code = code_point(text.substr(0, n)); is_command(code)) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", code);
    } else {
      out += text.substr(0, n);
    }
    text.remove_prefix(n == 0 ? 1 : n);
  }
  out += '"';
}

}  // namespace sgl::log
