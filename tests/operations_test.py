#!/usr/bin/env python3
"""What an operator relies on, with the real program and the default model: keys, HTTPS, metrics, logs, signals.

usage: operations_test.py --program build/release/sgl [-k NAME]
"""
import argparse
import asyncio
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from server_process import ServerProcess, keep_little_of_what_was_freed

ARGS = None
PATIENCE = 120  # seconds for what is bound to happen; only a bug takes so long
HERE = os.path.dirname(os.path.abspath(__file__))

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')


def start(*flags):
    return ServerProcess(ARGS.program, "--decode-log-interval", "0", *flags)


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s still not: {what}"
        time.sleep(0.02)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def parse_metrics(text):
    """{name: (type, [(labels, value)])}; fails on a line that is not of the format."""
    families, helps = {}, set()
    for line in text.splitlines():
        head = re.fullmatch(r"# (HELP|TYPE) (\S+) (.+)", line)
        if head and head[1] == "HELP":
            assert head[2] not in helps, f"two families {head[2]}"
            helps.add(head[2])
        elif head:
            assert head[3] in ("counter", "gauge", "histogram"), line
            families[head[2]] = (head[3], [])
            current = head[2]
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, f"not a sample: {line!r}"
            kind, samples = families[current]
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert sample[1] in [current + s for s in suffixes], f"{line!r} does not belong to {current}"
            samples.append((sample[1], dict(LABEL.findall(sample[2] or "")), float(sample[3])))
    assert helps == set(families)
    return families


def value(families, name, **labels):
    family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in families else name
    return sum(v for n, l, v in families[family][1] if n == name and labels.items() <= l.items())


class Metrics(unittest.TestCase):
    def test_metrics_are_of_the_format_and_agree_with_the_answers(self):
        server = start("--enable-metrics")
        prompt_tokens = completion_tokens = 0
        for i in range(3):
            meta = server.post("/generate", {"text": f"Say {i}:", "sampling_params": {"max_new_tokens": 5 + i, "ignore_eos": True}})["meta_info"]
            prompt_tokens += meta["prompt_tokens"]
            completion_tokens += meta["completion_tokens"]
        self.assertEqual(server.status("/generate", b"{}"), 400)

        def metrics():
            return parse_metrics(server.get("/metrics").decode())

        # A request that is answered leaves the scheduler at the end of its turn.
        eventually("no request runs", lambda: value(metrics(), "sgl:num_running_reqs") == 0)
        families = metrics()
        for prefix in ("sgl:", "sglang:"):
            self.assertEqual(value(families, prefix + "num_requests_total"), 3, "probes and the warm-up are not counted")
            self.assertEqual(value(families, prefix + "prompt_tokens_total"), prompt_tokens)
            self.assertEqual(value(families, prefix + "generation_tokens_total"), completion_tokens)
            self.assertEqual(value(families, prefix + "time_to_first_token_seconds_count"), 3)
            self.assertEqual(value(families, prefix + "inter_token_latency_seconds_count"), completion_tokens - 3)
            self.assertEqual(value(families, prefix + "http_responses_total", endpoint="/generate", status_code="200"), 3)
            self.assertEqual(value(families, prefix + "http_responses_total", endpoint="/generate", status_code="400"), 1)
            self.assertEqual(value(families, prefix + "num_running_reqs"), 0)
            self.assertGreater(value(families, prefix + "kv_available_tokens"), 0)
        for name, (kind, samples) in families.items():
            if kind == "histogram":
                counts = [v for n, _, v in samples if n == name + "_bucket"]
                self.assertEqual(counts, sorted(counts), name)
                self.assertEqual(counts[-1], value(families, name + "_count"), name)
        self.dashboard(families)
        server.stop()

    def dashboard(self, families):
        """Every metric that the Grafana dashboard asks for is there, and it has the labels that it is chosen by."""
        with open(os.path.join(HERE, "..", "deploy", "grafana_dashboard.json"), encoding="utf-8") as file:
            panels = json.load(file)["panels"]
        asked = set(re.findall(r"\b(?:sgl:|process_)\w+", json.dumps([p["targets"] for p in panels])))
        self.assertGreater(len(asked), 15)
        for name in asked:
            family = re.sub(r"_bucket$", "", name)
            self.assertIn(family, families)
            if name.startswith("sgl:"):
                self.assertIn("model_name", families[family][1][0][1])


