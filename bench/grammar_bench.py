#!/usr/bin/env python3
"""Grammars of all sizes through `sgl grammar --bench` and through xgrammar, in one run on one machine.

usage: grammar_bench.py --program build/release/sgl --tokenizer DIRECTORY [--venv DIRECTORY]

For each grammar: compile time, and the time of a mask at each token of a text, both cold. The last line gives geometric
means of the ratios, ours to theirs. xgrammar is called from Python, which adds about a microsecond to each of its masks.
The virtual environment is made once; it needs the network.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import types
import venv
from pathlib import Path

PACKAGES = ["apache-tvm-ffi", "numpy", "pydantic", "typing_extensions", "tokenizers"]
XGRAMMAR = "xgrammar==0.2.8"


def obj(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            "additionalProperties": False, **more}


STRING, INTEGER, NUMBER, BOOLEAN = ({"type": t} for t in ("string", "integer", "number", "boolean"))
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon".split()


def large(kilobytes):
    """A schema of about this size: nested objects with descriptions, enums and arrays."""
    properties, value, i = {}, {}, 0
    while len(json.dumps(properties)) < kilobytes * 1000:
        name = f"{WORDS[i % 20]}_{i}"
        kind = i % 5
        if kind == 0:
            properties[name], value[name] = {"type": "string", "description": f"the {name} of the thing"}, f"some {name}"
        elif kind == 1:
            properties[name], value[name] = {"type": "integer", "minimum": 0, "maximum": 1000 + i}, i
        elif kind == 2:
            properties[name], value[name] = {"enum": [f"{w}-{i}" for w in WORDS]}, f"kappa-{i}"
        elif kind == 3:
            properties[name], value[name] = {"type": "array", "items": obj({"x": NUMBER, "label": STRING}), "maxItems": 5}, [{"x": 1.5, "label": "a b"}]
        else:
            properties[name] = obj({"id": STRING, "tags": {"type": "array", "items": STRING}, "on": BOOLEAN}, ["id", "on"])
            value[name] = {"id": f"id{i}", "tags": ["red", "green"], "on": True}
        i += 1
    return obj(properties), value


def cases():
    wizard = obj({"name": STRING, "age": INTEGER, "house": {"enum": ["Gryffindor", "Hufflepuff", "Ravenclaw", "Slytherin"]},
                  "alive": BOOLEAN, "wand": obj({"wood": STRING, "length": NUMBER})})
    yield "wizard", "json", wizard, {"name": "Hermione Jean Granger", "age": 17, "house": "Gryffindor", "alive": True,
                                     "wand": {"wood": "vine wood with dragon heartstring", "length": 10.75}}
    yield "string", "json", STRING, "The quick brown fox jumps over the lazy dog, naïve café 日本語 included; \"quoted\".\n"
    yield "maxLength 24", "json", obj({"name": {"type": "string", "maxLength": 24}}), {"name": "Hermione Jean Granger"}
    yield "maxLength 200", "json", obj({"text": {"type": "string", "minLength": 10, "maxLength": 200}}), {"text": "It was the best of times, it was the worst of times, and so on and on."}
    yield "integer", "json", obj({"n": INTEGER, "m": {"type": "integer", "minimum": -5, "maximum": 1234567}}), {"n": 123456789, "m": 98765}
    yield "number range", "json", {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 100}}, [0.5, 99.25, 12, 3.14159]
    yield "booleans", "json", {"type": "array", "items": BOOLEAN}, [True, False] * 12
    yield "enum of 300", "json", {"enum": [f"{a} {b}{i}" for i, a in enumerate(WORDS) for b in WORDS[:15]]}, "kappa theta9"
    yield "map", "json", {"type": "object", "additionalProperties": INTEGER}, {"one": 1, "twenty two": 22, "three hundred": 300}
    yield "tuple", "json", {"type": "array", "prefixItems": [STRING, NUMBER, BOOLEAN], "items": False, "minItems": 3}, ["pi", 3.14, True]
    yield "array of objects", "json", {"type": "array", "items": obj({"id": INTEGER, "title": STRING, "done": BOOLEAN}), "minItems": 1, "maxItems": 50}, [
        {"id": i, "title": f"buy {w}", "done": i % 2 == 0} for i, w in enumerate(WORDS[:8])]
    yield "optional members", "json", obj({w: STRING for w in WORDS}, ["alpha", "kappa"]), {"alpha": "a", "delta": "the fourth", "kappa": "k", "tau": "t"}
    yield "tree", "json", {"$ref": "#/$defs/node", "$defs": {"node": obj({"v": STRING, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}})}}, {
        "v": "root", "kids": [{"v": "left", "kids": []}, {"v": "right", "kids": [{"v": "leaf", "kids": []}]}]}
    yield "union of 8", "json", {"anyOf": [obj({"kind": {"const": w}, "value": t, "note": STRING}) for w, t in zip(WORDS[:8], [STRING, INTEGER, NUMBER, BOOLEAN] * 2)]}, {
        "kind": "delta", "value": True, "note": "a short note"}
    yield "pattern", "json", obj({"phone": {"type": "string", "pattern": "^\\+?[0-9]{1,3}-[0-9]{3}-[0-9]{4}$"}, "code": {"type": "string", "pattern": "^[A-Z]{2,4}$"}}), {"phone": "+49-123-4567", "code": "ABC"}
    yield "any object", "json", {"type": "object"}, {"a": [1, 2.5, {"b": None}], "text": "with some words in it", "deep": {"er": {"est": [True, False]}}}
    yield "tool call", "json", obj({"name": {"const": "get_weather"}, "arguments": obj({"location": STRING, "unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer", "minimum": 1, "maximum": 14}}, ["location"])}), {
        "name": "get_weather", "arguments": {"location": "San Francisco, California", "unit": "celsius", "days": 7}}
    yield "date-time", "json", obj({"at": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"}}), {"at": "2024-02-29T12:34:56Z", "day": "2023-11-05"}
    yield "invoice", "json", obj({"invoice": obj({"number": STRING, "date": STRING, "customer": obj({"name": STRING, "street": STRING, "city": STRING, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}}),
                                                  "lines": {"type": "array", "items": obj({"description": STRING, "quantity": INTEGER, "price": NUMBER}), "minItems": 1}, "total": NUMBER, "paid": BOOLEAN})}), {
        "invoice": {"number": "2024-0017", "date": "2024-03-01", "customer": {"name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "zip": "12345"},
                    "lines": [{"description": "analytical engine", "quantity": 1, "price": 1999.99}, {"description": "punched cards", "quantity": 500, "price": 0.25}], "total": 2124.99, "paid": False}}
    for kilobytes in (5, 20, 50):
        schema, value = large(kilobytes)
        yield f"large, {kilobytes} kB", "json", schema, dict(list(value.items()))
    yield "lower case words", "regex", "[a-z ]{1,500}", "this is a long text of lower case letters and some more of it until it ends"
    yield "answer somewhere", "regex", ".*answer.*", "I think that the answer is 42, and that is all"
    yield "e-mail", "regex", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", "ada.lovelace@analytical-engine.example.org"
    yield "key values", "regex", r"([a-z_]+=(\d+|\"[^\"]*\")(, )?)+", "name=\"Ada\", age=36, city=\"London town\", id=12345"
    yield "arithmetic", "ebnf", 'root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= factor (("*" | "/") factor)*\nfactor ::= [0-9]+ | "(" expr ")"\n', "(12+34)*5-(6/7+(8-9))*1234"
    yield "s-expressions", "ebnf", 'root ::= "(" item (" " item)* ")"\nitem ::= [a-z]+ | [0-9]+ | root | "\\"" [^"\\n]* "\\""\n', '(define (square x) (times x x) "it squares its argument" 12)'
    yield "chess", "ebnf", 'root ::= ("1. " move " " move "\\n") ([1-9] [0-9]? ". " move " " move "\\n")+\nmove ::= (pawn | nonpawn | castle) [+#]?\nnonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]\npawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?\ncastle ::= "O-O" "-O"?\n', "1. e4 e5\n2. Nf3 Nc6\n3. Bb5 a6\n4. O-O Nf6\n"


def python_of(directory):
    python = directory / "bin" / "python"
    if not (directory / "installed").is_file():
        venv.create(directory, with_pip=True)
        for arguments in (["--no-deps", XGRAMMAR], PACKAGES):
            subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments], check=True)
        (directory / "installed").write_text("")
    return python


def import_xgrammar():
    """xgrammar imports torch for its GPU kernels; its matcher takes numpy arrays."""
    class Stub(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__init__": lambda self, *a, **k: None})
    import tvm_ffi  # first: it looks for a real torch
    del tvm_ffi
    for name in ("torch", "transformers"):
        sys.modules[name] = Stub(name)
    import xgrammar
    return xgrammar


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def theirs(xgr, info, kind, source, ids):
    import numpy
    compiler = xgr.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    start = time.perf_counter()
    if kind == "json":
        compiled = compiler.compile_json_schema(json.dumps(source), any_whitespace=False, separators=(",", ":"), strict_mode=False)
    elif kind == "regex":
        compiled = compiler.compile_regex(source)
    else:
        compiled = compiler.compile_grammar(source)
    compile_ms = (time.perf_counter() - start) * 1000
    matcher = xgr.GrammarMatcher(compiled)
    mask = numpy.zeros((1, (info.vocab_size + 31) // 32), dtype=numpy.int32)
    times, accepted = [], True
    for token in ids:
        start = time.perf_counter()
        matcher.fill_next_token_bitmask(mask)
        times.append((time.perf_counter() - start) * 1e6)
        if not matcher.accept_token(token):
            accepted = False
            break
    return {"compile_ms": compile_ms, "mask_us_p50": quantile(times, 0.5), "mask_us_p99": quantile(times, 0.99),
            "mask_us_max": max(times), "accepted": accepted}


def ours(program, tokenizer, kind, source, text):
    with tempfile.NamedTemporaryFile("w", suffix=".grammar") as file:
        file.write(json.dumps(source) if kind == "json" else source)
        file.flush()
        flag = {"json": ["--json-schema", file.name, "--compact"], "regex": [f"--regex={source}"], "ebnf": ["--ebnf", file.name]}[kind]
        run = subprocess.run([program, "grammar", *flag, "--tokenizer", tokenizer, "--bench", "-"], input=json.dumps(text) + "\n",
                             capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"error: {run.stderr}")
    return json.loads(run.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "sgl_grammar_bench_venv")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if not a.inside:
        os.execv(python_of(a.venv.resolve()), [str(a.venv / "bin" / "python"), __file__, *sys.argv[1:], "--inside"])
    xgr = import_xgrammar()
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(a.tokenizer / "tokenizer.json"))
    vocabulary = [""] * tokenizer.get_vocab_size(with_added_tokens=True)
    for token, i in tokenizer.get_vocab(with_added_tokens=True).items():
        vocabulary[i] = token
    fallback = "<0x0A>" in vocabulary
    special = sorted(i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special)
    info = xgr.TokenizerInfo(vocabulary, xgr.VocabType.BYTE_FALLBACK if fallback else xgr.VocabType.BYTE_LEVEL,
                             stop_token_ids=special[:1])
    keys = ("compile_ms", "mask_us_p50", "mask_us_p99", "mask_us_max")
    ratios = {k: [] for k in keys}
    print(f"{'grammar':18} {'tokens':>6} | {'compile ms':>21} | {'mask p50 us':>19} | {'mask p99 us':>21} | {'mask max us':>21}")
    worst = 0
    for name, kind, source, value in cases():
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False) if kind == "json" else value
        us = ours(a.program, a.tokenizer, kind, source, text)
        them = theirs(xgr, info, kind, source, tokenizer.encode(text, add_special_tokens=False).ids)
        worst = max(worst, us["mask_us_max"])
        cells = []
        for k in keys:
            ratios[k].append(us[k] / them[k])
            cells.append(f"{us[k]:9.1f} {them[k]:11.1f}")
        note = ("" if us["accepted"] else "  (ours rejects)") + ("" if them["accepted"] else "  (theirs rejects)")
        print(f"{name:18} {us['tokens']:6} | " + " | ".join(cells) + note, flush=True)
    mean = {k: math.exp(sum(math.log(max(r, 1e-9)) for r in v) / len(v)) for k, v in ratios.items()}
    print(f"{len(ratios['compile_ms'])} grammars, ours to theirs by geometric mean: compile {mean['compile_ms']:.3f}, "
          f"mask p50 {mean['mask_us_p50']:.3f}, p99 {mean['mask_us_p99']:.3f}, max {mean['mask_us_max']:.3f}; our slowest mask {worst:.0f} us")


if __name__ == "__main__":
    main()
