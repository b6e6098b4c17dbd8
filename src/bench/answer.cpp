#include "bench/answer.h"

#include <cstdint>

#include <fmt/format.h>
#include <simdjson.h>

namespace sgl::bench {
namespace {

using simdjson::dom::element;

/// The string at a JSON pointer, or "".
std::string_view text_at(element json, std::string_view pointer) {
  std::string_view text;
  return json.at_pointer(pointer).get(text) == simdjson::SUCCESS ? text : std::string_view();
}

void read_count(element json, std::string_view pointer, int& to) {
  int64_t n = 0;
  if (json.at_pointer(pointer).get(n) == simdjson::SUCCESS) to = static_cast<int>(n);
}

std::string shorten(std::string_view text) {
  return text.size() <= 200 ? std::string(text) : std::string(text.substr(0, 200)) + "…";
}

}  // namespace

struct EventReader::Parser {
  simdjson::dom::parser json;
};

EventReader::EventReader() : parser_(std::make_unique<Parser>()) {}
EventReader::~EventReader() = default;
EventReader::EventReader(EventReader&&) noexcept = default;
EventReader& EventReader::operator=(EventReader&&) noexcept = default;

void EventReader::read(std::string_view data, double now, Answer& answer) {
  if (data == "[DONE]") return;
  element json;
  if (parser_->json.parse(data.data(), data.size()).get(json) != simdjson::SUCCESS) {
    answer.error = fmt::format("the server sent what is no JSON: {}", shorten(data));
    return;
  }
  bool new_text = false;
  for (const char* pointer : {"/choices/0/text", "/choices/0/delta/content", "/choices/0/delta/reasoning_content",
                              "/choices/0/message/content"}) {
    const std::string_view text = text_at(json, pointer);
    new_text = new_text || !text.empty();
    answer.text += text;
  }
  if (new_text) answer.tokens_at.push_back(now);
  read_count(json, "/usage/prompt_tokens", answer.prompt_tokens);
  read_count(json, "/usage/completion_tokens", answer.output_tokens);
  read_count(json, "/usage/prompt_tokens_details/cached_tokens", answer.cached_tokens);
  element error;
  if (json.at_key("error").get(error) == simdjson::SUCCESS && !error.is_null()) {
    const std::string_view message = text_at(json, "/error/message");
    answer.error = shorten(message.empty() ? data : message);
  }
}

void EventReader::read_body(std::string_view body, double now, Answer& answer) {
  if (answer.status == 200 && !body.empty()) {
    read(body, now, answer);
    return;
  }
  Answer refusal;
  if (body.starts_with('{')) read(body, now, refusal);
  answer.error = fmt::format("status {}: {}", answer.status, refusal.error.empty() ? shorten(body) : refusal.error);
}

}  // namespace sgl::bench
