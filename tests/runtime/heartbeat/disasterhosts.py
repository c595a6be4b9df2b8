"""Where the disasters happen: a PostgreSQL server that is crashed and frozen, and hosts whose link is cut."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "chaos"))
from chaoscluster import Cluster, programs

NETWORK = "10.213.97"


class Postgresql:
    """A server of its own."""

    outages = ("database stopped", "database hung")

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._cluster = Cluster(folder, binaries)
        self._data = folder / "data"
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write("listen_addresses = '*'\n")
        with (self._data / "pg_hba.conf").open("a") as access:
            access.write(f"host all all {NETWORK}.0/24 trust\n")
        self.url = self._cluster.url
        self._cluster.start()

    def begin(self, what: str) -> None:
        """The outage begins."""
        if what == "database stopped":
            self._cluster.crash()
        else:
            self._signal(signal.SIGSTOP)

    def end(self, what: str) -> None:
        """It is over."""
        if what == "database stopped":
            self._cluster.start()
        else:
            self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stops it for good."""
        self._signal(signal.SIGCONT)
        self._cluster.crash()

    def url_from(self, host: str) -> str:
        """Its address as that host sees it."""
        return self.url.replace("127.0.0.1", host)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        for process in (postmaster, *children(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(process, number)


class Sqlite:
    """A file that another process locks."""

    outages = ("database locked",)

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.db"
        self.url = f"sqlite:///{self._path}"

    def begin(self, what: str) -> None:
        """The outage begins."""
        self._locker = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        self._locker.execute("BEGIN EXCLUSIVE")

    def end(self, what: str) -> None:
        """It is over."""
        self._locker.execute("ROLLBACK")
        self._locker.close()

    def stop(self) -> None:
        """Nothing is to be stopped."""


def children(process: int) -> list[int]:
    """The processes that this one has begun."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent has no command line any more."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


@contextmanager
def database(name: str, folder: Path) -> Iterator[Postgresql | Sqlite]:
    """The database, gone at the end. Raises SystemExit where PostgreSQL's programs are missing."""
    if name == "sqlite":
        yield Sqlite(folder)
        return
    binaries = programs()
    if binaries is None:
        raise SystemExit("PostgreSQL's programs are not installed: initdb is not on the path")
    with tempfile.TemporaryDirectory(prefix="unhush-disasters-") as place:
        made = Postgresql(Path(place), binaries)
        try:
            yield made
        finally:
            made.stop()


class Host:
    """A network namespace with one link to this one."""

    def __init__(self, number: int) -> None:
        self._name = f"unhush-{os.getpid()}-{number}"
        self._link = f"uh{os.getpid() % 1000000}x{number}"
        self.peer = f"{NETWORK}.{4 * number + 1}"
        ip("netns", "add", self._name)
        try:
            ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._name)
            ip("addr", "add", f"{self.peer}/30", "dev", self._link)
            ip("link", "set", self._link, "up")
            ip("-n", self._name, "addr", "add", f"{NETWORK}.{4 * number + 2}/30", "dev", "eth0")
            ip("-n", self._name, "link", "set", "eth0", "up")
        except subprocess.CalledProcessError:
            self.remove()
            raise
        self.prefix = ["ip", "netns", "exec", self._name]

    def cut(self) -> None:
        """Nothing goes through any more, and nobody is told."""
        ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """It goes through again."""
        ip("link", "set", self._link, "up")

    def remove(self) -> None:
        """Removes it with its link."""
        subprocess.run(["ip", "netns", "del", self._name], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    """Runs iproute2's program."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def hosts(number: int) -> Iterator[list[Host] | str]:
    """So many hosts, gone at the end; or why there can be none."""
    if shutil.which("ip") is None:
        yield "iproute2 is not installed"
        return
    made: list[Host] = []
    try:
        try:
            made.extend(Host(index) for index in range(number))
        except subprocess.CalledProcessError as error:
            yield f"no network namespaces here: {error.stderr.decode(errors='replace').strip()}"
        else:
            yield made
    finally:
        for host in made:
            host.remove()
