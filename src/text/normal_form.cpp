// Unicode normal forms (UAX #15) on top of utf8proc's decomposition and composition tables.
//
// Most text is in its form already, so the text is cut at characters that are surely stable: what lies between them is
// copied, and only a stretch around an unstable character is worked on. Marks are put in canonical order by a stable
// sort here, because utf8proc's own is quadratic in the length of a run of marks.

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include <fmt/format.h>
#include <utf8proc.h>

#include <sgl/error.h>

#include "text/unicode.h"
#include "text/unicode_delta.h"

namespace sgl {
namespace {

bool in(char32_t code, char32_t first, char32_t last) { return code >= first && code <= last; }

// A character that is its own normal form and neither reorders with nor composes to what stands before it. This is a
// subset, chosen for speed: letters of large scripts.
bool is_stable(char32_t code, NormalForm form) {
  bool composed = form == NormalForm::Nfc || form == NormalForm::Nfkc;
  if (code < (form == NormalForm::Nfc ? 0x300U : form == NormalForm::Nfd ? 0xC0U : 0xA0U)) return true;
  if (in(code, 0x4E00, 0x9FFF)) return true;
  return composed && (in(code, 0xAC00, 0xD7A3) || in(code, 0x400, 0x482) || in(code, 0x5D0, 0x5EA) ||
                      in(code, 0x620, 0x64A) || in(code, 0x3041, 0x3096) || in(code, 0x30A1, 0x30FA));
}

// The reference's tables end earlier than ours: for it such a character is a starter that nothing composes with.
bool is_unknown(char32_t code) {
  const auto* end = std::end(unicode_delta::kFormUnknown);
  const auto* r = std::lower_bound(std::begin(unicode_delta::kFormUnknown), end, code,
                                   [](const unicode_delta::Range& a, char32_t c) { return a.last < c; });
  return r != end && r->first <= code;
}

int combining_class(int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Canonical ordering: in every run of marks (class not 0), sort by class, equal ones staying in place.
void order_marks(std::vector<int32_t>& codes) {
  for (size_t i = 0; i < codes.size();) {
    if (combining_class(codes[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    auto at = [&](size_t k) { return codes.begin() + static_cast<std::ptrdiff_t>(k); };
    std::stable_sort(at(i), at(end), [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
}

void append_normalized(std::string& out, std::string_view text, NormalForm form) {
  bool compatible = form == NormalForm::Nfkc || form == NormalForm::Nfkd;
  auto decompose =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<int32_t> codes;
  codes.reserve(text.size() * 2);
  for_each_char(text, [&](char32_t code, uint32_t) {
    int32_t parts[32];  // the longest, U+FDFA, has 18
    int boundary = 0;
    auto n = utf8proc_decompose_char(static_cast<int32_t>(code), parts, 32, decompose, &boundary);
    if (n < 0 || n > 32) throw Error(ErrorKind::Internal, fmt::format("cannot decompose U+{:04X}", uint32_t{code}));
    codes.insert(codes.end(), parts, parts + n);
  });
  order_marks(codes);
  if (form == NormalForm::Nfc || form == NormalForm::Nfkc) {
    auto compose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    auto n = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), compose);
    if (n < 0) throw Error(ErrorKind::Internal, "cannot compose a text that was decomposed before");
    codes.resize(static_cast<size_t>(n));
  }
  for (int32_t code : codes) append_utf8(out, static_cast<char32_t>(code));
}

}  // namespace

//      stable          unstable … until the next stable one      stable …
//   ───────────┬───┬────────────────────────────────────────┬──────────────
//    copied    │ b │  normalized together with b, its base  │  copied
std::string normal_form(std::string_view text, NormalForm form) {
  std::string out;
  size_t copied = 0;  // out holds the form of text[0, copied)
  size_t base = 0;    // start of the last stable character, or == i when there is none to compose with
  for (size_t i = 0; i < text.size();) {
    Utf8Char c = decode_utf8(text, i);
    if (is_stable(c.code, form)) {
      base = i;
      i += c.size;
      continue;
    }
    if (is_unknown(c.code)) {
      base = i += c.size;
      continue;
    }
    size_t end = i;
    while (end < text.size()) {
      Utf8Char next = decode_utf8(text, end);
      if (is_stable(next.code, form) || is_unknown(next.code)) break;
      end += next.size;
    }
    if (copied == 0) out.reserve(text.size() + text.size() / 8);
    out += text.substr(copied, base - copied);
    append_normalized(out, text.substr(base, end - base), form);
    copied = base = i = end;
  }
  out += text.substr(copied);
  return out;
}

}  // namespace sgl
