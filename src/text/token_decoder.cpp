#include "text/token_decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace sgl {
namespace {

using Kind = DecodeStep::Kind;

// The byte of "<0xE2>".
std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (token[3] == '+' && digit(token[4]) >= 0) return static_cast<char>(digit(token[4]));  // Rust reads "+5" as 5
  if (digit(token[3]) < 0 || digit(token[4]) < 0) return std::nullopt;
  return static_cast<char>(digit(token[3]) * 16 + digit(token[4]));
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  size_t copied = 0;
  for (size_t at = 0; !what.empty() && (at = text.find(what, at)) != std::string_view::npos; at += what.size()) {
    out += text.substr(copied, at - copied);
    out += with;
    copied = at + what.size();
  }
  out += text.substr(copied);
  return out;
}

std::string replace_matches(std::string_view text, const Pattern& pattern, std::string_view with) {
  std::string out;
  size_t copied = 0;
  pattern.for_each_match(text, [&](size_t begin, size_t end) {
    out += text.substr(copied, begin - copied);
    out += with;
    copied = end;
  });
  out += text.substr(copied);
  return out;
}

// What the reference's WordPiece decoder does to each token.
std::string clean_up(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  if (text.find(' ') == std::string::npos) return text;
  for (auto [what, with] : kRules) text = replace_all(text, what, with);
  return text;
}

std::string word_piece(const DecodeStep& step, std::string_view token, bool first) {
  std::string out;
  if (first) {
    out = token;
  } else if (!step.text.empty() && token.starts_with(step.text)) {
    out = token.substr(step.text.size());
  } else {
    out.push_back(' ');
    out += token;
  }
  return step.flag ? clean_up(std::move(out)) : out;
}

// Cuts up to `start` and `stop` times `what`, a character, from the ends.
std::string_view strip(std::string_view token, const DecodeStep& step) {
  for (size_t i = 0; i < step.start && token.starts_with(step.text); ++i) token.remove_prefix(step.text.size());
  for (size_t i = 0; i < step.stop && token.ends_with(step.text); ++i) token.remove_suffix(step.text.size());
  return token;
}

// Steps that, once tokens are fused, need the whole text before they can say anything.
bool needs_whole_text(const DecodeStep& step) {
  if (!step.fused) return false;
  bool regex = step.kind == Kind::Replace && !step.pattern->literal_text();
  return regex || step.kind == Kind::ByteLevel || step.kind == Kind::ByteFallback || step.kind == Kind::WordPiece ||
         step.kind == Kind::BpeSuffix;
}

}  // namespace

TokenDecoder::TokenDecoder(std::vector<DecodeStep> steps) : steps_(std::move(steps)) {
  bool fused = false;
  for (DecodeStep& step : steps_) {
    step.fused = fused;
    fused |= step.kind == Kind::Fuse || step.kind == Kind::ByteLevel;  // the byte-level decoder gives one text
  }
}

std::string TokenDecoder::token_bytes(std::string_view spelling) const {
  std::string text(spelling);
  for (const DecodeStep& step : steps_) {
    switch (step.kind) {
      case Kind::ByteLevel:
        return spelling_to_bytes(text);
      case Kind::ByteFallback:
        if (auto byte = byte_of_token(text)) return std::string(1, *byte);
        break;
      case Kind::Metaspace:
        text = replace_all(text, step.text, " ");
        break;
      case Kind::Replace:
        text = replace_matches(text, *step.pattern, step.text);
        break;
      case Kind::Strip:
        if (!step.fused) text = std::string(strip(text, step));
        break;
      case Kind::WordPiece:
        text = word_piece(step, text, false);
        break;
      case Kind::BpeSuffix:
        text = replace_all(text, step.text, " ");
        break;
      case Kind::Spaced:
        text.insert(text.begin(), ' ');
        break;
      case Kind::Fuse:
        break;
    }
  }
  return text;
}

void DecodeStream::feed(size_t index, std::string_view token, std::string& out) {
  if (index == steps_.size()) {
    out += token;
    return;
  }
  const DecodeStep& step = steps_[index];
  State& state = states_[index];
  bool first = !std::exchange(state.any, true);
  if (needs_whole_text(step)) {
    state.held += token;
    return;
  }
  switch (step.kind) {
    case Kind::ByteLevel:
      return feed_bytes(index, spelling_to_bytes(token), out);
    case Kind::ByteFallback:
      return feed_fallback(index, token, out);
    case Kind::Fuse:
      return feed(index + 1, token, out);
    case Kind::Metaspace: {
      bool drop = step.flag && (first || step.fused);  // fused tokens are all part of the first
      return feed(index + 1, replace_all(token, step.text, drop ? "" : " "), out);
    }
    case Kind::Replace:
      if (step.fused) return feed_replace(index, token, out);
      return feed(index + 1, replace_matches(token, *step.pattern, step.text), out);
    case Kind::Strip:
      if (step.fused) return feed_strip(index, token, out);
      return feed(index + 1, strip(token, step), out);
    case Kind::WordPiece:
      return feed(index + 1, word_piece(step, token, first), out);
    case Kind::BpeSuffix:
      if (!first) feed(index + 1, replace_all(state.held, step.text, " "), out);
      state.held = token;
      return;
    case Kind::Spaced:
      return feed(index + 1, first ? std::string(token) : std::string(1, ' ').append(token), out);
  }
}

