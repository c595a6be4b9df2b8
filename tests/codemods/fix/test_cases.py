"""The before/after pairs in `data/`. `pytest tests/codemods/fix/test_cases.py --snapshot-update` writes the afters."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension

from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed, Failed, FixReport
from unhush.codemods.prove import ProvedFile, prove_bytes


class AfterFile(SingleFileSnapshotExtension):
    """Keeps the rewritten bytes of a case beside its text before, as `data/NAME.after.py.txt`."""

    file_extension = "after.py.txt"

    @classmethod
    def dirname(cls, *, test_location: object) -> str:
        """The folder of the pairs."""
        return str(Path(__file__).parent / "data")

    @classmethod
    def get_snapshot_name(cls, *, test_location: object, index: object = 0) -> str:
        """The name of the case."""
        return str(index)


def outcome(report: FixReport) -> dict[str, object]:
    """What is said of a case beside its bytes: the events, and why the rest stays."""
    left = [f"{finding.code} {finding.fix}: {finding.fix_reason}" for finding in report.remaining]
    if isinstance(report, Failed):
        return {"failed": [error.reason for error in report.errors], "left": left}
    if not isinstance(report, Changed):
        return {"left": left}
    fixed = [f"{fixed.finding.code} {fixed.event}" for fixed in report.fixed]
    return {"fixed": fixed, "left": left, "verdict": report.verdict}


@pytest.mark.filterwarnings("ignore:.*Can not relate snapshot:UserWarning")
def test_bytes_after(case, tmp_path, snapshot: SnapshotAssertion):
    """A case's text is rewritten to exactly the bytes that are kept for it."""
    report = case.run(tmp_path)
    after = report.new if isinstance(report, Changed) else case.before
    assert after == snapshot(extension_class=AfterFile, name=case.name)


def test_outcome(case, tmp_path, snapshot: SnapshotAssertion):
    """What was fixed, and the reason why the rest was not, is as it was when it was looked at last."""
    said = outcome(case.run(tmp_path))
    assert {key: str(value).replace(str(tmp_path), "FOLDER") for key, value in said.items()} == snapshot(name=case.name)


def test_second_run_finds_nothing_to_do(case, tmp_path):
    """What was fixed is found no more, and a second run leaves the bytes alone."""
    report = case.run(tmp_path)
    if not isinstance(report, Changed):
        return
    again = fix_bytes(report.new, report.filename, case.settings)
    assert not isinstance(again, (Changed, Failed))


def test_prove_accepts(case, tmp_path):
    """`unhush prove` accepts every rewrite that the fixer proved, and no re-raise or change of level."""
    report = case.run(tmp_path)
    if not isinstance(report, Changed):
        return
    found = prove_bytes(report.old, report.new, report.filename, case.settings)
    assert isinstance(found, ProvedFile) == (report.verdict == "proved"), found


def test_line_structure_is_kept(case, tmp_path):
    """Newlines, byte order mark and the end of the file stay of the kind they were."""
    report = case.run(tmp_path)
    if not isinstance(report, Changed):
        return
    for mark in (b"\r\n", b"\r", b"\n"):
        bare = report.old.replace(b"\r\n", b"") if mark != b"\r\n" else report.old
        grown = report.new.replace(b"\r\n", b"") if mark != b"\r\n" else report.new
        if mark not in bare:
            assert mark not in grown
    assert report.old.startswith(b"\xef\xbb\xbf") == report.new.startswith(b"\xef\xbb\xbf")
    assert report.old.endswith((b"\n", b"\r")) == report.new.endswith((b"\n", b"\r"))
    ast.parse(report.new)


def test_there_are_enough_cases():
    """At least 150 pairs are kept, and no after without its before."""
    data = Path(__file__).parent / "data"
    names = {path.name.removesuffix(".before.py.txt") for path in data.glob("*.before.py.txt")}
    afters = {path.name.removesuffix(".after.py.txt") for path in data.glob("*.after.py.txt")}
    assert len(names) >= 150
    assert afters == names
