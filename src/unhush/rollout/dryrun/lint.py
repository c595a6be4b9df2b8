"""What can be read off migrations without running them: squawk's findings, and ours where squawk is silent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...runtime.redact import redact_text
from ...sql.files import Script
from ...sql.statements import tokens
from .refusals import placed
from .steps import Step

Finding = dict[str, Any]

_DDL = re.compile(
    r"\b(ALTER|CREATE|DROP|TRUNCATE|REINDEX|CLUSTER|REFRESH\s+MATERIALIZED|LOCK\s+TABLE|GRANT|REVOKE|COMMENT\s+ON)\b",
    re.I,
)
_EXECUTE = re.compile(r"\bEXECUTE\b", re.I)
_IGNORE = re.compile(r"squawk-ignore(?:-file)?\b[^\n]*")
_TIMEOUT = 120  # seconds that squawk may take


def findings(steps: Iterable[Step], dialect: str, server: int | None) -> dict[str, Any]:
    """Everything that the files say, with the ignore comments that silence squawk."""
    scripts = [
        (name, script)
        for step in steps
        for name, script in ((step.file, step.up), (f"{step.label}.backout.sql", step.down))
        if script is not None
    ]
    found = [finding for name, script in scripts for finding in _own(name, script, dialect)]
    ignores = [ignore for name, script in scripts for ignore in _ignores(name, script)]
    squawk: dict[str, Any] = {"version": None, "why": "squawk reads PostgreSQL only"}
    if dialect == "postgresql":
        squawk, more = _squawk(scripts, server)
        found += more
    order = sorted(found, key=lambda item: (item["file"], item["line"], item["rule"]))
    return {"squawk": squawk, "findings": order, "ignores": ignores}


def _ignores(name: str, script: Script) -> list[Finding]:
    text = script.text
    return [
        {"file": name, "line": text.count("\n", 0, match.start()) + 1, "text": match[0].strip()[:300]}
        for match in _IGNORE.finditer(text)
    ]


def _own(name: str, script: Script, dialect: str) -> list[Finding]:
    """Our own findings. An error fails the dry run, a warning is for people to read."""
    found: list[Finding] = []
    created: set[str] = set()
    dropped: set[str] = set()
    waits_bounded = False
    for line, statement in placed(script.text, dialect):
        said = [token.text for token in tokens(statement, dialect)]
        words = [text.upper() for text in said]
        tell = _Teller(found, name, line)
        if "LOCK_TIMEOUT" in words[:4] and words[0] in ("SET", "RESET"):
            waits_bounded = words[0] == "SET" and words[-2 if words[-1] == ";" else -1].strip("'") not in (
                "0",
                "DEFAULT",
            )
        _hidden_ddl(tell, said, words)
        _indexes(tell, said, words, created, dropped, waits_bounded)
        _columns(tell, words)
        _whole_tables(tell, words)
        _foreign_keys(tell, said, words, created)
        if words[0] == "CREATE" and "TABLE" in words[:4]:
            created.add(_name_after(said, words, "TABLE"))
        if words[0] == "DROP" and "INDEX" in words[:2]:
            dropped.add(_name_after(said, words, "INDEX"))
    return found


class _Teller:
    """Notes findings of one statement."""

    def __init__(self, found: list[Finding], file: str, line: int) -> None:
        self._found, self._file, self._line = found, file, line

    def __call__(self, rule: str, level: str, message: str) -> None:
        self._found.append(
            {
                "file": self._file, "line": self._line, "tool": "unhush", "rule": rule, "level": level,
                "message": message, "ignored": False,
            }
        )  # fmt: skip


def _hidden_ddl(tell: _Teller, said: Sequence[str], words: Sequence[str]) -> None:
    if words[0] not in ("DO", "BEGIN"):
        return
    body = " ".join(text for text in said[1:] if len(text) > 2)
    verbs = sorted({" ".join(match[0].upper().split()) for match in _DDL.finditer(body)})
    if verbs:
        tell(
            "ddl-in-do-block", "warning", f"{', '.join(verbs)} in a DO block, which squawk does not read: see the locks"
        )
    elif _EXECUTE.search(body):
        tell("execute-in-do-block", "warning", "EXECUTE in a DO block of a text that nobody can read: see the locks")


def _indexes(
    tell: _Teller, said: Sequence[str], words: Sequence[str], created: set[str], dropped: set[str], bounded: bool
) -> None:
    concurrently = "CONCURRENTLY" in words[:4] and words[0] in ("CREATE", "DROP", "REINDEX")
    if concurrently and bounded and "INDEX" in words[:4] and words[0] != "DROP":
        again = _name_after(said, words, "INDEX") in dropped
        tell(
            "concurrently-under-lock-timeout", "warning" if again else "error",
            "CONCURRENTLY waits for old transactions; where lock_timeout ends that, an INVALID index stays"
            + (", which only another run drops" if again else ": set it to 0"),
        )  # fmt: skip
    if words[0] != "CREATE" or "INDEX" not in words[:3] or "EXISTS" not in words[:8]:
        return
    name = _name_after(said, words, "INDEX")
    if concurrently and name not in dropped:
        tell(
            "index-if-not-exists", "error",
            f"IF NOT EXISTS takes an INVALID {name} of an interrupted run for done: drop it first",
        )  # fmt: skip
    elif not concurrently and _name_after(said, words, "ON") not in created:
        tell("index-if-not-exists", "warning", f"IF NOT EXISTS takes any index named {name} for this one")


def _columns(tell: _Teller, words: Sequence[str]) -> None:
    for place in range(len(words) - 4):
        if list(words[place : place + 5]) == ["ADD", "COLUMN", "IF", "NOT", "EXISTS"]:
            tell("column-if-not-exists", "warning", "IF NOT EXISTS takes a column of another type for this one")


def _whole_tables(tell: _Teller, words: Sequence[str]) -> None:
    outer = list(_outer(words))
    if words[0] == "TRUNCATE":
        tell("whole-table-change", "error", "TRUNCATE empties whole tables")
    if words[0] not in ("UPDATE", "DELETE", "WITH"):
        return
    verb = next((word for word in outer if word in ("INSERT", "UPDATE", "DELETE", "SELECT", "MERGE")), "")
    if verb in ("UPDATE", "DELETE") and "WHERE" not in outer[outer.index(verb) :]:
        tell(
            "whole-table-change",
            "error",
            f"{verb} without WHERE changes every row in one transaction: do it in batches",
        )


def _outer(words: Sequence[str]) -> Iterable[str]:
    """The words outside all brackets."""
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if not depth:
            yield word


def _foreign_keys(tell: _Teller, said: Sequence[str], words: Sequence[str], created: set[str]) -> None:
    if words[0] != "CREATE" or "TABLE" not in words[:4]:
        return
    own = _name_after(said, words, "TABLE")
    for place, word in enumerate(words):
        if word == "REFERENCES" and (other := _name(said, place + 1)) not in {*created, own}:
            tell("foreign-key-locks-other-table", "warning", f"the foreign key locks {other} against writes meanwhile")


def _name_after(said: Sequence[str], words: Sequence[str], word: str) -> str:
    """The name that follows a word, whatever stands between them."""
    place = words.index(word) + 1 if word in words else len(words)
    while place < len(words) and words[place] in ("IF", "NOT", "EXISTS", "CONCURRENTLY", "ONLY"):
        place += 1
    return _name(said, place)


def _name(said: Sequence[str], place: int) -> str:
    """The last part of a name such as `public.jobs`, in lower case."""
    while place + 2 < len(said) and said[place + 1] == ".":
        place += 2
    return said[place].strip('"`').lower() if place < len(said) else ""


def _squawk(scripts: Sequence[tuple[str, Script]], server: int | None) -> tuple[dict[str, Any], list[Finding]]:
    """squawk's findings, those that a comment silences among them."""
    program = shutil.which("squawk", path=str(Path(sys.executable).parent)) or shutil.which("squawk")
    if program is None:
        return {"version": None, "why": "squawk is not installed: pip install squawk-cli"}, []
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    found: list[Finding] = []
    try:
        for name, script in scripts:
            shown = _linted(program, name, script.text, script.in_transaction, server)
            bare = _IGNORE.sub(lambda match: "x" * len(match[0]), script.text)
            hidden = _linted(program, name, bare, script.in_transaction, server)
            found += shown + [{**finding, "ignored": True} for finding in hidden if finding not in shown]
    except (ValueError, subprocess.TimeoutExpired) as error:
        return {"version": None, "why": redact_text(str(error))[:300]}, []
    return {"version": said.stdout.strip().removeprefix("squawk ") or None, "why": None}, found


def _linted(program: str, name: str, text: str, whole: bool, server: int | None) -> list[Finding]:
    """What squawk says of a text. Raises ValueError where it says nothing that can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "migration.sql")
        path.write_text(text, encoding="utf-8")
        command = [program, "--reporter", "json", *(["--assume-in-transaction"] if whole else [])]
        command += ["--pg-version", str(server)] if server else []
        done = subprocess.run(
            [*command, str(path)], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    try:
        rows = json.loads(done.stdout)
    except ValueError as error:
        raise ValueError(f"squawk failed on {name}: {(done.stderr.strip() or 'no output').splitlines()[0]}") from error
    return [
        {
            "file": name, "line": row["line"] + 1, "tool": "squawk", "rule": row["rule_name"],
            "level": "error" if row["level"].lower() == "error" else "warning", "message": row["message"],
            "ignored": False,
        }
        for row in rows
    ]  # fmt: skip
