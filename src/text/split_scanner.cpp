#include "text/split_scanner.h"

#include <array>

#include "text/unicode.h"

namespace sgl {
namespace {

// What the patterns tell apart. A newline is \r or \n; Space is all other \s.
enum class Kind : unsigned char { Letter, Number, Space, Newline, Other };

constexpr std::array<Kind, 128> make_ascii_kinds() {
  std::array<Kind, 128> kinds{};
  for (size_t c = 0; c < 128; ++c) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    kinds[c] = letter                            ? Kind::Letter
               : c >= '0' && c <= '9'            ? Kind::Number
               : c == '\r' || c == '\n'          ? Kind::Newline
               : c == ' ' || (c >= 9 && c <= 13) ? Kind::Space
                                                 : Kind::Other;
  }
  return kinds;
}
constexpr std::array<Kind, 128> kAsciiKinds = make_ascii_kinds();

struct Look {
  Kind kind;
  size_t end;
};

// The character at `at`. Requires: at < text.size().
inline Look look(std::string_view text, size_t at) {
  auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 128) return {kAsciiKinds[byte], at + 1};
  Utf8Char c = decode_utf8(text, at);
  Kind kind = is_space(c.code)    ? Kind::Space
              : is_letter(c.code) ? Kind::Letter
              : is_number(c.code) ? Kind::Number
                                  : Kind::Other;
  return {kind, at + c.size};
}

// End of the run of `kind` from `at`, of at most `limit` characters.
size_t run_end(std::string_view text, size_t at, Kind kind, size_t limit = SIZE_MAX) {
  for (; at < text.size() && limit > 0; --limit) {
    Look l = look(text, at);
    if (l.kind != kind) break;
    at = l.end;
  }
  return at;
}

// End of 's, 't, 're, 've, 'm, 'll or 'd at `at`, where an apostrophe stands; 0 if there is none.
// Ignoring case, the long s (ſ, U+017F) is an s as well.
size_t contraction_end(std::string_view text, size_t at, bool ignore_case) {
  auto letter = [&](size_t i) {
    char c = i < text.size() ? text[i] : '\0';
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  char first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) {
    return at + 3;
  }
  if (ignore_case && first == '\xC5' && second == '\xBF') return at + 3;
  return 0;
}

// A run of white space that begins at `at`:  \s*[\r\n]+  (if `newlines`), else  \s+(?!\S)  else  \s+ .
//     "  \n \n  x":  newlines → up to the last \n;  not → all but the last space, which belongs to the next word.
size_t space_end(std::string_view text, size_t at, bool newlines) {
  size_t end = at, last = at, newline_end = 0;
  while (end < text.size()) {
    Look l = look(text, end);
    if (l.kind != Kind::Space && l.kind != Kind::Newline) break;
    last = end;
    end = l.end;
    if (l.kind == Kind::Newline) newline_end = end;
  }
  if (newlines && newline_end != 0) return newline_end;
  return end == text.size() || last == at ? end : last;
}

size_t scan_gpt2(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (size_t end = contraction_end(text, at, false)) return end;
  }
  bool spaced = text[at] == ' ' && at + 1 < text.size();  // " ?" before a word of any kind
  Look first = look(text, spaced ? at + 1 : at);
  if (first.kind == Kind::Space || first.kind == Kind::Newline) return space_end(text, at, false);
  return run_end(text, first.end, first.kind);
}

size_t scan_llama3(std::string_view text, size_t at, size_t max_digits) {
  if (text[at] == '\'') {
    if (size_t end = contraction_end(text, at, true)) return end;
  }
  Look first = look(text, at);
  if (first.kind == Kind::Letter) return run_end(text, first.end, Kind::Letter);
  if (first.kind == Kind::Number) return run_end(text, first.end, Kind::Number, max_digits - 1);
  bool more = first.end < text.size();
  Look second = more ? look(text, first.end) : Look{Kind::Newline, first.end};
  if (first.kind != Kind::Newline && second.kind == Kind::Letter) return run_end(text, second.end, Kind::Letter);
  bool spaced = text[at] == ' ' && second.kind == Kind::Other;
  if (first.kind == Kind::Other || spaced) {
    return run_end(text, run_end(text, first.end, Kind::Other), Kind::Newline);
  }
  return space_end(text, at, true);
}

}  // namespace

std::string_view regex_of(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::Gpt2:
      return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    case SplitPattern::Llama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case SplitPattern::Qwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  }
  return {};
}

std::optional<SplitPattern> known_split_pattern(std::string_view regex) {
  for (SplitPattern p : {SplitPattern::Gpt2, SplitPattern::Llama3, SplitPattern::Qwen2}) {
    if (regex == regex_of(p)) return p;
  }
  return std::nullopt;
}

size_t scan_piece(SplitPattern pattern, std::string_view text, size_t at) {
  switch (pattern) {
    case SplitPattern::Gpt2:
      return scan_gpt2(text, at);
    case SplitPattern::Llama3:
      return scan_llama3(text, at, 3);
    case SplitPattern::Qwen2:
      return scan_llama3(text, at, 1);
  }
  return text.size();
}

}  // namespace sgl
