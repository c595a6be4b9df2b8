"""Cases of the fixer, kept as pairs of files, and settings that report everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import FixReport
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings

DATA = Path(__file__).parent / "codemods" / "fix" / "data"
BEFORE = ".before.py.txt"


@dataclass(frozen=True)
class Case:
    """One pair of files: the text before, and what stands around it (settings, file name, other files)."""

    name: str
    before: bytes
    settings: Settings
    filename: str
    files: dict[str, str]

    def run(self, folder: Path) -> FixReport:
        """The fix of the case, its files laid out in a folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        path = folder / self.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.before)
        return fix_bytes(self.before, str(path), self.settings)


def everything(**changes: Any) -> Settings:
    """Settings that select all rules and show all severities."""
    values: dict[str, Any] = {"select": frozenset(all_rules()), "min_severity": "low"}
    return Settings(**{**values, **changes})


def load_case(name: str) -> Case:
    """A case by name; `NAME.case.json`, where it is there, says what differs from the defaults."""
    told = DATA / f"{name}.case.json"
    fields = json.loads(told.read_text()) if told.exists() else {}
    changes = fields.get("settings", {})
    if "select" in changes:
        changes["select"] = frozenset(changes["select"])
    before = (DATA / f"{name}{BEFORE}").read_bytes()
    return Case(name, before, everything(**changes), fields.get("filename", "store.py"), fields.get("files", {}))


def case_names() -> list[str]:
    """The names of all cases."""
    return sorted(path.name.removesuffix(BEFORE) for path in DATA.glob(f"*{BEFORE}"))
