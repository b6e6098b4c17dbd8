#!/usr/bin/env python3
"""Random schemas through `sgl grammar --accepts` against the `jsonschema` package, on random instances near them.

usage: json_schema_random.py --program build/release/sgl --venv DIRECTORY [--seed N] [--schemas N]

A schema may be refused. An object whose members stand in another order than the schema names them may be rejected; and where the
schema negates an additionalProperties, an instance that is accepted with its objects' members in some other order. All other
answers must agree.
"""

import argparse
import concurrent.futures
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import virtual_environment  # noqa: E402
from json_schema_suite import ask, other_order, texts  # noqa: E402

PACKAGE = "jsonschema==4.26.0"
NAMES = ["a", "ab", "b", "name", "x-1", "é"]
STRINGS = ["", "a", "ab", "abc", "foo", "xfoo", "é", "日本", "12", "2024-02-30", "2024-02-29", "A\n", "\"q\"", "name", "x-1", "aaaaaa", "abab", "abc", "bcbc", "1f", "aabbcc"]
NUMBERS = [0, 1, -1, 2, 3, 5, 7, 10, 12, 99, 100, 101, -7, 0.5, 1.5, 2.25, -0.25, 1e3, 12345678901234567890, 3.0, 1e-7, 1e20]


def schema(rng, depth):
    pick = rng.random
    kind = rng.randrange(16 if depth > 0 else 8)
    s = {}
    if kind == 0:
        return rng.choice([True, {}, {"type": rng.sample(["null", "boolean", "integer", "number", "string", "array", "object"], rng.randrange(1, 4))}])
    if kind == 1:
        return {rng.choice(["enum"]): rng.sample([1, 1.5, "a", "foo", None, True, [1, "a"], {"a": 1}, 0, "é"], rng.randrange(1, 5))}
    if kind == 2:
        return {"const": rng.choice([1, 2.5, "a", None, False, [1], {"a": 1, "b": [2]}])}
    if kind in (3, 4):
        s["type"] = rng.choice(["integer", "number"])
        for key, p in (("minimum", .5), ("maximum", .4), ("exclusiveMinimum", .2), ("exclusiveMaximum", .2)):
            if pick() < p:
                s[key] = rng.choice([-7, -1, 0, 0.5, 1, 2.25, 5, 10, 99.5, 100, 1000])
        if pick() < .2:
            s["multipleOf"] = rng.choice([1, 2, 3, 0.5, 0.25, 7])
        return s
    if kind in (5, 6, 7):
        s["type"] = "string"
        if pick() < .4:
            s["minLength"] = rng.randrange(4)
        if pick() < .4:
            s["maxLength"] = rng.randrange(1, 6)
        if pick() < .4:
            s["pattern"] = rng.choice(["^a", "o$", "foo|^ab?$", "^[a-z]*$", "^.{2,3}$", "[^a-z]", "^\\d+$", "a.*b", "^(a|b)+$",
                                       "^(ab)*$", "^([a-z]{2})*$", "^(a|bc)*$", "^([a-z]{3})+$", "^(a?b?)*$", "^([0-9a-f]{2}){1,3}$"])
        if pick() < .1:
            s["format"] = "date"
        return s

    def sub():
        return schema(rng, depth - 1)
    if kind in (8, 9, 10):
        s["type"] = "object"
        if pick() < .8:
            s["properties"] = {n: sub() for n in rng.sample(NAMES, rng.randrange(1, 4))}
        if pick() < .6:
            s["required"] = rng.sample(NAMES, rng.randrange(0, 3))
        if pick() < .5:
            s["additionalProperties"] = rng.choice([False, False, sub()])
        if pick() < .2:
            s["patternProperties"] = {rng.choice(["^a", "b", "^x-"]): sub()}
        if pick() < .15:
            s["propertyNames"] = rng.choice([{"maxLength": 2}, {"pattern": "^[a-z]"}, {"enum": ["a", "b", "zz"]}])
        if pick() < .15:
            s["minProperties"] = rng.randrange(3)
        if pick() < .15:
            s["maxProperties"] = rng.randrange(1, 4)
        if pick() < .1:
            s["dependentRequired"] = {rng.choice(NAMES): [rng.choice(NAMES)]}
        return s
    if kind in (11, 12):
        s["type"] = "array"
        if pick() < .6:
            s["items"] = rng.choice([sub(), sub(), False])
        if pick() < .3:
            s["prefixItems"] = [sub() for _ in range(rng.randrange(1, 3))]
        if pick() < .4:
            s["minItems"] = rng.randrange(3)
        if pick() < .4:
            s["maxItems"] = rng.randrange(4)
        if pick() < .2 and "prefixItems" not in s:
            s["contains"] = sub()
            if pick() < .5:
                s["minContains"] = rng.randrange(3)
            if pick() < .3:
                s["maxContains"] = rng.randrange(1, 3)
        if pick() < .3 and "prefixItems" not in s and "contains" not in s:
            s["uniqueItems"] = True
        return s
    if kind == 13:
        s[rng.choice(["anyOf", "oneOf", "allOf"])] = [sub() for _ in range(rng.randrange(1, 4))]
        return s
    if kind == 14:
        return {"not": sub()} if pick() < .6 else {"if": sub(), "then": sub(), "else": sub()}
    base = sub()
    s = dict(base) if isinstance(base, dict) else {}
    s[rng.choice(["anyOf", "allOf"])] = [sub(), sub()]
    if pick() < .3:
        s["not"] = sub()
    return s


