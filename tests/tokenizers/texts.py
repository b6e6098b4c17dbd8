"""Texts that tokenizers get wrong: the fuzz corpus of compare.py and record.py.

`texts(count, seed, specials, vocabulary)` gives byte strings, not all of them UTF-8. The same arguments always give the
same texts.
"""
import random
import sysconfig
import pathlib

# (first, last) code points of scripts and symbol blocks; unassigned ones inside are welcome.
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x2B0, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
    (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x7BF), (0x7C0, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF),
    (0xA00, 0xA7F), (0xA80, 0xAFF), (0xB00, 0xBFF), (0xC00, 0xCFF), (0xD00, 0xDFF), (0xE00, 0xE7F), (0xE80, 0xEFF),
    (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FF),
    (0x1400, 0x167F), (0x1680, 0x17FF), (0x1800, 0x18FF), (0x1900, 0x1AFF), (0x1B00, 0x1CFF), (0x1D00, 0x1DFF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20FF), (0x2100, 0x218F),
    (0x2190, 0x22FF), (0x2300, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2800, 0x28FF), (0x2C00, 0x2DFF),
    (0x2E00, 0x2FFF), (0x3000, 0x303F), (0x3040, 0x30FF), (0x3100, 0x31FF), (0x3200, 0x33FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA4D0, 0xA6FF), (0xA700, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF),
    (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE2F), (0xFE30, 0xFEFF), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF),
    (0x10000, 0x103FF), (0x10400, 0x108FF), (0x10900, 0x10FFF), (0x11000, 0x114FF), (0x11500, 0x11FFF),
    (0x12000, 0x1254F), (0x13000, 0x1345F), (0x16800, 0x16FFF), (0x1B000, 0x1B2FF), (0x1D100, 0x1D1FF),
    (0x1D400, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1F2FF), (0x1F300, 0x1F6FF), (0x1F700, 0x1FAFF),
    (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F), (0xE0000, 0xE01EF), (0x100000, 0x10FFFF),
]
SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
WORDS = ("the of and to in is that it was for on are as with his they at be this from I have or by one had not but "
         "what all were when we there can an your which their said if do will each about how up out them then she "
         "many some so these would other into has more her two like him see time could no make than first been its "
         "Łódź naïve café résumé Straße İstanbul ǅ ﬁn ﬃ ſo Größe Ærø señor déjà Übermut Москва привет Київ Ελλάδα "
         "世界 你好 日本語 東京 こんにちは カタカナ 한국어 안녕 مرحبا العربية שלום हिन्दी ไทย ภาษา தமிழ் বাংলা "
         "ქართული Հայերեն አማርኛ ᏣᎳᎩ").split()
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'ſ", "’s",
                "''", "'x", "'", " n't", "don't", "I'LL", "we'd've", "'sup", "it's"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇺🇸🇫🇷", "❤️", "☕", "1️⃣", "🧑🏿‍💻", "\u200d", "\ufe0f", "🫠", "🪿", "©️"]
CODE = ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }\n", "#include <vector>\r\n",
        "SELECT * FROM t WHERE id IN (1,2,3);", "<div class=\"a\">&nbsp;</div>", "{\"k\": [1, 2.5e-3, null]}",
        "\\begin{align} \\alpha &= \\frac{1}{2} \\\\ \\end{align}", "if [ -f \"$x\" ]; then\n\techo ok\nfi\n",
        "https://example.org/a/b?c=d&e=%20f#g", "user@example.com", "0xDEADBEEF", "snake_case camelCase PascalCase",
        "a->b::c<d>()", "--flag=value", "/usr/lib/x86_64-linux-gnu/", "<0x0A><0xE2>", "▁ ▁▁ ▁a", "Ġ ĊĠĠ", "##ing"]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…—–“”‘’«»¿¡、。「」！？，：；（）［］·•†‡§¶"


def prose():
    """A few hundred thousand characters of English and of code that every Python brings along."""
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    names = ["argparse.py", "ast.py", "decimal.py", "_pydecimal.py", "doctest.py", "email/message.py", "zipfile.py"]
    return "".join((folder / n).read_text(encoding="utf-8") for n in names if (folder / n).exists())


