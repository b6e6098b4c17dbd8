#!/usr/bin/env python3
"""Patterns through `sgl grammar --regex` against Python's re.fullmatch, on strings from and near them.

usage: regex_python.py --program build/release/sgl [--seed N] [--patterns N]

Patterns are written by hand and at random; strings are derived from each pattern's syntax tree and then damaged.
"""

import argparse
import concurrent.futures
import json
import os
import random
import re
import re._constants as op
import re._parser as parser
import signal
import subprocess
import sys
import time

WRITTEN = [
    r"", r"a", r"abc", r"a|b|cd", r"(a|ab)(c|bcd)(d*)", r"a*", r"a+b?", r"(ab)*", r"(a*)*", r"(a|b)*abb", r"(a?){5}a{5}",
    r"[abc]", r"[^abc]", r"[a-z]+", r"[a-zA-Z_]\w*", r"[\w.+-]+@[\w-]+\.[\w.]+", r"\d{3}-\d{4}", r"\d{1,3}(,\d{3})*", r"\s*\S+\s*",
    r"[\s\S]*", r".*", r".*answer.*", r"x{3}", r"x{2,}", r"x{,3}", r"x{2,4}y{0}", r"(x{2,3}){2,3}", r"((a{2}){3}){2}", r"(a|aa){3,5}",
    r"^abc$", r"^$", r"(^a|b)c", r"a(b$|c)", r"\Aab\Z", r"(?:ab|c)+", r"(?P<year>\d{4})-(?P<month>\d\d)", r"(?i)hello", r"(?i)[a-f]+x",
    r"(?s).+", r"(?x) a b  # comment", r"(?i:a)b", r"\x41\u00e9\U0001F600", r"\t\n\r\f\v", r"\.\*\+\?\(\)\[\]\{\}\|\^\$\\",
    r"[]a]+", r"[^]a]+", r"[a\]b]", r"[a-]", r"[-a]", r"[\d-]+", r"[\w\s]+", r"[\W]+", r"[^\d\s]+", r"[é-ü]+", r"[α-ωΑ-Ω]+", r"日本?語",
    r"😀+", r"\w+", r"\W+", r"\d+", r"\D+", r"\s+", r"\S+", r"a{0}", r"a{0,0}b", r"(a|)+b", r"(|a)b", r"a||b", r"()", r"(a(b(c(d)?)?)?)?",
    r"a.c", r"a.*?b", r"a+?b??", r"{", r"a{", r"a{x}", r"a{1", r"}", r"]", r"a{,}", r"\0", r"\07", r"[\x00-\x1f]", r"\101", r"[\b]",
    r"(?#note)ab", r"(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", r"-?(0|[1-9]\d*)", r"\"([^\"\\]|\\.)*\"", r"#[0-9a-fA-F]{6}|#[0-9a-fA-F]{3}",
    r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}", r"[ab]*a[ab]{20}", r"(a|b|ab)*c", r"([ab]*a){4}",
    r"(?a)\w+", r"(?a)\d\s", r"[a-c&&b]", r"[[]", r"[a[]", r"a{3}{2}" if False else r"(a{3}){2}", r"((a|b){1,3}c){2}", r"(a{1,2}b){3,}",
    r"(?i)straße", r"(?i)σ+", r"(?i)K", r"(?i)[^a]", r"\$\d+(\.\d\d)?", r"[+-]?\d+", r"(\w+ ){2,4}\w+", r"\w{3,5}?\d", r"é{2}", r"[^\n]{3}",
    # $ holds before a last newline, too.
    r"a$\n", r"^abc$\s*", r"(a$|b)\n", r"(a$|b\n?|\n)*", r"(a|$){3}\n?", r"a\Z\n?", r"(^\n|a|$)+", r"(a*$\s?){2,}", r"$^\n", r"(b$\n|a)*$",
    # Letters that are one with the flag i though they are no pair of a small one and its capital.
    r"(?i)σ", r"(?i)[^σ]", r"(?i)β", r"(?i)µ", r"(?i)θ", r"(?i)ϴ", r"(?i)\ufb05+", r"(?i)Ǆ", r"(?i)в+", r"(?i)\ua64b", r"(?i)[ͅβ-ε]+", r"(?i)ẞ+",
    r"(?i)[i-s]+", r"(?i)\u0390|ꮿ", r"(?ai)k", r"(?ai)[s-z]+", r"(?ai)[^k]", r"(?i)(?s)a.", r"(?#c)(?i)a", r"(?i:é)É?", r"(?x) (?i) a",
]
# Lookaround: with what may follow in the outermost sequence and its groups, or with what must follow in a repetition.
WRITTEN += [
    r"a(?=b)b", r"a(?!b)[ab]", r"(?!aws:)[a-z:]{1,128}", r"^(?!aws:).*$", r"^(?!aws:.*)", r"(?!\s*$).+", r"(?!^[0-9]+$)\w+", r"(?!^[.-])^[\w.-]+$",
    r"(?=^[a-z][a-z0-9]*(-[a-z0-9]+)*$).{1,30}", r"(?!\.$)(?!\.\.$)[\w.]+", r"[a-zA-Z_](?!.*--)[a-zA-Z0-9_-]*", r"[0-9a-z.-]*(?<!\.)",
    r"(?![0-9_])\w+|_\w*[a-z]\w*", r"(((?!-)[a-z0-9-]{0,6}[a-z0-9])\.)+((?!-)[a-z0-9-]{1,6}[a-z0-9])", r"(?=.*\d)(?=.*[a-z])[a-z\d]{3,8}",
    r"a(?:(?=b)b|(?!b)c)d", r"(?:a(?!b)|b)(?:b|c)", r"(?:(?=a)a?|b)c?", r"(?=a|b$)[ab]c?", r"x(?=$)\n?", r"(?!.*a$)[ab]+\n?", r"a*(?!$)b?\n?",
    r"(?!(?!a)b)[abc]", r"(?=(?=a)[ab])[^c]+", r"\w+(?<=ab)c?", r"(?<!a)b", r"b?(?<!b)a", r"(?i)(?!ab)\w{2}", r"(?s)(?!.*\n\n).+",
    r"(?=)a", r"(?!)a", r"(?=^a)a|(?!^a)b", r"^(?!-)[a-z-]*(?<!-)$", r"(?!aaa)[a-z]{1,5}(?<!a)", r"(?=.*b)(?!c)\w+(?<!a)\d?", r"((?![;,])[ -~])+",
]
# Patterns that kill backtracking or determinisation, and what their matches are, said harmlessly.
SHORT_SUMS = {3, 5, 6}  # of threes and fives; from 8 on there are all
KILLERS = {
    r"[ab]*a[ab]{20}": lambda s: set(s) <= set("ab") and s[-21:-20] == "a",
    r"[ab]*a[ab]{2000}": lambda s: set(s) <= set("ab") and s[-2001:-2000] == "a",
    r"((a{1000000}){1000000})": lambda s: False,
    r"(((a|b){1000000000000}c){1000000000000})*": lambda s: s == "",
    r"[a-z]{1000000}": lambda s: False,
    r"(a*)*b": lambda s: re.fullmatch("a*b", s),
    r"(a|a)*b": lambda s: re.fullmatch("a*b", s),
    r"(a|aa)+$": lambda s: re.fullmatch("a+", s),
    r"(.*)*x": lambda s: re.fullmatch(".*x", s),
    r"(x+x+)+y": lambda s: re.fullmatch("xx+y", s),
    r"([a-z]+)*[0-9]": lambda s: re.fullmatch("[a-z]*[0-9]", s),
    r"(.?){5000}": lambda s: "\n" not in s and len(s) <= 5000,
    r"(a?){3000}a{3000}": lambda s: set(s) <= {"a"} and 3000 <= len(s) <= 6000,
    r"((a{0,500}){0,500}){0,500}b": lambda s: re.fullmatch("a*b", s),
    r".*.*.*.*.*.*.*.*=.*": lambda s: "=" in s and "\n" not in s,
    r"(\w{1,1000} ){1,1000}": lambda s: s.endswith(" ") and all(re.fullmatch(r"\w{1,1000}", word) for word in s[:-1].split(" ")),
    r"(([ab]{3}|[ab]{5}){1,999}c){1,999}":
        lambda s: s.endswith("c") and all(set(part) <= set("ab") and (len(part) in SHORT_SUMS or len(part) > 7) for part in s[:-1].split("c")),
}
HOSTILE_STRINGS = ["", "a" * 30, "ab" * 15, "a" * 30 + "b", "b" * 5 + "a" + "ab" * 10, "x" * 25 + "y", "x", "aaa=bb", "a\n", "ab" * 1000 + "a",
                   "ba" * 1100, "a" * 3000, "a" * 2999, "a" * 6001, "abc5", "word " * 40, "a " * 3 + " ", "ab" * 4 + "c" + "aba" + "c", "abbac"]
