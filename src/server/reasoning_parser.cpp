#include "server/reasoning_parser.h"

#include <algorithm>

#include "server/tag_text.h"

namespace sgl {
namespace {

struct Row {
  const char* name;
  const char* begin;
  const char* end;
  bool begins_inside;
};
constexpr Row kRows[] = {
    {"deepseek-r1", "<think>", "</think>", true}, {"deepseek-v3", "<think>", "</think>", false},
    {"glm45", "<think>", "</think>", false},      {"interns1", "<think>", "</think>", false},
    {"kimi", "◁think▷", "◁/think▷", false},       {"kimi_k2", "<think>", "</think>", false},
    {"minimax", "<think>", "</think>", true},     {"mistral", "[THINK]", "[/THINK]", false},
    {"qwen3", "<think>", "</think>", false},      {"qwen3-thinking", "<think>", "</think>", true},
    {"step3", "<think>", "</think>", true},
};

}  // namespace

std::optional<ReasoningTags> find_reasoning_tags(std::string_view name) {
  for (const Row& row : kRows) {
    if (name == row.name) return ReasoningTags{row.begin, row.end, row.begins_inside, row.begin[0] == '['};
  }
  const size_t comma = name.find(',');
  if (comma == std::string_view::npos || comma == 0 || comma + 1 == name.size()) return std::nullopt;
  return ReasoningTags{std::string(name.substr(0, comma)), std::string(name.substr(comma + 1))};
}

std::vector<std::string> reasoning_parser_names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

void ReasoningParser::push(std::string_view text, std::vector<AnswerPiece>& out, std::string& answer) {
  if (at_ == At::Answer) {
    answer += text;
    return;
  }
  held_ += text;
  run(false, out, answer);
}

void ReasoningParser::finish(std::vector<AnswerPiece>& out, std::string& answer) { run(true, out, answer); }

void ReasoningParser::run(bool ended, std::vector<AnswerPiece>& out, std::string& answer) {
  bool go_on = true;
  while (go_on && !held_.empty()) {
    switch (at_) {
      case At::Start:
        go_on = read_start(ended);
        break;
      case At::BeforeThinking:
      case At::BeforeAnswer:
        held_.erase(0, skip_space(held_));
        if (!held_.empty()) at_ = at_ == At::BeforeThinking ? At::Thinking : At::Answer;
        break;
      case At::Thinking:
        go_on = read_thinking(ended, out);
        break;
      case At::Answer:
        answer += held_;
        held_.clear();
        break;
    }
  }
}

// False: it needs more text.
bool ReasoningParser::read_start(bool ended) {
  const size_t at = skip_space(held_);
  size_t length = 0;
  const TagMatch match = match_tag(std::string_view(held_).substr(at), format_.begin, length);
  if (match == TagMatch::Partial && !ended) return false;
  if (match == TagMatch::Yes) held_.erase(0, at + length);
  at_ = match == TagMatch::Yes || format_.begins_inside ? At::BeforeThinking : At::Answer;
  return true;
}

bool ReasoningParser::read_thinking(bool ended, std::vector<AnswerPiece>& out) {
  const std::string_view text = held_;
  size_t tag = text.find(format_.end);
  const bool found = tag != std::string_view::npos;
  if (!found) {  // what the text ends with may be the tag's beginning
    tag = ended ? text.size() : text.size() - std::min(text.size(), format_.end.size() - 1);
    while (!format_.end.starts_with(text.substr(tag))) ++tag;
  }
  const size_t end = space_before(text, tag);
  append_text(out, AnswerPiece::Kind::Reasoning, text.substr(0, end));
  held_.erase(0, found ? tag + format_.end.size() : end);
  if (found) at_ = At::BeforeAnswer;
  if (ended && !found) held_.clear();  // white space
  return found;
}

}  // namespace sgl
