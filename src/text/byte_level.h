#pragma once
// The alphabet of byte-level BPE (Radford et al. 2019): each byte is written as one printable character.
//
// Printable Latin-1 bytes stand for themselves; the other 68 are U+0100, U+0101, … in order, so that a space is "Ġ".

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sgl {

struct ByteSpelling {
  char text[2];
  uint8_t size;  ///< 1 or 2
};

/// How each byte is written.
const std::array<ByteSpelling, 256>& byte_spellings();

/// The byte that `code` stands for, if it is in the alphabet.
std::optional<uint8_t> byte_of_char(char32_t code);

std::string bytes_to_spelling(std::string_view bytes);

/// The bytes of a token. A token with any character outside of the alphabet stands for its own UTF-8, as the
/// reference's decoder has it. Requires: valid UTF-8.
std::string spelling_to_bytes(std::string_view spelling);

}  // namespace sgl
