"""The screen finds what the slow reference finds: on installed code, and on mutants of it."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest
from soundness.mutants import MUTATIONS
from soundness.reference import reference_findings

from unhush.codemods.engine import check_bytes
from unhush.codemods.rules import all_rules, default_codes
from unhush.codemods.settings import Settings
from unhush.codemods.source import DecodeFailure

# Every installed file and every mutant of it instead of a sample: UNHUSH_WHOLE=1 pytest tests/codemods/test_soundness.py
WHOLE = bool(os.environ.get("UNHUSH_WHOLE"))
SELECTIONS = {"default": default_codes(), "every rule": frozenset(all_rules())}


@cache
def installed_files() -> list[Path]:
    """The Python files of the standard library and of site-packages, in order of name."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return sorted({path for folder in folders for path in Path(folder).rglob("*.py") if path.is_file()})


@cache
def sample() -> list[Path]:
    """Installed files spread over all, and as many of those that surely hold handlers worth a look."""
    files = installed_files()
    broad = [path for path in files if b"except Exception:" in path.read_bytes()]
    return [path for group in (files, broad) for path in group[:: max(1, len(group) // 100)]]


def differences(data: bytes, name: str, select: frozenset[str]) -> Iterator[str]:
    """What screen and reference say differently of a file; nothing where it can't be parsed whole."""
    settings = Settings(select=select)
    try:
        wanted = reference_findings(data, name, settings)
    except DecodeFailure:
        return
    if wanted is None:
        return
    report = check_bytes(data, name, settings)
    yield from (f"{name}: {error.reason}" for error in report.errors)
    yield from (f"{name}:{one.row} only screen {one}" for one in report.findings if one not in wanted)
    yield from (f"{name}:{one.row} only reference {one}" for one in wanted if one not in report.findings)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.timeout(0 if WHOLE else 300)
def test_screen_equals_reference_on_installed_code(selection: str) -> None:
    """The findings in the installed standard library and site-packages are those of the slow reference, and not none."""
    found, checked = [], 0
    for path in installed_files() if WHOLE else sample():
        data = path.read_bytes()
        found += differences(data, str(path), SELECTIONS[selection])
        checked += len(check_bytes(data, str(path), Settings(select=SELECTIONS[selection])).findings)
    assert found == []
    assert checked > 0


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.timeout(0 if WHOLE else 300)
def test_screen_equals_reference_on_mutants(mutation: str) -> None:
    """However a file is laid out, the findings are those of the slow reference."""
    files = [path for path in installed_files() if path.stat().st_size < 40_000]
    random = Random(mutation)
    random.shuffle(files)
    found, parsed = [], 0
    for path in files:
        data = path.read_bytes()
        if data.count(b"except ") < 2:
            continue
        mutant = MUTATIONS[mutation](data, random)
        select = SELECTIONS[random.choice(list(SELECTIONS))]
        found += differences(mutant, f"{path} ({mutation})", select)
        parsed += 1
        if not WHOLE and parsed >= 8:
            break
    assert found == []
    assert parsed > 7
