#!/usr/bin/env python3
"""Trains the small tokenizers in tests/tokenizers/small: every kind of component, a thousand tokens each.

    venv/bin/python tests/tokenizers/make_small.py        # rewrites small/; then record the expectations anew

The trained vocabularies are not reproducible bit for bit between versions of the package, which is why they are kept.
"""
import json
import pathlib
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compare import CONTRACTIONS, LLAMA3, QWEN2  # noqa: E402
from texts import Maker, prose  # noqa: E402

OUT = pathlib.Path(__file__).parent / "small"
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + r"?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + r"?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
             r"\s*[\r\n]+|\s+(?!\S)|\s+")

CASED = (r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}"
         r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}"
         r"\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}"
         r"\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}"
         r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}"
         r"\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}"
         r"\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}"
         r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}"
         r"\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}"
         r"\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}"
         r"\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}"
         r"\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}"
         r"\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}"
         r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+")


def corpus():
    text = prose()
    make = Maker(7, ["<s>"], None)
    lines = [text[i:i + 200] for i in range(0, 200_000, 200)]
    lines += [make.words() for _ in range(2000)] + [make.code() for _ in range(200)] + [make.emoji() for _ in range(200)]
    return lines


def byte_level(pre, size=1000, prefix=False, use_regex=False):
    tokenizer = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*pre, last]) if pre else last
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def isolated(*patterns):
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]


def template(tokenizer, single):
    names = {p for p in single.split() if not p.startswith("$")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(n, tokenizer.token_to_id(n)) for n in sorted(names)])


def llama3():
    t = byte_level(isolated(LLAMA3))
    t.model.ignore_merges = True
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    template(t, "<|begin_of_text|> $A")
    return t


def qwen2():
    t = byte_level(isolated(QWEN2))
    t.normalizer = normalizers.NFC()
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return t


def smollm():
    t = byte_level([pre_tokenizers.Digits(True)], use_regex=True)
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return t


