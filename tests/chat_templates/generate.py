"""Random templates for comparing with jinja2: expressions of every kind, and statements that nest and assign.

The values in VARIABLES make most expressions mean something; the rest check that errors agree. Left out: what Python
prints with an address or in the order of a hash (functions, generators, sets), integers beyond 64 bits, and slices of
constants that have none, which jinja2 evaluates at compile time by other rules than at run time.
"""

import random

VARIABLES = {
    "s": "Hello, World",
    "t": "  padded\ttext \n",
    "e": "",
    "w": "héllo ÄÖ ß 日本 👍🏽 'q' \"d\"",
    "lines": "one\n\ntwo\r\nthree\n",
    "html": "<a href='x'>&amp;</a>",
    "n": 7,
    "m": -3,
    "z": 0,
    "f": 2.5,
    "g": -0.125,
    "big": 4611686018427387904,
    "yes": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "mixed": [1, "a", None, 2.0, True, [1], {"k": 1}],
    "nested": [[1, 2], [3, [4, 5]], []],
    "nothing": [],
    "d": {"a": 1, "b": "two", "items": [1, 2], "get": None, "c d": {"x": [1]}},
    "none_d": {},
    "messages": [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": " Hi! ", "n": 2},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.0}}}]},
        {"role": "tool", "content": "{\"r\": [1, 2]}", "n": 1},
    ],
}
NAMES = list(VARIABLES) + ["undefined_one", "i", "x", "loop", "ns"]
ATTRIBUTES = ["a", "b", "role", "content", "n", "items", "get", "keys", "values", "index", "first", "last", "length",
              "index0", "upper", "missing", "x", "tool_calls", "previtem", "nextitem", "revindex"]
STRINGS = ["''", "'a'", "\"it's\"", "'%s'", "'%d|%5.1f'", "'{} {}'", "', '", "'a,b,,c'", "'\\n'", "' '", "'é'", "'role'",
           "'user'", "'<x>'", "'Hello'", "'\\u00e9\\t'", "'x y  z'", "'12'", "'1.5'", "'0x1A'", "'n'"]
NUMBERS = ["0", "1", "2", "-1", "3", "10", "1.5", "0.1", "-2.0", "1e3", "100"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "string", "length", "list", "first", "last", "join(', ')",
           "join", "sort", "sort(reverse=true)", "unique|list", "reverse|list", "int", "float", "abs", "round",
           "round(1)", "tojson", "tojson(indent=2)", "tojson(sort_keys=true, ensure_ascii=true)", "items|list",
           "dictsort", "safe", "escape", "default('D')", "default('D', true)", "min", "max", "sum", "count",
           "batch(2)|list", "slice(2)|list", "indent", "indent(2, true)", "replace('a', 'b')", "center(9)", "wordcount",
           "truncate(5)", "map('upper')|list", "map('string')|join('/')", "select|list", "reject|list",
           "select('string')|list", "reject('none')|list", "selectattr('role')|list", "map(attribute='role')|list",
           "selectattr('role', 'equalto', 'user')|list", "rejectattr('n')|list", "rejectattr('n', 'defined')|list",
           "map(attribute='n', default=0)|list", "groupby('role')|list", "trim('a')", "attr('role')", "format(1)", "e",
           "d", "forceescape", "urlencode", "sum(start=1)", "join('-', attribute='role')", "select('gt', 1)|list",
           "dictsort(by='value')", "sort(attribute='role')", "list|length", "length|string", "string|length"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "iterable", "sequence",
         "boolean", "true", "false", "callable", "odd", "even", "lower", "upper", "divisibleby(2)", "eq(1)",
         "equalto('a')", "in([1, 'a', none])", "gt(1)", "lt(2)", "ne(0)", "sameas(true)", "escaped", "filter"]
