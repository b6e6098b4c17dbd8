// UTF-8, and character classes from utf8proc (Unicode 15) corrected by the measured differences in unicode_delta.h.

#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include <simdjson.h>
#include <utf8proc.h>

#include "text/unicode_delta.h"

namespace sgl {
namespace {

using unicode_delta::Range;

template <typename R, size_t n>
const R* find_range(const R (&ranges)[n], char32_t code) {
  const R* r = std::lower_bound(ranges, ranges + n, code, [](const R& a, char32_t c) { return a.last < c; });
  return r != ranges + n && r->first <= code ? r : nullptr;
}

// The two letters of the general category in Unicode 16, e.g. "Lu".
const char* category(char32_t code) {
  const char* known = utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
  if (known[0] != 'C' || known[1] != 'n') return known;
  const auto* newer = find_range(unicode_delta::kNewer, code);
  return newer != nullptr ? newer->category : known;
}

// One byte for each ASCII character: its classes as bits.
enum : uint8_t { kLetter = 1, kNumber = 2, kSpace = 4, kWord = 8, kPunctuation = 16 };

constexpr std::array<uint8_t, 128> make_ascii_classes() {
  std::array<uint8_t, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), number = c >= '0' && c <= '9';
    bool space = c == ' ' || (c >= 9 && c <= 13);
    uint8_t bits = letter ? kLetter | kWord : number ? kNumber | kWord : space ? kSpace : 0;
    if (c == '_') bits |= kWord;
    if (c > 32 && c < 127 && !letter && !number) bits |= kPunctuation;
    classes[static_cast<size_t>(c)] = bits;
  }
  return classes;
}
constexpr std::array<uint8_t, 128> kAscii = make_ascii_classes();

// Bytes of the well-formed beginning of a character at `at` (at least 1), and whether the character is whole.
// The ranges of second bytes are Unicode 15, table 3-7.
struct Prefix {
  size_t size;
  bool whole;
};
Prefix char_prefix(std::string_view text, size_t at) {
  auto b = static_cast<unsigned char>(text[at]);
  if (b < 0x80) return {1, true};
  size_t length = b >= 0xC2 && b <= 0xDF ? 2 : b >= 0xE0 && b <= 0xEF ? 3 : b >= 0xF0 && b <= 0xF4 ? 4 : 0;
  if (length == 0) return {1, false};
  unsigned char low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80, high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
  size_t n = 1;
  for (; n < length && at + n < text.size(); ++n) {
    auto next = static_cast<unsigned char>(text[at + n]);
    if (next < low || next > high) break;
    low = 0x80, high = 0xBF;
  }
  return {n, n == length};
}

}  // namespace

Utf8Char decode_utf8_before(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return decode_utf8(text, start);
}

void append_utf8(std::string& out, char32_t code) {
  auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

std::string to_valid_utf8(std::string_view text) {
  if (is_valid_utf8(text)) return std::string(text);
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t i = 0; i < text.size();) {
    Prefix p = char_prefix(text, i);
    out += p.whole ? text.substr(i, p.size) : kReplacementCharacter;
    i += p.size;
  }
  return out;
}

size_t incomplete_utf8_tail(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(3, text.size()); ++n) {
    auto b = static_cast<unsigned char>(text[text.size() - n]);
    if ((b & 0xC0) == 0x80) continue;  // not the first byte of its character
    Prefix p = char_prefix(text, text.size() - n);
    return b >= 0xC2 && b <= 0xF4 && !p.whole && p.size == n ? n : 0;
  }
  return 0;
}

bool is_letter(char32_t code) { return code < 128 ? (kAscii[code] & kLetter) != 0 : category(code)[0] == 'L'; }

bool is_number(char32_t code) { return code < 128 ? (kAscii[code] & kNumber) != 0 : category(code)[0] == 'N'; }

bool is_space(char32_t code) {
  if (code < 128) return (kAscii[code] & kSpace) != 0;
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

// Alphabetic, \p{M}, \p{Nd}, \p{Pc} and the two joiners (UTS #18, annex C).
bool is_word(char32_t code) {
  if (code < 128) return (kAscii[code] & kWord) != 0;
  const char* k = category(code);
  if (k[0] == 'L' || k[0] == 'M') return true;
  if ((k[0] == 'N' && k[1] != 'o') || (k[0] == 'P' && k[1] == 'c')) return true;
  bool circled_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                        (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return circled_letter || code == 0x200C || code == 0x200D;
}

bool is_numeric(char32_t code) {
  return is_number(code) || (code >= 128 && find_range(unicode_delta::kNewerNumeric, code) != nullptr);
}

bool is_bert_punctuation(char32_t code) {
  if (code < 128) return (kAscii[code] & kPunctuation) != 0;
  if (code == 0x166D || code == 0x111C9) return true;  // punctuation in Unicode 8, not any more
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(code))[0] == 'P' &&
         find_range(unicode_delta::kBertUnknown, code) == nullptr;
}

bool is_bert_control(char32_t code) {
  const char* k = utf8proc_category_string(static_cast<utf8proc_int32_t>(code));
  return k[0] == 'C' && (k[1] == 'c' || k[1] == 'f' || k[1] == 'o') &&
         find_range(unicode_delta::kBertUnknown, code) == nullptr;
}

bool is_bert_accent(char32_t code) {
  if (code == 0x1734) return true;  // a nonspacing mark in Unicode 8
  return utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_MN &&
         find_range(unicode_delta::kBertUnknown, code) == nullptr;
}

bool is_chinese(char32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
         (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

bool is_combining_mark(char32_t code) {
  if (code < 0x300) return false;
  if (code == 0x1CF2 || code == 0x1CF3) return true;  // letters since Unicode 12
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(code))[0] == 'M' &&
         find_range(unicode_delta::kFormUnknown, code) == nullptr;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_char(text, [&](char32_t code, uint32_t) {
    if (code < 128) {
      out.push_back(static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code));
    } else if (code == 0x130) {  // İ is the only one that becomes two characters
      out += "i\xCC\x87";
    } else if (const auto* newer = find_range(unicode_delta::kNewerLower, code)) {
      append_utf8(out, static_cast<char32_t>(static_cast<int64_t>(code) + newer->shift));
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
    }
  });
  return out;
}

std::vector<std::pair<char32_t, char32_t>> newer_in_category(std::string_view name) {
  std::vector<std::pair<char32_t, char32_t>> out;
  for (const auto& r : unicode_delta::kNewer) {
    if (std::string_view(r.category).substr(0, name.size()) == name) out.emplace_back(r.first, r.last);
  }
  return out;
}

}  // namespace sgl
