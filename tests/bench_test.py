#!/usr/bin/env python3
"""`sgl bench` and the scripts in bench/ against the real server and engine, with loads as small as can be.

usage: bench_test.py --program build/release/sgl [-k NAME]

Nothing here is about speed: figures must agree with each other, with the server's own counts, and with what was asked.
"""
import argparse
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from server_process import ServerProcess

BENCH = Path(__file__).parent.parent / "bench"
ARGS = None


def script(name):
    """bench/NAME as a module."""
    sys.path.insert(0, str(BENCH))
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(name, str(BENCH / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def texts(svg):
    """All words of a picture; fails if it is no XML."""
    return [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


class Scripts(unittest.TestCase):
    """What the scripts do with figures, without any server."""

    def setUp(self):
        self.compare, self.charts = script("compare"), script("charts.py")

    def test_ratios_are_taken_within_a_round_and_more_is_better(self):
        def result(output, ttft):
            return {"output_tok_s": output, "ttft_ms": {"p50": ttft}}
        rounds = [{"random": (result(100, 0), result(50, 0)), "conversations": (result(0, 10), result(0, 40))},
                  {"random": (result(90, 0), result(30, 0)), "conversations": (result(0, 20), result(0, 20))},
                  {"random": (result(80, 0), result(10, 0)), "conversations": (result(0, 10), result(0, 30))}]
        speed, latency = self.compare.compare(rounds, ["random", "conversations"])
        self.assertEqual(speed["ratios"], [2, 3, 8])
        self.assertEqual((speed["median_first"], speed["median_second"], speed["median_ratio"]), (90, 30, 3))
        self.assertEqual(latency["ratios"], [4, 1, 3])
        self.assertEqual(latency["median_ratio"], 3)
        self.assertIsNone(speed["median_cpu_ratio"])

    def test_processor_times_are_compared_where_both_are_known(self):
        def result(seconds):
            return {"output_tok_s": 1, "server_cpu_s": seconds}
        row, = self.compare.compare([{"random": (result(2), result(6))}, {"random": (result(1), result(5))}], ["random"])
        self.assertEqual(row["median_cpu_ratio"], 4)

    def test_the_picture_is_well_formed_and_names_everything(self):
        row = {"label": "a < b & c", "ratio": 2.5, "low": 2.0, "high": 3.0, "first": "250 tok/s", "second": "100 tok/s"}
        words = texts(self.charts.ratio_bars("Title", "machine", ["one", "two"], [row]))
        for wanted in ["Title", "machine", "one", "two", "a < b & c", "2.5×   250 tok/s", "100 tok/s"]:
            self.assertIn(wanted, words)

    def test_line_charts_draw_every_point(self):
        chart = {"title": "t", "x_label": "x", "series": [("s", [(1, 2.0), (16, 3.0), (10000, 0.5)])]}
        svg = self.charts.line_charts("Title", "machine", [chart] * 4)
        self.assertEqual(svg.count("<circle"), 12)
        for x in ["1", "16", "10k", "3"]:
            self.assertIn(x, texts(svg))
        flat = {"title": "t", "x_label": "x", "series": [("", [(5, 0.0)])]}
        texts(self.charts.line_charts("Title", "", [flat]))

    def test_numbers_have_three_digits(self):
        short = self.charts.short
        self.assertEqual([short(x) for x in (0, 0.0123, 1.234, 12.34, 123.4, 1234, 12345)],
                         ["0", "0.0123", "1.23", "12.3", "123", "1234", "12.3k"])


class Benchmarks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ServerProcess(ARGS.program, "--decode-log-interval", "0", "--max-total-tokens", "20000")
        cls.folder = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()
        cls.server.stop()

    def bench(self, *arguments):
        """The JSON document of `sgl bench …`, and what it printed."""
        out = Path(self.folder.name) / "out.json"
        done = subprocess.run([ARGS.program, "bench", *arguments, "--json", str(out)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(out.read_text()), done.stdout

    def generated(self):
        return json.loads(self.server.get("/server_info"))["internal_states"][0]["generation_tokens_total"]

    def test_serving_counts_what_the_server_counts(self):
        before = self.generated()
        document, printed = self.bench("serving", "--url", self.server.url, "--workload", "random,conversations",
                                       "--requests", "5", "--concurrency", "3", "--input-len", "30", "--output-len", "6",
                                       "--turns", "2", "--slo-ttft-ms", "100000", "--details")
        self.assertTrue(document["ignore_eos"])
        self.assertEqual(self.generated() - before, 2 * 60 + 4, "and four of the first request, which only asks")
        self.assertEqual([r["workload"] for r in document["results"]], ["random", "conversations"])
        for result in document["results"]:
            self.assertEqual((result["completed"], result["failed"]), (10, 0))
            self.assertEqual(result["output_tokens"], 60)
            self.assertLessEqual(result["max_in_flight"], 3)
            self.assertAlmostEqual(result["goodput_requests_s"], result["requests_s"])
            self.assertGreater(result["ttft_ms"]["p50"], 0)
            self.assertLessEqual(result["ttft_ms"]["max"], result["e2e_ms"]["max"])
            for answer in result["answers"]:
                self.assertLess(abs(answer["prompt_tokens"] - 30 - 36 * answer["turn"]), 6, answer)
        self.assertIn("conversations", printed)

    def test_serving_finds_the_shared_prefix_in_the_cache(self):
        document, _ = self.bench("serving", "--url", self.server.url, "--workload", "shared-prefix", "--requests", "8",
                                 "--concurrency", "4", "--prefix-len", "100", "--output-len", "2")
        result = document["results"][0]
        self.assertGreaterEqual(result["cached_tokens"], 7 * 96)  # all whole pages of 16 but the first time
        self.assertLess(result["cached_tokens"], result["input_tokens"])

    def test_serving_at_a_rate_and_over_chat(self):
        document, _ = self.bench("serving", "--url", self.server.url, "--api", "chat", "--requests", "6", "--input-len",
                                 "10", "--output-len", "3", "--request-rate", "20,inf")
        self.assertEqual([r["request_rate"] for r in document["results"]], [20, None])
        self.assertEqual([r["completed"] for r in document["results"]], [6, 6])

    def test_throughput_and_latency_need_no_server(self):
        document, _ = self.bench("throughput", "--workload", "prefix-tree", "--requests", "8", "--prefix-len", "40",
                                 "--output-len", "2", "--max-total-tokens", "20000")
        self.assertEqual(document["results"][0]["output_tokens"], 16)
        document, _ = self.bench("latency", "--batch-size", "1,3", "--input-len", "40", "--output-len", "4",
                                 "--cached-prefixes", "5", "--repeat", "1")
        self.assertEqual([r["batch"] for r in document["results"]], [1, 3])
        for result in document["results"]:
            self.assertGreater(result["prefill_tok_s"]["p50"], 0)
            self.assertGreater(result["decode_tok_s"]["p50"], 0)

    def test_ops_gives_shares_of_the_roofs(self):
        document, printed = self.bench("ops", "--op", "rms_norm", "--seconds", "0.001")
        self.assertGreater(len(document["results"]), 2)
        for result in document["results"]:
            self.assertTrue(result["name"].startswith("rms_norm/"), result)
            self.assertGreater(result["share_of_read_roof"], 0)
        self.assertTrue(any(u["arithmetic"] == "int8" for u in document["roofs"]["units"]))
        self.assertIn("GB/s", printed)

    def test_a_server_that_is_not_there_is_one_line(self):
        done = subprocess.run([ARGS.program, "bench", "serving", "--url", "http://127.0.0.1:1"], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^sgl: cannot connect to 127\.0\.0\.1 port 1: .*is the server running\?\n$")

    def test_compare_runs_both_sides_and_draws(self):
        out, svg = Path(self.folder.name) / "compare.json", Path(self.folder.name) / "compare.svg"
        flags = ["--", "--requests", "3", "--input-len", "10", "--output-len", "3"]
        done = subprocess.run([sys.executable, str(BENCH / "compare"), f"one={self.server.url}",
                               f"two={ARGS.program} serve --max-total-tokens 4000 --port {{port}}", "--program",
                               ARGS.program, "--workload", "alone,random", "--rounds", "2", "--json", str(out), "--svg",
                               str(svg), *flags], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(out.read_text())
        self.assertEqual([s["name"] for s in document["servers"]], ["one", "two"])
        self.assertGreater(document["servers"][1]["ready_s"], 0)
        self.assertGreater(document["servers"][1]["peak_resident_bytes"], 2**20)
        self.assertEqual([(r["workload"], r["metric"], len(r["ratios"])) for r in document["comparison"]],
                         [("alone", "prefill_tok_s", 2), ("alone", "decode_tok_s", 2), ("random", "output_tok_s", 2)])
        for number in document["rounds"]:
            for first, second in number.values():
                self.assertEqual((first["seed"], first["input_tokens"]), (second["seed"], second["input_tokens"]))
        seeds = {first["seed"] for number in document["rounds"] for first, _ in number.values()}
        self.assertEqual(len(seeds), 4, "no run finds an earlier one's texts in a cache")
        self.assertIn("random, output", texts(svg.read_text()))
        self.assertIn("decode tok/s", done.stdout)

    def test_server_cost_takes_the_time_of_the_servers_threads(self):
        out = Path(self.folder.name) / "cost.json"
        done = subprocess.run([sys.executable, str(BENCH / "server_cost"), "--program", ARGS.program, "--streams", "4",
                               "--requests", "6", "--tokens", "20", "--seconds", "1", "--json", str(out)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(out.read_text())
        self.assertLessEqual({"sgl-http", "sgl-worker", "sgl-scheduler"}, set(document["us"]))
        self.assertEqual(document["tokens"], 120)
        self.assertTrue(6 <= document["events"] <= 6 * 22, document)  # a role, a token, a reason to end

    def test_overload_accounts_for_every_request(self):
        out = Path(self.folder.name) / "overload.json"
        done = subprocess.run([sys.executable, str(BENCH / "overload"), "--program", ARGS.program, "--seconds", "3",
                               "--running", "2", "--input", "4", "--output", "2", "--max-ttft", "0.1", "--json", str(out),
                               "--", "--max-total-tokens", "4000"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(out.read_text())
        self.assertGreater(document["capacity_s"], 0)
        for run in document["runs"]:
            self.assertEqual(run["failed"], 0)
            self.assertGreater(run["accepted"], 0)
            self.assertEqual(run["late"] == 0, run["ttft_ms"]["max"] <= 100, run)
            self.assertGreater(run["ttft_ms"]["p50"], 0)

    def test_growth_plots_what_it_measured(self):
        out, svg = Path(self.folder.name) / "growth.json", Path(self.folder.name) / "growth.svg"
        done = subprocess.run([sys.executable, str(BENCH / "growth"), "--program", ARGS.program, "--contexts", "16,32,99999",
                               "--batches", "1,2", "--prefixes", "1,3", "--waiting", "0,9", "--repeat", "1", "--json",
                               str(out), "--svg", str(svg)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(out.read_text())
        self.assertEqual([r["input"] for r in document["context"]], [16, 32])
        self.assertIn("99999 tokens are left out", done.stderr)
        self.assertEqual([r["cached_prefixes"] for r in document["cached_prefixes"]], [1, 3])
        self.assertEqual([r["waiting"] for r in document["waiting"]], [0, 9])
        self.assertIn("cached prefixes", texts(svg.read_text()))


def main():
    global ARGS
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
