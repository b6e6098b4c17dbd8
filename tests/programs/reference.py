#!/usr/bin/env python3
"""The programs of results.cpp for SGLang's own front end: prints what they give on a server, in the same form.

usage: reference.py URL        or: reference.py --formats, for the table of chat formats

Only the front end of the package is loaded: its __init__ wants the whole runtime.
"""
import importlib.util
import json
import sys
import types

package = types.ModuleType("sglang")
package.__path__ = list(importlib.util.find_spec("sglang").submodule_search_locations)
sys.modules["sglang"] = package
display = types.ModuleType("IPython.display")
display.HTML = display.display = None
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython.display"] = display

import sglang.lang.api as sgl  # noqa: E402
from sglang.lang.global_config import global_config  # noqa: E402
from sglang.lang.backend.runtime_endpoint import RuntimeEndpoint  # noqa: E402
from sglang.lang.chat_template import ChatTemplateStyle, chat_template_registry  # noqa: E402
from sglang.lang.choices import greedy_token_selection, unconditional_likelihood_normalized  # noqa: E402

global_config.enable_parallel_encoding = False  # join("concate_and_append") is text; the server's part of it is gone

SHOTS = ("Q: What is the capital of France?\nA: Paris\nQ: What is the capital of Italy?\nA: Rome\n"
         "Q: What is the capital of Spain?\nA: Madrid\n")
CASES = {}


def case(name, template="chatml", **options):
    def add(body):
        CASES[name] = (sgl.function(body), template, options)
        return body
    return add


@case("plain")
def _(s): s += "The capital of France is" + sgl.gen("city", max_tokens=8)
@case("stop")
def _(s): s += SHOTS + "Q: What is the capital of Japan?\nA:" + sgl.gen("a", max_tokens=16, stop="\n")
@case("stop_list")
def _(s): s += "Once upon a time" + sgl.gen("a", max_tokens=40, stop=[".", ","])
@case("stop_in_run", stop=["."])
def _(s): s += "The sea is" + sgl.gen("a", max_tokens=30)
@case("max_tokens_in_run", max_new_tokens=7)
def _(s): s += "The sea is" + sgl.gen("a")
@case("two_gens")
def _(s): s += "A: " + sgl.gen("a", max_tokens=6) + "\nB: " + sgl.gen("b", max_tokens=6)
@case("same_name")
def _(s): s += "A: " + sgl.gen("a", max_tokens=4) + "\nB: " + sgl.gen("a", max_tokens=6)
@case("unnamed")
def _(s): s += "Count: 1, 2, 3," + sgl.gen("hidden", max_tokens=6) + " done"
@case("reference")
def _(s):
    s += "Colour:" + sgl.gen("c", max_tokens=3)
    s += "\nAgain:" + s["c"] + sgl.gen("d", max_tokens=5)
@case("unicode")
def _(s): s += "Übersetze: „Grüße“ 😀 →" + sgl.gen("a", max_tokens=8)
@case("penalty")
def _(s): s += "la la la" + sgl.gen("a", max_tokens=12, frequency_penalty=1.5, presence_penalty=0.5)
@case("min_tokens")
def _(s): s += "Yes." + sgl.gen("a", max_tokens=9, min_tokens=9)
@case("ignore_eos")
def _(s): s += "The end." + sgl.gen("a", max_tokens=12, ignore_eos=True)
@case("regex")
def _(s): s += "The war ended in the year " + sgl.gen("y", max_tokens=8, regex="19[0-9]{2}")
@case("stop_regex")
def _(s): s += "Once upon a time" + sgl.gen("a", max_tokens=40, stop_regex=["[.,] [a-z]"])
@case("json")
def _(s):
    s += "A wizard as JSON: " + sgl.gen("w", max_tokens=64, json_schema=json.dumps({
        "type": "object",
        "properties": {"house": {"enum": ["Gryffindor", "Slytherin"]}, "alive": {"type": "boolean"}},
        "required": ["house", "alive"], "additionalProperties": False}))
