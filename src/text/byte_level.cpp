#include "text/byte_level.h"

#include "text/unicode.h"

namespace sgl {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> char_of{};
  std::array<int16_t, 0x144> byte_of{};  // −1: not in the alphabet, which ends at U+0143
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  for (auto& b : a.byte_of) b = -1;
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char32_t code = stands_for_itself(byte) ? byte : next++;
    a.char_of[byte] = code;
    a.byte_of[code] = static_cast<int16_t>(byte);
  }
  return a;
}
constexpr Alphabet kAlphabet = make_alphabet();

constexpr std::array<ByteSpelling, 256> make_spellings() {
  std::array<ByteSpelling, 256> out{};
  for (size_t byte = 0; byte < 256; ++byte) {
    char32_t code = kAlphabet.char_of[byte];
    if (code < 0x80) {
      out[byte] = {{static_cast<char>(code), 0}, 1};
    } else {
      out[byte] = {{static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))}, 2};
    }
  }
  return out;
}
constexpr std::array<ByteSpelling, 256> kSpellings = make_spellings();

}  // namespace

const std::array<ByteSpelling, 256>& byte_spellings() { return kSpellings; }

std::optional<uint8_t> byte_of_char(char32_t code) {
  if (code >= kAlphabet.byte_of.size() || kAlphabet.byte_of[code] < 0) return std::nullopt;
  return static_cast<uint8_t>(kAlphabet.byte_of[code]);
}

std::string bytes_to_spelling(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 2);
  for (char c : bytes) {
    const ByteSpelling& s = kSpellings[static_cast<unsigned char>(c)];
    out.append(s.text, s.size);
  }
  return out;
}

std::string spelling_to_bytes(std::string_view spelling) {
  std::string out;
  out.reserve(spelling.size());
  for (size_t i = 0; i < spelling.size();) {
    Utf8Char c = decode_utf8(spelling, i);
    std::optional<uint8_t> byte = byte_of_char(c.code);
    if (!byte) return std::string(spelling);
    out.push_back(static_cast<char>(*byte));
    i += c.size;
  }
  return out;
}

}  // namespace sgl
