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
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice, ChoiceDelta
from pydantic import TypeAdapter, ValidationError

ANSWER = " An answer"
USAGE = CompletionUsage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
problems, bodies = [], []


class Params:
    """The package's types of one route's bodies: with and without a stream."""

    def __init__(self, module):
        self.known = set(module.CompletionCreateParamsBase.__annotations__) | {"stream"}
        self.types = {False: TypeAdapter(module.CompletionCreateParamsNonStreaming),
                      True: TypeAdapter(module.CompletionCreateParamsStreaming)}

    def validate(self, body):
        for key in set(body) - self.known:
            problems.append(f"unknown key {key} in {body}")
        try:
            self.types[body.get("stream", False)].validate_python(body)
        except ValidationError as error:
            problems.append(f"{error}\nin {body}")


CHAT, TEXT = Params(chat_create_params), Params(completion_create_params)


def chat_events(model):
    common = {"id": "c", "created": 1, "model": model, "object": "chat.completion.chunk"}
    deltas = [(ChoiceDelta(role="assistant", content=""), None), *((ChoiceDelta(content=c), None) for c in ANSWER),
              (ChoiceDelta(), "stop")]
    for delta, finish in deltas:
        yield ChatCompletionChunk(**common, choices=[ChunkChoice(index=0, delta=delta, finish_reason=finish)])
    yield ChatCompletionChunk(**common, choices=[], usage=USAGE)


def text_events(model):
    common = {"id": "c", "created": 1, "model": model, "object": "text_completion"}
    for c in ANSWER:  # the type has no null for a text that goes on; the API sends one
        choice = CompletionChoice.model_construct(index=0, finish_reason=None, text=c, logprobs=None)
        yield Completion.model_construct(**common, choices=[choice])
    yield Completion(**common, choices=[CompletionChoice(index=0, finish_reason="stop", text="")])
    yield Completion(**common, choices=[], usage=USAGE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != "Bearer none":
            problems.append(f"authorization {self.headers.get('Authorization')}")
        chat = self.path == "/v1/chat/completions"
        (CHAT if chat else TEXT).validate(body)
        bodies.append(body)
        if body.get("stream"):
            events = chat_events if chat else text_events
            lines = [*(event.model_dump_json() for event in events(body["model"])), "[DONE]"]
            self.answer("text/event-stream", "".join(f"data: {line}\n\n" for line in lines))
            return
        if chat:
            message = ChatCompletionMessage(role="assistant", content=ANSWER)
            answer = ChatCompletion(id="c", created=1, model=body["model"], object="chat.completion", usage=USAGE, choices=[
                Choice(index=i, finish_reason="stop", message=message) for i in range(body.get("n", 1))])
        else:
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
        self.answer("application/json", answer.model_dump_json())

    def answer(self, content_type, text):
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    for kind, model, expected in (("openai_chat", "gpt-4o-mini", 8), ("openai_chat", "o3-mini", 8), ("openai", "gpt-4o-mini", 30)):
        done = subprocess.run([sys.argv[1], kind, url, model, *(["--wire"] if kind == "openai_chat" else [])],
                              stdout=subprocess.PIPE, text=True, check=True)
        results = json.loads(done.stdout[done.stdout.index("{\n"):])  # a warning may come before
        assert len(results) >= expected, results.keys()
        assert results["streamed"]["vars"]["a"] == ANSWER, results["streamed"]
        if kind == "openai_chat":
            assert results["wire_samples"]["vars"]["a"] == [ANSWER, ANSWER], results["wire_samples"]
            assert results["chat"]["vars"]["a"] == ANSWER, results["chat"]
            assert results["chat"]["messages"][-1] == {"role": "assistant", "content": ANSWER.lstrip()}, results["chat"]
        else:
            assert results["plain"]["text"] == "The capital of France is" + ANSWER, results["plain"]
            assert results["select_two"]["vars"]["c"] == " Rome", results["select_two"]
    server.shutdown()
    assert not problems, "\n".join(problems[:5])
    for key in ("stream", "response_format", "n", "max_completion_tokens", "seed", "echo"):
        assert any(key in body for body in bodies), f"no request had {key}"
    print(json.dumps({"requests": len(bodies)}, indent=1))


if __name__ == "__main__":
    main()