@case("stop_token")
def _(s): s += "one two three" + sgl.gen("a", max_tokens=12, stop_token_ids=[28, 30])
@case("capture")
def _(s):
    s += "x ="
    with s.var_scope("both"):
        s += sgl.gen("x", max_tokens=3) + "; y =" + sgl.gen("y", max_tokens=3)
    s += "!"
@case("fork_same")
def _(s):
    s += "My favourite animal is"
    forks = s.fork(2)
    forks += sgl.gen("animal", max_tokens=4)
    forks.join()
@case("fork_each")
def _(s):
    s += "Tips for a healthy life. "
    forks = s.fork(3)
    forks += lambda i: f"Tip {i + 1}:" + sgl.gen("tip", max_tokens=10, stop="\n")
    forks.join()
    for tip in s["tip"]:
        s += "-" + tip + "\n"
    s += "In summary" + sgl.gen("summary", max_tokens=12)
@case("fork_read")
def _(s):
    s += "Plan: walk more.\n"
    sides = s.fork(2)
    sides += lambda i: f"Argument {'against' if i else 'for'} it:" + sgl.gen("arg", max_tokens=12, stop="\n")
    s += "For:" + sides[0]["arg"] + "\nAgainst:" + sides[1]["arg"] + "\nVerdict:" + sgl.gen("verdict", max_tokens=8)
@case("join_text")
def _(s):
    s += "Words:"
    forks = s.fork(2)
    forks += lambda i: f" ({i})" + sgl.gen("w", max_tokens=3)
    forks.join("concate_and_append")
    s += "." + sgl.gen("after", max_tokens=5)
@case("copy")
def _(s):
    s += "The sky is"
    with s.copy() as t:
        t += sgl.gen("tried", max_tokens=4)
    s += sgl.gen("kept", max_tokens=6)
@case("branch_on_value")
def _(s):
    s += SHOTS + "Q: What is the capital of Germany?\nA:" + sgl.gen("a", max_tokens=8, stop="\n")
    s += ("\nRight." if "Berlin" in s["a"] else "\nWrong.") + sgl.gen("more", max_tokens=6)
@case("loop")
def _(s):
    s += "1 2 3"
    for i in range(3):
        s += " |" + sgl.gen(f"n{i}", max_tokens=4)
@sgl.function
def nested(s, topic): s += "One word about " + topic + ":" + sgl.gen("word", max_tokens=3)
@case("nested")
def _(s):
    other = nested.run("rain", temperature=0, backend=s.stream_executor.backend)
    s += "Rain is" + other["word"] + " and" + sgl.gen("a", max_tokens=5)
@case("long_few_shot")
def _(s):
    for _i in range(8):
        s += SHOTS
    s += "Q: What is the capital of Austria?\nA:" + sgl.gen("a", max_tokens=8, stop="\n")
@case("tree")
def _(s):
    s += "Problem: 12 apples, 5 eaten.\n"
    plans = s.fork(2)
    plans += lambda i: f"Plan {i}:" + sgl.gen("plan", max_tokens=10, stop="\n")
    for plan in plans:
        steps = plan.fork(2)
        steps += lambda i: f"\nStep {i}:" + sgl.gen("step", max_tokens=8, stop="\n")
        steps.join()
    for plan in plans:
        s += plan["plan"] + "/" + plan["step"][0] + "/" + plan["step"][1] + "\n"
    s += "Answer:" + sgl.gen("answer", max_tokens=6)
@case("select_two")
def _(s): s += SHOTS + "Q: What is the capital of Italy?\nA:" + sgl.select("c", [" Rome", " Madrid"])
@case("select_lengths")
def _(s): s += "The colour of the sky is" + sgl.select("c", [" blue", " green", " a very dark shade of purple"])
@case("select_then_gen")
def _(s): s += "Is water wet? Answer:" + sgl.select("c", [" yes", " no"]) + ", because" + sgl.gen("why", max_tokens=8)
@case("select_greedy")
def _(s):
    s += SHOTS + "Q: What is the capital of Spain?\nA:" + sgl.select("c", [" Rome", " Madrid", " Paris"],
                                                                     choices_method=greedy_token_selection)