// Whole characters go on; the beginning of one waits for its rest.
void DecodeStream::feed_bytes(size_t index, std::string_view bytes, std::string& out) {
  std::string& held = states_[index].held;
  held += bytes;
  size_t tail = incomplete_utf8_tail(held);
  std::string rest = held.substr(held.size() - tail);
  held.resize(held.size() - tail);
  std::string text = std::exchange(held, std::move(rest));
  if (!text.empty()) feed(index + 1, to_valid_utf8(text), out);
}

// A run of byte tokens is text if all of it is valid, else one U+FFFD for each byte. So a run waits for its end, or
// for the first byte that spoils it.
void DecodeStream::feed_fallback(size_t index, std::string_view token, std::string& out) {
  State& state = states_[index];
  std::optional<char> byte = byte_of_token(token);
  if (!byte) {
    end_byte_run(index, out);
    return feed(index + 1, token, out);
  }
  if (state.broken) return feed(index + 1, kReplacementCharacter, out);
  state.held += *byte;
  std::string_view last = std::string_view(state.held).substr(state.count);
  if (incomplete_utf8_tail(last) == last.size()) return;
  if (is_valid_utf8(last)) {
    state.count = state.held.size();
    return;
  }
  state.broken = true;
  for (size_t i = 0; i < state.held.size(); ++i) feed(index + 1, kReplacementCharacter, out);
  state.held.clear();
  state.count = 0;
}

void DecodeStream::end_byte_run(size_t index, std::string& out) {
  State& state = states_[index];
  std::string run = std::exchange(state.held, {});
  bool whole = std::exchange(state.count, 0) == run.size();
  state.broken = false;
  if (whole && !run.empty()) return feed(index + 1, run, out);
  for (size_t i = 0; i < run.size(); ++i) feed(index + 1, kReplacementCharacter, out);
}

// Strip over fused tokens: the first characters of the text go at once, what may be its last ones waits.
void DecodeStream::feed_strip(size_t index, std::string_view part, std::string& out) {
  const DecodeStep& step = steps_[index];
  State& state = states_[index];
  while (state.count < step.start && part.starts_with(step.text)) {
    part.remove_prefix(step.text.size());
    ++state.count;
  }
  if (part.empty()) return;
  state.count = step.start;
  std::string text = std::exchange(state.held, {});
  text += part;
  size_t kept = text.size();
  for (size_t i = 0; i < step.stop && std::string_view(text).substr(0, kept).ends_with(step.text); ++i) {
    kept -= step.text.size();
  }
  state.held = text.substr(kept);
  text.resize(kept);
  if (!text.empty()) feed(index + 1, text, out);
}

// Replace over fused tokens: what may be the beginning of the replaced string waits.
void DecodeStream::feed_replace(size_t index, std::string_view part, std::string& out) {
  const DecodeStep& step = steps_[index];
  State& state = states_[index];
  std::string_view what = *step.pattern->literal_text();
  std::string text = std::exchange(state.held, {});
  text += part;
  std::string done;
  size_t copied = 0;
  for (size_t at = 0; !what.empty() && (at = text.find(what, at)) != std::string::npos; at += what.size()) {
    done.append(text, copied, at - copied);
    done += step.text;
    copied = at + what.size();
  }
  size_t wait = std::min(what.empty() ? 0 : what.size() - 1, text.size() - copied);
  while (wait > 0 && !what.starts_with(std::string_view(text).substr(text.size() - wait))) --wait;
  done.append(text, copied, text.size() - wait - copied);
  state.held = text.substr(text.size() - wait);
  if (!done.empty()) feed(index + 1, done, out);
}

void DecodeStream::finish(std::string& out) {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const DecodeStep& step = steps_[i];
    State& state = states_[i];
    if (step.kind == Kind::ByteFallback && !step.fused) {
      end_byte_run(i, out);
      continue;
    }
    if (!state.any) continue;
    std::string held = std::exchange(state.held, {});
    switch (step.kind) {
      case Kind::ByteLevel:
        if (step.fused) held = spelling_to_bytes(held);
        if (!held.empty()) feed(i + 1, to_valid_utf8(held), out);
        break;
      case Kind::ByteFallback:
        if (auto byte = byte_of_token(held)) held = to_valid_utf8({&*byte, 1});
        feed(i + 1, held, out);
        break;
      case Kind::Replace:
        if (step.fused) feed(i + 1, replace_matches(held, *step.pattern, step.text), out);
        break;
      case Kind::WordPiece:
        if (step.fused) feed(i + 1, word_piece(step, held, true), out);
        break;
      case Kind::BpeSuffix:
        feed(i + 1, replace_all(held, step.text, ""), out);
        break;
      default:
        break;
    }
  }
}

void DecodeStream::forget_complete_text() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    bool bytes = steps_[i].kind == Kind::ByteLevel || steps_[i].kind == Kind::ByteFallback;
    std::string& held = states_[i].held;
    held.erase(0, bytes && !steps_[i].fused ? held.size() - incomplete_utf8_tail(held) : held.size());
    if (steps_[i].kind == Kind::ByteFallback) states_[i].count = 0, states_[i].broken = false;
  }
}

}  // namespace sgl
