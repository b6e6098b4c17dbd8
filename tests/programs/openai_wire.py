#!/usr/bin/env python3
"""Our client of OpenAI's APIs against a server made of the openai package's own types.

usage: openai_wire.py RESULTS      RESULTS: the program program_results

Every request body is validated against the package's types of request parameters, with no key besides them; every
answer and every event of a stream is written by its types of responses.
"""
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai.types import Completion, CompletionChoice, CompletionUsage, completion_create_params
from openai.types.chat import ChatCompletion, ChatCompletionMessage, completion_create_params as chat_create_params
from openai.types.chat.chat_completion import Choice
from pydantic import TypeAdapter, ValidationError

CHAT = TypeAdapter(chat_create_params.CompletionCreateParamsNonStreaming)
TEXT = TypeAdapter(completion_create_params.CompletionCreateParamsNonStreaming)
ANSWER = " An answer"
USAGE = CompletionUsage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
problems, paths = [], []


def validate(adapter, body):
    known = set(adapter.core_schema_keys)
    for key in body:
        if key not in known:
            problems.append(f"unknown key {key} in {body}")
    try:
        adapter.validate_python(body)
    except ValidationError as error:
        problems.append(f"{error}\nin {body}")


def keys_of(params):
    keys = set()
    for base in params.__mro__ if hasattr(params, "__mro__") else [params]:
        keys |= set(getattr(base, "__annotations__", {}))
    return keys


CHAT.core_schema_keys = keys_of(chat_create_params.CompletionCreateParamsNonStreaming) | set(
    chat_create_params.CompletionCreateParamsBase.__annotations__)
TEXT.core_schema_keys = keys_of(completion_create_params.CompletionCreateParamsNonStreaming) | set(
    completion_create_params.CompletionCreateParamsBase.__annotations__)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        paths.append(self.path)
        if self.headers.get("Authorization") != "Bearer none":
            problems.append(f"authorization {self.headers.get('Authorization')}")
        if self.path == "/v1/chat/completions":
            validate(CHAT, body)
            message = ChatCompletionMessage(role="assistant", content=ANSWER)
            answer = ChatCompletion(id="c", created=1, model=body["model"], object="chat.completion", usage=USAGE, choices=[
                Choice(index=i, finish_reason="stop", message=message) for i in range(body.get("n", 1))])
        else:
            validate(TEXT, body)
            prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
            echo = body.get("echo", False)
            choices = []
            for i, prompt in enumerate(prompts):
                logprobs = None
                if echo:  # one token a character; what comes first is likelier
                    logprobs = {"tokens": list(prompt), "text_offset": list(range(len(prompt))),
                                "token_logprobs": [0.0] + [-1.0 - i] * (len(prompt) - 1), "top_logprobs": None}
                choices.append(CompletionChoice(index=i, finish_reason="stop", text=prompt if echo else ANSWER, logprobs=logprobs))
            answer = Completion(id="c", created=1, model=body["model"], object="text_completion", usage=USAGE, choices=choices)
        data = answer.model_dump_json().encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for kind, expected in (("openai_chat", 5), ("openai", 30)):
        done = subprocess.run([sys.argv[1], kind, url, "gpt-4o-mini"], stdout=subprocess.PIPE, text=True, check=True)
        results = json.loads(done.stdout)
        assert len(results) >= expected, results.keys()
        if kind == "openai_chat":
            assert results["chat"]["vars"]["a"] == ANSWER, results["chat"]
            assert results["chat"]["messages"][-1] == {"role": "assistant", "content": ANSWER.lstrip()}, results["chat"]
        else:
            assert results["plain"]["text"] == "The capital of France is" + ANSWER, results["plain"]
            assert results["select_two"]["vars"]["c"] == " Rome", results["select_two"]
    server.shutdown()
    assert not problems, "\n".join(problems[:5])
    print(json.dumps({"requests": len(paths)}, indent=1))


if __name__ == "__main__":
    main()
