#!/usr/bin/env python3
"""Writes src/text/unicode_delta.h: where the reference `tokenizers` package and our libraries know different Unicode.

The package is made of parts that were built with different versions of Unicode (its regular expressions know 16, its
normal forms and BERT's classes know much older ones); utf8proc 2.8 knows 15 and PCRE2 10.42 knows 14. Token ids must
not depend on that, so the differences are measured here, code point by code point, and written down as ranges.

    python -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tests/tokenizers/make_unicode_delta.py > src/text/unicode_delta.h     # needs libutf8proc.so

Python itself must know Unicode 14 (3.11) to be the stand-in for PCRE2's tables.
"""
import ctypes
import ctypes.util
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0"
utf8proc = ctypes.CDLL(ctypes.util.find_library("utf8proc") or "libutf8proc.so.2")
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
CODE_POINTS = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
PRIVATE = "\ue000"  # neither word, space, mark nor punctuation


def utf8proc_map(text, options):
    data, buffer = text.encode(), ctypes.c_void_p()
    size = utf8proc.utf8proc_map(data, len(data), ctypes.byref(buffer), options)
    result = ctypes.string_at(buffer, size).decode()
    ctypes.CDLL(None).free(buffer)
    return result


def split_by(pre_tokenizer, pieces):
    return {c for c in CODE_POINTS if len(pre_tokenizer.pre_tokenize_str(PRIVATE + chr(c) + PRIVATE)) == pieces}


def erased_by(normalizer):
    return {c for c in CODE_POINTS if normalizer.normalize_str("a" + chr(c) + "b") == "ab"}


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def emit(name, comment, rows):
    print(f"// {comment}")
    print(f"inline constexpr {name}[] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(row) + "},"
        if len(line) + len(cell) > 118:
            print(line)
            line = "   "
        line += cell
    print(line)
    print("};\n")


ours = {c: utf8proc.utf8proc_category_string(c).decode() for c in CODE_POINTS}