REFUSED = [r"(a(?=b)){2}c", r"(?:(?!ab).)*", r"(a(?<=a)b)+", r"((?<!a)b)+", r"(?!(ab)+)a*(?<!b)b" + "(?!c)" * 16,
           "(?:(?!a)b|(?!c)d)" * 7, r"(a)\1", r"(?P<x>a)(?P=x)", r"\bword\b", r"(?>a|ab)c", r"a*+b", r"(?m)^a$"]
MALFORMED = [r"(", r")", r"[", r"a**", r"*", r"+a", r"?", r"(?P<", r"a{2,1}", r"[b-a]", r"\\"[:1], r"(a", r"(?<n", r"[a-\d]", r"\q", r"\x1",
             r"a(?i)b", r"a|(?i)b", r"(a(?i)b)", r"(?P<a>x)(?P<a>y)", r"(?P<1>x)", r"(?P<>x)", r"(?-i)a", r"(?i-i:a)", r"(?au)a", r"(?)", r"$*"]


def random_pattern(rng, depth):
    if depth == 0:
        return rng.choice(["a", "b", "c", "0", "[ab]", "[^a]", "[a-c0-9]", r"\d", r"\w", ".", "é", r"\s", "日", "x", "-", r"\."])
    kind = rng.randrange(7)
    if kind < 3:
        return "".join(random_pattern(rng, depth - 1) for _ in range(rng.randrange(1, 4)))
    if kind == 3:
        return "(" + "|".join(random_pattern(rng, depth - 1) for _ in range(rng.randrange(1, 4))) + ")"
    if kind == 4:
        return "(?:" + random_pattern(rng, depth - 1) + ")" + rng.choice(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"])
    if kind == 5:
        return random_pattern(rng, 0) + rng.choice(["*", "+", "?", "*?", "{3}", "{,2}"])
    return random_pattern(rng, depth - 1)


SAMPLE = ("abcxyzABCZ019_-. \t\n\"\\{}[]()é日本αβω😀ſKßİ\u2028\u00a0٣"
          "σςΣϐµμθϑΘϴ\ufb05\ufb06ǄǅǆвᲀВꙋᲈꙊiıIkKsSẞÅå\u0345ι\u1fbeΙ\u0390\u1fd3Ꮿꮿ")


def derive(items, rng, budget):
    """A string that the syntax tree may match; what it does not model (anchors) is left out."""
    out = []
    for what, arg in items:
        if what is op.LITERAL:
            out.append(chr(arg))
        elif what is op.NOT_LITERAL:
            out.append(rng.choice([c for c in SAMPLE if ord(c) != arg]))
        elif what is op.ANY:
            out.append(rng.choice(SAMPLE))
        elif what is op.IN:
            choices = []
            for kind, value in arg:
                if kind is op.LITERAL:
                    choices.append(chr(value))
                elif kind is op.RANGE:
                    choices += [chr(value[0]), chr(value[1]), chr(rng.randint(*value))]
            out.append(rng.choice(choices + [rng.choice(SAMPLE)]))
        elif what is op.BRANCH:
            out.append(derive(rng.choice(arg[1]), rng, budget))
        elif what is op.SUBPATTERN:
            out.append(derive(arg[3], rng, budget))
        elif what in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, body = arg
            for _ in range(min(rng.randint(low, min(int(high), low + 3)), budget)):
                out.append(derive(body, rng, budget // 2 + 1))
    return "".join(out)


def strings_for(pattern, rng):
    tree = parser.parse(pattern)
    strings = {"", "a", "abc", "\n", "ab\n", "a\n", "a\n\n", "aa\n", "b\n", "abc\n"}
    if "i" in pattern[:5]:
        strings |= set(SAMPLE)
    for _ in range(25):
        s = derive(tree, rng, 30)
        strings.add(s)
        for _ in range(2):
            t = list(s)
            for _ in range(rng.randrange(1, 3)):
                where = rng.randrange(len(t) + 1)
                choice = rng.randrange(4)
                if choice == 0:
                    t.insert(where, rng.choice(SAMPLE))
                elif choice == 1 and t:
                    del t[min(where, len(t) - 1)]
                elif choice == 2 and t:
                    t[min(where, len(t) - 1)] = rng.choice(SAMPLE)
                else:
                    t += t[where:]
            strings.add("".join(t))
    return sorted(s for s in strings if not any(0xD800 <= ord(c) < 0xE000 for c in s))


def ask(program, pattern, strings):
    # A pattern that begins with '-' needs the form with '='.
    run = subprocess.run([program, "grammar", f"--regex={pattern}", "--accepts", "-"],
                         input="".join(json.dumps(s) + "\n" for s in strings), capture_output=True, text=True, timeout=600, check=False)
    return run.returncode, run.stdout.split(), run.stderr.strip()


def unicode_differs(text):
    """Python's and utf8proc's Unicode versions need not agree on new characters."""
    return any(ord(c) > 0x2FFFF for c in text)


class TooSlow(Exception):
    pass


def full_match(compiled, s):
    """Whether re matches; None: it has not said so for some seconds, as backtracking can take for ever."""
    def stop(*_):
        raise TooSlow
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 3)
    try:
        return compiled.fullmatch(s) is not None
    except TooSlow:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--patterns", type=int, default=300)
    a = arguments.parse_args()
    print(f"seed {a.seed}")
    rng = random.Random(a.seed)
    patterns = [p for p in WRITTEN if p]
    while len(patterns) < a.patterns:
        pattern = random_pattern(rng, 3)
        if rng.random() < 0.25:
            look = rng.choice(["(?=", "(?!"]) + random_pattern(rng, 2) + rng.choice(["", "$"]) + ")"
            pattern = random_pattern(rng, 1) + look + "(?:" + pattern + ")"
        try:
            re.compile(pattern)
            patterns.append(pattern)
        except re.error:
            pass
    wrong, strings_asked, matched, given_up = [], 0, 0, 0

    def check(job):
        pattern, strings = job
        return pattern, strings, ask(a.program, pattern, strings)

    jobs = []
    for pattern in patterns:
        # Strings are short enough for backtracking.
        most = 40 if pattern in KILLERS else 1000000
        jobs.append((pattern, [s for s in strings_for(pattern, rng) if not unicode_differs(s) and len(s) <= most], re.compile(pattern)))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (pattern, strings, compiled), (_, _, (status, answers, error)) in zip(jobs, pool.map(lambda j: check(j[:2]), jobs)):
            if status != 0:
                wrong.append(f"{pattern!r}: status {status}: {error}")
                continue
            for s, answer in zip(strings, answers):
                expected = full_match(compiled, s)
                if expected is None:
                    given_up += 1
                    continue
                strings_asked += 1
                matched += expected
                if (answer == "accept") != expected:
                    wrong.append(f"{pattern!r} on {s!r}: {answer}, but re.fullmatch says {expected}")
    for pattern in REFUSED + MALFORMED:
        status, _, error = ask(a.program, pattern, ["a"])
        if status != 2 or len(error.splitlines()) != 1:
            wrong.append(f"{pattern!r} is not refused with status 2 and one line: {status} {error}")
    # Hostile patterns: right answers, or refused when compiled or for a text, with one line that says so.
    answered = 0
    for pattern, expected in KILLERS.items():
        status, answers, error = ask(a.program, pattern, HOSTILE_STRINGS)
        answered += len(answers)
        if status not in (0, 1, 2) or (status == 0) != (len(answers) == len(HOSTILE_STRINGS)) or (status == 0) != (error == ""):
            wrong.append(f"{pattern!r}: status {status} with {len(answers)} answers: {error}")
        for s, answer in zip(HOSTILE_STRINGS, answers):
            if (answer == "accept") != bool(expected(s)):
                wrong.append(f"{pattern!r} on {s[:50]!r} ({len(s)}): {answer}, which is wrong")
    for line in wrong[:50]:
        print(line)
    print(f"{len(patterns)} patterns, {strings_asked} strings ({matched} match), {len(wrong)} wrong, {given_up} given up by re; "
          f"{len(REFUSED)} refused, {len(MALFORMED)} malformed, {len(KILLERS)} hostile ones with {answered} answers")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
