"""What the tests of the SDK share: servers, each started once, and a test case with short ways to ask."""

import os
import sys
import unittest

import openai

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from server_process import ServerProcess  # noqa: E402

CALL_SECONDS = 600  # a sanitizer's build is slow
MODEL = "SmolLM2-135M-Instruct.Q4_1"  # what is served where no model is named

KEY, ADMIN_KEY = "a key", "the operator's key"
# Takes one request at a time, lets one wait, and wants keys.
GUARDED = ("--api-key", KEY, "--admin-api-key", ADMIN_KEY, "--max-running-requests", "1", "--max-queued-requests", "1",
           "--max-body-bytes", "65536")

_servers = {}
_clients = {}


def server(*flags):
    """The server with these flags; it is started by the first that asks for it, and ended by stop()."""
    if flags not in _servers:
        _servers[flags] = ServerProcess(os.environ["SGL_PROGRAM"], "--decode-log-interval", "0", *flags)
    return _servers[flags]


def client(*flags):
    """A client of that server, for all who ask: its connections stay open from test to test."""
    if flags not in _clients:
        _clients[flags] = openai.OpenAI(base_url=server(*flags).url + "/v1", api_key=KEY, timeout=CALL_SECONDS,
                                        max_retries=0)
    return _clients[flags]


def async_client():
    """A new client of the default server, for one event loop: `async with` it."""
    return openai.AsyncOpenAI(base_url=server().url + "/v1", api_key=KEY, timeout=CALL_SECONDS, max_retries=0)


def stop():
    """Ends all servers; raises if one of them does not end as it should."""
    for c in _clients.values():
        c.close()
    for s in _servers.values():
        s.stop()


def user(text):
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]


class SdkTest(unittest.TestCase):
    """Asks the server that `flags` name. Greedy answers are exact, so that they can be compared literally."""

    flags = ()
    maxDiff = None

    @property
    def server(self):
        return server(*self.flags)

    @property
    def client(self):
        return client(*self.flags)

    def chat(self, asked, **options):
        """Greedy unless told otherwise. `asked`: the user's message, or all messages."""
        messages = user(asked) if isinstance(asked, str) else asked
        options = {"model": MODEL, "temperature": 0, "max_tokens": 24, **options}
        return self.client.chat.completions.create(messages=messages, **options)

    def say(self, asked, **options):
        """The text of the first choice of chat()."""
        return self.chat(asked, **options).choices[0].message.content

    def complete(self, prompt, **options):
        options = {"model": MODEL, "temperature": 0, "max_tokens": 12, **options}
        return self.client.completions.create(prompt=prompt, **options)

    def write(self, prompt, **options):
        """The text of the first choice of complete()."""
        return self.complete(prompt, **options).choices[0].text

    def refused(self, ask, *words, error=openai.BadRequestError):
        """Checks that the call fails with this class, and that its message has all the words; returns the error."""
        with self.assertRaises(error) as caught:
            ask()
        for word in words:
            self.assertIn(word, caught.exception.message)
        return caught.exception
