// The format `regex`: which strings are regular expressions of ECMAScript, as a regular expression.
//
// ECMA-262, section 22.2.1, with the flag u; as without it, `\-` and other marks may be escaped where they need not be,
// and a class may have `\w-.` in it. What no regular expression can tell is left out, so that nothing is taken that is
// none: groups nested more than kDepth levels, in lookaround kDepthOfLook, names of groups and references to groups. So
// are, since their ends would have to be compared, ranges other than those of class_range(), and counts from above 99
// to the same number of digits.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "grammar/json_formats.h"

namespace sgl::grammar {
namespace {

constexpr int kDepth = 4, kDepthOfLook = 1;

// Characters of ASCII in order, ASCII and others, some alphabets; numbers in hexadecimal that differ in the first
// digit, or both with one or two zeros in front.
std::string class_range() {
  std::string all =
      "[ -,.-\\[_-~]-[\\u{80}-\\u{10FFFF}]|[À-ÖØ-öø-ÿ]-ÿ|[а-яА-Я]-[яё]|[А-Я]-Я|Ё-[Яяё]|[ぁ-ん]-ん|[ァ-ヶ]-ヶ|"
      "[一-丁]-[三-龥]|[가-각]-힣";
  for (unsigned c = ' '; c <= '~'; ++c) {
    if (c == '-' || c == '\\' || c == ']' || c == '^') continue;
    std::string least;  // what may be the end, without those that must be escaped
    for (const auto& [low, high] : {std::pair(0x20U, 0x2CU), {0x2EU, 0x5BU}, {0x5EU, 0x7EU}}) {
      if (c <= high) least += fmt::format("\\x{:02x}-\\x{:02x}", std::max(c, low), high);
    }
    all += fmt::format("|\\x{:02x}-[{}]", c, least);
  }
  const std::string numbers[][2] = {{"\\\\x", "{1}"}, {"\\\\u", "{3}"}, {"\\\\u00", "{1}"}, {"\\\\u0", "{2}"}};
  for (const auto& [mark, rest] : numbers) {
    for (int d = 0; d < 15; ++d) {
      std::string above;
      for (int e = d + 1; e < 16; ++e) above += e < 10 ? fmt::format("{}", e) : fmt::format("{0:x}{0:X}", e);
      const std::string own = d < 10 ? fmt::format("{}", d) : fmt::format("[{0:x}{0:X}]", d);
      all += fmt::format("|{0}{1}[0-9a-fA-F]{2}-{0}[{3}][0-9a-fA-F]{2}", mark, own, rest, above);
    }
  }
  return all;
}

// In braces: a number, it and all above, or two in order.
std::string counts() {
  std::string all = "\\d{1,9}|\\d{1,9},|\\d,[1-9]\\d{1,8}|[1-9]\\d,[1-9]\\d{2,8}|[1-9]\\d\\d,[1-9]\\d{3,8}";
  for (int d = 0; d < 10; ++d) {
    all += fmt::format("|{0},[{0}-9]", d);
    if (d < 9) all += fmt::format("|{}\\d,[{}-9]\\d", d, d + 1);
    for (int e = 0; e < 10; ++e) all += fmt::format("|{0}{1},{0}[{1}-9]", d, e);
  }
  return all;
}

// Section 22.2.1.8: what \p{…} may name. General categories, some scripts, some properties.
std::string properties() {
  const std::string category =
      "(?:L[Culmot]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?|C[cfnos]?|Letter|Cased_Letter|Uppercase_Letter|"
      "Lowercase_Letter|Titlecase_Letter|Modifier_Letter|Other_Letter|Mark|Nonspacing_Mark|Number|Decimal_Number|"
      "Letter_Number|Other_Number|Punctuation|Connector_Punctuation|Dash_Punctuation|Symbol|Math_Symbol|"
      "Currency_Symbol|Separator|Space_Separator|Other|Control|Format)";
  const std::string script =
      "(?:Arabic|Armenian|Bengali|Common|Cyrillic|Devanagari|Georgian|Greek|Han|Hangul|Hebrew|Hiragana|Inherited|"
      "Katakana|Latin|Tamil|Thai|Tibetan)";
  return category + "|(?:gc|General_Category)=" + category + "|(?:sc|scx|Script|Script_Extensions)=" + script +
         "|ASCII|Any|Assigned|Alphabetic|Lowercase|Uppercase|White_Space|ASCII_Hex_Digit|Hex_Digit|ID_Start|"
         "ID_Continue|XID_Start|XID_Continue|Emoji|Ideographic";
}

}  // namespace

std::string ecma_regex() {
  const std::string hex = "[0-9a-fA-F]";
  // Behind a backslash, inside of a class and outside.
  const std::string character = "[fnrtv]|c[A-Za-z]|x" + hex + "{2}|u" + hex + "{4}|u\\{(?:0{0,3}" + hex + "{1,5}|10" +
                                hex + "{4})\\}|[pP]\\{(?:" + properties() + ")\\}|[!-/:-@\\[-\\^`{-~]";
  const std::string single = "[^\\\\\\]\\-\\^]|\\^|\\\\[dDsSwW]-?|\\\\(?:b|" + character + ")";
  const std::string in_brackets = "\\[\\^?-?(?:(?:" + class_range() + ")-?|" + single + ")*-?\\]";
  const std::string quantifier = "(?:(?:[*+?]|\\{(?:" + counts() + ")\\})[?]?)?";
  // An empty alternative is one, too: bars may stand anywhere.
  std::string inner, inner_of_look;  // of groups, and of lookaround
  for (int depth = 0; depth <= kDepth; ++depth) {
    std::string atom = "[^\\^$\\\\.*+?()\\[\\]{}|]|\\.|\\\\(?:[dDsSwW]|" + character + ")|" + in_brackets;
    std::string other = "[\\^$|]|\\\\[bB]";
    if (depth > 0) {
      atom += "|\\((?:\\?:)?" + inner + "\\)";
      other += "|\\(\\?<?[=!]" + inner_of_look + "\\)";
    }
    inner = "(?:(?:" + atom + ")" + quantifier + "|" + other + ")*";
    if (depth <= kDepthOfLook) inner_of_look = inner;
  }
  return inner;
}

}  // namespace sgl::grammar
