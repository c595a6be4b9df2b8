"""The data that flows between finder, fixer and reports: frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["low", "medium", "high"]
Fix = Literal["safe", "unsafe"]

SEVERITY_RANK: dict[str, int] = {"low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where an exception is swallowed.

    Rows and columns are 1-based and count code points; the end is exclusive. `qualname` is `<module>` at module
    level. `caught` holds the dotted names of the caught types, and is empty for a bare handler. `shape` is what a
    silent handler does (None outside family 1). `fix` is None where unhush only reports; `fix_reason` then says why.
    """

    code: str
    name: str
    message: str
    filename: str
    row: int
    column: int
    end_row: int
    end_column: int
    qualname: str
    shape: str | None
    caught: tuple[str, ...]
    severity: Severity
    severity_reasons: tuple[str, ...]
    fingerprint: str
    in_loop: bool
    fix: Fix | None
    fix_reason: str | None = None


@dataclass(frozen=True, slots=True)
class FileError:
    """A file that could not be read, decoded or parsed, with the place where one is known (1-based)."""

    filename: str
    reason: str
    row: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class FileReport:
    """What the finder has to say of one file: its findings in order of place, and what went wrong."""

    filename: str
    findings: tuple[Finding, ...] = ()
    errors: tuple[FileError, ...] = ()
