"""Judges of the plain kinds: a function looks at the record of a check and says what it proves."""

from __future__ import annotations

from pathlib import Path

from .evidence import Evidence, Verdict


def command(evidence: Evidence, root: Path) -> Verdict:
    """A command that is green with exit code 0: a build, a type check, a linter."""
    return not_ended(evidence) or Verdict("pass", "exit code 0")


def not_ended(evidence: Evidence) -> Verdict | None:
    """A verdict where the command could not be run, was cut off, or said that something is wrong; else None."""
    if evidence.exit_code == 0:
        return None
    if evidence.exit_code is not None:
        return Verdict("fail", f"exit code {evidence.exit_code}")
    limit = evidence.facts.get("timed_out_after")
    if limit is not None:
        return Verdict("fail", f"did not end within {limit} s and was ended")
    return Verdict("no evidence", f"could not be run: {evidence.facts.get('why', 'nobody knows why')}")


def unusable(evidence: Evidence, root: Path) -> Verdict:
    """A record that is not there, is no JSON, lacks parts, or lies behind a symbolic link."""
    return Verdict("no evidence", str(evidence.facts.get("why", "can't be read")))
