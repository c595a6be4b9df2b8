"""Twisted's log calls, run under observers of its new and its old API, and under Trial."""

from __future__ import annotations

import io

import pytest
from fixcases import everything

from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Changed

twisted_logger = pytest.importorskip("twisted.logger", reason="Twisted is not installed")
legacy = pytest.importorskip("twisted.python.log")

OWN = "from twisted.logger import Logger\n\nlog = Logger()\n\n"
OLD = "from twisted.python import log\n\n"
SAVE = "\ndef save(db):\n    try:\n        db.write()\n        db.commit()\n    except Exception:\n        pass\n"


class Broken:
    """A database that is gone."""

    def write(self) -> None:
        """Fails."""
        raise OSError("the disk is gone")


@pytest.mark.parametrize("head", [OWN, OLD], ids=["a logger of its own", "the old API"])
@pytest.mark.parametrize("level", ["debug", "warning", "error", "critical"])
def test_traceback_reaches_every_observer(head, level, tmp_path):
    """Observers of both APIs write event, type, message and place; Trial takes it for an error from level error on."""
    report = fix_bytes((head + SAVE).encode(), str(tmp_path / "store.py"), everything(level_broad=level))
    assert isinstance(report, Changed)
    new, old, errors = io.StringIO(), io.StringIO(), []
    observers = [
        twisted_logger.textFileLogObserver(new),
        twisted_logger.LegacyLogObserverWrapper(legacy.FileLogObserver(old).emit),
        # as twisted.trial's own observer does
        twisted_logger.LegacyLogObserverWrapper(lambda event: event.get("isError") and errors.append(event["failure"])),
    ]
    for observer in observers:
        twisted_logger.globalLogPublisher.addObserver(observer)
    try:
        namespace = {"__name__": "store"}
        exec(compile(report.new, "store.py", "exec"), namespace)
        namespace["save"](Broken())
    finally:
        for observer in observers:
            twisted_logger.globalLogPublisher.removeObserver(observer)
    for text in (new.getvalue(), old.getvalue()):
        assert "save.exception_ignored" in text
        assert "OSError" in text
        assert "the disk is gone" in text
        assert "in write" in text or ":write" in text
    assert bool(errors) == (level in ("error", "critical"))