def roberta():
    t = byte_level([], prefix=True, use_regex=True, size=600)
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Strip(left=False, right=True)])
    t.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True, normalized=True)])
    t.add_tokens([AddedToken("word", single_word=True), AddedToken("right", rstrip=True, normalized=False),
                  AddedToken("CAFÉ", normalized=True), AddedToken(" two words ", lstrip=True, rstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    return t


def gpt4o():
    t = byte_level(isolated(GPT4O), size=600)
    t.add_special_tokens(["<|endoftext|>"])
    return t


def deepseek3():
    t = byte_level(isolated(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3), size=600)
    t.add_special_tokens(["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"])
    return t


def deepseek_coder():
    t = byte_level([*isolated(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"), pre_tokenizers.Digits(True)], size=600)
    t.add_special_tokens(["<｜end▁of▁sentence｜>"])
    return t


def deepseek_llm():
    t = byte_level([*isolated(r"[\r\n]", CASED, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+"),
                    pre_tokenizers.Digits(True)], size=600)
    t.add_special_tokens(["<｜end▁of▁sentence｜>"])
    return t


def falcon():
    t = byte_level([pre_tokenizers.Punctuation("contiguous")], size=600)
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    return t


def sentence_piece(name, ties, prefix, user_defined):
    """A vocabulary as SentencePiece makes it, and the merges that a publisher's conversion derives from it."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=1000, show_progress=False, max_token_length=16))
    trained = sorted(t.get_vocab(), key=t.get_vocab().get)
    pieces = ["<unk>", "<s>", "</s>"] + user_defined + [f"<0x{b:02X}>" for b in range(256)]
    kinds = [2, 3, 3] + [4] * len(user_defined) + [6] * 256
    rest = [p for p in sorted(trained, key=lambda p: (len(p) == 1, trained.index(p))) if p not in pieces]
    if not user_defined:
        rest = rest[:40] + ["▁▁", "▁▁▁▁", "▁▁▁", "▁▁▁▁▁▁▁▁"] + rest[40:]
    scores = [0.0] * len(pieces) + [-1e9 if set(p) == {"▁"} and len(p) > 1 else -float(i) for i, p in enumerate(rest)]
    pieces, kinds = pieces + rest, kinds + [1] * len(rest)
    ids = {p: i for i, p in enumerate(pieces)}
    merges = []
    for piece, score in zip(pieces, scores):
        local = [(piece[:i], piece[i:], score) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += sorted(local, key=lambda m: (ids[m[0]], ids[m[1]]))
    key = (lambda m: m[2]) if ties == "id" else (lambda m: (m[2], len(m[0]), len(m[1])))
    merges.sort(key=key, reverse=True)
    t = Tokenizer(models.BPE(ids, [m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    t.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    ends = [decoders.Strip(" ", 1, 0)] if prefix else []
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    t.add_special_tokens([AddedToken(p, normalized=False) for p in pieces[:3]])
    t.add_tokens([AddedToken(p, normalized=False) for p in user_defined])
    template(t, "<s> $A")
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    spaced = [p.replace("▁", " ") if set(p) == {"▁"} and k == 4 else p for p, k in zip(pieces, kinds)]
    (folder / "gguf.json").write_text(json.dumps({"tokens": spaced, "scores": scores, "token_types": kinds},
                                                 ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    return t


def llama2():
    return sentence_piece("llama2", "id", True, [])


def gemma3():
    runs = [c * n for c in "\n▁\t" for n in range(2, 9)]
    return sentence_piece("gemma3", "length", False, ["<start_of_turn>", "<b>", *runs])


def unigram(bytes_too=False):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    scheme = "first" if bytes_too else "always"
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    t.decoder = decoders.Metaspace(prepend_scheme=scheme)
    t.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=900, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    if bytes_too:
        data = json.loads(t.to_str())
        data["model"]["vocab"] += [[f"<0x{b:02X}>", 0.0] for b in range(256)]
        data["model"]["byte_fallback"] = True
        data["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, data["decoder"]]}
        t = Tokenizer.from_str(json.dumps(data))
    template(t, "$A </s>")
    return t


def t5():
    """As a GGUF file has it: scores of 32 bits."""
    data = json.loads(unigram().to_str())
    data["model"]["vocab"] = [[token, struct.unpack("f", struct.pack("f", score))[0]] for token, score in data["model"]["vocab"]]
    t = Tokenizer.from_str(json.dumps(data))
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return t


def bert(lowercase=True):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40 if lowercase else 100))
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=None)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(cleanup=lowercase)
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    template(t, "[CLS] $A [SEP]")
    return t


def clip():
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix="@@"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                         normalizers.Replace(Regex(r"\s+"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_next")])
    t.decoder = decoders.BPEDecoder(suffix="</w>")
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=1000, end_of_word_suffix="</w>", limit_alphabet=150,
        continuing_subword_prefix="@@", special_tokens=["<|startoftext|>", "<|endoftext|>"], show_progress=False))
    template(t, "<|startoftext|> $A <|endoftext|>")
    return t


def words():
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Strip(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("e", "merged_with_previous"),
        pre_tokenizers.Split(Regex("[aio]"), "removed"), pre_tokenizers.Split(Regex(r"\w+"), "contiguous", invert=True),
        pre_tokenizers.Split(Regex(r"\d|\h{2}"), "merged_with_next"), pre_tokenizers.CharDelimiterSplit("s")])
    t.train_from_iterator(corpus(), trainers.WordLevelTrainer(vocab_size=700, special_tokens=["[UNK]"], show_progress=False))
    return t


SMALL = {"llama3": llama3, "qwen2": qwen2, "smollm": smollm, "roberta": roberta, "gpt4o": gpt4o, "deepseek3": deepseek3,
         "deepseek_coder": deepseek_coder, "deepseek_llm": deepseek_llm, "falcon": falcon, "llama2": llama2, "gemma3": gemma3, "unigram": unigram,
         "unigram_bytes": lambda: unigram(True), "t5": t5, "bert": bert, "bert_cased": lambda: bert(False), "clip": clip,
         "words": words}


def main():
    for name, make in SMALL.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        data = json.loads(make().to_str())
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        print(name, len(text))


if __name__ == "__main__":
    main()
