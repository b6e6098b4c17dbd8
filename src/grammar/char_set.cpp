#include "grammar/char_set.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <utf8proc.h>

#include "text/jinja_unicode.h"
#include "text/unicode.h"

namespace sgl::grammar {

CharSet::CharSet(const std::vector<Range>& ranges) {
  // Surrogates are no characters.
  std::vector<Range> cut;
  for (auto [low, high] : ranges) {
    high = std::min(high, kLastChar);
    if (low > high) continue;
    if (high < 0xD800 || low > 0xDFFF) {
      cut.emplace_back(low, high);
    } else {
      if (low < 0xD800) cut.emplace_back(low, 0xD7FF);
      if (high > 0xDFFF) cut.emplace_back(0xE000, high);
    }
  }
  std::sort(cut.begin(), cut.end());
  for (Range r : cut) {
    bool touches = !ranges_.empty() &&
                   (r.first <= ranges_.back().second + 1 || (ranges_.back().second == 0xD7FF && r.first == 0xE000));
    if (touches && ranges_.back().second == 0xD7FF && r.first == 0xE000) {
      ranges_.push_back(r);  // kept apart, so that no range holds surrogates
    } else if (touches) {
      ranges_.back().second = std::max(ranges_.back().second, r.second);
    } else {
      ranges_.push_back(r);
    }
  }
}

bool CharSet::contains(char32_t c) const {
  auto at = std::upper_bound(ranges_.begin(), ranges_.end(), Range{c, kLastChar + 1});
  return at != ranges_.begin() && std::prev(at)->second >= c;
}

CharSet CharSet::operator|(const CharSet& o) const {
  std::vector<Range> both = ranges_;
  both.insert(both.end(), o.ranges_.begin(), o.ranges_.end());
  return CharSet(std::move(both));
}

CharSet CharSet::operator~() const {
  std::vector<Range> out;
  char32_t from = 0;
  for (auto [low, high] : ranges_) {
    if (low > from) out.emplace_back(from, low - 1);
    from = high + 1;
  }
  if (from <= kLastChar) out.emplace_back(from, kLastChar);
  return CharSet(std::move(out));
}

namespace {

// Small letters of which several have one capital, or the same one spelled in full: ẛ and ṡ, ﬅ and ﬆ. `re` takes them
// for each other (CPython's Lib/re/_casefix.py has the list).
constexpr char32_t kSameCapital[][3] = {
    {'i', 0x131},    {'s', 0x17F},     {0xB5, 0x3BC},    {0x345, 0x3B9, 0x1FBE},  {0x390, 0x1FD3},
    {0x3B0, 0x1FE3}, {0x3B2, 0x3D0},   {0x3B5, 0x3F5},   {0x3B8, 0x3D1},          {0x3BA, 0x3F0},
    {0x3C0, 0x3D6},  {0x3C1, 0x3F1},   {0x3C2, 0x3C3},   {0x3C6, 0x3D5},          {0x432, 0x1C80},
    {0x434, 0x1C81}, {0x43E, 0x1C82},  {0x441, 0x1C83},  {0x442, 0x1C84, 0x1C85}, {0x44A, 0x1C86},
    {0x463, 0x1C87}, {0x1C88, 0xA64B}, {0x1E61, 0x1E9B}, {0xFB05, 0xFB06}};

// Characters that have another lower case, and that one.
const std::vector<std::pair<char32_t, char32_t>>& lowered() {
  static const std::vector<std::pair<char32_t, char32_t>> kAll = [] {
    std::vector<std::pair<char32_t, char32_t>> all;
    for (char32_t c = 0; c < 0x20000; ++c) {  // the planes above have no case
      auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      if (lower != c) all.emplace_back(c, lower);
    }
    return all;
  }();
  return kAll;
}

}  // namespace

CharSet CharSet::fold_case(bool ascii) const {
  std::vector<Range> out = ranges_;
  auto add = [&](char32_t c) { out.emplace_back(c, c); };
  for (auto [c, lower] : lowered()) {
    if ((!ascii || c < 0x80) && contains(c)) add(lower);
  }
  if (!ascii) {
    const CharSet small(out);
    for (const auto& group : kSameCapital) {
      if (std::none_of(std::begin(group), std::end(group), [&](char32_t c) { return c != 0 && small.contains(c); })) {
        continue;
      }
      for (char32_t c : group) {
        if (c != 0) add(c);
      }
    }
  }
  const CharSet small(out);
  for (auto [c, lower] : lowered()) {
    if ((!ascii || c < 0x80) && small.contains(lower)) add(c);
  }
  return CharSet(std::move(out));
}

namespace {

template <typename Predicate>
CharSet collect(Predicate in) {
  std::vector<CharSet::Range> out;
  for (char32_t c = 0; c <= kLastChar; ++c) {
    if (c == 0xD800) c = 0xE000;
    if (!in(c)) continue;
    if (!out.empty() && out.back().second + 1 == c) {
      out.back().second = c;
    } else {
      out.emplace_back(c, c);
    }
  }
  return CharSet(std::move(out));
}

}  // namespace

CharSet digit_class(bool unicode) {
  if (!unicode) return CharSet::range('0', '9');
  static const CharSet kSet = collect([](char32_t c) { return jinja::is_decimal(c); });
  return kSet;
}

CharSet word_class(bool unicode) {
  if (!unicode) return CharSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  static const CharSet kSet = collect([](char32_t c) { return jinja::is_word(c); });
  return kSet;
}

CharSet space_class(bool unicode) {
  if (unicode) {
    static const CharSet kSet = collect([](char32_t c) { return jinja::is_space(c); });
    return kSet;
  }
  return CharSet({{9, 13},
                  {32, 32},
                  {0xA0, 0xA0},
                  {0x1680, 0x1680},
                  {0x2000, 0x200A},
                  {0x2028, 0x2029},
                  {0x202F, 0x202F},
                  {0x205F, 0x205F},
                  {0x3000, 0x3000},
                  {0xFEFF, 0xFEFF}});
}

namespace {

// By one letter and by two.
std::map<std::string, CharSet, std::less<>> categories() {
  std::map<std::string, std::vector<CharSet::Range>> ranges;
  std::vector<CharSet::Range>* last = nullptr;
  utf8proc_category_t last_category = UTF8PROC_CATEGORY_CN;
  for (char32_t c = 0; c <= kLastChar; ++c) {
    const auto code = static_cast<utf8proc_int32_t>(c);
    const utf8proc_category_t category = utf8proc_category(code);
    if (last == nullptr || category != last_category) {
      last = &ranges[utf8proc_category_string(code)];
      last->emplace_back(c, c);
      last_category = category;
    }
    last->back().second = c;
  }
  std::map<std::string, CharSet, std::less<>> all;
  for (auto& [name, of] : ranges) {
    const CharSet set(std::move(of));
    all[name.substr(0, 1)] = all[name.substr(0, 1)] | set;
    all[name] = set;
  }
  return all;
}

}  // namespace

CharSet unicode_category(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kLong = {{"Letter", "L"},
                                                                     {"Lowercase_Letter", "Ll"},
                                                                     {"Uppercase_Letter", "Lu"},
                                                                     {"Number", "N"},
                                                                     {"digit", "Nd"},
                                                                     {"Decimal_Number", "Nd"},
                                                                     {"Punctuation", "P"},
                                                                     {"Symbol", "S"},
                                                                     {"Separator", "Z"},
                                                                     {"Space_Separator", "Zs"},
                                                                     {"Mark", "M"},
                                                                     {"Other", "C"},
                                                                     {"Control", "Cc"},
                                                                     {"cntrl", "Cc"},
                                                                     {"punct", "P"},
                                                                     {"Titlecase_Letter", "Lt"},
                                                                     {"Letter_Number", "Nl"},
                                                                     {"Other_Letter", "Lo"},
                                                                     {"Modifier_Letter", "Lm"}};
  for (std::string_view prefix : {"General_Category=", "gc="}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  if (auto at = kLong.find(name); at != kLong.end()) name = at->second;
  if (name == "Any") return CharSet::all();
  if (name == "ASCII") return CharSet::range(0, 127);
  static const std::map<std::string, CharSet, std::less<>> kCategories = categories();
  const auto known = kCategories.find(name);
  return known != kCategories.end() ? known->second : CharSet();
}

namespace {

constexpr uint64_t kWholeBits[] = {0, 6, 12, 18};

// Characters low…high, all of `size` bytes in UTF-8, whose first byte is `lead | top bits`: split until the
// continuation bytes are whole ranges.
TermId utf8_tail(Automaton& a, uint32_t low, uint32_t high, int tail) {
  if (tail == 0) return kEpsilon;
  uint64_t shift = kWholeBits[tail - 1];
  uint32_t mask = (1U << shift) - 1;
  std::vector<TermId> options;
  for (uint32_t top = low >> shift; top <= high >> shift;) {
    uint32_t from = top == low >> shift ? low & mask : 0, to = top == high >> shift ? high & mask : mask;
    uint32_t last = top;
    if (from == 0 && to == mask) {  // whole: take along all whole ones that follow
      while (last < high >> shift && (last + 1 < high >> shift || (high & mask) == mask)) ++last;
    }
    options.push_back(a.cat(a.byte_range(0x80 | (top & 0x3F), 0x80 | (last & 0x3F)), utf8_tail(a, from, to, tail - 1)));
    top = last + 1;
  }
  return a.alt(options);
}

TermId utf8_term(Automaton& a, const CharSet& set) {
  constexpr struct {
    char32_t low, high;
    int tail;
    unsigned lead;
  } kSizes[] = {{0, 0x7F, 0, 0}, {0x80, 0x7FF, 1, 0xC0}, {0x800, 0xFFFF, 2, 0xE0}, {0x10000, kLastChar, 3, 0xF0}};
  // First bytes that go on in the same way share one edge.
  std::map<unsigned, std::vector<TermId>> by_lead;
  for (const auto& size : kSizes) {
    for (auto [low, high] : set.ranges()) {
      low = std::max(low, size.low);
      high = std::min(high, size.high);
      if (low > high) continue;
      uint64_t shift = kWholeBits[size.tail];
      uint32_t mask = (1U << shift) - 1;
      for (uint32_t top = low >> shift; top <= high >> shift; ++top) {
        uint32_t from = top == low >> shift ? low & mask : 0, to = top == high >> shift ? high & mask : mask;
        by_lead[size.lead | top].push_back(utf8_tail(a, from, to, size.tail));
      }
    }
  }
  std::map<TermId, ByteSet> by_tail;
  for (auto& [lead, tails] : by_lead) by_tail[a.alt(tails)].set(lead);
  std::vector<TermId> options;
  for (const auto& [tail, leads] : by_tail) options.push_back(a.cat(a.bytes(leads), tail));
  return a.alt(options);
}

// Four hexadecimal digits, in either case, of a number in the ranges.
TermId hex_term(Automaton& a, const std::vector<CharSet::Range>& ranges, int digits) {
  if (digits == 0) return kEpsilon;
  int shift = 4 * (digits - 1);
  uint32_t mask = (1U << shift) - 1;
  std::vector<CharSet::Range> below[16];
  for (auto [low, high] : ranges) {
    for (uint32_t top = low >> shift; top <= high >> shift; ++top) {
      below[top].emplace_back(top == low >> shift ? low & mask : 0, top == high >> shift ? high & mask : mask);
    }
  }
  std::map<TermId, ByteSet> by_tail;
  std::map<std::vector<CharSet::Range>, TermId> known;
  for (unsigned d = 0; d < 16; ++d) {
    if (below[d].empty()) continue;
    auto [at, added] = known.try_emplace(below[d], kNone);
    if (added) at->second = hex_term(a, below[d], digits - 1);
    ByteSet& set = by_tail[at->second];
    set.set(static_cast<unsigned char>("0123456789abcdef"[d]));
    set.set(static_cast<unsigned char>("0123456789ABCDEF"[d]));
  }
  std::vector<TermId> options;
  for (const auto& [tail, set] : by_tail) options.push_back(a.cat(a.bytes(set), tail));
  return a.alt(options);
}

constexpr std::pair<char32_t, char> kShortEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'\b', 'b'},
                                                       {'\f', 'f'}, {'\n', 'n'},  {'\r', 'r'}, {'\t', 't'}};

TermId escape_term(Automaton& a, const CharSet& set, bool all) {
  std::vector<TermId> options;
  ByteSet letters;
  // Not all: ASCII that may stand as it is stands so. The rest is escaped as programs do it, with or without
  // ensure_ascii.
  CharSet numbers = all ? set : set & ~CharSet::range(0x20, 0x7F);
  for (auto [c, letter] : kShortEscapes) {
    if (set.contains(c) && (all || c != '/')) letters.set(static_cast<unsigned char>(letter));
  }
  options.push_back(a.bytes(letters));
  TermId u = a.byte_range('u', 'u');
  CharSet low = numbers & CharSet::range(0, 0xFFFF), high = numbers & CharSet::range(0x10000, kLastChar);
  if (!low.empty()) options.push_back(a.cat(u, hex_term(a, low.ranges(), 4)));
  // Above U+FFFF: a pair of surrogates. Ranges are split where the first one changes.
  std::map<std::vector<CharSet::Range>, std::vector<CharSet::Range>> pairs;  // second ones → first ones
  std::map<uint32_t, std::vector<CharSet::Range>> seconds;
  for (auto [from, to] : high.ranges()) {
    for (uint32_t top = (from - 0x10000) >> 10; top <= (to - 0x10000) >> 10; ++top) {
      uint32_t s = top == (from - 0x10000) >> 10 ? (from - 0x10000) & 0x3FF : 0;
      uint32_t e = top == (to - 0x10000) >> 10 ? (to - 0x10000) & 0x3FF : 0x3FF;
      seconds[top].emplace_back(0xDC00 + s, 0xDC00 + e);
    }
  }
  for (const auto& [top, second] : seconds) {
    std::vector<CharSet::Range>& first = pairs[second];
    if (!first.empty() && first.back().second + 1 == 0xD800 + top) {
      first.back().second = 0xD800 + top;
    } else {
      first.emplace_back(0xD800 + top, 0xD800 + top);
    }
  }
  for (const auto& [second, first] : pairs) {
    options.push_back(a.cat({u, hex_term(a, first, 4), a.literal("\\u"), hex_term(a, second, 4)}));
  }
  return a.cat(a.byte_range('\\', '\\'), a.alt(options));
}

}  // namespace

TermId CharTerms::of(const CharSet& set, Spelling spelling) {
  auto [at, added] = known_.try_emplace({set.ranges(), spelling}, kNone);
  if (!added) return at->second;
  if (spelling == Spelling::Plain) return at->second = utf8_term(automaton_, set);
  static const CharSet kBare = ~CharSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  return at->second = automaton_.alt(
             {utf8_term(automaton_, set & kBare), escape_term(automaton_, set, spelling == Spelling::Json)});
}

TermId CharTerms::text(std::string_view text, Spelling spelling) {
  if (spelling == Spelling::Plain) return automaton_.literal(text);
  std::vector<char32_t> chars;
  for_each_char(text, [&](char32_t c, uint32_t) { chars.push_back(c); });
  TermId t = kEpsilon;
  for (size_t i = chars.size(); i-- > 0;) t = automaton_.cat(of(CharSet::of(chars[i]), spelling), t);
  return t;
}

}  // namespace sgl::grammar
