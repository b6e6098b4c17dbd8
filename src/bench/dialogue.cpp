#include "bench/dialogue.h"

#include <utility>

#include <fmt/format.h>

#include "server/json_writer.h"

namespace sgl::bench {

Dialogue::Dialogue(bool chat, std::string prefix) : chat_(chat), text_(std::move(prefix)) {}

void Dialogue::user(const std::string& text) {
  if (!text_.empty()) text_ += ' ';
  text_ += text;
  if (chat_) message("user", std::exchange(text_, ""));
}

void Dialogue::assistant(const std::string& text) {
  if (chat_) {
    message("assistant", text);
  } else {
    text_ += text;
  }
}

std::string Dialogue::field() const {
  if (chat_) return "\"messages\":[" + messages_ + "]";
  std::string out = "\"prompt\":";
  append_json_string(out, text_);
  return out;
}

void Dialogue::message(const char* role, const std::string& text) {
  messages_ += fmt::format("{}{{\"role\":\"{}\",\"content\":", messages_.empty() ? "" : ",", role);
  append_json_string(messages_, text);
  messages_ += '}';
}

}  // namespace sgl::bench
