"""A TCP proxy before a real server, which can refuse, hang or cut connections: a server that is down, at will."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards to a server while it is open."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._running = threading.Event()
        self._running.set()
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        """Takes connections, on the same port as before, and forwards."""
        self._running.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cuts all connections and refuses new ones, as a server that is stopped does."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        while self._sockets:
            _cut(self._sockets.pop())
        self._running.set()

    def hang(self) -> None:
        """Keeps connections, takes new ones, and says nothing on any."""
        self._running.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._running.wait()
                target.sendall(data)
        except OSError:
            pass  # cut
        finally:
            _cut(source)
            _cut(target)


def _cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def proxy_before(host: str, port: int) -> Iterator[Proxy]:
    """A proxy before that server, refusing at the end."""
    proxy = Proxy(host, port)
    try:
        yield proxy
    finally:
        proxy.refuse()
