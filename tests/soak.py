#!/usr/bin/env python3
"""Mixed traffic for as long as one likes: all routes, all sizes, clients that leave, bad input; what memory becomes of it.

usage: soak.py --program build/release/sgl [--minutes 30] [--clients 16] [--seed N] [--tiny]

Prints the resident memory of the server once a minute, and what it was after the first third of the time and at the end:
a server that keeps something of each request grows. Every answer must have a status that its request can have; at the end
nothing may run, and free and cached pages must be all pages. Status 1 if not, or if memory grew by more than --most-growth
percent between the two moments. ./check runs it for some seconds, where growth says nothing. With --tiny the model is one
layer, so that a sanitizer's build gets on, too.
"""
import argparse
import asyncio
import collections
import json
import random
import resource
import sys
import tempfile
import time

from server_process import ServerProcess
from tiny_model import make_tiny_model

PATIENCE = 600  # seconds; only a bug takes so long
MIB = 1 << 20
WORDS = "time year people way day man thing woman life child world school state family student group country".split()
SCHEMA = json.dumps({"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                                      "age": {"type": "integer"}}, "required": ["name", "age"]})
GETS = ["/", "/health", "/health/live", "/health/ready", "/health_generate", "/ready", "/ping", "/v1/models",
        "/v1/models/nobody", "/get_model_info", "/model_info", "/server_info", "/get_server_info", "/v1/loads",
        "/v1/loads?format=prometheus", "/metrics", "/openapi.json", "/nowhere", "/v1/responses"]
BAD = [b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
       b"POST /generate HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100000]


class Traffic:
    def __init__(self, server, o):
        self.server, self.o, self.rng = server, o, random.Random(o.seed)
        self.seen = collections.Counter()
        self.number = 0

    def text(self):
        """Mostly short, sometimes a thousand words; some begin alike."""
        words = self.rng.choice([1, 5, 20, 100, 100, 1000])
        begin = "Once upon a time there was a king. " * self.rng.choice([0, 0, 5]) if words < 1000 else ""
        return begin + " ".join(self.rng.choices(WORDS, k=words))

    def sampling(self):
        r = self.rng
        out = {"max_new_tokens": r.choice([0, 1, 4, 16, 64]), "temperature": r.choice([0, 0.7, 1.5])}
        if r.random() < 0.2:
            out |= {"top_p": 0.9, "top_k": 20, "frequency_penalty": 0.5, "stop": ["king", "\n\n"]}
        if r.random() < 0.1:
            out["n"] = 3
        if r.random() < 0.1:
            out["json_schema"] = SCHEMA
        elif r.random() < 0.05:
            out["regex"] = f"[a-z]{{1,{r.randrange(2, 40)}}}"
        return out

    def request(self):
        """(method, path, body, statuses that it may have)"""
        r = self.rng
        self.number += 1
        if r.random() < 0.2:
            path = r.choice(GETS)
            return "GET", path, None, {200, 404, 405}
        if r.random() < 0.1:
            path = r.choice(["/generate", "/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/embeddings"])
            bad = r.choice([b"", b"{", b"[]", b'{"text": 5}', b'{"messages": "x"}', b"\xff\xfe", b"[" * 5000, b'{"n": -1}'])
            return "POST", path, bad, {400}
        stream, sampling = r.random() < 0.5, self.sampling()
        kind = r.randrange(8)
        if kind <= 2:
            body = {"text": self.text(), "stream": stream, "sampling_params": sampling, "rid": f"soak-{self.number}"}
            if r.random() < 0.2:
                body |= {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 3}
            if r.random() < 0.1:
                body = {**body, "text": [self.text() for _ in range(4)], "rid": [f"b{self.number}-{i}" for i in range(4)]}
            return "POST", "/generate", body, {200, 499}
        if kind <= 4:
            body = {"model": "m", "messages": [{"role": "user", "content": self.text()}], "stream": stream,
                    "max_tokens": max(sampling["max_new_tokens"], 1), "n": sampling.get("n", 1)}
            if r.random() < 0.1:
                body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
            if r.random() < 0.2:
                body |= {"logprobs": True, "top_logprobs": 2}
            return "POST", "/v1/chat/completions", body, {200, 499}
        if kind == 5:
            return "POST", "/v1/completions", {"model": "m", "prompt": self.text(), "max_tokens": 8, "stream": stream,
                                               "echo": r.random() < 0.2}, {200, 499}
        if kind == 6:
            return "POST", "/tokenize", {"prompt": self.text()}, {200}
        return r.choice([
            ("POST", "/detokenize", {"tokens": [r.randrange(1000) for _ in range(50)]}, {200}),
            ("POST", "/v1/score", {"query": "a", "items": ["b", "c"], "label_token_ids": [1, 2], "model": "m"}, {200, 499}),
            ("POST", "/abort_request", {"rid": f"soak-{self.number - 3}"}, {200}),
            ("POST", "/flush_cache", None, {200, 400}),
            ("POST", "/configure_logging", {"log_requests": False}, {200}),
            ("POST", "/parse_function_call", {"text": "x", "tools": [], "tool_call_parser": "hermes"}, {200, 400}),
        ])

    async def client(self, until):
        """One client after the other; each sends some requests over its connection, and some leave in the middle."""
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=1 << 26)
            try:
                if self.rng.random() < 0.03:
                    writer.write(self.rng.choice(BAD))
                    await asyncio.wait_for(reader.read(), PATIENCE)
                    self.seen["bad bytes"] += 1
                    continue
                for _ in range(self.rng.randrange(1, 10)):
                    if not await self.exchange(reader, writer):
                        break
            except ConnectionError:
                self.seen["reset"] += 1  # of what was sent beyond a refusal
            finally:
                writer.close()

    async def exchange(self, reader, writer):
        """Whether the connection may serve another one."""
        method, path, body, statuses = self.request()
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        message = (f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   f"Content-Length: {len(data)}\r\n\r\n").encode() + data
        leaves = self.rng.random() < 0.1
        writer.write(message[:self.rng.randrange(len(message))] if leaves and self.rng.random() < 0.3 else message)
        if leaves:
            await asyncio.sleep(self.rng.random() * 0.2)
            writer.transport.abort()
            self.seen["left"] += 1
            return False
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        status = int(head[9:12])
        assert status in statuses, f"{method} {path} {data[:500]}: {head.decode()}"
        self.seen[status] += 1
        fields = head.lower()
        if b"content-length: " in fields:
            await reader.readexactly(int(fields.split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding" in fields:
            while size := int(await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        return b"connection: close" not in fields

    async def watch(self, until, samples):
        began = time.monotonic()
        while (now := time.monotonic()) < until:
            samples.append((now - began, resident(self.server.process.pid)))
            if len(samples) % 60 == 1:
                print(f"{(now - began) / 60:6.1f} min {samples[-1][1] / MIB:8.1f} MiB  {sum(self.seen.values())} exchanges",
                      file=sys.stderr, flush=True)
            await asyncio.sleep(min(1, until - now))

    async def run(self, seconds):
        until, samples = time.monotonic() + seconds, []
        await asyncio.gather(self.watch(until, samples), *(self.client(until) for _ in range(self.o.clients)))
        return samples


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def near(samples, at, width):
    """Mean of the last `width` seconds before `at`, or, in a run too short for that, what is nearest."""
    of = [bytes_ for t, bytes_ in samples if at - width <= t <= at]
    return sum(of) / len(of) if of else min(samples, key=lambda sample: abs(sample[0] - at))[1]


def check_idle(server):
    deadline = time.monotonic() + PATIENCE
    while True:
        s = json.loads(server.get("/server_info"))["internal_states"][0]
        if s["num_running_reqs"] == 0 and s["num_waiting_reqs"] == 0 and s["cached_pages_locked"] == 0:
            assert s["free_pages"] + s["cached_pages"] == s["total_pages"], f"a page is lost: {s}"
            return
        assert time.monotonic() < deadline, f"something runs still: {s}"
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--most-growth", type=float, metavar="PERCENT", help="(default: none)")
    parser.add_argument("--tiny", action="store_true", help="a model of one layer")
    parser.add_argument("--max-total-tokens", default="20000", help="of the server's KV pool (default: 20000)")
    o = parser.parse_args()
    print(f"seed {o.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_model(o.program, folder) if o.tiny else []
        server = ServerProcess(o.program, *model, "--decode-log-interval", "0", "--enable-metrics", "--max-total-tokens",
                               o.max_total_tokens)
    traffic = Traffic(server, o)
    samples = asyncio.run(traffic.run(60 * o.minutes))
    check_idle(server)
    end = samples[-1][0]
    third, last = near(samples, end / 3, end / 30), near(samples, end, end / 30)
    growth = 100 * (last / third - 1)
    print(f"seen: {dict(sorted(traffic.seen.items(), key=str))}")
    print(f"resident after {end / 180:.1f} min {third / MIB:.1f} MiB, after {end / 60:.1f} min {last / MIB:.1f} MiB: "
          f"{growth:+.2f} %")
    server.stop()
    if o.most_growth is not None and growth > o.most_growth:
        sys.exit(f"memory grew by more than {o.most_growth} %")


if __name__ == "__main__":
    main()
