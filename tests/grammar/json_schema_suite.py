#!/usr/bin/env python3
"""The official JSON-Schema-Test-Suite (draft 2020-12) through `sgl grammar --accepts`.

usage: json_schema_suite.py --program build/release/sgl --cache build/release/json_schema_suite [--verbose]

Every instance is written in several texts: compact, spaced, indented, with white space at random. A text must be accepted
if the instance is valid, and rejected if it is not; a compact text also by the compact grammar. Objects whose members stand
in another order than the schema names them may be rejected. A schema may be refused, but not for a keyword of the core, and
refusals are counted by keyword. The suite comes from the source package of `jsonschema` on PyPI, which carries it; it is
downloaded once.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

PACKAGE = "jsonschema==4.26.0"
CORE = set("type enum const properties required additionalProperties items prefixItems minItems maxItems minLength "
           "maxLength pattern minimum maximum exclusiveMinimum exclusiveMaximum $ref $defs anyOf".split())
# What an automaton cannot be asked: remote documents, and formats that are only annotations.
FORMATS = ("date date-time time duration email hostname ipv4 ipv6 uri uri-reference uri-template iri iri-reference uuid "
           "json-pointer relative-json-pointer regex ecmascript-regex").split()


def fetch(cache):
    root = cache / "suite"
    if not (root / "tests").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        pip = subprocess.run([sys.executable, "-m", "venv", cache / "venv"], check=False)
        python = cache / "venv" / "bin" / "python"
        if pip.returncode != 0:
            sys.exit("error: cannot make a virtual environment; on Debian, install python3-venv")
        # The sdist's metadata is made by its build backend, so that is needed for a download, too.
        steps = [["install", "-q", "hatchling", "hatch-vcs", "hatch-fancy-pypi-readme"],
                 ["download", "-q", "--no-binary", ":all:", "--no-deps", "--no-build-isolation", "-d", str(cache), PACKAGE]]
        for step in steps:
            if subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "--no-input", *step],
                              stdin=subprocess.DEVNULL, check=False).returncode != 0:
                sys.exit("error: pip cannot download the suite (see above). This test needs the network once, to reach "
                         "PyPI or the index that pip is configured for.")
        archive = next(cache.glob("jsonschema-*.tar.gz"))
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                inner = member.name.split("/", 1)[-1]
                if member.isfile() and inner.startswith("json/"):
                    target = root / inner[len("json/"):]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(tar.extractfile(member).read())
    return root


def spread(value, rng):
    """The JSON text with white space at random between all tokens."""
    def space():
        return "".join(rng.choice(" \t\n\r") for _ in range(rng.choice((0, 0, 1, 1, 2, 5))))
    if isinstance(value, dict):
        members = [space() + json.dumps(k, ensure_ascii=rng.random() < 0.5) + space() + ":" + space() + spread(v, rng) + space()
                   for k, v in value.items()]
        return "{" + (",".join(members) or space()) + "}"
    if isinstance(value, list):
        return "[" + (",".join(space() + spread(v, rng) + space() for v in value) or space()) + "]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def texts(value, rng):
    return [json.dumps(value, separators=(",", ":"), ensure_ascii=False), json.dumps(value), json.dumps(value, indent=2),
            " " + spread(value, rng) + "\n", spread(value, rng)]


def orders(schema, into):
    """All orders in which some subschema names members: lists of names."""
    if isinstance(schema, dict):
        for key in ("properties", "required", "const", "enum"):
            found = schema.get(key)
            if isinstance(found, dict):
                into.append(list(found))
            elif isinstance(found, list) and key != "required":
                into.extend(list(v) for v in found if isinstance(v, dict))
            elif isinstance(found, list):
                into.append([v for v in found if isinstance(v, str)])
        for value in schema.values():
            orders(value, into)
    elif isinstance(schema, list):
        for value in schema:
            orders(value, into)


def other_order(schema, instance):
    """Whether some object of the instance has its members in another order than the schema names them."""
    named = []
    orders(schema, named)
    def visit(value):
        if isinstance(value, dict):
            keys = list(value)
            for names in named:
                common = [k for k in keys if k in names]
                if common != [n for n in names if n in common]:
                    return True
            return any(visit(v) for v in value.values())
        return isinstance(value, list) and any(visit(v) for v in value)
    return visit(instance)


def ask(program, schema, lines, *flags):
    """None and the message if the schema is refused, else accept or reject for each line."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(schema, file)
        file.flush()
        run = subprocess.run([program, "grammar", "--json-schema", file.name, "--accepts", "-", *flags],
                             input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True,
                             timeout=3600, check=False)
    if run.returncode == 2:
        return None, run.stderr.strip()
    if run.returncode != 0:
        raise RuntimeError(f"status {run.returncode}: {run.stderr}")
    return [line == "accept" for line in run.stdout.split()], ""


