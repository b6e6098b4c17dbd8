"""The reference renderer: jinja2 set up as transformers' apply_chat_template does it, with a clock that stands still."""

import copy
import datetime
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CLOCK = datetime.datetime(2026, 2, 3, 14, 5, 9)  # a Tuesday


class Generation(jinja2.ext.Extension):
    """{% generation %} only marks its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _render(self, context, caller):
        return caller()


class SafeNamespace(jinja2.utils.Namespace):
    """Refuses names with an underscore in front."""

    __module__ = "jinja2.utils"

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            SafeNamespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        SafeNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(
                f"Chat templates cannot store underscore-prefixed attributes on a namespace, but got {name!r}. "
                "Please rename the attribute."
            )


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def make_environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: CLOCK.strftime(format)
    env.globals["dict"] = lambda *args, **kwargs: dict(*args, **kwargs)
    env.globals["namespace"] = SafeNamespace
    return env


SafeNamespace.__name__ = "Namespace"
ENVIRONMENT = make_environment()
COMPILED = {}

# Errors whose message is the template's or Jinja's own; of the others (TypeError, …) only that they happen counts.
SAME_MESSAGE = (jinja2.exceptions.UndefinedError, jinja2.exceptions.SecurityError)


def render(source, variables):
    """{"out": text}, or {"error": the exception's type, "message": its text where ours must be the same}."""
    try:
        if source not in COMPILED:
            COMPILED[source] = ENVIRONMENT.from_string(source)
        # A copy: `list | indent` appends to the list before it fails.
        text = COMPILED[source].render(**copy.deepcopy(variables))
        text.encode()  # a lone surrogate is an error, too
        return {"out": text}
    except Exception as e:  # noqa: BLE001 whatever Python raises is an error of the template
        result = {"error": type(e).__name__}
        if isinstance(e, SAME_MESSAGE) or type(e) is jinja2.exceptions.TemplateError:
            result["message"] = str(e)
        return result
