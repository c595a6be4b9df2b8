"""Runs commands as checks, and records what was seen."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from ..runtime.redact import redact, redact_text
from ..version import __version__
from . import evidence, git, store
from .errors import RolloutProblem
from .evidence import Evidence

KEPT = 2**20  # bytes of a command's output, from its end
PYPROJECT = "pyproject.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One command that was run. `exit_code` is None where it could not be run or was ended; `why` then says it."""

    command: tuple[str, ...]
    exit_code: int | None
    output: bytes
    why: str = ""
    timed_out: bool = False


def new_run() -> str:
    """An id for the records of one run."""
    return str(uuid4())


def run(
    name: str,
    kind: str,
    command: Sequence[str],
    root: Path,
    *,
    run_id: str,
    timeout: float = 600.0,
    report: str | None = None,
    minimum: int = 1,
    inputs: Iterable[str] = (),
    counted: Callable[[bytes], dict[str, int]] | None = None,
    shown: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
    environment: str | None = None,
    database: dict[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Evidence:
    """Runs a command in the root, for at most `timeout` seconds, and writes its record, which is returned.

    Its output (stdout and stderr, the last MiB, secrets masked) becomes a file of the record. `report` is a JUnit report
    that the command writes: what lay there before is removed, the new one becomes a file of the record. `inputs` are
    files whose change makes the record stale. `counted` takes counts from the masked output; `shown` stands in the record
    for a command with paths of this machine. Raises RolloutProblem where the record can't be written.
    """
    known = store.hashes(root, inputs)
    commit = git.head(root)
    if report is not None:
        _remove_old(root, report)
    started = evidence.now()
    ran = execute(command, root, timeout, env)
    ended = evidence.now()
    found: dict[str, Any] = dict(facts or {})
    if ran.exit_code is None:
        found |= {"timed_out_after": timeout} if ran.timed_out else {"why": ran.why}
    output = redact_text(ran.output.decode("utf-8", "replace")).encode()
    outputs = [keep(root, name, "output.txt", output)]
    numbers = counted(output) if counted else {}
    if report is not None:
        found["minimum"] = minimum
        outputs += _keep_report(root, name, report, found, numbers)
    record = Evidence(
        name=name,
        kind=kind,
        command=tuple(map(redact_text, shown or ran.command)),
        exit_code=ran.exit_code,
        started_at=started,
        ended_at=ended,
        run_id=run_id,
        tool_version=__version__,
        commit=commit,
        environment=environment,
        database=redact(database).value,
        inputs=known,
        outputs=store.hashes(root, outputs),
        counts=numbers,
        facts=redact(found).value,
    )
    evidence.write(root, record)
    return record


def execute(command: Sequence[str], folder: Path, timeout: float, env: Mapping[str, str] | None = None) -> Ran:
    """Runs one command without a shell and without input. It and what it started are ended after `timeout` seconds."""
    words = tuple(command)
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=None if env is None else {**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = f"{words[0]}: {getattr(error, 'strerror', None) or error}"
            return Ran(command=words, exit_code=None, output=b"", why=why)
        try:
            code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        return Ran(
            command=words,
            exit_code=code,
            output=_tail(output),
            why="" if code is not None else f"did not end within {timeout:g} s",
            timed_out=code is None,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it left running, which could go on changing what is being judged."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _tail(output: IO[bytes]) -> bytes:
    length = output.seek(0, os.SEEK_END)
    output.seek(max(0, length - KEPT))
    head = b"" if length <= KEPT else b"[the first %d bytes were left out]\n" % (length - KEPT)
    return head + output.read()


def keep(root: Path, name: str, file: str, data: bytes) -> str:
    """Puts a file of a record in its place; returns its path as seen from the root. Raises RolloutProblem."""
    path = f"{evidence.files_of(name)}/{file}"
    store.write_bytes(store.within(root, path), data)
    return path


def _remove_old(root: Path, report: str) -> None:
    """Removes what lies where the report will come: an old one must not pass for this run's."""
    path = store.within(root, report)
    if git.files(root, report):
        raise RolloutProblem(f"{report}: is tracked by git; the report of a check must be a file that it makes")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RolloutProblem(f"{report}: can't be removed before the check: {error.strerror}") from error


def _keep_report(root: Path, name: str, report: str, facts: dict[str, Any], counts: dict[str, int]) -> list[str]:
    """Takes the JUnit report into the record; the paths that came of it."""
    from . import junit

    try:
        data = store.within(root, report).read_bytes()
        junit.counted(data)  # its totals must fit before anything in it is masked
        clean = junit.without_secrets(data)
        counts |= junit.counted(clean).as_dict()
    except OSError as error:
        facts["report_problem"] = f"{report}: {error.strerror}"
        return []
    except junit.BadReport as error:
        facts["report_problem"] = f"{report}: {error}"
        return []
    facts["report"] = keep(root, name, "junit.xml", clean)
    facts["report_sha256"] = store.sha256_bytes(data)
    return [facts["report"]]