def check_group(program, name, group):
    rng = random.Random(zlib.crc32(f"{name}/{group['description']}".encode()))
    rendered = [texts(test["data"], rng) for test in group["tests"]]
    answers, message = ask(program, group["schema"], [t for ts in rendered for t in ts])
    if answers is None:
        return {"refused": message, "tests": len(group["tests"])}
    compact, _ = ask(program, group["schema"], [ts[0] for ts in rendered], "--compact")
    result = {"refused": None, "tests": len(group["tests"]), "right": 0, "order": 0, "looser": [], "narrower": []}
    for i, (test, ts) in enumerate(zip(group["tests"], rendered)):
        got = [answers.pop(0) for _ in ts] + [compact[i]]
        where = f"{name}: {group['description']}: {test['description']}: {ts[0][:100]}"
        if all(g == test["valid"] for g in got):
            result["right"] += 1
        elif test["valid"] and other_order(group["schema"], test["data"]):
            result["order"] += 1
        elif test["valid"]:
            result["narrower"].append(where)
        else:
            result["looser"].append(where)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    root = fetch(arguments.cache.resolve()) / "tests" / "draft2020-12"
    files = sorted(p for p in root.glob("*.json") if p.name != "format.json")
    files += [root / "optional" / "format" / f"{name}.json" for name in FORMATS]
    jobs = []
    for path in files:
        for group in json.loads(path.read_text(encoding="utf-8")):
            jobs.append((path.relative_to(root).as_posix(), group))
    total = collections.Counter()
    by_part = {"core": collections.Counter(), "formats": collections.Counter()}
    refused = collections.Counter()
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda job: (job, check_group(arguments.program, *job)), jobs)
        for (name, group), r in results:
            part = by_part["formats" if name.startswith("optional") else "core"]
            part["tests"] += r["tests"]
            if r["refused"] is not None:
                match = re.match(r"sgl: JSON Schema: (\S+) at", r["refused"])
                keyword = match.group(1) if match else "?"
                refused[keyword] += r["tests"]
                part["refused"] += r["tests"]
                if arguments.verbose:
                    print(f"refused  {name}: {group['description']}: {r['refused']}")
                # A reference into another document is the one thing of the core that cannot be had without a network.
                remote = keyword == "$ref" and "is not in this document" in r["refused"]
                if keyword in CORE | {"?"} and not remote:
                    wrong.append(f"refused for a keyword of the core: {name}: {group['description']}: {r['refused']}")
                continue
            part["right"] += r["right"]
            part["order"] += r["order"]
            part["looser"] += len(r["looser"])
            part["narrower"] += len(r["narrower"])
            wrong += [f"accepted, but invalid: {w}" for w in r["looser"]]
            wrong += [f"rejected, but valid: {w}" for w in r["narrower"]]
    for line in wrong:
        print(line)
    for name, part in by_part.items():
        total += part
        print(f"{name}: {part['tests']} tests, {part['right']} right, {part['order']} valid ones rejected for another order of "
              f"members, {part['looser']} invalid accepted, {part['narrower']} valid rejected, {part['refused']} refused")
    print("refused by keyword:", ", ".join(f"{k} {n}" for k, n in refused.most_common()))
    sys.exit(1 if wrong or total["right"] < 800 else 0)


if __name__ == "__main__":
    main()
