from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spoolprograms
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from unhush.runtime import disk
from unhush.runtime import spool as spool_module
from unhush.runtime.spool import Drained, Spool, SpoolError, SpoolFull, SpoolSize, StoreDown, StoreRefused

WHOLE = os.environ.get("UNHUSH_WHOLE") == "1"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights, signals or forks")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "state" / "spool")


def fill(spool: Spool, *ids: object) -> None:
    for number in ids:
        spool.append({"capture_id": str(number), "pad": ""})


def drained_ids(spool: Spool) -> list[str]:
    got: list[str] = []
    spool.drain(lambda record: got.append(record["capture_id"]))
    return got


def files(spool: Spool, prefix: str = "") -> list[Path]:
    return sorted(path for path in spool.folder.iterdir() if path.name.startswith(prefix))


def test_comes_back_as_it_was(spool: Spool) -> None:
    """A record comes back equal, whatever it holds: newlines, NUL, lone surrogates, NaN's neighbours, any nesting."""
    record = {"a": "line\nline\r\n\0\ud800é", "b": [1, 2.5, None, True, {"": {}}], "c": 10**30, "d": -0.0}
    spool.append(record)
    got: list[dict[str, Any]] = []
    assert spool.drain(got.append) == Drained(stored=1)
    assert got == [record]
    assert spool.drain(got.append) == Drained()
    assert files(spool) == []


def test_large_record(spool: Spool) -> None:
    """A record of 50 MB comes back equal, and the one after it goes to a new file."""
    large = {"capture_id": "large", "pad": "x" * 50_000_000}
    spool.append(large)
    fill(spool, "small")
    assert len(files(spool)) == 2
    got: list[dict[str, Any]] = []
    assert spool.drain(got.append).stored == 2
    assert got[0] == large
    assert got[1]["capture_id"] == "small"


def test_nothing_is_made_before_the_first_append(spool: Spool) -> None:
    """Looking at a spool that isn't there, and draining it, makes nothing; the first append makes the folder."""
    assert spool.size() == SpoolSize(0, 0, 0, 0)
    assert spool.drain(pytest.fail) == Drained()
    assert not spool.folder.parent.exists()
    fill(spool, 1)
    assert spool.folder.is_dir()