@case("select_unconditional")
def _(s):
    s += "The sun rises in the" + sgl.select("c", [" east", " west"], choices_method=unconditional_likelihood_normalized)
@case("chat")
def _(s):
    s += sgl.system("You are brief.") + sgl.user("What is the capital of France?")
    s += sgl.assistant(sgl.gen("a", max_tokens=12))
@case("chat_turns")
def _(s):
    s += sgl.system("You are brief.")
    s += sgl.user("Name a fruit.")
    s += sgl.assistant(sgl.gen("a", max_tokens=10))
    s += sgl.user("Another one.")
    s += sgl.assistant(sgl.gen("b", max_tokens=10))
@case("chat_scopes")
def _(s):
    with s.user():
        s += "Say hello in "
        s += "Italian."
    with s.assistant():
        s += sgl.gen("a", max_tokens=10)
@case("chat_prefilled")
def _(s): s += sgl.user("Name a colour.") + sgl.assistant("Colour:" + sgl.gen("a", max_tokens=5, stop="\n"))
@case("chat_default_system", template="qwen")
def _(s): s += sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=10))
@case("chat_llama2", template="llama-2-chat")
def _(s): s += sgl.system("Be kind.") + sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=8)) + sgl.user("More.")
@case("chat_llama3", template="llama-3-instruct")
def _(s): s += sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=8))
@case("chat_vicuna", template="vicuna_v1.1")
def _(s): s += sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=8))
@case("chat_gemma", template="gemma-it")
def _(s): s += sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=8))
@case("chat_default", template="default")
def _(s): s += sgl.system("S") + sgl.user("Hi!") + sgl.assistant(sgl.gen("a", max_tokens=8, stop="\n"))
@case("chat_fork")
def _(s):
    s += sgl.user("Is tea good?")
    forks = s.fork(2)
    forks += lambda i: sgl.assistant(sgl.gen("a", max_tokens=6 if i else 9))
    forks.join()


@sgl.function
def streamed(s):
    s += sgl.system("You are brief.") + sgl.user("Name a colour.")
    s += sgl.assistant(sgl.gen("a", max_tokens=12))


@sgl.function
def batch(s, country):
    s += SHOTS + "Q: What is the capital of " + country + "?\nA:" + sgl.gen("a", max_tokens=8, stop="\n")


def formats():
    # janus-pro spells its user role "User", so nothing there finds it.
    return {name: {"roles": {role.lower(): list(marks) for role, marks in t.role_prefix_and_suffix.items()},
                   "default_system": t.default_system_prompt or "", "stop": list(t.stop_str), "image_mark": t.image_token,
                   "system_in_first_user": t.style == ChatTemplateStyle.LLAMA2}
            for name, t in chat_template_registry.items()}


def result_of(state):
    state.sync()
    assert state.error() is None, state.error()
    return {"text": state.text(), "vars": state.stream_executor.variables, "messages": state.messages()}


def main():
    if sys.argv[1] == "--formats":
        print(json.dumps(formats(), indent=1, ensure_ascii=False))
        return
    backends = {}
    results = {}
    for name, (program, template, options) in CASES.items():
        if template not in backends:
            backends[template] = RuntimeEndpoint(sys.argv[1], chat_template_name=template)
        results[name] = result_of(program.run(backend=backends[template], temperature=0, **options))
    run = {"backend": backends["chatml"], "temperature": 0}
    # Each is read from its start: a variable of a program that has ended streams as "".
    whole = streamed.run(stream=True, **run)
    results["streamed"] = {"text": "".join(whole.text_iter()), "messages": whole.messages(),
                           "vars": {"a": "".join(streamed.run(stream=True, **run).text_iter("a"))}}
    for i, state in enumerate(batch.run_batch([{"country": c} for c in ("Greece", "Egypt", "Norway")], **run)):
        results[f"batch_{i}"] = result_of(state)
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