METHODS = ["upper()", "lower()", "title()", "capitalize()", "strip()", "lstrip()", "rstrip()", "strip('Hh ')", "split()",
           "split(',')", "split('l', 1)", "rsplit(none, 1)", "splitlines()", "startswith('H')", "endswith(('d', 'x'))",
           "find('l')", "rfind('l')", "count('l')", "replace('l', 'L')", "replace('', '.')", "isdigit()", "isalpha()",
           "islower()", "isupper()", "join(['a', 'b'])", "join(words)", "format(1, 'b')", "zfill(5)", "center(15, '*')",
           "ljust(6)", "rjust(6)", "partition(',')", "rpartition('l')", "removeprefix('He')", "removesuffix('d')",
           "items()", "keys()", "values()", "get('a')", "get('zz', 5)", "items()|list", "keys()|list", "index(2)",
           "count(1)", "swapcase()", "expandtabs(4)", "isspace()", "istitle()", "isalnum()", "casefold()", "index('o')",
           "append(1)", "pop()", "update({})", "copy()", "format(a=1)", "isidentifier()", "isascii()", "isnumeric()"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
TEXTS = ["text ", "\n", "  \n  ", "a\nb", " ", "é<|x|>", "\t", "{ }", "%", "\n\n"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.wild = self.pick([0.0, 0.0, 0.05, 1.0])
        self.in_loop = 0
        self.macros = []

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, p):
        return self.random.random() < p

    # Expressions. The typed ones mostly have a value, the others mostly fail: wild makes them frequent.

    def expression(self, depth=3):
        if self.chance(self.wild):
            return self.any_expression(depth)
        return self.pick([self.text, self.text, self.number, self.items, self.truth])(depth)

    def text(self, depth):
        if depth <= 0:
            return self.pick(["s", "t", "e", "w", "lines", "html", "messages[1].content", "messages[0]['role']"] + STRINGS)
        sub, num = (lambda: self.text(depth - 1)), (lambda: self.number(depth - 1))
        return self.pick([
            lambda: f"({sub()} + {sub()})", lambda: f"({sub()} ~ {self.expression(depth - 1)})",
            lambda: f"{sub()}.{self.pick(METHODS[:9])}", lambda: f"{sub()}.replace({sub()}, {sub()})",
            lambda: f"{sub()}[{num()} | int:]", lambda: f"{sub()}[:{num()} | int]", lambda: f"{sub()}[::-1]",
            lambda: f"({sub()} | {self.pick(['upper', 'lower', 'title', 'capitalize', 'trim', 'indent(2)', 'escape', 'safe'])})",
            lambda: f"({sub()} | {self.pick(['truncate(7)', 'center(9)', 'string', 'urlencode', 'replace(s, e)', 'e'])})",
            lambda: f"({self.items(depth - 1)} | join({sub()}))", lambda: f"({self.expression(depth - 1)} | tojson)",
            lambda: f"({self.expression(depth - 1)} | string)", lambda: f"({sub()} if {self.truth(depth - 1)} else {sub()})",
            lambda: f"('%s|%5s|%-4s' % ({sub()}, {sub()}, {num()}))", lambda: f"'{{}}/{{:>6}}'.format({sub()}, {sub()})",
            lambda: f"({self.expression(depth - 1)} | tojson(indent={self.pick(['1', '4', 'none'])}))",
            lambda: f"(undefined_one | default({sub()}))", lambda: f"({sub()} or {sub()})", lambda: f"({sub()} * 2)",
            lambda: f"({sub()}.split({self.pick(['', 'none', repr('l'), repr(',')])}) | join('_'))",
            lambda: f"({sub()}.splitlines() | last)", lambda: f"({self.items(depth - 1)} | first | string)",
        ])()

    def number(self, depth):
        if depth <= 0:
            return self.pick(["n", "m", "z", "f", "g", "loop.index" if self.in_loop else "2"] + NUMBERS[:7])
        sub = lambda: self.number(depth - 1)  # noqa: E731
        return self.pick([
            lambda: f"({sub()} {self.pick(['+', '-', '*'])} {sub()})", lambda: f"(({sub()}) | int)",
            lambda: f"({self.text(depth - 1)} | length)", lambda: f"({self.items(depth - 1)} | length)",
            lambda: f"({self.text(depth - 1)} | int(3))", lambda: f"({sub()} | abs)", lambda: f"({sub()} | round | int)",
            lambda: f"({sub()} // 3)", lambda: f"({sub()} % 4)", lambda: f"({sub()} / 8)", lambda: f"(-{sub()})",
            lambda: f"{self.text(depth - 1)}.count('l')", lambda: f"{self.text(depth - 1)}.find('l')",
            lambda: f"([{sub()}, {sub()}] | {self.pick(['max', 'min', 'sum'])})", lambda: f"({sub()} | float | round(2))",
        ])()

    def items(self, depth):
        if depth <= 0:
            return self.pick(["l", "words", "nested", "nothing", "messages", "range(4)", "mixed", "s", "d", "[n, f]"])
        sub = lambda: self.items(depth - 1)  # noqa: E731
        return self.pick([
            lambda: f"({sub()} | list)", lambda: f"({sub()} | map('string') | list)", lambda: f"({sub()} | reverse | list)",
            lambda: f"({sub()} | select | list)", lambda: f"({sub()} | reject('none') | list)", lambda: f"{sub()}[1:]",
            lambda: f"({sub()} | list)[::-1]", lambda: f"[{self.expression(depth - 1)}, {self.expression(depth - 1)}]",
            lambda: "(messages | selectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | list)",
            lambda: f"({sub()} | select('string') | sort)", lambda: f"{self.text(depth - 1)}.split()",
            lambda: "{" + f"{self.text(0)}: {self.expression(depth - 1)}, 'k': {self.expression(depth - 1)}" + "}",
            lambda: f"({sub()} | batch(2) | list)", lambda: f"({sub()} | slice(2, 'z') | list)", lambda: "d.items()",
            lambda: "(d | dictsort)", lambda: "(words | unique | list)", lambda: "(words | sort(reverse=true))",
            lambda: "(messages | groupby('role') | map('first') | list)", lambda: f"({sub()} | map('tojson') | list)",
        ])()

    def truth(self, depth):
        if depth <= 0:
            return self.pick(["yes", "no", "nil", "undefined_one", "x", "i", "ns is defined", "z", "e", "nothing",
                              "loop.first" if self.in_loop else "yes", "loop.last" if self.in_loop else "no"])
        sub = lambda: self.truth(depth - 1)  # noqa: E731
        return self.pick([
            lambda: f"({sub()} and {sub()})", lambda: f"({sub()} or {sub()})", lambda: f"not {sub()}",
            lambda: f"({self.number(depth - 1)} {self.pick(['<', '<=', '>', '>=', '==', '!='])} {self.number(depth - 1)})",
            lambda: f"({self.text(depth - 1)} in {self.text(depth - 1)})", lambda: f"({self.text(depth - 1)} not in words)",
            lambda: f"({self.expression(depth - 1)} is {self.pick(['', 'not '])}{self.pick(TESTS[:14])})",
            lambda: f"({self.text(depth - 1)} == {self.text(depth - 1)})",
            lambda: f"{self.text(depth - 1)}.startswith({self.text(0)})",
            lambda: f"{self.text(depth - 1)}.{self.pick(['isdigit()', 'isalpha()', 'isupper()', 'islower()', 'isspace()'])}",
        ])()

    def any_expression(self, depth=3):
        if depth <= 0 or self.chance(0.12):
            return self.atom()
        kind = self.random.randrange(20)
        sub = lambda: self.any_expression(depth - 1)  # noqa: E731
        if kind < 4:
            return f"({sub()} {self.pick(OPERATORS)} {sub()})"
        if kind < 7:
            return f"({sub()}) | {self.pick(FILTERS)}"
        if kind < 9:
            return f"({sub()}) is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind < 11:
            return f"({sub()}).{self.pick(METHODS)}"
        if kind == 11:
            return f"({sub()}).{self.pick(ATTRIBUTES)}"
        if kind == 12:
            return f"({sub()})[{self.pick([sub, self.atom, lambda: self.pick(STRINGS), lambda: self.pick(NUMBERS)])()}]"
        if kind == 13:
            bound = lambda: self.pick(["", "1", "-1", "2", "-3", "none", "n"])  # noqa: E731
            return f"{self.pick(NAMES)}[{bound()}:{bound()}{self.pick(['', ':', ':2', ':-1'])}]"
        if kind == 14:
            return f"({sub()} if {sub()} else {sub()})" if self.chance(0.8) else f"({sub()} if {sub()})"
        if kind == 15:
            return "[" + ", ".join(sub() for _ in range(self.random.randrange(4))) + "]"
        if kind == 16:
            items = ", ".join(f"{self.pick(STRINGS + ['1', 'n'])}: {sub()}" for _ in range(self.random.randrange(3)))
            return "{" + items + "}"
        if kind == 17:
            return self.pick(["not ", "-", "+", "not not "]) + f"({sub()})"
        if kind == 18:
            return f"(1 {self.pick(['<', '<=', '=='])} {sub()} {self.pick(['<', '>', '!='])} {sub()})"
        return self.call(sub)

    def call(self, sub):
        choices = [f"range({self.pick(['3', 'n', '1, 4', '5, 0, -2'])})", f"dict(a={sub()})", f"namespace(x={sub()}).x",
                   f"{self.pick(STRINGS)} % ({sub()}, {sub()})", f"{self.pick(STRINGS)} % {self.atom()}",
                   f"{self.pick(STRINGS)}.format({sub()}, {sub()})", "strftime_now('%d %b %Y')",
                   f"({sub()}, {sub()})", f"({sub()},)"]
        if self.macros:
            choices += [f"{self.pick(self.macros)}({sub()})", f"{self.pick(self.macros)}({sub()}, b={sub()})"]
        return self.pick(choices)

    def atom(self):
        kind = self.random.randrange(10)
        if kind < 6:
            return self.pick(NAMES)
        if kind < 8:
            return self.pick(STRINGS)
        if kind < 9:
            return self.pick(NUMBERS)
        return self.pick(["true", "false", "none", "[]", "()", "{}"])

    # Statements

    def tag(self, text):
        return "{%" + self.pick(["", "-", "", "+", ""]) + f" {text} " + self.pick(["", "-", "", "", "+"]) + "%}"

    def output(self, depth=2):
        open_, close = self.pick(["{{", "{{-", "{{"]), self.pick(["}}", "-}}", "}}"])
        return f"{open_} {self.expression(depth)} {close}"

    def body(self, depth, in_loop=False):
        return "".join(self.statement(depth - 1, in_loop) for _ in range(self.random.randrange(1, 4)))

    def statement(self, depth, in_loop=False):
        kind = self.random.randrange(22)
        if depth <= 0 or kind < 4:
            return self.pick(TEXTS) if self.chance(0.4) else self.output()
        target = self.pick(["x", "i", "ns.x", "s", "a, b", "n", "k"])
        if kind < 8:
            value = f"({self.expression(1)}, {self.expression(1)})" if target == "a, b" else self.expression(2)
            return self.tag(f"set {target} = {value}")
        if kind < 9:
            filter_ = self.pick(["", " | upper", " | trim"])
            target = self.pick(["x", "s", "i"])
            return self.tag(f"set {target}{filter_}") + self.body(depth) + self.tag("endset")
        if kind < 13:
            text = self.tag(f"if {self.expression(2)}") + self.body(depth, in_loop)
            for _ in range(self.random.randrange(2)):
                text += self.tag(f"elif {self.expression(2)}") + self.body(depth, in_loop)
            if self.chance(0.5):
                text += self.tag("else") + self.body(depth, in_loop)
            return text + self.tag("endif")
        if kind < 17:
            return self.loop(depth, in_loop)
        if kind == 17:
            name = self.pick(["m1", "m2"])
            parameters = self.pick(["a", "a, b=1", "a, b=a", "a=s, b='x'", ""])
            inner = self.body(depth) + self.pick(["", "{{ a }}", "{{ caller() if caller else '' }}", "{{ varargs }}",
                                                  "{{ kwargs }}", "{{ x }}"])
            text = self.tag(f"macro {name}({parameters})") + inner + self.tag("endmacro")
            self.macros.append(name)
            return text
        if kind == 18 and self.macros:
            parameters = self.pick(["", "(p)", "(p=2)"])
            return self.tag(f"call{parameters} {self.pick(self.macros)}({self.expression(1)})") + self.body(depth) + \
                self.tag("endcall")
        if kind == 19:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'indent(2)', 'replace(s, x)'])}") + \
                self.body(depth, in_loop) + self.tag("endfilter")
        if kind == 20:
            return self.tag(f"with x = {self.expression(1)}, y = x") + self.body(depth, in_loop) + "{{ y }}" + \
                self.tag("endwith")
        if kind == 21:
            return self.pick(["{# a comment #}", "{#- c -#}\n", "{% raw %}{{ raw }}{% endraw %}\n",
                              self.tag("generation") + self.body(depth) + self.tag("endgeneration")])
        if in_loop:
            return self.tag(f"if {self.expression(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")
        return self.output()

    def loop(self, depth, in_loop):
        iterable = self.pick([self.items(1), "l", "words", "messages", "d.items()", "range(3)", "nested", "s", "nothing", "d",
                              "messages[1:]", "l|sort", "words|map('upper')", "messages"])
        target = "k, v" if "items" in iterable else self.pick(["x", "i", "m", "x, y"] if self.chance(0.1) else ["x", "i"])
        test = self.pick(["", "", f" if {self.pick(['x', 'loop.first', 'i is defined', self.expression(1)])}"])
        recursive = " recursive" if self.chance(0.08) else ""
        text = self.tag(f"for {target} in {iterable}{test}{recursive}")
        text += self.pick(["", "{{ loop.index }}", "{{ loop.last }}", "{{ loop.length }}{{ loop.revindex0 }}",
                           "{{ loop.previtem }}|{{ loop.nextitem }}", "{{ loop.cycle('a', 'b') }}",
                           "{{ loop.changed(x) }}", "{{ loop(x) if x is sequence and x is not string else x }}"])
        self.in_loop += 1
        text += self.body(depth, True)
        self.in_loop -= 1
        if self.chance(0.2):
            text += self.tag("else") + self.body(depth, in_loop)
        return text + self.tag("endfor")

    def template(self):
        prefix = "{% set ns = namespace(x=1) %}" if self.chance(0.7) else ""
        return prefix + "".join(self.statement(3) for _ in range(self.random.randrange(1, 5)))


def template(seed):
    """A template of statements for even seeds, a few expressions for odd ones."""
    generator = Generator(seed)
    if seed % 2 == 0:
        return generator.template()
    return "|".join("{{ " + generator.expression(4) + " }}" for _ in range(2))


def is_comparable(result):
    """Whether two runs of Python, and ours, must agree on the result."""
    text = result.get("out", "")
    return not (" at 0x" in text or "<generator" in text or "<function" in text or "set()" in text or "j)" in text)
