from __future__ import annotations

from unhush.codemods.model import FileError
from unhush.codemods.prove import Difference, Inserted, ProofReport, ProvedFile
from unhush.reports.prooftext import render, summary

PROVED = ProvedFile("app/a.py", (Inserted(1, "import logging"), Inserted(9, "log.warning(\n    'x',\n)")))
CHANGED = Difference("app/b.py", 7, "a statement was dropped")
ADDED = Difference("data\x1b.bin", None, "was added")


def test_proved_files_show_what_was_inserted(snapshot):
    """Each proved file is followed by the inserted lines with their rows, each other difference is one line."""
    assert "".join(render(ProofReport((PROVED,), (CHANGED, ADDED)))) == snapshot


def test_verdicts():
    """The last line is the verdict, with the number of files on either side."""
    assert summary(ProofReport((PROVED,), ())).startswith("Proved: 1 file differs by inserted logging alone")
    assert summary(ProofReport((), ())) == "Proved: nothing differs."
    mixed = summary(ProofReport((PROVED, PROVED), (CHANGED, CHANGED, ADDED)))
    assert mixed == "Not proved: 2 files differ by inserted logging alone, 2 files differ otherwise."
    unread = ProofReport((), (), (FileError("/a.py", "can't be compared: permission denied"),))
    assert summary(unread) == "Not proved: 0 files differ by inserted logging alone, 1 could not be compared."