# Regular expressions: what \p{..} matches.
reference = {}
for category in CATEGORIES:
    for c in split_by(pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed"), 2):
        reference[c] = category
changed = {c for c in reference if unicodedata.category(chr(c)) not in ("Cn", reference[c])}
print("category changed since Unicode 14:", [hex(c) for c in sorted(changed)], file=sys.stderr)
print("utf8proc differs:", [hex(c) for c in reference if ours[c] not in ("Cn", reference[c])], file=sys.stderr)
print("not in regex:", [hex(c) for c in CODE_POINTS if c not in reference and ours[c] != "Cn"][:10], file=sys.stderr)
newer = [c for c in sorted(reference) if unicodedata.category(chr(c)) == "Cn"]
newer_ranges = []
for c in newer:
    if newer_ranges and newer_ranges[-1][1] == c - 1 and newer_ranges[-1][2] == reference[c]:
        newer_ranges[-1][1] = c
    else:
        newer_ranges.append([c, c, reference[c]])

# Digits: Rust's char::is_numeric.
numeric = split_by(pre_tokenizers.Digits(True), 3)
base_numeric = {c for c in CODE_POINTS if reference.get(c, "Cn")[0] == "N"}
print("numeric only in regex:", [hex(c) for c in base_numeric - numeric], file=sys.stderr)

# Lowercase: Rust's char::to_lowercase.
lowercase = normalizers.Lowercase()
lower = {}
for c in CODE_POINTS:
    low = lowercase.normalize_str(chr(c))
    if low != chr(utf8proc.utf8proc_tolower(c)):
        if len(low) == 1:
            lower[c] = ord(low)
        else:
            print("lowercase of several characters:", hex(c), [hex(ord(x)) for x in low], file=sys.stderr)
lower_ranges = []
for c in sorted(lower):
    if lower_ranges and lower_ranges[-1][1] == c - 1 and lower[c] - c == lower_ranges[-1][2]:
        lower_ranges[-1][1] = c
    else:
        lower_ranges.append([c, c, lower[c] - c])

# BERT's classes.
ascii_punctuation = {c for c in range(33, 127) if not chr(c).isalnum()}
punctuation = split_by(pre_tokenizers.Punctuation(), 3) - ascii_punctuation
nonspacing = erased_by(normalizers.BertNormalizer(False, False, True, False))
our_punctuation = {c for c in CODE_POINTS if ours[c][0] == "P"} - ascii_punctuation
our_nonspacing = {c for c in CODE_POINTS if ours[c] == "Mn"}
print("old punctuation:", [hex(c) for c in punctuation - our_punctuation], file=sys.stderr)
print("old nonspacing:", [hex(c) for c in nonspacing - our_nonspacing], file=sys.stderr)
cleaned = erased_by(normalizers.BertNormalizer(True, False, False, False))
our_cleaned = {c for c in CODE_POINTS if ours[c] in ("Cc", "Cf", "Co") and c not in (9, 10, 13)} | {0xFFFD}
print("cleaned by the reference only:", [hex(c) for c in cleaned - our_cleaned], file=sys.stderr)
bert_unknown = (our_punctuation - punctuation) | (our_nonspacing - nonspacing) | (our_cleaned - cleaned)

# Normal forms.
combining = erased_by(normalizers.StripAccents())
our_combining = {c for c in CODE_POINTS if ours[c][0] == "M"}
print("old combining:", [hex(c) for c in combining - our_combining], file=sys.stderr)
form_unknown = our_combining - combining
nfd = normalizers.NFD()
for c in CODE_POINTS:
    for text in (chr(c), "a" + chr(c) + "\u0334", "a" + chr(c) + "\u0345", "a\u0345" + chr(c), "a\u0315" + chr(c), "a" + chr(c) + "\u0315"):
        if nfd.normalize_str(text) != utf8proc_map(text, 2 | 16):
            form_unknown.add(c)
compatible = normalizers.NFKD()
form_unknown |= {c for c in CODE_POINTS if compatible.normalize_str(chr(c)) != utf8proc_map(chr(c), 2 | 4 | 16)}
# What such a character is made of must not compose to it either: U+11938 is the only one.
form_unknown |= {ord(part) for c in list(form_unknown) for part in utf8proc_map(chr(c), 2 | 16)
                 if len(utf8proc_map(chr(c), 2 | 16)) > 1 and nfd.normalize_str(part) == part and ord(part) > 0x11900}

print("""#pragma once
// Where the reference `tokenizers` package knows another Unicode than utf8proc 2.8 and PCRE2 10.42.
// Written by tests/tokenizers/make_unicode_delta.py; do not edit. What the ranges are for: unicode.cpp.

#include <cstdint>

namespace sgl::unicode_delta {

struct Range {
  uint32_t first, last;  // inclusive
};
struct CategoryRange {
  uint32_t first, last;
  char category[3];
};
struct ShiftRange {
  uint32_t first, last;
  int32_t shift;
};
""")
hexa = lambda c: f"0x{c:X}"
emit("CategoryRange kNewer", "Unassigned in Unicode 14, with their general category in Unicode 16.",
     [(hexa(a), hexa(b), f'"{k}"') for a, b, k in newer_ranges])
emit("Range kNewerNumeric", "Numeric in Unicode 17 and not in 16.", [(hexa(a), hexa(b)) for a, b in ranges(numeric - base_numeric)])
emit("ShiftRange kNewerLower", "Lower case is this far away in Unicode 17; utf8proc does not know it.",
     [(hexa(a), hexa(b), str(s)) for a, b, s in lower_ranges])
emit("Range kBertUnknown", "Punctuation, nonspacing marks and format controls that the reference's BERT classes do not know.",
     [(hexa(a), hexa(b)) for a, b in ranges(bert_unknown)])
emit("Range kFormUnknown", "Characters that the reference's normal forms do not know: they stay, and nothing composes with them.",
     [(hexa(a), hexa(b)) for a, b in ranges(form_unknown)])
print("}  // namespace sgl::unicode_delta")
