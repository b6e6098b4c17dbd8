"""Records what the reference makes of templates, for the tests in src/text: writes corpus.json beside this file.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install jinja2==3.1.6
    /tmp/venv/bin/python tests/chat_templates/record.py            # rewrites corpus.json
    /tmp/venv/bin/python tests/chat_templates/record.py fuzz 0 5000 > cases.json
    SGL_TEMPLATE_CASES=cases.json build/release/tests/text_test --gtest_filter='TemplateCorpus.*'

The second form makes random templates from the seeds 0 to 4999 and records them for one comparison.

corpus.json: "inputs": name → variables; "templates": name → source; "cases": [template, input, result] with result
{"out": text} or {"error": type, "message": text that ours must end with, if there is one}; "chats": the same, with an
input that ChatTemplate gets as a ChatPrompt; "published": sources by path below ../shared, not kept here.
"""

import json
import lzma
import pathlib
import random
import re
import signal
import sys

import conversations
import generate
import reference

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHARED = ROOT.parent / "shared"


def features():
    blocks = re.split(r"^=== (.*)\n", (HERE / "features.txt").read_text(), flags=re.M)[1:]
    return {f"feature: {name}": text.removesuffix("\n") for name, text in zip(blocks[::2], blocks[1::2])}


def builtin():
    """The built-in templates, read from their C++ source."""
    source = (ROOT / "src/text/chat_template_builtin.cpp").read_text()
    no_tools = re.search(r'#define SGL_NO_TOOLS.*?R"\((.*?)\)"\n', source, flags=re.S).group(1)
    found = re.findall(r'\{"([\w-]+)",\s*SGL_NO_TOOLS R"\((.*?)\)"\}', source, flags=re.S)
    return {f"builtin: {name}": no_tools + text for name, text in found}


def publishers():
    return {f"publisher: {p.stem}": p.read_text() for p in sorted((HERE / "publishers").glob("*.jinja"))}


def shared():
    found = {}
    for path in sorted(SHARED.glob("tokenizers/*/tokenizer_config.json.xz")):
        template = json.loads(lzma.open(path).read()).get("chat_template")
        if isinstance(template, str):
            found[str(path.relative_to(SHARED))] = template
    return found


def white_space(seed):
    """Tags with every sign between text with every kind of white space."""
    r = random.Random(seed)
    space = lambda: r.choice(["", "", "\n", "  ", "\n  ", "  \n", "\t", "\n\n", " \n \n ", "\r\n"])  # noqa: E731
    sign = lambda: r.choice(["", "", "-", "+"])  # noqa: E731

    def body(depth):
        out = ""
        for _ in range(r.randrange(1, 5)):
            kind = r.randrange(6)
            if kind == 0 and depth > 0:
                tag = r.choice(["if n", "for i in l", "set q", "filter upper", "generation", "with"])
                out += space() + "{%" + sign() + f" {tag} " + sign() + "%}" + space() + body(depth - 1) + space()
                out += "{%" + sign() + f" end{tag.split()[0]} " + sign() + "%}" + space()
            elif kind == 1:
                out += space() + "{{" + r.choice(["", "-"]) + " n " + r.choice(["", "-"]) + "}}" + space()
            elif kind == 2:
                out += space() + "{#" + sign() + " c " + sign() + "#}" + space()
            elif kind == 3:
                out += space() + "{%" + sign() + " raw " + r.choice(["", "-"]) + "%}" + space()
                out += r.choice(["{{ r }}", "x", ""]) + space() + "{%" + sign() + " endraw " + sign() + "%}" + space()
            else:
                out += r.choice(["text", "\n", "  ", " x", "é\n"])
        return out

    return body(3)


def render_in_time(source, variables, seconds=3):
    def give_up(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        return reference.render(source, variables)
    finally:
        signal.alarm(0)


def random_cases(begin, end, largest):
    """Cases of generate.template for the seeds in [begin, end) whose template and result are not larger."""
    templates, cases = {}, []
    for seed in range(begin, end):
        source = generate.template(seed)
        if len(source) > largest:
            continue
        result = render_in_time(source, generate.VARIABLES)
        reference.COMPILED.clear()
        if result.get("error") == "TimeoutError" or not generate.is_comparable(result):
            continue
        if len(result.get("out", "")) > largest:
            continue
        templates[f"random: {seed}"] = source
        cases.append([f"random: {seed}", "generated", result])
    return templates, cases


def chat_cases(name, source, inputs):
    """What ChatTemplate must make of the conversations that a client can send."""
    cases = []
    for input_, variables in inputs.items():
        messages = variables["messages"]
        if not messages or not conversations.is_plain(messages):
            continue
        cases.append([name, input_, reference.render(source, variables)])
        if messages[-1]["role"] != "assistant" or not variables["add_generation_prompt"]:
            continue
        content = messages[-1]["content"]
        tagged = messages[:-1] + [{**messages[-1], "content": content + conversations.TAG}]
        result = reference.render(source, {**variables, "messages": tagged, "add_generation_prompt": False})
        if "out" in result:
            try:
                result = {"out": conversations.cut(result["out"], content)}
            except ValueError:
                result = {"error": "ValueError"}
        cases.append([name, input_, {**result, "continue": True}])
    return cases


def corpus():
    inputs = conversations.inputs()
    chat_templates = {**publishers(), **builtin()}
    templates = {**features(), **chat_templates}
    templates |= {f"white space: {seed}": white_space(seed) for seed in range(150)}
    cases = [[name, "generated", reference.render(source, generate.VARIABLES)]
             for name, source in templates.items() if name not in chat_templates]
    chats = []
    for name, source in chat_templates.items():
        if name.startswith("publisher"):
            cases += [[name, i, reference.render(source, v)] for i, v in inputs.items()]
        chats += chat_cases(name, source, inputs)
    random_templates, recorded = random_cases(0, 1500, 700)
    templates |= random_templates
    published = {}
    for path, source in shared().items():
        published[path] = source
        cases += [[path, i, reference.render(source, v)] for i, v in inputs.items()]
    return {
        "inputs": {"generated": generate.VARIABLES, **inputs},
        "templates": templates,
        "published": sorted(published),
        "cases": cases + recorded,
        "chats": chats,
    }


def main():
    if sys.argv[1:2] == ["fuzz"]:
        templates, cases = random_cases(int(sys.argv[2]), int(sys.argv[3]), 1 << 20)
        json.dump({"inputs": {"generated": generate.VARIABLES}, "templates": templates, "published": [], "cases": cases,
                   "chats": []}, sys.stdout, ensure_ascii=False)
        return
    text = json.dumps(corpus(), ensure_ascii=False, indent=0, separators=(",", ":"))
    (HERE / "corpus.json").write_text(text + "\n")
    print(f"{len(text.encode())} bytes")


if __name__ == "__main__":
    main()
