"""100 texts of many kinds: short and long, several scripts, digits, code, and what tokenizers stumble over."""

_BASE = [
    "Hello, world!", "The capital of France is Paris.", "a", "?", "I", "42", "3.14159 is close to π.",
    "The quick brown fox jumps over the lazy dog.", "How do I reset my password?",
    "To be, or not to be, that is the question.", "E = mc²", "She sells sea shells by the sea shore.",
    "Stocks fell sharply on Monday after the central bank raised rates by 0.25 %.",
    "A kitten is napping on the couch.", "for (int i = 0; i < n; ++i) sum += a[i];",
    "SELECT name, COUNT(*) FROM users GROUP BY name HAVING COUNT(*) > 1;", "https://example.org/a/b?c=d&e=f#g",
    "Grüße aus Köln, schöne Straße!", "Où est la bibliothèque ? Ça va très bien.", "¿Dónde está el baño?",
    "東京は日本の首都です。", "我喜欢吃苹果。", "서울은 한국의 수도이다.", "Москва — столица России.", "مرحبا بالعالم",
    "नमस्ते दुनिया", "😀 emoji 🎉 and 👩‍👩‍👧 families", "CAPITALS AND lower Case MiXeD", "naïve café résumé coöperate",
    "don't can't won't it's I'm they're", "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "tab\tand\nnewline\r\nand  two spaces", "zero\u200bwidth\u00a0space and soft\u00adhyphen", "e\u0301 combining accents n\u0303",
    "1,000,000.00 USD = 10^6 $", "[CLS] and [SEP] and [MASK] written out", "C++20, C# and F#", "snake_case kebab-case CamelCase",
    "\"quoted\" 'single' “curly” «guillemets»", "x" * 120, "the " * 100 + "end",
]
_SUBJECTS = ["The engineer", "A small child", "My neighbour's dog", "The committee", "An old lighthouse"]
_VERBS = ["slowly repaired", "never understood", "will probably photograph", "quietly ignored"]
_OBJECTS = ["the broken bridge", "a theory of everything", "three ripe tomatoes"]


def sentences():
    made = [f"{s} {v} {o}." for s in _SUBJECTS for v in _VERBS for o in _OBJECTS]
    long = [" ".join(made[i:i + n]) for i, n in ((0, 6), (3, 12), (7, 20))]
    texts = _BASE + long + made
    assert len(texts) >= 100
    return texts[:100]
