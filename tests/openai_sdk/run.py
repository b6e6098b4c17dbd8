#!/usr/bin/env python3
"""Runs test_openai_sdk.py against a built program, in a virtual environment made for it.

usage: run.py --program build/release/sgl --venv build/release/openai_sdk_venv [unittest arguments]

The environment is made once, and again when requirements.txt changes. Without a network (and without an environment
from before) the test fails and says so: passing in silence would hide that nothing was tested.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent


def make_venv(directory):
    requirements = HERE / "requirements.txt"
    stamp = directory / "requirements.installed"
    python = directory / "bin" / "python"
    if stamp.is_file() and stamp.read_bytes() == requirements.read_bytes() and python.exists():
        return python
    print(f"making {directory} with the OpenAI SDK", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        venv.create(directory, with_pip=True)
    except (subprocess.CalledProcessError, SystemExit) as error:
        sys.exit(f"error: cannot make a virtual environment ({error}); on Debian, install python3-venv")
    pip = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r",
                          requirements], stdin=subprocess.DEVNULL, check=False)
    if pip.returncode != 0:
        sys.exit("error: pip cannot install the OpenAI SDK (see above). This test needs the network once, to reach "
                 "PyPI or the index that pip is configured for.")
    stamp.write_bytes(requirements.read_bytes())
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--venv", type=Path, required=True)
    arguments, rest = parser.parse_known_args()
    if not arguments.program.is_file():
        sys.exit(f"error: there is no program {arguments.program}; build it first")
    python = make_venv(arguments.venv.resolve())
    environment = dict(os.environ, SGL_PROGRAM=str(arguments.program.resolve()), PYTHONDONTWRITEBYTECODE="1",
                       no_proxy="127.0.0.1")  # a proxy does not stand between the SDK and this machine
    os.execve(python, [str(python), "-m", "unittest", "discover", "-v", "-s", str(HERE), *rest], environment)


if __name__ == "__main__":
    main()
