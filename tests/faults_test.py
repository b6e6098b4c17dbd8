#!/usr/bin/env python3
"""Clients that behave badly, against the real program and the default model: what they cost, and that all of it comes back.

usage: faults_test.py --program build/release/sgl [--connections 10000] [--sanitizer address,undefined|thread] [-k NAME]

After each test nothing runs or waits, free + cached pages are all pages, and no connection of the test is open.
"""
import argparse
import asyncio
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
import unittest

from server_process import ServerProcess, keep_little_of_what_was_freed

ARGS = None
PATIENCE = 120  # seconds for what is bound to happen; only a bug takes so long
MIB = 1 << 20

# With log-probabilities, since each event has those of all tokens so far: a few hundred tokens fill a socket's buffers.
ENDLESS = json.dumps({"text": "Once upon a time", "stream": True, "return_logprob": True, "top_logprobs_num": 5,
                      "sampling_params": {"max_new_tokens": 7500, "ignore_eos": True}}).encode()


def generate(body):
    return b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ServerProcess(ARGS.program, "--decode-log-interval", "0", "--header-timeout", "1", "--body-timeout", "1",
                                   "--write-timeout", "2", "--max-unsent-bytes", "65536", "--max-total-tokens", "20000",
                                   "--max-connections", "20000")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.before = self.baseline()

    def tearDown(self):
        s = self.baseline()
        self.assertEqual(s["free_pages"] + s["cached_pages"], s["total_pages"])
        eventually("all connections are closed", lambda: self.sockets() <= 1)
        print(f"RSS {self.rss() / MIB:.1f} MiB", file=sys.stderr)

    def baseline(self):
        """The state once nothing runs or waits."""
        state = {}
        def idle():
            nonlocal state
            state = json.loads(self.server.get("/server_info"))["internal_states"][0]
            return state["num_running_reqs"] == 0 and state["num_waiting_reqs"] == 0 and state["cached_pages_locked"] == 0
        eventually("the server is idle", idle)
        return state

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)

    def proc(self, name):
        return os.path.join("/proc", str(self.server.process.pid), name)

    def rss(self):
        """Bytes."""
        with open(self.proc("statm"), encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def sockets(self):
        """Open sockets of the server, less the one it listens on and those that Asio keeps for itself."""
        port, count = f":{self.server.port:04X}", 0
        with open("/proc/net/tcp", encoding="ascii") as file:
            for line in list(file)[1:]:
                local, state = line.split()[1], line.split()[3]
                count += local.endswith(port) and state in ("01", "08")  # established, close-wait
        return count

    def answer(self, sock):
        """All that comes until the server closes; a reset ends it, too."""
        data = b""
        try:
            while part := sock.recv(65536):
                data += part
        except ConnectionResetError:
            pass
        return data

    def test_a_stopped_reader_is_dropped_and_its_request_aborted(self):
        readers = [subprocess.Popen([sys.executable, "-c", f"""
import socket
s = socket.create_connection(("127.0.0.1", {self.server.port}))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.sendall({generate(ENDLESS)!r})
while s.recv(512): print(".", flush=True)
"""], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(4)]
        for reader in readers:
            self.addCleanup(reader.stdout.close)
            self.addCleanup(reader.wait)
            self.addCleanup(reader.kill)
            reader.stdout.readline()
            reader.send_signal(signal.SIGSTOP)
        aborted = self.before["num_aborted_requests_total"]
        eventually("the requests of stopped readers end", lambda: self.baseline()["num_aborted_requests_total"] == aborted + 4)

    def test_half_open_requests_are_closed_in_time(self):
        parts = [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
                 b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
        socks = [self.connect() for _ in range(200)]
        for i, sock in enumerate(socks):
            sock.sendall(parts[i % len(parts)])
        for i, sock in enumerate(socks):
            answer = self.answer(sock)
            if i % len(parts) == 0:
                self.assertEqual(answer, b"", "a client that said nothing is told nothing")
            else:
                self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer[:80])
            sock.close()

    def test_a_header_flood_is_refused_at_the_limit(self):
        before = self.rss()
        for _ in range(50):
            sock = self.connect()
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(20000)))
            except OSError:
                pass  # it does not read on
            self.assertTrue(self.answer(sock)[:13] in (b"HTTP/1.1 431 ", b""))
            sock.close()
        self.assertLess(self.rss() - before, 32 * MIB * ARGS.memory)

    def test_a_body_of_512_mib_is_refused_without_being_kept(self):
        before = peak = self.rss()
        with self.connect() as sock:
            sock.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (512 * MIB))
            self.assertTrue(self.answer(sock).startswith(b"HTTP/1.1 413 "))
        with self.connect() as sock:  # no length that would say so beforehand
            sock.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            sent, chunk = 0, b"100000\r\n" + b" " * MIB + b"\r\n"
            try:
                while sent < 512:
                    sock.sendall(chunk)
                    sent += 1
                    peak = max(peak, self.rss())
            except OSError:
                pass
            self.assertLess(sent, 128)
        self.assertLess(peak - before, 160 * MIB * ARGS.memory, "the limit is 64 MiB, and a string grows by doubling")
        eventually("the memory is given back", lambda: self.rss() - before < 32 * MIB * ARGS.memory)

    def test_idle_connections_are_cheap(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = min(ARGS.connections, hard - 100)
        before = self.rss()
        socks = []
        for _ in range(count):
            sock = self.connect()
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            socks.append(sock)
        for sock in socks:
            self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 200 "))
        each = (self.rss() - before) / count
        print(f"{count} idle connections: {each / 1000:.1f} KB each", file=sys.stderr)
        self.assertLess(each, 20000 * ARGS.memory)
        reply = self.server.post("/generate", {"text": "a", "sampling_params": {"max_new_tokens": 4}})
        self.assertGreater(reply["meta_info"]["completion_tokens"], 0)
        for sock in socks:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_clients_that_vanish_at_random_leave_nothing(self):
        seed = random.randrange(1 << 30)
        print(f"seed {seed}", file=sys.stderr)
        rng = random.Random(seed)
        async def one(i):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            body = json.dumps({"text": f"{i}", "stream": rng.random() < 0.5,
                               "sampling_params": {"max_new_tokens": rng.choice([1, 4, 16])}}).encode()
            data = generate(body).replace(b"Host: x", b"Host: x\r\nConnection: close")
            vanishes = rng.random() < 1 / 3
            writer.write(data[:rng.randrange(len(data))] if vanishes and rng.random() < 0.3 else data)
            if vanishes:
                await asyncio.sleep(rng.random() * 0.05)
                writer.transport.abort()
                return None
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return answer
        async def run():
            gate = asyncio.Semaphore(64)
            async def gated(i):
                async with gate:
                    return await one(i)
            return await asyncio.gather(*(gated(i) for i in range(ARGS.requests)))
        for answer in asyncio.run(run()):
            if answer is not None:
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:200])


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s still not: {what}"
        time.sleep(0.05)


def main():
    global ARGS, PATIENCE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--sanitizer", default="", help="what the program was built with: it is slow and takes memory")
    ARGS, rest = parser.parse_known_args()
    # AddressSanitizer surrounds what is allocated, ThreadSanitizer has four bytes for each.
    ARGS.memory = 8 if "thread" in ARGS.sanitizer else 4 if ARGS.sanitizer else 1
    if ARGS.sanitizer:
        PATIENCE = 900
        keep_little_of_what_was_freed()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
