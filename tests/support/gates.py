"""Gates that code inside a server passes and a test opens, over loopback HTTP."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

# What a deployment needs to reach the gates; written into its files. The server's environment names the address.
GATES_MODULE = '''
import os
import urllib.request

URL = os.environ["GATES_URL"]


def note(name):
    """Tell the test that this happened."""
    urllib.request.urlopen(f"{URL}/note/{name}").read()


def arrive(name):
    """Tell the test, and wait until it opens the gate."""
    urllib.request.urlopen(f"{URL}/arrive/{name}").read()
'''
WAIT_S = 30  # for what happens at once unless it is broken


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


class Gates:
    """Counts what deployments ``note``, and holds those that ``arrive`` at a gate until it is opened."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()
        self._open: set[str] = set()
        self._closed = False
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="gates")

    @property
    def url(self) -> str:
        """Where they are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, name: str) -> int:
        """How often *name* was noted or arrived at."""
        with self._changed:
            return self._counts[name]

    def wait(self, name: str, count: int = 1) -> None:
        """Wait until *name* has been noted or arrived at *count* times."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts[name] >= count, WAIT_S):
                raise AssertionError(f"{name!r} happened {self._counts[name]} times, not {count}: {self._counts}")

    def open(self, name: str) -> None:
        """Let everyone through who is at the gate *name* or comes there later."""
        with self._changed:
            self._open.add(name)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _reached(self, name: str, *, waits: bool) -> None:
        with self._changed:
            self._counts[name] += 1
            self._changed.notify_all()
            if waits:
                self._changed.wait_for(lambda: name in self._open or self._closed)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gates = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, verb, name = self.path.split("/", 2)
                gates._reached(name, waits=verb == "arrive")
                try:
                    self.send_response(200)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:  # whoever asked is gone
                    return

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                return

        return Handler