class Keys(unittest.TestCase):
    def test_keys_from_files_are_asked_for_and_read_again_on_sighup(self):
        with tempfile.TemporaryDirectory() as d:
            keys, admins = os.path.join(d, "keys"), os.path.join(d, "admins")
            write(keys, "# team\nalpha\nbeta\n")
            write(admins, "admin-secret\n")
            server = start("--api-key-file", keys, "--admin-api-key-file", admins, "--api-key", "given")
            for key in ("alpha", "beta", "given"):
                self.assertEqual(server.status("/v1/models", headers=bearer(key)), 200, key)
            for headers in ({}, bearer("gamma"), bearer("admin-secret"), {"Authorization": "alpha"}):
                self.assertEqual(server.status("/v1/models", headers=headers), 401, headers)
            self.assertEqual(server.status("/flush_cache", b"", bearer("alpha")), 403)
            self.assertEqual(server.status("/flush_cache?timeout=5", b"", bearer("admin-secret")), 200)
            for path in ("/health", "/health/live", "/ready"):
                self.assertEqual(server.status(path), 200, path)
            write(keys, "gamma\n")
            server.process.send_signal(signal.SIGHUP)
            eventually("the new key opens", lambda: server.status("/v1/models", headers=bearer("gamma")) == 200)
            self.assertEqual(server.status("/v1/models", headers=bearer("alpha")), 401)
            self.assertEqual(server.status("/v1/models", headers=bearer("given")), 200)
            os.remove(keys)
            server.process.send_signal(signal.SIGHUP)
            eventually("the mistake is logged", lambda: "keys stay as they were" in server.output())
            self.assertEqual(server.status("/v1/models", headers=bearer("gamma")), 200)
            with server.open("/server_info", headers=bearer("given")) as reply:
                info = reply.read().decode()
            for secret in ("given", "gamma", "admin-secret"):
                self.assertNotIn(f'"{secret}"', info)
                self.assertNotIn(secret, server.output())
            server.stop()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def make_certificate(directory, name):
    crt, key = (os.path.join(directory, name + end) for end in (".crt", ".key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", crt, "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return crt, key


class Https(unittest.TestCase):
    def test_a_client_that_checks_the_certificate_is_answered_and_a_renewed_one_is_used(self):
        with tempfile.TemporaryDirectory() as d:
            crt, key = make_certificate(d, "first")
            second_crt, second_key = make_certificate(d, "second")
            server = start("--ssl-certfile", crt, "--ssl-keyfile", key)
            def ask(ca):
                context = ssl.create_default_context(cafile=ca)
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
                request = urllib.request.Request(server.url + "/generate", json.dumps(
                    {"text": "a", "stream": True, "sampling_params": {"max_new_tokens": 20, "ignore_eos": True}}).encode())
                with opener.open(request, timeout=PATIENCE) as reply:
                    return reply.read()
            with open(crt, encoding="utf-8") as file:
                write(os.path.join(d, "trusted"), file.read())
            self.assertIn(b"data: [DONE]", ask(os.path.join(d, "trusted")))
            with self.assertRaises(urllib.error.URLError):
                ask(second_crt)
            os.replace(second_crt, crt)
            os.replace(second_key, key)
            server.process.send_signal(signal.SIGHUP)
            def renewed():
                try:
                    return b"[DONE]" in ask(crt)
                except urllib.error.URLError:
                    return False
            eventually("the renewed certificate is used", renewed)
            server.stop()

    def test_idle_connections_are_cheap(self):
        with tempfile.TemporaryDirectory() as d:
            crt, key = make_certificate(d, "cheap")
            server = start("--ssl-certfile", crt, "--ssl-keyfile", key)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        def connect():
            sock = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 200 "))
            return sock
        def resident():
            with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        first = [connect() for _ in range(20)]  # what only the first ones need
        before = resident()
        socks = [connect() for _ in range(ARGS.connections)]
        each = (resident() - before) / len(socks)
        print(f"{len(socks)} idle TLS connections: {each / 1000:.1f} KB each", file=sys.stderr)
        # ThreadSanitizer has four bytes for each.
        most = 120000 if "thread" in ARGS.sanitizer else 60000 if ARGS.sanitizer else 25000
        self.assertLess(each, most, "15 KB are usual")
        for sock in first + socks:
            sock.close()
        server.stop()


class Logs(unittest.TestCase):
    def test_json_lines_have_the_request_and_its_trace(self):
        server = start("--log-format", "json", "--log-level-http", "info", "--log-requests", "--log-requests-level", "2")
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        body = json.dumps({"text": "Quote \" and \u00fc:", "sampling_params": {"max_new_tokens": 3}}).encode()
        with server.open("/generate", body, {"X-Request-Id": "job-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}) as reply:
            self.assertEqual(reply.headers["X-Request-Id"], "job-1")
            meta = json.load(reply)["meta_info"]
        lines = [json.loads(line) for line in server.output().splitlines()]
        server.stop()
        for line in lines:
            self.assertLessEqual({"time", "level", "message"}, set(line))
        mine = [line for line in lines if line.get("id") == "job-1"]
        self.assertEqual([line["message"] for line in mine], ["request", "request ended", "answered"])
        for line in mine:
            self.assertEqual(line["trace_id"], trace)
        self.assertEqual(json.loads(mine[0]["body"])["text"], "Quote \" and \u00fc:")
        self.assertEqual(mine[1]["completion_tokens"], meta["completion_tokens"])
        self.assertEqual(mine[2]["status"], 200)


class Control(unittest.TestCase):
    def test_a_config_file_starts_the_server_and_a_pause_changes_no_answer(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "sgl.yaml")
            write(path, "served-model-name: from-a-file\nenable-metrics: true\nmax_running_requests: 4\n")
            server = start("--config", path, "--max-running-requests", "8")
        info = json.loads(server.get("/server_info"))
        self.assertEqual(info["served_model_name"], "from-a-file")
        self.assertEqual(info["max_running_requests"], 8)
        for flag in ("dtype", "kv_cache_dtype", "load_format"):
            self.assertNotIn(info[flag], ("", "auto"), flag)
        self.assertTrue(info["tokenizer_path"])
        self.assertGreater(info["threads"], 0)
        self.assertTrue(0 < info["mem_fraction_static"] < 1, info["mem_fraction_static"])
        body = {"text": "Once upon a time", "sampling_params": {"max_new_tokens": 200, "ignore_eos": True, "temperature": 0}}
        expected = server.post("/generate", body)["output_ids"]
        async def run(mode):
            answer = asyncio.create_task(asyncio.to_thread(server.post, "/generate", body))
            state = lambda: json.loads(server.get("/server_info"))["internal_states"][0]
            while (await asyncio.to_thread(state))["num_running_reqs"] == 0:
                assert not answer.done(), "it was over before it was seen to run"
            await asyncio.to_thread(server.post, "/pause_generation", {"mode": mode})
            try:
                steps = (await asyncio.to_thread(state))["steps_total"]
                self.assertEqual(await asyncio.to_thread(server.status, "/ready"), 503)
                self.assertEqual(await asyncio.to_thread(server.status, "/health"), 200)
                self.assertEqual((await asyncio.to_thread(state))["steps_total"], steps, "a step while paused")
            finally:  # what fails above must not leave the answer waiting
                await asyncio.to_thread(server.post, "/continue_generation", {})
            return (await answer)["output_ids"]
        for mode in ("in_place", "retract"):
            self.assertEqual(asyncio.run(run(mode)), expected, mode)
        server.stop()


class Stopping(unittest.TestCase):
    def test_sigterm_under_load_answers_or_tells_everybody(self):
        server = start("--drain-timeout", "1", "--max-running-requests", "8")
        async def one(i):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            data = json.dumps({"text": f"Story {i}", "stream": i % 2 == 0, "sampling_params": {
                "max_new_tokens": 4 if i < 8 else 4000, "ignore_eos": True}}).encode()
            writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return answer
        async def run():
            tasks = [asyncio.create_task(one(i)) for i in range(64)]
            while not any(t.done() for t in tasks):
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*tasks)
        answers = asyncio.run(run())
        whole = told = 0
        for answer in answers:
            head, _, body = answer.partition(b"\r\n\r\n")
            self.assertRegex(head, rb"^HTTP/1\.1 (200|503) ")
            if b"shutting down" in body:
                told += 1
            else:
                self.assertRegex(body, rb'"type":"length"')
                whole += 1
            if b"text/event-stream" in head:
                self.assertIn(b"data: [DONE]", body)
        self.assertGreater(whole, 0)
        self.assertGreater(told, 0)
        server.wait()
        print(f"{whole} answered, {told} told", file=sys.stderr)


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--connections", type=int, default=800, help="that are idle (default: 800)")
    parser.add_argument("--sanitizer", default="", help="what the program was built with: it takes memory")
    ARGS, rest = parser.parse_known_args()
    keep_little_of_what_was_freed()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
