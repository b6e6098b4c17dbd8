#!/usr/bin/env python3
"""Holds our tokenizers against the reference `tokenizers` package: ids, decoded text, token bytes.

    python -m venv venv && venv/bin/pip install tokenizers==0.23.3 gguf
    cmake --build build/release --target encode_lines
    venv/bin/python tests/tokenizers/compare.py build/release/tests/encode_lines TOKENIZER... [--count 100000] [--seed 1]

TOKENIZER is a directory with a tokenizer.json (and perhaps tokenizer_config.json), or a GGUF file. For a GGUF file the
reference is made from its vocabulary and merges, with what is known of its pre-tokenizer; for a "llama" vocabulary give
the publisher's tokenizer.json:   FILE.gguf=DIRECTORY

Ends with status 1 at the first tokenizer with differences, after showing some of them.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from texts import texts  # noqa: E402

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def read_gguf(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    strings = lambda key: [bytes(fields[key].parts[i]).decode("utf-8", "replace") for i in fields[key].data]
    get = lambda key: fields[key].contents() if key in fields else None
    types = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data]
    return strings, get, types


def gguf_reference(path, publisher):
    strings, get, types = read_gguf(path)
    tokens = strings("tokenizer.ggml.tokens")
    if publisher:  # its file, with what the GGUF says of special tokens
        data = json.loads((pathlib.Path(publisher) / "tokenizer.json").read_text(encoding="utf-8"))
        data["added_tokens"] = [t for t in data["added_tokens"] if t["id"] < len(tokens)]
        for t in data["added_tokens"]:
            t["special"] = types[t["id"]] in (2, 3)
        return Tokenizer.from_str(json.dumps(data))
    assert get("tokenizer.ggml.model") == "gpt2", "give the publisher's tokenizer.json: FILE.gguf=DIRECTORY"
    merges = [tuple(m.split(" ")) for m in strings("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    pre = get("tokenizer.ggml.pre")
    if pre == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        sys.exit(f"no reference for the pre-tokenizer {pre}")
    tokenizer.decoder = decoders.ByteLevel()
    for i, kind in enumerate(types):
        if kind in (2, 3, 4):
            token = AddedToken(tokens[i], normalized=False, special=kind != 4)
            (tokenizer.add_tokens if kind == 4 else tokenizer.add_special_tokens)([token])
    return tokenizer


def reference(spec):
    path, _, publisher = spec.partition("=")
    if path.endswith(".gguf"):
        return path, gguf_reference(path, publisher)
    tokenizer = Tokenizer.from_file(str(pathlib.Path(path) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return path, tokenizer


def ask(program, path, records):
    """Sends (kind, payload) records and yields the answers."""
    data = b"".join(kind + struct.pack("<I", n) + payload for kind, n, payload in records)
    done = subprocess.run([program, path], input=data, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{program} {path} ended with status {done.returncode}")
    out, at = done.stdout, 0

    def text():
        nonlocal at
        n, = struct.unpack_from("<I", out, at)
        at += 4 + n
        return out[at - n:at]

    for kind, _, _ in records:
        if kind == b"T":
            yield text(), text()
            continue
        n, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{n}i", out, at + 4))
        at += 4 + 4 * n
        yield ids, text().decode(), text().decode()


def vocabulary_texts(tokenizer):
    """What the tokens stand for in the middle of a text, for gluing them together at random."""
    out = []
    for i in range(0, tokenizer.get_vocab_size(), 7):
        text = tokenizer.decode([i], skip_special_tokens=False)
        out.append(text)
    return [t for t in out if t]


class Differences:
    def __init__(self):
        self.count = 0

    def show(self, what, *values):
        self.count += 1
        if self.count <= 5:
            print("  DIFFERS:", what)
            for v in values:
                print("     ", repr(v)[:600])


def compare(program, spec, count, seed):
    path, tokenizer = reference(spec)
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    sources = list(texts(count, seed, added, vocabulary_texts(tokenizer)))
    expected = []
    began = time.time()
    decoded = [s.decode("utf-8", "replace") for s in sources]
    for at in range(0, count, 1000):
        expected += [e.ids for e in tokenizer.encode_batch(decoded[at:at + 1000])]
    print(f"{spec}: reference took {time.time() - began:.1f} s; seed {seed}")

    import random
    r = random.Random(seed)
    size = tokenizer.get_vocab_size()
    low_ids = [i for i in range(min(size, 600))]
    id_lists = [[r.choice(low_ids) if r.random() < 0.5 else r.randrange(size) for _ in range(r.randint(0, 20))]
                for _ in range(count // 5)]
    records = [(b"E", len(s), s) for s in sources]
    records += [(b"D", len(ids), struct.pack(f"<{len(ids)}i", *ids)) for ids in id_lists]
    differences = Differences()
    for i, (ids, plain, full) in enumerate(ask(program, path, records)):
        want = expected[i] if i < count else id_lists[i - count]
        if ids != want:
            differences.show("ids", sources[i], ids, want, [tokenizer.id_to_token(t) for t in ids],
                             [tokenizer.id_to_token(t) for t in want])
            continue
        for skip, got in ((True, plain), (False, full)):
            text = tokenizer.decode(want, skip_special_tokens=skip)
            if got != text:
                differences.show(f"decode(skip_special_tokens={skip})", want, got, text)
    print(f"  {count} texts, {sum(map(len, expected))} ids, {len(id_lists)} random id lists: {differences.count} differences")
    return differences.count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for spec in args.tokenizers:
        if compare(args.program, spec, args.count, args.seed):
            sys.exit(1)


if __name__ == "__main__":
    main()
