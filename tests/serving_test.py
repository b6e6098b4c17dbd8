#!/usr/bin/env python3
"""The real server and the default model under load, faults and bad input.

usage: serving_test.py --program build/release/sgl [--requests 10000] [-k NAME]

After each test the server must be back at its baseline: nothing runs or waits, and free + cached pages are all pages.
"""
import argparse
import asyncio
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error

from server_process import ServerProcess
from tiny_model import make_tiny_model

ARGS = None


PATIENCE = 120  # seconds for what is bound to happen; only a bug takes so long


class Server(ServerProcess):
    def __init__(self, *flags):
        super().__init__(ARGS.program, "--decode-log-interval", "0", *flags)

    def state(self):
        return json.loads(self.get("/server_info"))["internal_states"][0]

    def wait_for_baseline(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            s = self.state()
            # Health probes are requests, too: give the one that answered a moment to end.
            if s["num_running_reqs"] == 0 and s["num_waiting_reqs"] == 0 and s["cached_pages_locked"] == 0:
                assert s["free_pages"] + s["cached_pages"] == s["total_pages"], f"a page is lost: {s}"
                return s
            assert time.monotonic() < deadline, f"the server is not idle after {PATIENCE} s: {s}"
            time.sleep(0.02)


def message(path, body):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n").encode() + data


async def send(port, path, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message(path, body))
    await writer.drain()
    return reader, writer


async def whole(port, path, body):
    """The parsed answer and its status."""
    reader, writer = await send(port, path, body)
    data = await reader.read()
    writer.close()
    head, _, payload = data.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(payload)


def hang_up(writer):
    """Closes with a reset, as a killed client does."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


class Faults(unittest.TestCase):
    """One server for all tests; a small queue of work each."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-queued-requests", "1000", "--max-total-tokens", "40000")
        cls.server.wait_for_baseline()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def tearDown(self):
        self.server.wait_for_baseline()

    async def wait_until(self, what, holds):
        """Waits until the predicate of the server's state holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds(self.server.state()):
            self.assertLess(time.monotonic(), deadline, f"{what}: {self.server.state()}")
            await asyncio.sleep(0.001)

    def hangs_up(self, stream):
        """A client that leaves a request of 7,000 tokens: it is counted as aborted, which one that ended never is."""
        before = self.server.state()["num_aborted_requests_total"]
        async def run():
            reader, writer = await send(self.server.port, "/generate", {
                "text": "Once upon a time", "stream": stream,
                "sampling_params": {"max_new_tokens": 7000, "ignore_eos": True}})
            if stream:
                await reader.readuntil(b"data: ")
            await self.wait_until("the request does not run", lambda s: s["num_running_reqs"] == 1)
            hang_up(writer)
            await self.wait_until("the request is not aborted", lambda s: (
                s["num_running_reqs"] == 0 and s["num_aborted_requests_total"] == before + 1))
        asyncio.run(run())

    def test_200_clients_at_once_are_all_answered(self):
        async def run():
            return await asyncio.gather(*(whole(self.server.port, "/generate", {
                "text": f"Client {i} asks:", "sampling_params": {"max_new_tokens": 8, "temperature": 0}}) for i in range(200)))
        replies = asyncio.run(run())
        self.assertEqual([status for status, _ in replies], [200] * 200)
        for _, reply in replies:
            self.assertGreaterEqual(reply["meta_info"]["completion_tokens"], 1)

    def test_a_client_that_hangs_up_mid_stream_frees_its_pages(self):
        self.hangs_up(stream=True)

    def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_frees_its_pages(self):
        self.hangs_up(stream=False)

    def test_64_requests_with_one_prefix_compute_it_once(self):
        rng = random.Random(7)
        prefix = [rng.randrange(100, 40000) for _ in range(1000)]
        async def run():
            return await asyncio.gather(*(whole(self.server.port, "/generate", {
                "input_ids": prefix + [200 + i], "sampling_params": {"max_new_tokens": 4, "temperature": 0}})
                for i in range(64)))
        replies = asyncio.run(run())
        cached = sorted(reply["meta_info"]["cached_tokens"] for _, reply in replies)
        self.assertEqual(cached, [0] + [992] * 63)  # 62 whole pages of 16

    def test_turns_of_a_session_are_whole_prompts_whose_beginnings_are_cached(self):
        post, sampling = self.server.post, {"max_new_tokens": 24, "temperature": 0, "ignore_eos": True}
        session, last, before = post("/open_session", {"capacity_of_str_len": 10000}), None, 0
        for text in "Once upon a time", " Then the queen said:", " And so they":
            turn = post("/generate", {"text": text, "sampling_params": sampling, "return_prompt_token_ids": True,
                                      "session_params": {"id": session, "rid": last}})
            last = turn["meta_info"]["id"]
            self.assertGreaterEqual(turn["meta_info"]["cached_tokens"], before - 16, "all but the last page")
            prompt = turn["prompt_token_ids"]
            self.assertEqual(post("/generate", {"input_ids": prompt, "sampling_params": sampling})["output_ids"],
                             turn["output_ids"])
            before = len(prompt) + len(turn["output_ids"]) - 1
        self.assertGreater(before, 3 * 24)
        post("/close_session", {"session_id": session})

    def test_bad_requests_name_the_mistake(self):
        cases = [
            ("/generate", b"{", 400, b""), ("/generate", b'{"text": "\xff"}', 400, b""),
            ("/generate", b"[]", 400, b""), ("/generate", b"{}", 400, b"text"),
            ("/generate", b'{"text": 5}', 400, b"text"),
            ("/generate", b'{"text": "a", "sampling_params": {"nope": 1}}', 400, b"nope"),
            ("/generate", b'{"text": "a", "sampling_params": {"top_p": 2}}', 400, b"top_p"),
            ("/generate", b'{"text": "a", "sampling_params": {"max_new_tokens": "x"}}', 400, b"max_new_tokens"),
            ("/generate", json.dumps({"input_ids": [5] * 9000}).encode(), 400, b"9000"),
            ("/generate", b'{"input_ids": [99999999]}', 400, b"99999999"),
            ("/generate", b'{"input_ids": [[5], []]}', 400, b"input 2 of 2"),
            ("/v1/chat/completions", b'{"model": "x"}', 400, b"messages"),
            ("/v1/chat/completions", b'{"model": "x", "messages": "hi"}', 400, b"messages"),
            ("/v1/completions", b'{"model": "x", "prompt": "a", "temperature": -1}', 400, b"temperature"),
            ("/nowhere", b"{}", 404, b"nowhere"),
        ]
        for path, body, status, part in cases:
            with self.subTest(path=path, body=body[:60]):
                with self.assertRaises(urllib.error.HTTPError) as caught:
                    self.server.open(path, body)
                with caught.exception as error:
                    text = error.read()
                self.assertEqual(error.code, status, text)
                self.assertIn(part, text)
                json.loads(text)

    def test_random_aborts_and_disconnects_lose_nothing(self):
        seed = random.randrange(1 << 30)
        rng = random.Random(seed)
        counts = {"answered": 0, "aborted": 0, "hung up": 0}
        async def one(i):
            stream = rng.random() < 0.5
            rid = f"r{i}x"
            fate = rng.random()
            prompt = [rng.randrange(100, 110) for _ in range(rng.randrange(1, 60))]
            reader, writer = await send(self.server.port, "/generate", {
                "input_ids": prompt, "rid": rid, "stream": stream,
                "sampling_params": {"max_new_tokens": rng.choice([0, 1, 2, 4, 30]), "temperature": 1.0}})
            if fate < 0.15:
                await asyncio.sleep(rng.random() * 0.2)
                hang_up(writer)
                counts["hung up"] += 1
                return
            if fate < 0.3:
                await asyncio.sleep(rng.random() * 0.1)
                status, _ = await whole_status(self.server.port, "/abort_request", {"rid": rid})
                self.assertEqual(status, 200)
                counts["aborted"] += 1
            data = await reader.read()
            writer.close()
            self.assertTrue(data.startswith(b"HTTP/1.1 200 ") or fate < 0.3 and data.startswith(b"HTTP/1.1 499 "), data[:200])
            counts["answered"] += 1
        async def whole_status(port, path, body):
            reader, writer = await send(port, path, body)
            data = await reader.read()
            writer.close()
            return int(data.split()[1]), data
        async def run():
            gate = asyncio.Semaphore(64)
            async def gated(i):
                async with gate:
                    await one(i)
            await asyncio.gather(*(gated(i) for i in range(ARGS.requests)))
        start = time.monotonic()
        asyncio.run(run())
        state = self.server.wait_for_baseline()
        self.assertGreater(min(counts.values()), 0)
        print(f"seed {seed}: {counts} in {time.monotonic() - start:.0f} s; {state['free_pages']} free + {state['cached_pages']} "
              f"cached = {state['total_pages']} pages", file=sys.stderr)


class Limits(unittest.TestCase):
    def all_are_answered(self, count, tokens, *flags):
        """By a pool that cannot hold them all at once."""
        server = Server("--schedule-conservativeness", "0.1", *flags)
        async def run():
            return await asyncio.gather(*(whole(server.port, "/generate", {
                "text": f"Story {i}:",
                "sampling_params": {"max_new_tokens": tokens, "min_new_tokens": tokens, "temperature": 0}})
                for i in range(count)))
        replies = asyncio.run(run())
        self.assertEqual([status for status, _ in replies], [200] * count)
        self.assertEqual({r["meta_info"]["completion_tokens"] for _, r in replies}, {tokens})
        retractions = sum(r["meta_info"]["num_retractions"] for _, r in replies)
        self.assertGreater(retractions, 0)
        print(f"{count} answered, {retractions} retractions", file=sys.stderr)
        server.wait_for_baseline()
        server.stop()

    def test_a_small_kv_pool_answers_all(self):
        self.all_are_answered(32, 100, "--max-total-tokens", "1024")

    def test_a_minimal_kv_pool_answers_64_long_requests(self):
        with tempfile.TemporaryDirectory() as folder:
            self.all_are_answered(64, 1000, "--max-total-tokens", "1088", *make_tiny_model(ARGS.program, folder))

    def test_a_full_queue_answers_503(self):
        server = Server("--max-running-requests", "1", "--max-queued-requests", "2")
        async def run():
            return await asyncio.gather(*(whole(server.port, "/generate", {
                "text": "a", "sampling_params": {"max_new_tokens": 50, "ignore_eos": True}}) for _ in range(20)))
        statuses = [status for status, _ in asyncio.run(run())]
        self.assertIn(503, statuses)
        self.assertIn(200, statuses)
        self.assertEqual(set(statuses), {200, 503})
        server.wait_for_baseline()
        server.stop()

    def test_sigterm_lets_running_requests_end(self):
        server = Server()
        async def run():
            streams = [await send(server.port, "/generate", {
                "text": "a", "stream": True, "sampling_params": {"max_new_tokens": 60, "ignore_eos": True}})
                for _ in range(8)]
            for reader, _ in streams:
                await reader.readuntil(b"data: ")
            server.process.send_signal(signal.SIGTERM)
            answers = [await reader.read() for reader, _ in streams]
            for _, writer in streams:
                writer.close()
            return answers
        for answer in asyncio.run(run()):
            self.assertIn(b'"completion_tokens":60', answer)
            self.assertIn(b"data: [DONE]", answer)
        server.wait()


class StartUp(unittest.TestCase):
    """Every mistake ends the program soon, with one line that names it."""

    def refused(self, *flags, status, text):
        done = subprocess.run([ARGS.program, "serve", *flags], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, status, done.stderr)
        for part in text:
            self.assertIn(part, done.stderr)

    def test_an_unknown_flag(self):
        self.refused("--no-such-flag", status=2, text=["--no-such-flag"])

    def test_an_unknown_path(self):
        self.refused("--model-path", "/no/such/place", status=1, text=["/no/such/place"])

    def test_an_unsupported_architecture(self):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "config.json"), "w", encoding="utf-8") as f:
                json.dump({"architectures": ["NoSuchForCausalLM"], "model_type": "nosuch", "hidden_size": 8}, f)
            self.refused("--model-path", d, "--load-format", "dummy", status=1,
                         text=["NoSuchForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"])

    def test_a_corrupt_file(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "x.gguf")
            with open(path, "wb") as f:
                f.write(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
            self.refused("--model-path", path, status=1, text=["x.gguf"])

    def test_too_little_memory(self):
        self.refused("--max-total-tokens", str(10 ** 12), status=1, text=["GiB", "--max-total-tokens"])

    def test_a_taken_port(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            self.refused("--port", str(port), status=1, text=[str(port)])


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--requests", type=int, default=10000)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