def test_order_is_kept(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process spools is stored in its order, over many files, and though the clock is put back."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 150)
    fill(spool, *range(15))
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    fill(spool, *range(15, 30))
    assert len(files(spool)) > 5
    assert drained_ids(spool) == [str(number) for number in range(30)]


def test_size(spool: Spool) -> None:
    """The size follows what is appended, drained and set aside, whoever asks."""
    fill(spool, 1, 2)
    (path,) = files(spool)
    assert spool.size() == Spool(spool.folder).size() == SpoolSize(2, path.stat().st_size, 0, 0)
    fill(spool, 3)
    with path.open("ab") as file:
        file.write(b"rubbish\nmore rubb")
    assert spool.size().records == 4  # as lines; which are corrupt is not known before a drain
    refuse_second(spool)
    assert spool.size() == Spool(spool.folder).size()
    assert (spool.size().records, spool.size().corrupt, spool.size().refused) == (0, 2, 1)


def refuse_second(spool: Spool) -> tuple[list[str], Drained]:
    got: list[str] = []

    def store(record: dict[str, Any]) -> None:
        if record["capture_id"] == "2":
            raise StoreRefused("no such queue:\nmail")
        got.append(record["capture_id"])

    return got, spool.drain(store)


@posix_only
def test_files_of_another_user(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read, as one that a drain by root set aside, counts as one record and stops no drain."""
    fill(spool, 1, 2, 3)
    refuse_second(spool)
    (aside,) = files(spool)
    fill(spool, 4)
    opened = Path.open

    def denied(path: Path, *args: Any) -> Any:
        if path == aside:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        another = Spool(spool.folder)
        assert (another.size().records, another.size().refused) == (1, 1)
        assert another.drain(lambda _: None).stored == 1


def test_many_threads(spool: Spool) -> None:
    """Threads that append at once lose nothing and break no line."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fill(spool, number), range(80)))
    assert sorted(drained_ids(spool), key=int) == [str(number) for number in range(80)]


def test_limit(tmp_path: Path) -> None:
    """At its limit the spool says so in one line and takes nothing more, until it is drained."""
    spool = Spool(tmp_path / "s", limit_bytes=200)
    fill(spool, 1, 2)
    with pytest.raises(SpoolFull, match=r"holds \d+ of 200 bytes.*drain it") as caught:
        fill(spool, *range(3, 9))
    assert "\n" not in str(caught.value)
    kept = spool.size().records
    assert kept >= 2
    assert len(drained_ids(Spool(spool.folder))) == kept  # as another process would
    fill(spool, 3)
    assert drained_ids(spool) == ["3"]


def test_limit_counts_other_writers(tmp_path: Path) -> None:
    """Another writer's records count towards the limit."""
    fill(Spool(tmp_path / "s"), *range(10))
    with pytest.raises(SpoolFull):
        fill(Spool(tmp_path / "s", limit_bytes=300), 1)
    fill(Spool(tmp_path / "s", limit_bytes=3000), 1)


@posix_only
def test_private(tmp_path: Path) -> None:
    """Folder and files are for their owner alone, whatever the umask."""
    old = os.umask(0)
    try:
        spool = Spool(tmp_path / "s")
        fill(spool, 1, 2)
        refuse_second(spool)
    finally:
        os.umask(old)
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in files(spool)] == [0o600]


@posix_only
def test_open_folder(tmp_path: Path) -> None:
    """An open folder is closed if it is the spool's own; one with other files is refused in one line, unchanged."""
    ours, shared = Spool(tmp_path / "ours"), Spool(tmp_path / "shared")
    for spool in (ours, shared):
        spool.folder.mkdir()
        spool.folder.chmod(0o755)
    (shared.folder / "readme.txt").touch()
    fill(ours, 1)
    ours.folder.chmod(0o755)
    ours.prepare()
    assert stat.S_IMODE(ours.folder.stat().st_mode) == 0o700
    with pytest.raises(SpoolError, match=r"is open to others \(mode 755\): .*chmod 700$"):
        fill(shared, 1)
    assert stat.S_IMODE(shared.folder.stat().st_mode) == 0o755
    shared.folder.chmod(0o700)
    fill(shared, 1)
    assert drained_ids(shared) == ["1"]


def test_no_folder_possible(tmp_path: Path) -> None:
    """Where the folder can't be made, an append says so in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"can't write to the spool .*: Not a directory") as caught:
        fill(Spool(tmp_path / "file" / "s"), 1)
    assert isinstance(caught.value.__cause__, NotADirectoryError)


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_folder_taken_away(spool: Spool, tmp_path: Path, how: str) -> None:
    """When the folder is taken away under a running process, the next record goes to a new one."""
    fill(spool, 1)
    if how == "moved":
        spool.folder.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(spool.folder)
    fill(spool, 2)
    assert drained_ids(spool) == ["2"]
    if how == "moved":
        assert drained_ids(Spool(tmp_path / "elsewhere")) == ["1"]


@pytest.fixture
def read_only(spool: Spool) -> Iterator[Callable[[bool], None]]:
    """Makes the spool's folder one in which nothing can be made, even by root."""
    command = ["chattr", "+i", str(spool.folder)]

    def switch(on: bool) -> None:
        if os.geteuid():
            spool.folder.chmod(0o500 if on else 0o700)
        elif (
            shutil.which("chattr") is None
            or subprocess.run(
                [command[0], "+i" if on else "-i", command[2]], capture_output=True, check=False
            ).returncode
        ):
            pytest.skip("root may write anywhere, and this file system knows no chattr +i")

    yield switch
    switch(False)


@posix_only
def test_read_only_folder(spool: Spool, read_only: Callable[[bool], None]) -> None:
    """In a read-only folder an append fails in one line; what waits there can be stored; and later all works again."""
    fill(spool, 1)
    (path,) = files(spool)
    other = Spool(spool.folder)
    read_only(True)
    with pytest.raises(SpoolError, match=r"can't write to the spool .*: (Permission denied|Operation not permitted)"):
        fill(other, 2)
    with capture_logs() as logs:
        assert drained_ids(spool) == ["1"]
    assert [line["event"] for line in logs] == ["dead_letter.spool_file_failed"]
    assert path.stat().st_size == 0
    read_only(False)
    fill(other, 2)
    assert drained_ids(spool) == ["2"]
    assert files(spool) == []


@posix_only
def test_file_size_limit(tmp_path: Path) -> None:
    """A write that is cut off in the middle is taken back: what was said to be safe is there, and so is what follows."""
    process = spoolprograms.start("fill", tmp_path / "s", 5_000)
    said = process.communicate()[0].decode().splitlines()
    assert said == [f"can't write to the spool {tmp_path / 's'}: File too large", "True", "True 0 0"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("can't mount a small tmpfs here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_full(small_disk: Path) -> None:
    """On a full disk an append fails in one line and leaves no trace; after a drain there is room again."""
    spool, safe = Spool(small_disk / "s"), []

    def until_full() -> None:
        for number in range(1000):
            spool.append({"capture_id": str(number), "pad": "x" * 700})
            safe.append(str(number))

    with pytest.raises(SpoolError, match="No space left on device") as caught:
        until_full()
    assert not isinstance(caught.value, SpoolFull)
    before = [path.name for path in files(spool)]
    for _ in range(5):
        with pytest.raises(SpoolError):
            spool.append({"capture_id": "never", "pad": "x" * 50_000})
    assert [path.name for path in files(spool)] == before
    got: list[str] = []
    assert spool.drain(lambda record: got.append(record["capture_id"])) == Drained(stored=len(safe))
    assert got == safe
    fill(spool, "after")
    assert drained_ids(spool) == ["after"]


def test_disk_full_while_draining(small_disk: Path) -> None:
    """A line that can't be set aside because the disk is full keeps its file; nothing is lost meanwhile."""
    spool = Spool(small_disk / "s")
    fill(spool, 1)
    (path,) = files(spool)
    with path.open("ab") as file:
        file.write(b"rubbish " * 4000 + b"\n")
    filler = small_disk / "filler"
    try:
        filler.write_bytes(b"x" * 65536)
    except OSError as error:
        assert "space" in str(error)  # noqa: PT017 - it fills what there is
    with capture_logs() as logs:
        assert drained_ids(spool) == ["1"]
    assert [line["event"] for line in logs] == ["dead_letter.spool_file_failed"]
    filler.unlink()
    drained = spool.drain(lambda _: None)
    assert (drained.stored, drained.corrupt, drained.kept) == (1, 1, 0)


def test_failing_sync_is_not_success(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk does not confirm, the append fails, and the record is not there."""
    fill(spool, 1)

    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(SpoolError, match="Input/output error"):
            fill(spool, 2)
    fill(spool, 3)
    assert drained_ids(spool) == ["1", "3"]


def test_interrupted_append(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that is interrupted, as by a time limit of the job, leaves neither half a line nor a lock."""
    fill(spool, 1)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill(spool, 2)
    fill(spool, 3)
    assert drained_ids(spool) == ["1", "3"]


def test_part_of_a_write_that_stays(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where half a line can't be cut back, no later line is broken by it."""
    fill(spool, 1)

    def torn(file: int, data: bytes) -> None:
        os.write(file, data[:20])
        raise OSError(28, "No space left on device")

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("unhush.runtime.disk.write_all", torn)
        patch.setattr(os, "ftruncate", failing)
        with pytest.raises(SpoolError, match="No space left"):
            fill(spool, 2)
    assert [line["event"] for line in logs] == ["dead_letter.spool_cut_back_failed"]
    fill(spool, 3)
    assert drained_ids(spool) == ["1", "3"]
    assert spool.size().corrupt == 1


def test_corrupt_lines_are_kept_aside(spool: Spool) -> None:
    """Lines that can't be read are kept to the byte, counted and logged; the lines around them are stored."""
    fill(spool, 1, 2, 3)
    (path,) = files(spool)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    broken = second.replace(b'"2"', b'"7"')
    path.write_bytes(first + broken + b"\0" * 50 + b"\n" + b"0123456789abcdef [1]\n" + third + first[:30])
    got: list[str] = []
    with capture_logs() as logs:
        drained = spool.drain(lambda record: got.append(record["capture_id"]))
    assert got == ["1", "3"]
    assert (drained.stored, drained.corrupt, drained.kept) == (2, 4, 0)
    (aside,) = files(spool)
    assert aside.name == f"corrupt-{path.name}"
    assert aside.read_bytes() == broken + b"\0" * 50 + b"\n" + b"0123456789abcdef [1]\n" + first[:30] + b"\n"
    assert [(line["event"], line["why"], line["lines"]) for line in logs] == [
        ("dead_letter.spool_set_aside", "corrupt", 4)
    ]
    assert drained_ids(spool) == []
    assert files(spool) == [aside]


def _three_lines() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "s")
        fill(spool, 1, 2, 3)
        return files(spool)[0].read_bytes()


THREE_LINES = _three_lines()


@settings(deadline=None)
@given(
    cut=st.integers(0, len(THREE_LINES)),
    damage=st.lists(st.tuples(st.integers(0, len(THREE_LINES) - 1), st.integers(0, 255)), max_size=3),
)
def test_any_damage(cut: int, damage: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed or cut off: untouched lines are stored, no false record is, and no byte is lost."""
    data = bytearray(THREE_LINES)
    for position, value in damage:
        data[position] = value
    del data[cut:]
    whole = [str(number) for number, line in enumerate(THREE_LINES.splitlines(), 1) if line in data.split(b"\n")]
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(folder)
        path = Path(folder) / "letters-1-1-a-1.v1"
        path.write_bytes(data)
        got = drained_ids(spool)
        kept = b"".join(aside.read_bytes() for aside in files(spool))
    assert got == whole
    assert sorted([*kept.split(b"\n"), *(THREE_LINES.splitlines()[int(number) - 1] for number in got)]) == sorted(
        [*(line for line in data.split(b"\n") if line), b""]
    )


def test_refused_record(spool: Spool) -> None:
    """A record that the database will never take is kept aside with the reason; the rest is stored; it can come back."""
    fill(spool, 1, 2, 3)
    got, drained = refuse_second(spool)
    assert got == ["1", "3"]
    assert (drained.stored, drained.refused, drained.kept) == (2, 1, 0)
    (aside,) = files(spool)
    reason, line, rest = aside.read_bytes().split(b"\n")
    assert reason == b"#refused 'no such queue:\\nmail'"
    assert json.loads(line[17:])["capture_id"] == "2"
    assert rest == b""
    assert drained_ids(spool) == []
    assert spool.readmit() == 1
    assert spool.size() == SpoolSize(1, aside.stat().st_size if aside.exists() else spool.size().bytes, 0, 0)
    assert drained_ids(spool) == ["2"]
    assert files(spool) == []


def test_database_down(spool: Spool) -> None:
    """When the database is down the drain ends at once, and everything waits; the next drain stores it."""
    fill(spool, 1, 2, 3)
    asked = []

    def store(record: dict[str, Any]) -> None:
        asked.append(record["capture_id"])
        if len(asked) == 2:
            raise StoreDown("connection refused\nhint")

    with capture_logs() as logs:
        assert spool.drain(store) == Drained(stored=1, kept=3)
    assert asked == ["1", "2"]
    assert [(line["event"], line["error"]) for line in logs] == [("dead_letter.spool_store_down", "connection refused")]
    assert drained_ids(spool) == ["1", "2", "3"]


def test_poison_record_holds_up_nobody(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record at which `store` fails in an unknown way stays, is tried again each time, and the others are stored."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 150)
    fill(spool, *range(12))
    got: set[str] = set()

    def store(record: dict[str, Any]) -> None:
        if record["capture_id"] == "5":
            raise KeyError("queue")
        got.add(record["capture_id"])

    with capture_logs() as logs:
        drained = spool.drain(store)
    assert got == {str(number) for number in range(12)} - {"5"}
    assert drained.kept > 0
    assert [(line["event"], line["error_type"]) for line in logs] == [("dead_letter.spool_store_failed", "KeyError")]
    assert "5" in drained_ids(spool)
    assert files(spool) == []


def test_unknown_trouble_is_not_hammered(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing can be stored and nobody knows why, a drain gives up soon, and everything waits."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 500)
    fill(spool, *range(100))
    asked = []

    def store(record: dict[str, Any]) -> None:
        asked.append(record)
        raise RuntimeError("what is this?")

    drained = spool.drain(store)
    assert (len(asked), drained.kept) == (9, 100)
    assert len(drained_ids(spool)) == 100


def test_newer_format_is_left_alone(spool: Spool) -> None:
    """A file of a format that this version doesn't know stays as it is, and the log says so."""
    fill(spool, 1)
    other = spool.folder / "letters-1-1-a-1.v2"
    other.write_bytes(b"who knows")
    with capture_logs() as logs:
        drained = spool.drain(lambda _: None)
    assert (drained.stored, drained.skipped) == (1, 1)
    assert [line["event"] for line in logs] == ["dead_letter.spool_format_unknown"]
    assert other.read_bytes() == b"who knows"


def test_writer_never_waits_for_a_drainer(spool: Spool) -> None:
    """While a drainer holds the file an append goes to a new one; a second drainer leaves both to keep the order."""
    fill(spool, 1)
    inside, go_on = threading.Event(), threading.Event()
    got: list[str] = []

    def slow(record: dict[str, Any]) -> None:
        inside.set()
        go_on.wait(60)
        got.append(record["capture_id"])

    drainer = threading.Thread(target=spool.drain, args=(slow,))
    drainer.start()
    inside.wait(60)
    fill(spool, 2)
    assert len(files(spool)) == 2
    assert Spool(spool.folder).drain(pytest.fail) == Drained(kept=2, skipped=2)
    fill(Spool(spool.folder), "other")
    assert drained_ids(spool) == ["other"]
    go_on.set()
    drainer.join()
    assert got == ["1"]
    assert drained_ids(spool) == ["2"]


@posix_only
def test_fork(spool: Spool) -> None:
    """A forked child appends to a file of its own, even if another thread was appending when it was forked."""
    process = spoolprograms.start("fork", spool.folder)
    assert process.communicate()[0] == b"0\n"
    assert len(files(spool)) == 2
    assert sorted(drained_ids(spool)) == ["before", "child", "parent"]


@posix_only
def test_killed_drainer_with_living_children(spool: Spool) -> None:
    """A drainer that is killed leaves no lock behind, though processes that it forked meanwhile live on."""
    fill(spool, 1)
    process = spoolprograms.start("die_draining", spool.folder)
    assert process.stdout.readline() == b"forked\n"
    assert spool.drain(pytest.fail).skipped == 1
    process.kill()
    process.wait()
    assert drained_ids(spool) == ["1"]
    process.communicate()


@posix_only
def test_killed_at_any_point(tmp_path: Path) -> None:
    """Writers and drainers killed at random moments: whatever was said to be safe is in the table, and once."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    table = spoolprograms.Table(str(tmp_path / "table.db"))
    spool, safe, taken_by_drainers = Spool(tmp_path / "s"), set(), 0
    for turn in range(60 if WHOLE else 3):
        writers = [spoolprograms.start("write", spool.folder, f"{turn}-{name}") for name in "ab"]
        drainers = [spoolprograms.start("drain", spool.folder, tmp_path / "table.db") for _ in "ab"]
        for drainer in drainers:
            drainer.stdout.readline()
        everyone = [*writers, *drainers]
        chance.shuffle(everyone)
        for process in everyone:
            time.sleep(chance.random() * 0.2)
            said = spoolprograms.kill(process)
            if process in writers:
                safe |= set(said.splitlines())
        taken_by_drainers = len(table.ids())
    drained = spool.drain(table.store)
    ids = table.ids()
    assert drained.kept == 0, seed
    assert safe <= set(ids), (seed, safe - set(ids))
    assert len(ids) == len(set(ids))
    assert len(set(ids) - safe) <= 2 * (turn + 1), seed  # one that each writer was not able to speak of
    assert safe, "nothing was written"
    assert taken_by_drainers, "nothing was drained before the end"
    assert [path for path in files(spool) if path.suffix == ".v1" and path.name.startswith("letters-")] == []


@posix_only
def test_drained_by_many_at_once(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many drainers at once, each killed on the way: each record is in the table, once, and the spool is empty."""
    monkeypatch.setattr(spool_module, "FILE_BYTES", 500)
    for writer in range(6):
        fill(Spool(spool.folder), *(f"{writer}-{number}" for number in range(10)))
    chance = random.Random()
    table = spoolprograms.Table(str(tmp_path / "table.db"))
    for _ in range(10 if WHOLE else 1):
        drainers = [spoolprograms.start("drain", spool.folder, tmp_path / "table.db") for _ in range(4)]
        for drainer in drainers:
            drainer.stdout.readline()
        for drainer in drainers:
            time.sleep(chance.random() * 0.05)
            spoolprograms.kill(drainer)
    assert table.ids(), "no drainer stored anything"
    assert spool.drain(table.store).kept == 0
    assert sorted(table.ids()) == sorted(f"{writer}-{number}" for writer in range(6) for number in range(10))
    assert files(spool) == []


def test_append_while_a_stored_file_is_removed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that comes between the last line's storing and the file's removal is not removed with it."""
    fill(spool, 1)
    unlink = Path.unlink

    def late(path: Path, missing_ok: bool = False) -> None:
        fill(spool, "late")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", late)
        assert drained_ids(spool) == ["1"]
    assert drained_ids(spool) == ["late"]


def test_drain_between_making_and_locking_a_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drainer that finds a new file before its writer has locked it removes it; the record goes to the next one."""
    lock, removed = disk._lock, []

    def late(file: int) -> None:
        if not removed:
            removed.append(file)
            assert len(files(spool)) == 1
            assert Spool(spool.folder).drain(pytest.fail) == Drained()
            assert files(spool) == []
        lock(file)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_lock", late)
        fill(spool, 1)
    assert removed
    assert drained_ids(spool) == ["1"]
