"""A PostgreSQL server of the test's own, which may be crashed and started again as one likes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest where there are several; None where there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


class Cluster:
    """A server in a folder of its own, on a port of its own."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._data = folder / "data"
        self._binaries = binaries
        # PostgreSQL refuses to run as root.
        self._as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(folder, "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._run("initdb", "--pgdata", str(self._data), "--username", "chaos", "--auth", "trust", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self._port}\nunix_socket_directories = '{folder}'\n"
                "max_connections = 200\nshared_buffers = '64MB'\n"
            )
        self.url = f"postgresql+psycopg://chaos@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        log = self._data.parent / "log"
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self._data), "--log", str(log))

    def crash(self) -> None:
        """Stops it at once, in the middle of whatever it does: it must recover when it starts again."""
        self._run("pg_ctl", "stop", "--mode", "immediate", "--pgdata", str(self._data))

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as
        )


@contextmanager
def cluster(binaries: Path) -> Iterator[Cluster]:
    """A running server, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="unhush-chaos-") as folder:
        made = Cluster(Path(folder), binaries)
        made.start()
        try:
            yield made
        finally:
            made.crash()
