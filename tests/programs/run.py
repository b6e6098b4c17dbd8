#!/usr/bin/env python3
"""One list of programs on every backend, and on SGLang's own front end: equal texts, variables and messages.

What is compared, and what of SGLang's own front end is checked by itself, front_end.py lists.

usage: run.py --program build/release/sgl --results build/release/tests/program_results [--venv DIR]

Without --venv the comparisons with SGLang's front end and its chat formats are left out. The environment is made once.
"""
import argparse
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import virtual_environment  # noqa: E402
from server_process import ServerProcess  # noqa: E402

ARGS = None

# Where SGLang's front end gives something else on purpose; docs/from_sglang.md says why.
#   copy       its variables come back as lists of one, here as plain values
#   unnamed    a generation without a name is kept under None there, so reference.py names it
DIFFERENT_VARIABLES = {"copy", "unnamed"}


def front_end_python(directory):
    return virtual_environment.make(directory, ["-r", HERE / "requirements_front_end.txt"],
                                    ["--no-deps", "-r", HERE / "requirements.txt"])


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          env=dict(os.environ, no_proxy="127.0.0.1"))
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout[done.stdout.index("{\n"):])  # an engine logs before


class Programs(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = ServerProcess(ARGS.program, "--decode-log-interval", "0")
        cls.url = cls.server.url
        cls.runtime = run([ARGS.results, "runtime", cls.url])

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def compare(self, ours, theirs, expected, what=("text", "vars", "messages")):
        self.assertGreaterEqual(len(theirs), expected)
        for name, result in theirs.items():
            for key in what:
                if key == "vars" and name in DIFFERENT_VARIABLES and theirs is getattr(self, "reference", None):
                    continue
                with self.subTest(program=name, of=key):
                    self.assertEqual(ours[name][key], result[key])

    def test_the_engine_in_process_gives_what_the_server_gives(self):
        self.compare(self.runtime, run([ARGS.results, "engine"]), 44)

    def test_openai_completions_give_what_the_native_api_gives(self):
        self.compare(self.runtime, run([ARGS.results, "openai", self.url, "default"]), 30)

    def test_openai_chat_gives_what_the_native_api_gives(self):
        # A chat API tells the content of turns; the marks around them are the server's affair.
        self.compare(self.runtime, run([ARGS.results, "openai_chat", self.url, "default"]), 5, ("vars", "messages"))

    def test_sglangs_own_front_end_gives_the_same(self):
        if ARGS.venv is None:
            self.skipTest("no --venv")
        self.reference = run([front_end_python(ARGS.venv.resolve()), HERE / "reference.py", self.url])
        self.compare(run([ARGS.results, "runtime", self.url, "--templates"]), self.reference, 44)


    def test_sglangs_own_front_end_learns_what_it_asks_for(self):
        if ARGS.venv is None:
            self.skipTest("no --venv")
        done = subprocess.run([front_end_python(ARGS.venv.resolve()), HERE / "front_end.py", self.url], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              env=dict(os.environ, no_proxy="127.0.0.1", PYTHONDONTWRITEBYTECODE="1"))
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])


class Formats(unittest.TestCase):
    maxDiff = None

    def test_the_table_of_chat_formats_is_sglangs(self):
        if ARGS.venv is None:
            self.skipTest("no --venv")
        ours = run([ARGS.results, "formats"])
        theirs = run([front_end_python(ARGS.venv.resolve()), HERE / "reference.py", "--formats"])
        self.assertGreaterEqual(len(theirs), 25)
        for name, format in theirs.items():
            with self.subTest(format=name):
                self.assertEqual(ours[name], format)


class Wire(unittest.TestCase):
    def test_openais_own_types_accept_what_is_sent_and_write_what_is_read(self):
        if ARGS.venv is None:
            self.skipTest("no --venv")
        self.assertGreaterEqual(run([front_end_python(ARGS.venv.resolve()), HERE / "openai_wire.py", ARGS.results])["requests"], 40)


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--venv", type=Path)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
