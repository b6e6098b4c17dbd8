#pragma once
// Strings as Python sees them: sequences of characters, with Python's case mapping and character classes.
//
// Text is kept as valid UTF-8, where a search for bytes finds what a search for characters finds, so most string
// functions never decode. This header holds what must: indices, case, classes. Python's classes differ from those of
// regular expressions and tokenizers (text/unicode.h), hence a namespace of their own.

#include <cstddef>
#include <string>
#include <string_view>

namespace sgl::jinja {

/// Number of characters.
size_t length(std::string_view text);
/// Byte offset of the character with index `index`; text.size() if there are not as many.
size_t byte_offset(std::string_view text, size_t index);
/// Size in bytes of the character that begins at `at`.
size_t char_size(std::string_view text, size_t at);

// Character classes of Python's str methods.
bool is_space(char32_t c);
bool is_printable(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);       ///< a digraph like ǅ
bool is_line_break(char32_t c);  ///< where splitlines() splits
bool is_word(char32_t c);        ///< \w of Python's regular expressions
bool is_identifier(std::string_view text);

// Full case mapping: "ß" becomes "SS", a Σ at the end of a word "ς".
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  ///< a letter after a letter is lowered, others are raised
std::string swap_case(std::string_view text);
std::string capitalize(std::string_view text);
std::string case_fold(std::string_view text);

/// Which ends of a text a strip works on.
struct Ends {
  bool left = true, right = true;
};
/// The text without white space at its ends.
std::string_view strip(std::string_view text, Ends ends = {});
/// The text without the characters of `chars` at its ends.
std::string_view strip(std::string_view text, std::string_view chars, Ends ends);

}  // namespace sgl::jinja
