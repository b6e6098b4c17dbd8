// Python's character classes and case mapping on top of utf8proc, which knows the simple mappings only: what the
// Unicode data files call special casing, and properties that are not general categories, are tables here.

#include "text/jinja_unicode.h"

#include <algorithm>
#include <iterator>

#include <utf8proc.h>

#include "text/jinja_unicode_tables.h"
#include "text/unicode.h"

namespace sgl::jinja {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

template <size_t n>
bool in_ranges(const Range (&ranges)[n], char32_t c) {
  const Range* r = std::lower_bound(ranges, ranges + n, c, [](const Range& a, char32_t x) { return a.last < x; });
  return r != ranges + n && r->first <= c;
}

const SpecialCase* special_case(char32_t c) {
  if (c < kSpecialCases[0].code) return nullptr;
  const SpecialCase* end = std::end(kSpecialCases);
  const SpecialCase* s =
      std::lower_bound(std::begin(kSpecialCases), end, c, [](const SpecialCase& a, char32_t x) { return a.code < x; });
  return s != end && s->code == c ? s : nullptr;
}

void append_mapped(std::string& out, const char32_t (&mapped)[3]) {
  for (char32_t m : mapped) {
    if (m != 0) append_utf8(out, m);
  }
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCase* s = special_case(c)) return append_mapped(out, s->upper);
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (const SpecialCase* s = special_case(c)) return append_mapped(out, s->title);
  append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

// Characters that do not end a word when one looks for its last letter (Case_Ignorable).
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return in_ranges(kMidLetter, c);
  }
}

// Whether the Σ at [at, at + 2) ends a word: a cased letter before it, none after it, case-ignorable ones skipped
// (Unicode, table 3-17, Final_Sigma). The scans are bounded: a run of a million ignorable characters is no word.
bool is_final_sigma(std::string_view text, size_t at) {
  constexpr int kMaxScan = 256;
  bool before = false;
  size_t i = at;
  for (int n = 0; i > 0 && n < kMaxScan; ++n) {
    Utf8Char c = decode_utf8_before(text, i);
    if (!is_case_ignorable(c.code)) {
      before = is_cased(c.code);
      break;
    }
    i -= c.size;
  }
  if (!before) return false;
  i = at + 2;
  for (int n = 0; i < text.size() && n < kMaxScan; ++n) {
    Utf8Char c = decode_utf8(text, i);
    if (!is_case_ignorable(c.code)) return !is_cased(c.code);
    i += c.size;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t at, char32_t c) {
  if (c == 0x3A3) return append_utf8(out, is_final_sigma(text, at) ? 0x3C2 : 0x3C3);
  if (c == 0x130) {  // the only one whose lower case is two characters
    append_utf8(out, 'i');
    return append_utf8(out, 0x307);
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

// Calls f(out, position, character) for each character and returns what it appended.
template <typename F>
std::string map_chars(std::string_view text, F f) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    Utf8Char c = decode_utf8(text, i);
    f(out, i, c.code);
    i += c.size;
  }
  return out;
}

template <typename Pred>
std::string_view strip_if(std::string_view text, Ends ends, Pred drop) {
  size_t begin = 0, end = text.size();
  while (ends.left && begin < end) {
    Utf8Char c = decode_utf8(text, begin);
    if (!drop(c.code)) break;
    begin += c.size;
  }
  while (ends.right && begin < end) {
    Utf8Char c = decode_utf8_before(text, end);
    if (!drop(c.code)) break;
    end -= c.size;
  }
  return text.substr(begin, end - begin);
}

}  // namespace

size_t length(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t char_size(std::string_view text, size_t at) {
  auto b = static_cast<unsigned char>(text[at]);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t at = 0;
  while (index > 0 && at < text.size()) {
    at += char_size(text, at);
    --index;
  }
  return at;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) {
  utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(char32_t c) { return is_decimal(c) || in_ranges(kOtherDigit, c); }
bool is_numeric(char32_t c) {
  utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO ||
         in_ranges(kOtherNumeric, c);
}
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL || in_ranges(kOtherLower, c); }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU || in_ranges(kOtherUpper, c); }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }
bool is_word(char32_t c) { return c == '_' || is_alpha(c) || is_numeric(c); }

bool is_identifier(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    Utf8Char c = decode_utf8(text, i);
    utf8proc_category_t k = category(c.code);
    bool start = c.code == '_' || is_alpha(c.code) || k == UTF8PROC_CATEGORY_NL;
    bool more = k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ND ||
                k == UTF8PROC_CATEGORY_PC || c.code == 0xB7;
    if (!start && (i == 0 || !more)) return false;
    i += c.size;
  }
  return !text.empty();
}

std::string to_upper(std::string_view text) {
  return map_chars(text, [](std::string& out, size_t, char32_t c) { append_upper(out, c); });
}

std::string to_lower(std::string_view text) {
  return map_chars(text, [&](std::string& out, size_t at, char32_t c) { append_lower(out, text, at, c); });
}

std::string to_title(std::string_view text) {
  bool in_word = false;
  return map_chars(text, [&](std::string& out, size_t at, char32_t c) {
    in_word ? append_lower(out, text, at, c) : append_title(out, c);
    in_word = is_cased(c);
  });
}

std::string swap_case(std::string_view text) {
  return map_chars(text, [&](std::string& out, size_t at, char32_t c) {
    if (is_upper(c)) {
      append_lower(out, text, at, c);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_utf8(out, c);
    }
  });
}

std::string capitalize(std::string_view text) {
  return map_chars(text, [&](std::string& out, size_t at, char32_t c) {
    at == 0 ? append_title(out, c) : append_lower(out, text, at, c);
  });
}

std::string case_fold(std::string_view text) {
  return map_chars(text, [](std::string& out, size_t, char32_t c) {
    utf8proc_int32_t folded[4];
    int last_boundclass = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 4, UTF8PROC_CASEFOLD, &last_boundclass);
    for (utf8proc_ssize_t i = 0; i < n; ++i) append_utf8(out, static_cast<char32_t>(folded[i]));
  });
}

std::string_view strip(std::string_view text, Ends ends) { return strip_if(text, ends, is_space); }

std::string_view strip(std::string_view text, std::string_view chars, Ends ends) {
  return strip_if(text, ends, [&](char32_t c) {
    std::string bytes;
    append_utf8(bytes, c);
    return chars.find(bytes) != std::string_view::npos;  // in valid UTF-8 a whole character is found only as one
  });
}

}  // namespace sgl::jinja
