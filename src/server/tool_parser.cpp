#include "server/tool_parser.h"

#include <algorithm>

namespace sgl {

namespace {

// A call that breaks is read again behind its first byte, where there may be another that breaks at the same place: a
// text of some megabytes would take minutes. Beyond so much there are no more calls: the rest is text.
constexpr size_t kMostBrokenBytes = size_t{16} << 20;

}  // namespace

using Where = CallPattern::Where;
using Kind = AnswerPiece::Kind;

ToolParser::ToolParser(const ToolFormat& format, const std::vector<Tool>& tools, Options options)
    : format_(format), tools_(tools), options_(options) {
  for (const CallPattern& pattern : format.patterns) {
    if (pattern.after_name.empty()) {
      openings_.push_back({pattern.where, std::string(pattern.head), nullptr});
    } else {
      for (const Tool& tool : tools) {
        openings_.push_back(
            {pattern.where, std::string(pattern.head) + tool.name + std::string(pattern.after_name), &tool});
      }
    }
    if (pattern.where == Where::Anywhere) first_bytes_ += pattern.head.front();
  }
}

void ToolParser::push(std::string_view text, std::vector<AnswerPiece>& out) {
  held_.append(text);
  run(false, out);
}

void ToolParser::finish(std::vector<AnswerPiece>& out) { run(true, out); }

void ToolParser::run(bool ended, std::vector<AnswerPiece>& out) {
  while (!held_.empty()) {
    if (!(body_ != nullptr ? read_body(ended, out) : read_text(ended, out))) return;
  }
}

// False: it needs more text, or all of it has been given out.
bool ToolParser::read_text(bool ended, std::vector<AnswerPiece>& out) {
  if (behind_call_) {
    bool moved = false;
    if (!read_behind_call(ended, moved)) return false;
    if (moved) return true;
  }
  if (at_start_) {
    const TagMatch match = match_openings(Where::Start, 0);
    if (match == TagMatch::Yes) return true;
    if (match == TagMatch::Partial && !ended) return false;
    at_start_ = false;
  }
  size_t at = held_.view().find_first_of(first_bytes_);
  for (; at != std::string_view::npos; at = held_.view().find_first_of(first_bytes_, at + 1)) {
    const TagMatch match = match_openings(Where::Anywhere, at);
    if (match == TagMatch::No || (match == TagMatch::Partial && ended)) continue;
    // The white space before it is held, too: it is dropped with the tag.
    const size_t text = space_before(held_.view(), at);
    append_text(out, Kind::Content, held_.view().substr(0, text));
    held_.drop(text);
    opening_begin_ -= std::min(opening_begin_, text);
    body_begin_ -= std::min(body_begin_, text);
    return match == TagMatch::Yes;
  }
  const size_t text = ended ? held_.size() : space_before(held_.view(), held_.size());
  append_text(out, Kind::Content, held_.view().substr(0, text));
  held_.drop(text);
  return false;
}

// Drops tails, finds the next call. False: it needs more text. `moved`: there is something new to read.
bool ToolParser::read_behind_call(bool ended, bool& moved) {
  const size_t at = skip_space(held_.view());
  bool partial = at == held_.size();
  for (std::string_view tail : format_.tails) {
    size_t length = 0;
    const TagMatch match = match_tag(held_.view().substr(at), tail, length);
    if (match == TagMatch::Yes) {
      held_.drop(at + length);
      moved = true;
      return true;
    }
    partial = partial || match == TagMatch::Partial;
  }
  for (auto [where, from] : {std::pair(Where::AfterCall, size_t{0}), std::pair(Where::Anywhere, at)}) {
    const TagMatch match = match_openings(where, from);
    if (match == TagMatch::Yes) {
      moved = true;
      return true;
    }
    partial = partial || match == TagMatch::Partial;
  }
  if (partial && !ended) return false;
  behind_call_ = false;
  if (at == held_.size()) held_.drop(at);  // white space at the end
  moved = held_.empty();
  return true;
}

// Begins the body of the opening that stands at `at`.
TagMatch ToolParser::match_openings(Where where, size_t at) {
  if (broken_bytes_ > kMostBrokenBytes) return TagMatch::No;
  TagMatch best = TagMatch::No;
  for (const Opening& opening : openings_) {
    if (opening.where != where) continue;
    size_t length = 0;
    const TagMatch match = match_tag(held_.view().substr(at), opening.tag, length);
    if (match == TagMatch::Yes) {
      begin_body(opening, at, length);
      return match;
    }
    if (match == TagMatch::Partial) best = match;
  }
  return best;
}

void ToolParser::begin_body(const Opening& opening, size_t begin, size_t length) {
  body_ = make_call_reader(format_.body, opening.tool);
  where_ = opening.where;
  opening_begin_ = begin;
  body_begin_ = begin + length;
  call_sent_ = false;
  sent_ = 0;
}

bool ToolParser::is_tool(const std::string& name) const {
  return std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
}

bool ToolParser::read_body(bool ended, std::vector<AnswerPiece>& out) {
  Scan result = body_->scan(held_.view().substr(body_begin_));
  if (result == Scan::Done && !is_tool(body_->name())) result = Scan::Broken;
  // Also what stands before a wrong byte: had it come by itself, it would have been given out.
  const bool certain = options_.constrained && calls_ == 0 && result != Scan::Done && is_tool(body_->name());
  if (result == Scan::Done || certain) send_call(out);

  if (result == Scan::More && !ended) return false;
  if (!call_sent_ && result == Scan::Broken) {
    give_back(out);
    return true;
  }
  if (!call_sent_ && result == Scan::More) {  // cut off in the middle
    append_text(out, Kind::Content, held_.view());
    held_.drop(held_.size());
  } else {
    // Also where a call that has been given out turned out broken: it ends there.
    held_.drop(result == Scan::More ? held_.size() : body_begin_ + body_->position());
    behind_call_ = true;
    at_start_ = false;
    if (call_sent_) ++calls_;
    if (result != Scan::Done) cut_off_ = true;
  }
  body_.reset();
  return true;
}

// What is known of the call and has not been given out.
void ToolParser::send_call(std::vector<AnswerPiece>& out) {
  const std::string& arguments = body_->arguments();
  if (arguments.empty()) return;
  if (!call_sent_) out.push_back({Kind::Call, body_->name(), calls_});
  call_sent_ = true;
  append_text(out, Kind::Arguments, std::string_view(arguments).substr(sent_), calls_);
  sent_ = arguments.size();
}

// The opening was none. What comes behind its first byte is read again.
void ToolParser::give_back(std::vector<AnswerPiece>& out) {
  broken_bytes_ += body_->position();
  body_.reset();
  switch (where_) {
    case Where::Start:
      at_start_ = false;
      break;
    case Where::AfterCall:
      behind_call_ = false;
      break;
    case Where::Anywhere:
      behind_call_ = at_start_ = false;
      append_text(out, Kind::Content, held_.view().substr(0, opening_begin_ + 1));
      held_.drop(opening_begin_ + 1);
      break;
  }
}

std::vector<AnswerPiece> parse_tool_calls(const ToolFormat& format, const std::vector<Tool>& tools,
                                          std::string_view text) {
  std::vector<AnswerPiece> out;
  ToolParser parser(format, tools, {});
  parser.push(text, out);
  parser.finish(out);
  return out;
}

}  // namespace sgl
