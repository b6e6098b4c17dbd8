#!/usr/bin/env python3
"""The wall clock jumps by hours while the real server works: answers, deadlines, logs and metrics must not care.

usage: clock_test.py --program build/release/sgl [-k NAME]

The server runs with shifted_clock.cpp preloaded, which moves what its wall clock says; its steady clock is the machine's.
"""
import argparse
import concurrent.futures
import contextlib
import json
import mmap
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from server_process import ServerProcess

ARGS = None
PATIENCE = 120  # seconds for what is bound to happen; only a bug takes so long
HOUR = 3600
JUMPS = (5 * HOUR, -5 * HOUR, 400 * 24 * HOUR, -7 * 24 * HOUR, 1, 0)

ENDLESS = {"text": "Once upon a time", "sampling_params": {"max_new_tokens": 7500, "ignore_eos": True}}


class ShiftedClock:
    """A wall clock for programs started with `environment`."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        subprocess.run([os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-shared", "-fPIC", "-o", folder / "clock.so",
                        Path(__file__).with_name("shifted_clock.cpp")], check=True)
        (folder / "shift").write_bytes(bytes(8))
        with open(folder / "shift", "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(folder / "clock.so"), "SHIFTED_CLOCK": str(folder / "shift"),
                            # It insists on being the first library otherwise.
                            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def set(self, seconds):
        struct.pack_into("q", self.memory, 0, seconds)

    @contextlib.contextmanager
    def jumping(self, seed):
        """Jumps some fifty times a second while the block runs, and is right afterwards."""
        stop = threading.Event()
        rng = random.Random(seed)
        def jump():
            while not stop.wait(0.02):
                self.set(rng.choice(JUMPS))
        thread = threading.Thread(target=jump)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.set(0)


class Clock(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.clock = ShiftedClock()
        cls.started = time.monotonic()
        cls.server = cls.start("--enable-metrics", "--header-timeout", "2")

    @classmethod
    def start(cls, *flags):
        return ServerProcess(ARGS.program, "--log-format", "json", "--log-level-http", "info", "--log-requests",
                             "--log-requests-level", "0", "--decode-log-interval", "1", *flags,
                             environment=cls.clock.environment)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.clock.set(0)

    def tearDown(self):
        self.check_logs()
        self.check_metrics()

    def check_logs(self):
        """No time in them is negative, or longer than the server has run."""
        most = (time.monotonic() - self.started) * 1000
        for line in map(json.loads, self.server.output().splitlines()):
            for name, value in line.items():
                if name == "ms" or name.endswith("_ms"):
                    self.assertTrue(0 <= value <= most, line)
            for speed in re.findall(r"([-\d.einfa]+) tok/s", line["message"]):
                self.assertTrue(0 <= float(speed) < 1e7, line)

    def check_metrics(self):
        """The same for sums and speeds."""
        most = time.monotonic() - self.started
        samples = dict(line.rsplit(" ", 1) for line in self.server.get("/metrics").decode().splitlines() if line[0] != "#")
        sums = [name for name in samples if "_seconds_sum{" in name]
        self.assertGreater(len(sums), 4)
        for name in sums:
            count = float(samples[name.replace("_seconds_sum{", "_seconds_count{")])
            self.assertTrue(0 <= float(samples[name]) <= most * count, f"{name} {samples[name]}")
        for name, value in samples.items():
            if "throughput" in name or "expected" in name:
                self.assertTrue(0 <= float(value) < 1e7, f"{name} {value}")

    def generate(self, body, limit):
        """The status of a request that may take `limit` seconds."""
        return self.server.status("/generate", json.dumps(body).encode(), {"X-Request-Timeout": str(limit)})

    def now(self):
        """What the server takes for the time."""
        return json.loads(self.server.get("/v1/loads"))["timestamp"]

    def test_answers_are_the_same(self):
        self.clock.set(5 * HOUR)
        self.assertAlmostEqual(self.now(), time.time() + 5 * HOUR, delta=HOUR, msg="the clock is not shifted at all")
        self.clock.set(0)
        def ask(i):
            body = {"text": f"Say {i}:", "sampling_params": {"temperature": 0, "max_new_tokens": 64, "ignore_eos": True}}
            began = time.monotonic()
            if i % 2 == 0:
                body["stream"] = True
                with self.server.open("/generate", json.dumps(body).encode(), {"X-Request-Timeout": "600"}) as reply:
                    events = reply.read().decode().split("\n\n")
                self.assertEqual(events[-2:], ["data: [DONE]", ""])
                answer = json.loads(events[-3].removeprefix("data: "))
            else:
                answer = self.server.post("/generate", body)
            latency = answer["meta_info"]["e2e_latency"]
            self.assertTrue(0 <= latency <= time.monotonic() - began, latency)
            return answer["output_ids"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            expected = list(pool.map(ask, range(16)))
            seed = random.randrange(1 << 30)
            print(f"seed {seed}", file=sys.stderr)
            with self.clock.jumping(seed):
                self.assertEqual(list(pool.map(ask, range(16))), expected)

    def test_a_request_has_the_time_that_it_was_given(self):
        for jump in (5 * HOUR, -5 * HOUR):
            for limit, endless in ((1, True), (600, False)):
                with self.subTest(jump=jump, limit=limit):
                    body = ENDLESS if endless else {**ENDLESS, "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}}
                    self.clock.set(0)
                    timer = threading.Timer(0.2, self.clock.set, [jump])
                    timer.start()
                    began = time.monotonic()
                    self.assertEqual(self.generate(body, limit), 504 if endless else 200)
                    took = time.monotonic() - began
                    timer.join()
                    self.assertTrue((limit if endless else 0) <= took < PATIENCE, took)

    def test_connections_have_theirs(self):
        for jump in (5 * HOUR, -5 * HOUR):
            with self.subTest(jump=jump):
                self.clock.set(0)
                idle, half = (socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) for _ in range(2))
                with idle, half:
                    idle.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertTrue(idle.recv(4096).startswith(b"HTTP/1.1 200 "))
                    began = time.monotonic()
                    half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
                    self.clock.set(jump)
                    self.assertTrue(half.recv(4096).startswith(b"HTTP/1.1 408 "))
                    self.assertGreaterEqual(time.monotonic() - began, 2, "--header-timeout")
                    idle.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")  # after more than one look at the deadlines
                    self.assertTrue(idle.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_whoever_waits_for_a_flush_waits_as_long_as_asked(self):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            busy = pool.submit(self.generate, ENDLESS, 600)
            while json.loads(self.server.get("/server_info"))["internal_states"][0]["num_running_reqs"] == 0:
                self.assertFalse(busy.done())
            for jump in (5 * HOUR, -5 * HOUR):
                self.clock.set(0)
                timer = threading.Timer(0.2, self.clock.set, [jump])
                timer.start()
                began = time.monotonic()
                self.assertEqual(self.server.status("/flush_cache?timeout=1", b""), 400)
                self.assertTrue(1 <= time.monotonic() - began < PATIENCE)
                timer.join()
            self.server.post("/abort_request", {"abort_all": True})
            busy.result()

    def test_the_end_comes_after_the_time_to_drain(self):
        for jump in (5 * HOUR, -5 * HOUR):
            with self.subTest(jump=jump):
                self.clock.set(0)
                server = self.start("--drain-timeout", "1")
                with concurrent.futures.ThreadPoolExecutor(1) as pool:
                    with server.open("/generate", json.dumps({**ENDLESS, "stream": True}).encode()) as reply:
                        reply.readline()
                        began = time.monotonic()
                        server.process.send_signal(signal.SIGTERM)
                        self.clock.set(jump)
                        rest = pool.submit(reply.read).result(PATIENCE).decode()
                    self.assertGreaterEqual(time.monotonic() - began, 1)
                    self.assertIn("shutting down", rest)
                server.wait()


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
