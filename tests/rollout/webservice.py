"""A small service on loopback, for tests that ask one over HTTP."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WELL = "/"


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers `/` with 200 and everything else with 500."""

    def do_GET(self) -> None:
        """One request."""
        self.send_response(200 if self.path == WELL else 500)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@contextmanager
def serving() -> Iterator[str]:
    """Its address, without a slash at the end, while it runs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
