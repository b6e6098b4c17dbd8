"""Prints the tables of src/text/jinja_unicode_tables.h from Python's own knowledge of Unicode."""

import unicodedata

category = unicodedata.category
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def array(text):
    return "{" + ", ".join(f"0x{ord(c):X}" for c in text) + "}"


def ranges(predicate):
    found, start, previous = [], None, None
    for c in CHARACTERS:
        if predicate(c):
            if start is None or ord(c) != previous + 1:
                if start is not None:
                    found.append((start, previous))
                start = ord(c)
            previous = ord(c)
    return found + [(start, previous)]


def table(name, predicate):
    print(f"constexpr Range {name}[] = {{")
    print("    " + ", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(predicate)) + "};")


print("constexpr SpecialCase kSpecialCases[] = {")
for c in CHARACTERS:
    if len(c.upper()) > 1 or len(c.title()) > 1:
        print(f"    {{0x{ord(c):X}, {array(c.upper())}, {array(c.title())}}},")
print("};")
table("kOtherLower", lambda c: c.islower() and category(c) != "Ll")
table("kOtherUpper", lambda c: c.isupper() and category(c) != "Lu")
table("kOtherDigit", lambda c: c.isdigit() and category(c) != "Nd")
table("kOtherNumeric", lambda c: c.isnumeric() and category(c)[0] != "N")
# A Σ after "a" and this character is final, after this character alone it is not: the character is looked through.
table(
    "kMidLetter",
    lambda c: ("a" + c + "Σ").lower()[-1] == "ς"
    and (c + "Σ").lower()[-1] == "σ"
    and category(c) not in ("Mn", "Me", "Cf", "Lm", "Sk"),
)