class Maker:
    def __init__(self, seed, specials, vocabulary):
        self.r = random.Random(seed)
        self.specials = specials or ["<s>"]
        self.vocabulary = vocabulary or WORDS
        self.prose = prose()
        self.kinds = [self.words, self.words, self.english, self.english, self.block, self.block, self.blocks,
                      self.spaces, self.spaced_words, self.emoji, self.marks, self.controls, self.invalid, self.broken,
                      self.code, self.numbers, self.contractions, self.special, self.special, self.tokens, self.tokens,
                      self.repeated, self.punctuation, self.glued, self.everything]

    def char(self, block=None):
        while True:
            c = self.r.randint(*(block or self.r.choice(BLOCKS)))
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def some(self, items, low=1, high=12, glue=""):
        return glue.join(self.r.choice(items) for _ in range(self.r.randint(low, high)))

    def words(self): return self.some(WORDS, 1, 20, " ")
    def english(self):
        at, n = self.r.randrange(len(self.prose)), int(self.r.expovariate(1 / 80)) + 1
        return self.prose[at:at + n]
    def block(self):
        block = self.r.choice(BLOCKS)
        return "".join(self.char(block) if self.r.random() < 0.9 else " " for _ in range(self.r.randint(1, 24)))
    def blocks(self): return "".join(self.char() for _ in range(self.r.randint(1, 16)))
    def spaces(self): return self.some(SPACES if self.r.random() < 0.5 else " \n\t\r", 1, 40)
    def spaced_words(self): return "".join(self.spaces()[:6] + self.r.choice(WORDS) for _ in range(self.r.randint(1, 6)))
    def emoji(self): return self.some(EMOJI, 1, 8, self.r.choice(["", " "]))
    def marks(self):
        base = [self.r.choice(WORDS), self.char(), "e", "가", "か", "ᄀ", "ᅡ", "ᆨ", "क"]
        marks = [chr(self.r.randint(0x300, 0x36F)), "\u0301", "\u0327", "\u0345", "\u3099", "\u0334", self.char()]
        return "".join(self.r.choice(base) + self.some(marks, 0, 4) for _ in range(self.r.randint(1, 8)))
    def controls(self): return "".join(chr(self.r.choice([*range(0x20), *range(0x7F, 0xA0)])) + self.r.choice(["", "a", " b"])
                                       for _ in range(self.r.randint(1, 12)))
    def invalid(self): return bytes(self.r.choice([self.r.randrange(256), self.r.randrange(0x80, 0x100)])
                                    for _ in range(self.r.randint(1, 24)))
    def broken(self):
        data = bytearray(self.everything().encode())
        for _ in range(self.r.randint(1, 4)):
            if data:
                at = self.r.randrange(len(data))
                if self.r.random() < 0.5:
                    del data[at]
                else:
                    data[at] = self.r.randrange(256)
        return bytes(data)
    def code(self): return self.some(CODE, 1, 4, self.r.choice(["", "\n", " "]))
    def numbers(self): return self.some(["1", "23", "456", "7890", "12345678", "3.14", "1,000", "½", "²", "Ⅷ", "٣", "७", "〇",
                                         "①", " ", "a", "-", "𝟘"], 1, 12)
    def contractions(self): return "".join(self.r.choice(["it", "We", " ", "", "n"]) + self.r.choice(CONTRACTIONS)
                                           for _ in range(self.r.randint(1, 6)))
    def special(self):
        parts = [self.r.choice(self.specials) if self.r.random() < 0.5 else self.r.choice([self.words, self.spaces, self.block])()
                 for _ in range(self.r.randint(1, 5))]
        if self.r.random() < 0.2:
            parts.append(self.r.choice(self.specials)[:-1])
        return "".join(parts)
    def tokens(self): return self.some(self.vocabulary, 1, 12, self.r.choice(["", "", " "]))
    def repeated(self): return self.r.choice([self.char(), self.r.choice(WORDS), "a", "ab", "=", " ", "\n", "▁"]) * self.r.randint(2, 70)
    def punctuation(self): return self.some(PUNCTUATION + " \na", 1, 16)
    def glued(self): return self.some(WORDS, 8, 40)
    def everything(self):
        parts = (self.r.choice(self.kinds[:-1]) for _ in range(self.r.randint(2, 4)))
        return "".join(p if isinstance(p := f(), str) else p.decode("utf-8", "replace") for f in parts if f != self.broken)

    def __call__(self):
        text = self.r.choice(self.kinds)()
        return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def texts(count, seed, specials=None, vocabulary=None):
    make = Maker(seed, specials, vocabulary)
    for _ in range(count):
        yield make()
