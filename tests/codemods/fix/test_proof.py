"""The proof before writing: it holds for what the fixer makes, and stumbles on everything that was tampered with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixcases import everything

from unhush.codemods import engine
from unhush.codemods.edits import Edit, apply, undo
from unhush.codemods.fixer import fix_bytes
from unhush.codemods.fixreport import Failed
from unhush.codemods.module import Module
from unhush.codemods.plan import plan
from unhush.codemods.proof import Disproof, is_provable, prove

TEXT = b'''"""Stores rows."""
from contextlib import suppress


def save(db, row):
    limit = 10
    try:
        db.write(row)
        db.commit(limit)
    except Exception:
        pass
    with suppress(Exception):
        db.send(row)
        db.flush(0.0)
    return limit
'''
SETTINGS = everything()


def planned(text: bytes = TEXT) -> tuple[Module, list[Edit]]:
    """A module and the edits that fix all of its findings."""
    module = Module(text, "/nowhere/store.py", SETTINGS)
    findings = [finding for finding in engine.check_bytes(text, "/nowhere/store.py", SETTINGS).findings if finding.fix]
    return module, plan(module, findings).edits


def proof_of(module: Module, edits: list[Edit], spoil: tuple[bytes, bytes] | None = None) -> None:
    """Proves edits, after one place of the result was changed by hand."""
    new, starts = apply(module.source.data, edits)
    if spoil:
        assert spoil[0] in new
        new = new.replace(*spoil, 1)
    prove(module, new, edits, starts)


def changed(edits: list[Edit], kind: str, old: str, new: str) -> list[Edit]:
    """The edits with a text replaced in those of a kind, in what they write and in what they say of it."""
    assert any(edit.kind == kind and old in edit.new.decode() for edit in edits)
    return [
        replace(edit, new=edit.new.replace(old.encode(), new.encode()), statement=edit.statement.replace(old, new))
        if edit.kind == kind
        else edit
        for edit in edits
    ]


def test_holds_for_the_fixer():
    """What the fixer plans is proved."""
    proof_of(*planned())


def test_undo_gives_the_old_bytes():
    """Undoing the edits of a rewrite gives the old file, byte for byte."""
    module, edits = planned()
    new, starts = apply(module.source.data, edits)
    assert new != module.source.data
    assert undo(new, edits, starts) == module.source.data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"limit = 10", b"limit = 11"),
        (b"0.0", b"-0.0"),
        (b"return limit", b"return  limit"),
        (b"db.write(row)", b"db.write(row )"),
        (b'"""Stores rows."""', b'"""Stores rows. """'),
        (b"save.exception_ignored", b"save.exception_hidden"),
        (b"exc_info=True", b"exc_info=None"),
        (b"except Exception", b"except  Exception"),
        (b"    return limit\n", b""),
        (b"\n\n\ndef", b"\n\ndef"),
    ],
)
def test_refuses_bytes_changed_outside(old, new):
    """Any change of the new bytes that the edits do not tell of is found by undoing them."""
    module, edits = planned()
    with pytest.raises(Disproof, match=r"undoing|hold an edit"):
        proof_of(module, edits, (old, new))


@pytest.mark.parametrize(
    ("kind", "old", "new", "reason"),
    [
        ("pass", "logger", "row", "not the module's global"),
        ("pass", "logger", "print", "not bound once"),
        ("pass", "logger", "suppress", "not known to be a logger"),
        ("logger", "logger = ", "limit = ", "not bound once"),
        ("logger", "logging.getLogger", "suppress.getLogger", "not known to be a logger|not bound above"),
        ("import", "import logging", "import json", "not be bound above|not bound once|not known to be a logger"),
        ("except", "except Exception", "except ValueError", "`With` became `Try`"),
        ("suppress", "try", "if 1", "can't be parsed"),
    ],
)
def test_refuses_wrong_edits(kind, old, new, reason):
    """Edits that say what they do but do the wrong thing are not proved."""
    module, edits = planned()
    with pytest.raises(Disproof, match=reason):
        proof_of(module, changed(edits, kind, old, new))


def test_refuses_an_unexpected_statement():
    """An edit whose new text holds more than it says is not proved."""
    module, edits = planned()
    edits = [replace(edit, new=edit.new + b"; row = 1") if edit.kind == "pass" else edit for edit in edits]
    with pytest.raises(Disproof, match="was added"):
        proof_of(module, edits)


def test_refuses_a_dropped_statement():
    """An edit that takes a statement away is not proved, although undoing it gives the old bytes."""
    module, edits = planned()
    start = TEXT.index(b"    return limit\n")
    edits.append(Edit(start, b"    return limit\n", b"", "call", "logger.warning()"))
    with pytest.raises(Disproof, match="is gone"):
        proof_of(module, edits)


def test_refuses_a_call_before_the_docstring():
    """A call that pushes a docstring from its place is not proved."""
    module = Module(
        b'import logging\n\nlog = logging.getLogger()\n\n\ndef f():\n    """Doc."""\n', "/nowhere/a.py", SETTINGS
    )
    start = module.source.data.index(b'"""Doc')
    edit = Edit(start, b"", b'log.info("x")\n    ', "call", 'log.info("x")')
    with pytest.raises(Disproof, match="docstring"):
        proof_of(module, [edit])


def test_refuses_a_logger_that_may_be_unbound():
    """A call is not proved where its logger's line may not have run."""
    text = b"import logging\n\n\ndef f(x):\n    x.y()\n\n\nf(1)\nlog = logging.getLogger()\n"
    module = Module(text, "/nowhere/a.py", SETTINGS)
    edit = Edit(text.index(b"x.y()"), b"", b'log.info("x")\n    ', "call", 'log.info("x")')
    with pytest.raises(Disproof, match="may not be bound yet"):
        proof_of(module, [edit])
    quiet = text.replace(b"f(1)\n", b"")
    module = Module(quiet, "/nowhere/a.py", SETTINGS)
    proof_of(module, [replace(edit, start=quiet.index(b"x.y()"))])


def test_edits_that_do_not_fit_are_refused():
    """Edits that overlap, or that name bytes which are not there, are never applied."""
    one = Edit(0, b"ab", b"x", "call")
    with pytest.raises(ValueError, match="overlap"):
        apply(b"abc", [one, replace(one, start=1, old=b"b")])
    with pytest.raises(ValueError, match="belong"):
        apply(b"zbc", [one])


def test_only_the_kinds_of_the_contract_are_provable():
    """A re-raise or another level makes the verdict unsafe, whatever else is in the file."""
    _, edits = planned()
    assert is_provable(edits)
    assert not is_provable([*edits, Edit(0, b"", b"raise", "raise", "raise")])
    assert not is_provable([*edits, Edit(0, b"debug", b"warning", "level")])


def test_a_failed_proof_leaves_the_file_alone(monkeypatch):
    """A file whose rewrite is not proved is reported as failed, with its findings, and nothing is rewritten."""
    whole = fix_bytes(TEXT, "/nowhere/store.py", SETTINGS)
    assert not isinstance(whole, Failed)

    def spoiled(module, edits):
        return [replace(edit, new=edit.new + b" + 1") if edit.kind == "pass" else edit for edit in edits]

    monkeypatch.setattr("unhush.codemods.rewriting.formatted", spoiled)
    report = fix_bytes(TEXT, "/nowhere/store.py", SETTINGS)
    assert isinstance(report, Failed)
    assert "the proof failed" in report.errors[0].reason
    assert report.remaining
