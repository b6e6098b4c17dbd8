#!/usr/bin/env python3
"""`sgl chat` as a person at a terminal has it: the real program and the default model behind a pseudo-terminal.

usage: chat_test.py --program build/release/sgl
"""
import argparse
import os
import pty
import re
import select
import sys
import time
import unittest

ARGS = None
SECONDS = 3600  # for one answer: only a program that hangs meets it
PROMPT = "\r\x1b[K> "  # as the editor draws it, before what is typed


class Chat:
    def __init__(self, *flags):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execv(ARGS.program, [ARGS.program, "chat", "--temperature", "0", *flags])
        self.seen = ""
        self.wait_for(PROMPT)

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def wait_for(self, part):
        """Reads until `part` is on the screen; returns what came up to there."""
        deadline = time.monotonic() + SECONDS
        while part not in self.seen:
            if not select.select([self.terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"{part!r} did not come; there is {self.seen!r}")
            try:
                data = os.read(self.terminal, 65536)
            except OSError:  # the program has ended
                data = b""
            if not data:
                raise AssertionError(f"the program ended before {part!r}; there is {self.seen!r}")
            self.seen += data.decode("utf-8", "replace")
        before, self.seen = self.seen.split(part, 1)
        return before

    def end(self):
        """Ctrl-D; the exit status."""
        self.type("\x04")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    if not os.read(self.terminal, 65536):
                        break
                except OSError:
                    break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def visible(text):
    return re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", text)


class Terminal(unittest.TestCase):
    def test_a_message_that_comes_in_one_go_is_shown_and_answered(self):
        chat = Chat("--max-new-tokens", "8")
        chat.type("What is the capital of France?\r")
        self.assertIn("What is the capital of France?", visible(chat.wait_for("\r\n")))
        self.assertRegex(visible(chat.wait_for(PROMPT)), r"\w")
        self.assertEqual(chat.end(), 0)

    def test_ctrl_c_ends_an_answer_and_not_the_program(self):
        chat = Chat()
        chat.type("Tell me a long story.\r")
        chat.wait_for("\r\n")
        chat.wait_for(" ")
        chat.type("\x03")
        chat.wait_for("(stopped)")
        chat.wait_for(PROMPT)
        chat.type("/reset\r")
        chat.wait_for("(forgotten)")
        chat.wait_for(PROMPT)
        self.assertEqual(chat.end(), 0)

    def test_what_is_typed_during_an_answer_is_the_next_message(self):
        chat = Chat("--max-new-tokens", "64")
        chat.type("Tell me a story.\r")
        chat.wait_for("\r\n")
        chat.wait_for(" ")  # the answer has begun
        chat.type("/system Be brief.\r")
        answer = chat.wait_for(PROMPT)
        self.assertNotIn("/system", answer)
        chat.wait_for("(instruction set, a new conversation)")
        chat.wait_for(PROMPT)
        self.assertEqual(chat.end(), 0)


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])


if __name__ == "__main__":
    main()
