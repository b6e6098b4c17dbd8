#!/usr/bin/env python3
"""No two files define types of one name in one namespace: the linker would mix them up without a word (C++'s one
definition rule). Types in unnamed namespaces and within functions are a file's own.

usage: one_definition_test.py ROOT
"""
import collections
import re
import sys
from pathlib import Path

NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^\s*#(?:\\\n|[^\n])*',
                      re.DOTALL | re.MULTILINE)
NAMESPACE = re.compile(r"\bnamespace\b\s*([\w:]*)\s*$")
TYPE = re.compile(r"^(?:[^()=]*\s)?(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s+(\w+)\s*(?:final\s*)?(?::[^:].*)?$",
                  re.DOTALL)

EXAMPLE = """namespace a::b { class X; struct X final : Y<int> { enum class Kind { A }; void f() { struct Local {}; } int n{}; };
namespace { struct Own {}; } template <class T = int> class Many { }; struct Many<int> {}; Use g() { return Use{}; } }"""


def types(text):
    """Full names of the types that a file defines for all to see."""
    scopes, found, start = [], [], 0
    text = NOT_CODE.sub(" ", text)
    for end in re.finditer(r"[{};]", text):
        head, start = text[start:end.start()], end.end()
        if end[0] == "}" and scopes:
            scopes.pop()
        elif end[0] == "{":
            name = None  # an unnamed namespace, a function's body, an initializer
            if namespace := NAMESPACE.search(head):
                name = namespace[1] or None
            elif kind := TYPE.match(re.sub(r"\btemplate\s*<[^{}]*?>\s*(?=class|struct|union)", "", head)):
                name = kind[1]
                if None not in scopes:
                    found.append("::".join([*scopes, name]))
            scopes.append(name)
    return found


def main():
    assert types(EXAMPLE) == ["a::b::X", "a::b::X::Kind", "a::b::Many"], types(EXAMPLE)
    files = collections.defaultdict(set)
    root = Path(sys.argv[1])
    for path in (p for folder in ("include", "src", "tests", "bench", "examples") for p in root.joinpath(folder).rglob("*")):
        if path.suffix in (".h", ".cpp", ".inl", ".cu", ".cuh"):
            for name in types(path.read_text(encoding="utf-8")):
                files[name].add(str(path.relative_to(root)))
    twice = {name: sorted(paths) for name, paths in files.items() if len(paths) > 1}
    for name, paths in sorted(twice.items()):
        print(f"{name} is defined in {' and in '.join(paths)}: rename one, or put it into an unnamed namespace")
    sys.exit(1 if twice or not files else 0)


if __name__ == "__main__":
    main()
