"""Files spread over processes. What forks runs in processes of its own: pytest's may have threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from unhush.codemods import pool

pytestmark = pytest.mark.skipif(not pool.can_fork(), reason="this platform does not fork safely")

_PRELUDE = """
import os, signal, sys, time
from unhush.codemods.pool import map_files

def lost(file, reason):
    return f"lost: {reason}"

def run(function, count=400, jobs=2, chunk=10, **options):
    files = [f"{number:04}" for number in range(count)]
    return list(map_files(function, files, jobs, lost=lost, chunk=chunk, **options))

def once(name):
    "Whether this is called for the first time, in whatever process."
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
"""


def run(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, in the fresh folder."""
    script = tmp_path / "script.py"
    script.write_text(_PRELUDE + textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )


def test_results_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    """Two workers share the files, and results come in order however long each file takes."""
    done = run(
        tmp_path,
        """
        def work(file):
            time.sleep(0.01 if file.endswith("00") else 0)
            return os.getpid(), file

        found = run(work)
        assert [name for name, _ in found] == [name for _, (_, name) in found] == sorted(name for name, _ in found)
        assert len(found) == 400 and len({pid for _, (pid, _) in found}) == 2
        assert os.getpid() not in {pid for _, (pid, _) in found}
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_few_files_stay_in_this_process(tmp_path: Path) -> None:
    """A small run starts no process, a larger one does."""
    done = run(
        tmp_path,
        """
        here = lambda count, jobs: {pid for _, pid in run(lambda file: os.getpid(), count, jobs)} == {os.getpid()}
        assert here(20, 2) and here(400, 1)
        assert not here(21, 2)
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_files_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    """Work begins while files are still being found, and results are not held back without end."""
    done = run(
        tmp_path,
        """
        taken = []

        def files():
            for number in range(100_000):
                taken.append(number)
                yield str(number)

        found = map_files(lambda file: file, files(), 2, lost=lost, chunk=10)
        next(found)
        assert len(taken) < 5_000, len(taken)
        assert sum(1 for _ in found) == 99_999
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_files_of_a_killed_worker_are_done_again(tmp_path: Path) -> None:
    """A worker that is killed is reported, and every file has its result all the same."""
    done = run(
        tmp_path,
        """
        def work(file):
            if file == "0123" and once("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            return file

        assert [result for _, result in run(work)] == [f"{number:04}" for number in range(400)]
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "a worker process was killed by signal 9 (SIGKILL): the files that it was at are done again\n"


def test_a_file_that_kills_every_worker_is_lost_alone(tmp_path: Path) -> None:
    """The file that kills its worker again is given up, with the reason; all others have their results."""
    done = run(
        tmp_path,
        """
        def work(file):
            if file in ("0123", "0125", "0399"):
                os.kill(os.getpid(), signal.SIGSEGV)
            return file

        found = dict(run(work, warn=lambda text: None))
        assert len(found) == 400
        bad = {name: result for name, result in found.items() if name != result}
        assert set(bad) == {"0123", "0125", "0399"}, bad
        assert set(bad.values()) == {"lost: the process that worked on it was killed by signal 11 (SIGSEGV), twice"}
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_the_function_is_shown(tmp_path: Path) -> None:
    """What the function raises ends its worker like any other death, and its traceback is not hidden."""
    done = run(
        tmp_path,
        """
        def work(file):
            if file == "0123":
                raise ValueError("a bug")
            return file

        assert dict(run(work))["0123"] == "lost: the process that worked on it ended with status 1, twice"
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "ValueError: a bug" in done.stderr


def test_big_tasks_and_results_do_not_block(tmp_path: Path) -> None:
    """Names and results beyond what a pipe holds pass both ways."""
    done = run(
        tmp_path,
        """
        files = [f"{number:04}" + "x" * 4000 for number in range(400)]
        found = list(map_files(lambda file: file * 20, files, 2, lost=lost, chunk=40))
        assert found == [(file, file * 20) for file in files]
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("signals", [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGKILL, False)])
def test_no_process_is_left_behind(tmp_path: Path, signals: tuple[signal.Signals, bool]) -> None:
    """Ctrl-C (which the whole group gets), a signal to the parent alone, and its sudden death end all processes."""
    sent, to_group = signals
    script = tmp_path / "script.py"
    script.write_text(
        _PRELUDE
        + "def work(file):\n    open('started' + file, 'w').close()\n    time.sleep(0.3)\n\n"
        + "try:\n    run(work)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, script], cwd=tmp_path, start_new_session=True)
    while len(list(tmp_path.glob("started*"))) < 2:
        time.sleep(0.02)
    workers = _children(process.pid)
    assert len(workers) == 2
    (os.killpg if to_group else os.kill)(process.pid, sent)
    assert process.wait(100) == (130 if sent == signal.SIGINT else -9)
    for _ in range(500):
        if not any(map(_alive, workers)):
            break
        time.sleep(0.02)
    assert not any(map(_alive, workers))


def test_processes_are_spawned_where_forking_is_unsafe(tmp_path: Path) -> None:
    """Elsewhere fresh processes do the same; when one dies the files are done again in this one."""
    (tmp_path / "work.py").write_text(
        _PRELUDE
        + "def plain(file):\n    return os.getpid()\n\n"
        + "def deadly(file):\n    if file == '0123' and once('killed'):\n        os._exit(3)\n    return file\n"
    )
    done = run(
        tmp_path,
        """
        import work
        from unhush.codemods import pool

        if __name__ == "__main__":
            pool.can_fork = lambda: False
            pids = {pid for _, pid in run(work.plain)}
            assert os.getpid() not in pids and pids
            assert run(work.deadly) == [(f"{number:04}",) * 2 for number in range(400)]
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "a worker process died; its files are done again, and the rest too, in this process\n"
