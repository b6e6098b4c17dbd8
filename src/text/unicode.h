#pragma once
// UTF-8 and the properties of characters, as the reference tokenizers see them.
//
// Tokenizers cut text by character classes, and token ids change when the classes do. The reference package was built
// with several versions of Unicode; every function here says which one it follows (the differences: unicode_delta.h).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sgl {

struct Utf8Char {
  char32_t code;
  uint32_t size;  ///< bytes, 1 to 4
};

/// The character at `at`. Requires: `text` is valid UTF-8 and `at` is the start of a character in it.
inline Utf8Char decode_utf8(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  char32_t b = byte(0);
  if (b < 0x80) return {b, 1};
  if (b < 0xE0) return {(b & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (b < 0xF0) return {(b & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(b & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

/// The character that ends before `end`. Requires: valid UTF-8, 0 < end, `end` between two characters.
Utf8Char decode_utf8_before(std::string_view text, size_t end);

/// Requires: `code` is a scalar value (no surrogate, at most U+10FFFF).
void append_utf8(std::string& out, char32_t code);

bool is_valid_utf8(std::string_view text);

/// Replaces every maximal ill-formed part by one U+FFFD (Unicode 15, §3.9, table 3-8; Python's `errors="replace"`).
std::string to_valid_utf8(std::string_view text);

/// Number of bytes at the end of `text` that begin a character and lack its rest: 0 to 3.
size_t incomplete_utf8_tail(std::string_view text);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  ///< U+FFFD

/// Calls f(code, size) for every character of valid UTF-8.
template <typename F>
void for_each_char(std::string_view text, F f) {
  for (size_t i = 0; i < text.size();) {
    Utf8Char c = decode_utf8(text, i);
    f(c.code, c.size);
    i += c.size;
  }
}

// Classes of regular expressions, Unicode 16: \p{L}, \p{N}, \s, and Rust's \w.
bool is_letter(char32_t code);
bool is_number(char32_t code);
bool is_space(char32_t code);
bool is_word(char32_t code);

/// Rust's char::is_numeric, Unicode 17.
bool is_numeric(char32_t code);

// BERT's classes, Unicode 8. Punctuation is all ASCII symbols and \p{P}; a control is one of \p{Cc}, \p{Cf}, \p{Co}.
bool is_bert_punctuation(char32_t code);
bool is_bert_control(char32_t code);
bool is_bert_accent(char32_t code);  ///< \p{Mn}
bool is_chinese(char32_t code);      ///< the ideograph blocks that BERT surrounds with spaces

/// \p{M} as the reference's normal forms know it.
bool is_combining_mark(char32_t code);

/// Rust's char::to_lowercase for each character, Unicode 17.
std::string to_lower(std::string_view text);

/// Ranges that are in the general category `name` ("L", "Nd", "P" …) in Unicode 16 and were unassigned in Unicode 14.
std::vector<std::pair<char32_t, char32_t>> newer_in_category(std::string_view name);

enum class NormalForm { Nfc, Nfd, Nfkc, Nfkd };

/// Unicode normal form of valid UTF-8 (UAX #15). Cost: linear, also for runs of thousands of combining marks; text that
/// is plainly in the form already is only copied.
std::string normal_form(std::string_view text, NormalForm form);

}  // namespace sgl
