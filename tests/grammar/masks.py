#!/usr/bin/env python3
"""Token masks against brute force (mask_check.cpp) over real vocabularies, where they are at hand, and small ones.

usage: masks.py --program build/release/tests/mask_check [--seed N] [--grammars N]

The real ones are tokenizer.json.xz of Llama 3.1, Qwen 3 and Gemma 3 in a directory `shared/tokenizers` beside the source
tree. Without it the small tokenizers of tests/tokenizers/small are what is tested, and the output says so.
"""

import argparse
import lzma
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ["llama3", "gemma3", "qwen2", "smollm"]
REAL = ["llama3_1", "qwen3", "gemma3"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--grammars", type=int, default=100)
    a = parser.parse_args()
    print(f"seed {a.seed}", flush=True)
    small = [ROOT / "tests" / "tokenizers" / "small" / name for name in SMALL]
    failed = subprocess.run([a.program, str(a.seed), str(a.grammars), *small], check=False).returncode != 0
    shared = ROOT.parent / "shared" / "tokenizers"
    if not shared.is_dir():
        print(f"there are no real vocabularies: {shared} is absent; only the small tokenizers were tested")
        sys.exit(failed)
    with tempfile.TemporaryDirectory() as directory:
        for name in REAL:
            target = Path(directory) / name
            target.mkdir()
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (target / file).write_bytes(lzma.decompress((shared / name / f"{file}.xz").read_bytes()))
            run = [a.program, str(a.seed), str(max(a.grammars // 3, 1)), target]
            failed |= subprocess.run(run, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
