"""Finds and runs the tests beside it, and ends their servers; run.py starts it in its virtual environment."""

import os
import sys
import unittest

import support


def main():
    program = unittest.main(module=None, argv=[sys.argv[0], "discover", "-v", "-s", os.path.dirname(__file__), *sys.argv[1:]],
                            exit=False)
    result = program.result
    print(f"{result.testsRun} checks of the OpenAI SDK, {len(result.failures) + len(result.errors)} failed", flush=True)
    support.stop()
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
