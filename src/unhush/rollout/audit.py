"""The log of every act and refusal: JSON lines, each bound to the one before by its hash.

The chain shows an edit and a line that is missing inside. Cut at its end, or built anew, it is whole again: that is
seen only against a head that somebody signed, so approvals and advances carry the head of their time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..runtime.redact import redact
from . import store
from .errors import RolloutProblem

FILE = "rollout/audit.jsonl"
START = "0" * 64  # what the first entry names as the one before
_KEYS = frozenset(("n", "at", "act", "actor", "facts", "previous", "hash"))


def append(root: Path, act: str, actor: str, **facts: Any) -> str:
    """Adds an entry to the log and returns its hash, the new head.

    `facts` must be JSON; secrets in it are masked. Nothing that is wrong with the log keeps an act from being written
    down (a way back must not wait for a repair): `check` tells of it. Raises RolloutProblem where the file can't be
    written.
    """
    path = store.within(root, FILE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            data = file.read()
            entry = _entry(data, act, actor, redact(facts).value)
            torn = b"" if not data or data.endswith(b"\n") else b"\n"  # an entry that a crash cut short
            _add(file.fileno(), len(data), torn + store.canonical(entry))
    except OSError as error:
        raise RolloutProblem(f"{FILE}: can't be written: {error.strerror}") from error
    return str(entry["hash"])


def _entry(data: bytes, act: str, actor: str, facts: dict[str, Any]) -> dict[str, Any]:
    last = next((entry for line in reversed(_split(data)) if (entry := _parsed(line))), None)
    now = _now()
    at = max(now, last["at"]) if last else now
    if at != now:
        facts = {**facts, "clock_went_back_to": now}
    entry = {
        "n": last["n"] + 1 if last else 1,
        "at": at,
        "act": act,
        "actor": actor,
        "facts": facts,
        "previous": last["hash"] if last else START,
    }
    return {**entry, "hash": hash_of(entry)}


def _add(handle: int, length: int, data: bytes) -> None:
    """Puts the whole line on the disk, or none of it."""
    done = False
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
        done = True
    finally:
        if not done:
            os.ftruncate(handle, length)


def hash_of(entry: dict[str, Any]) -> str:
    """The hash of an entry: over its canonical JSON without the hash itself."""
    return store.sha256_bytes(store.canonical({key: value for key, value in entry.items() if key != "hash"}))


def entries(root: Path) -> list[dict[str, Any]]:
    """The entries that can be read, oldest first; none where there is no log. Raises RolloutProblem."""
    return [entry for line in _lines(root) if (entry := _parsed(line))]


def heads(root: Path) -> list[str]:
    """The hash of each entry, oldest first: what a signed head must be among. Raises RolloutProblem."""
    return [entry["hash"] for entry in entries(root)]


def head(root: Path) -> str:
    """The hash of the newest entry; 64 zeros where there is none. Raises RolloutProblem."""
    return (heads(root) or [START])[-1]


def clock_behind(root: Path) -> float:
    """By how many seconds this machine's clock stands before the newest entry; 0 where it does not."""
    last = entries(root)[-1:]
    if not last:
        return 0.0
    return max(0.0, (datetime.fromisoformat(last[0]["at"]) - datetime.now(UTC)).total_seconds())


def check(root: Path, signed: Iterable[str] = ()) -> list[str]:
    """What is wrong with the log, one line each; none where it holds.

    `signed` are heads that somebody signed: each must be the hash of an entry. Raises RolloutProblem where the file
    can't be read.
    """
    problems, seen = [], {START}
    before, at = START, ""
    for number, line in enumerate(_lines(root), 1):
        entry = _parsed(line)
        if entry is None:
            problems.append(f"{FILE}:{number}: is no entry")
            continue
        if entry["hash"] != hash_of(entry):
            problems.append(f"{FILE}:{number}: was edited after it was written")
        elif entry["previous"] != before:
            problems.append(f"{FILE}:{number}: does not follow the line before: a line was removed, put in or edited")
        elif entry["n"] != len(seen):
            problems.append(f"{FILE}:{number}: has number {entry['n']}, not {len(seen)}")
        if entry["at"] < at:
            problems.append(f"{FILE}:{number}: is older than the line before")
        if "clock_went_back_to" in entry["facts"]:
            problems.append(f"{FILE}:{number}: the clock had gone back, to {entry['facts']['clock_went_back_to']}")
        before, at = entry["hash"], max(at, entry["at"])
        seen.add(before)
    missing = [head for head in dict.fromkeys(signed) if head not in seen]
    return problems + [f"{FILE}: the signed head {head} is not in it: it was cut or built anew" for head in missing]


def _lines(root: Path) -> list[bytes]:
    path = store.within(root, FILE)
    try:
        return _split(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RolloutProblem(f"{FILE}: can't be read: {error.strerror}") from error


def _split(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _parsed(line: bytes) -> dict[str, Any] | None:
    """An entry that has all its parts, and is written as we write it; None for anything else."""
    try:
        entry = store.parse_json(line)
        whole = isinstance(entry, dict) and entry.keys() == _KEYS and store.canonical(entry) == line + b"\n"
    except (ValueError, RecursionError):
        return None
    if not whole or not isinstance(entry["facts"], dict) or type(entry["n"]) is not int:
        return None
    if not all(isinstance(entry[key], str) for key in ("act", "actor")):
        return None
    if not all(isinstance(entry[key], str) and store.SHA256.match(entry[key]) for key in ("hash", "previous")):
        return None
    return entry if _is_time(entry["at"]) else None


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and text.endswith("+00:00") and _stamp(datetime.fromisoformat(text)) == text
    except ValueError:
        return False


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")  # of one length and zone: compares as text
