#!/usr/bin/env python3
"""Records what the reference package makes of a small corpus, for the unit tests that run without it.

    venv/bin/python tests/tokenizers/record.py corpus                         # writes corpus.txt anew
    venv/bin/python tests/tokenizers/record.py small                          # writes small/*/expected.txt
    venv/bin/python tests/tokenizers/record.py NAME=TOKENIZER...              # writes recorded/NAME.txt; see compare.py

corpus.txt has a text a line; bytes outside of printable ASCII, spaces and '%' are written %XX.
expected.txt has a line for each: the ids, a tab, and the FNV-1a hash (64 bits, hexadecimal) of the text that they decode
to without special tokens, a zero byte, and the text with them.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compare import reference  # noqa: E402
from texts import texts  # noqa: E402

HERE = pathlib.Path(__file__).parent
SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<bos>",
            "<start_of_turn>", "<end_of_turn>", "<think>", "</think>", "<tool_call>", "<mask>", "[MASK]", "[SEP]", "<b>", "word",
            "right", "CAFÉ", " two words ", "<0x0A>", "<unused7>", "\n\n", "▁▁"]
ALWAYS = [b"", b" ", b"a", b"\xff", b"\xe4\xbd", b"Hello, world!", b" leading and trailing ", b"it's WE'LL 'S'\xc5\xbf",
          "e\u0301 é ﬁ Å가각".encode(), b"a" * 200, b"\n" * 70, b" " * 90 + b"x"]


def percent(data):
    return "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in data)


def unpercent(line):
    out, at = bytearray(), 0
    while at < len(line):
        step = 3 if line[at] == "%" else 1
        out.append(int(line[at + 1:at + 3], 16) if step == 3 else ord(line[at]))
        at += step
    return bytes(out)


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def write_corpus():
    chosen = list(ALWAYS)
    for text in texts(10_000, 2026, SPECIALS):
        if len(text) <= 90 and len(chosen) < 360:
            chosen.append(text)
    (HERE / "corpus.txt").write_text("".join(percent(t) + "\n" for t in chosen), encoding="ascii")


def record(spec, path):
    _, tokenizer = reference(spec)
    lines = []
    for line in (HERE / "corpus.txt").read_text(encoding="ascii").split("\n")[:-1]:
        ids = tokenizer.encode(unpercent(line).decode("utf-8", "replace")).ids
        texts_ = [tokenizer.decode(ids, skip_special_tokens=skip).encode() for skip in (True, False)]
        lines.append(" ".join(map(str, ids)) + "\t" + fnv(texts_[0] + b"\0" + texts_[1]) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="ascii")
    print(path, sum(map(len, lines)))


def main():
    for arg in sys.argv[1:]:
        if arg == "corpus":
            write_corpus()
        elif arg == "small":
            for folder in sorted((HERE / "small").iterdir()):
                record(str(folder), folder / "expected.txt")
        else:
            name, _, spec = arg.partition("=")
            record(spec, HERE / "recorded" / f"{name}.txt")


if __name__ == "__main__":
    main()
