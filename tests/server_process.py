"""A real `sgl serve` for the tests in Python."""
import atexit
import json
import os
import re
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

START_SECONDS = 900  # the first start of all downloads the model, and a sanitizer's build is slow
CALL_SECONDS = 600
STOP_SECONDS = 120

# Whatever proxy the environment names, it does not stand between a test and its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                      urllib.request.HTTPSHandler(context=ssl._create_unverified_context()))


def keep_little_of_what_was_freed():
    """AddressSanitizer keeps up to 256 MB if it is not told otherwise, so that memory grows without a leak."""
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=16"


class ServerProcess:
    """Listens on a port that the kernel chooses, so that tests that run at once never race for one. Ready when made."""

    def __init__(self, program, *flags, environment=None):
        """`environment`: variables besides this process's own."""
        self.log = tempfile.NamedTemporaryFile("w", prefix="sgl_serve_", suffix=".log")
        self.process = subprocess.Popen([program, "serve", "--port", "0", *flags],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(environment or {})})
        atexit.register(self.process.kill)  # where a test fails and stops nothing
        self.port = None
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}:\n{self.output()}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"the server was not ready after {START_SECONDS} s:\n{self.output()}")
            time.sleep(0.02)

    def _ready(self):
        if self.port is None:
            listening = re.search(r"listening on (https?)://\S*:(\d+)", self.output())
            if not listening:
                return False
            self.scheme, self.port = listening[1], int(listening[2])
        try:
            return self.open("/health").status == 200
        except OSError:  # 503 while it loads
            return False

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def output(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def open(self, path, body=None, headers=None):
        """The reply; raises urllib.error.HTTPError for statuses that are errors."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json", **(headers or {})})
        return _OPENER.open(request, timeout=CALL_SECONDS)

    def status(self, path, body=None, headers=None):
        """The status of the reply, whatever it is."""
        try:
            with self.open(path, body, headers) as reply:
                reply.read()
                return reply.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def get(self, path):
        with self.open(path) as reply:
            return reply.read()

    def post(self, path, body):
        with self.open(path, json.dumps(body).encode()) as reply:
            return json.loads(reply.read() or b"null")

    def stop(self):
        """Ends it as an operator does; it must drain and end with status 0."""
        self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self):
        try:
            status = self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError(f"the server did not end within {STOP_SECONDS} s of SIGTERM:\n{self.output()}") from None
        output = self.output()
        self.log.close()
        if status != 0:
            raise RuntimeError(f"the server ended with status {status}:\n{output}")
