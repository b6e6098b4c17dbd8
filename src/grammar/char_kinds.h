#pragma once
// Kinds of characters: the classes that grammars and tokens have in common.

#include <array>
#include <cstdint>
#include <string_view>

namespace sgl::grammar {

/// A bit for each kind.
using CharKinds = uint32_t;

constexpr CharKinds kBroken = 1;                 ///< bytes that are part of no whole character
constexpr CharKinds kWideChars = 2;              ///< characters of several bytes, but for
constexpr CharKinds kLineSeparators = 1U << 29;  ///< U+2028 and U+2029, which are not any character of a pattern
constexpr CharKinds kControls = 1U << 30;        ///< control characters

/// The kind of a byte: small and capital letters, digits, and most marks each by itself.
inline constexpr std::array<CharKinds, 256> kByteKinds = [] {
  std::array<CharKinds, 256> kinds{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    kinds[byte] = byte < 0x20                  ? kControls
                  : byte >= 0x80               ? kBroken
                  : byte >= 'a' && byte <= 'z' ? 1U << 2
                  : byte >= 'A' && byte <= 'Z' ? 1U << 3
                  : byte >= '0' && byte <= '9' ? 1U << 4
                                               : 1U << 31;  // brackets and what is left
  }
  unsigned bit = 5;
  for (char mark : std::string_view(" \"\\._-,/:'()+@=*&%$#!?;<")) {
    kinds[static_cast<unsigned char>(mark)] = 1U << bit++;
  }
  if (1U << bit != kLineSeparators) throw "the bits of the marks end where the others begin";
  return kinds;
}();

/// What may stand in a JSON string as it is.
constexpr CharKinds kPlainKinds = ~(kBroken | kControls | kByteKinds['"'] | kByteKinds['\\']);

}  // namespace sgl::grammar