def near(rng, s, depth=3):
    """An instance that has a chance to satisfy the schema."""
    if rng.random() < .15 or not isinstance(s, dict) or depth == 0:
        return rng.choice([None, True, False, rng.choice(STRINGS), rng.choice(NUMBERS), [], {}, [1], {"a": 1}])
    if "const" in s:
        return s["const"]
    if "enum" in s:
        return rng.choice(s["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in s and rng.random() < .7:
            return near(rng, rng.choice(s[key]), depth)
    for key in ("then", "else", "not"):
        if key in s and rng.random() < .5:
            return near(rng, s[key], depth)
    kind = s.get("type", rng.choice(["object", "array", "string", "number"]))
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        names = list(s.get("properties", {}))
        names += [n for n in s.get("required", []) if n not in names]
        names = [n for n in names if n in s.get("required", []) or rng.random() < .6]
        names += [n for n in rng.sample(NAMES + ["zz", "a1"], 2) if n not in names and rng.random() < .3]
        return {n: near(rng, s.get("properties", {}).get(n, s.get("additionalProperties", {})), depth - 1) for n in names}
    if kind == "array":
        prefix = s.get("prefixItems", [])
        rest = rng.choice([s.get("items", {}), s.get("contains", s.get("items", {}))])
        return [near(rng, prefix[i] if i < len(prefix) else rest, depth - 1) for i in range(rng.randrange(s.get("minItems", 0), 5))]
    if kind == "string":
        return rng.choice(STRINGS)
    if kind in ("integer", "number"):
        return rng.choice(NUMBERS + [s.get("minimum", 1), s.get("maximum", 1)])
    return {"null": None, "boolean": rng.random() < .5}.get(kind)


def others_negated(s, below=False):
    """Whether a schema under not, oneOf or if says what members that it does not name are."""
    if isinstance(s, list):
        return any(others_negated(v, below) for v in s)
    if not isinstance(s, dict):
        return False
    return (below and "additionalProperties" in s) or any(
        others_negated(v, below or k in ("not", "oneOf", "if")) for k, v in s.items())


def shuffled(rng, value):
    """The value with the members of its objects in another order."""
    if isinstance(value, list):
        return [shuffled(rng, v) for v in value]
    if not isinstance(value, dict):
        return value
    return {n: shuffled(rng, value[n]) for n in rng.sample(list(value), len(value))}


def accepted_in_another_order(program, s, value):
    rng = random.Random(0)
    tries = [json.dumps(shuffled(rng, value), separators=(",", ":")) for _ in range(200)]
    return any(ask(program, s, tries)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--schemas", type=int, default=400)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if not a.inside:
        python = virtual_environment.make(a.venv, [PACKAGE])
        os.execv(python, [str(python), __file__, *sys.argv[1:], "--inside"])
    import jsonschema
    print(f"seed {a.seed}", flush=True)
    jobs = []
    for i in range(a.schemas):
        rng = random.Random(f"{a.seed}/{i}")
        s = schema(rng, 3)
        validator = jsonschema.Draft202012Validator(s, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        values = [near(rng, s) for _ in range(25)]
        expected = [validator.is_valid(v) for v in values]
        jobs.append((s, values, expected, [texts(v, rng) for v in values]))

    def run(job):
        s, values, _, rendered = job
        flat = [t for ts in rendered for t in ts]
        answers, message = ask(a.program, s, flat)
        if answers is None:
            return None, None, message
        compact, _ = ask(a.program, s, [ts[0] for ts in rendered], "--compact")
        return answers, compact, message

    wrong, asked, valid, order, refused = [], 0, 0, 0, {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (s, values, expected, rendered), (answers, compact, message) in zip(jobs, pool.map(run, jobs)):
            if answers is None:
                keyword = message.split("JSON Schema: ")[-1].split(" at ")[0]
                refused[keyword] = refused.get(keyword, 0) + 1
                continue
            for i, (value, want, ts) in enumerate(zip(values, expected, rendered)):
                got = [answers.pop(0) for _ in ts] + [compact[i]]
                asked += 1
                valid += want
                if all(g == want for g in got):
                    continue
                if want and (other_order(s, value) or
                             (others_negated(s) and accepted_in_another_order(a.program, s, value))):
                    order += 1
                    continue
                wrong.append(f"schema {json.dumps(s)}\n  on {json.dumps(value)}: {got}, jsonschema says {want}")
    for line in wrong[:20]:
        print(line)
    print(f"{a.schemas} schemas ({sum(refused.values())} refused: {refused}), {asked} instances ({valid} valid), {order} in another order, {len(wrong)} wrong")
    sys.exit(1 if wrong or asked == 0 else 0)


if __name__ == "__main__":
    main()
