"""`prove` on two versions of a file: inserted logging passes whoever wrote it, everything else is listed."""

from __future__ import annotations

import re

import pytest
from fixcases import everything

from unhush.codemods.prove import Difference, ProvedFile, prove_bytes

SETTINGS = everything()
OLD = '''"""Stores rows."""
import os
from contextlib import suppress


def save(db, row):
    # Rows are written one by one.
    limit = 10
    try:
        db.write(row)
        db.commit(limit)
    except Exception:  # noqa: BLE001
        pass
    with suppress(OSError, ValueError):
        os.unlink(row)
    return limit


class Store:
    """Keeps rows."""

    def load(self, name="x"):
        try: return open(name)
        except OSError: return None
'''
HEAD = "import os\nimport logging\nfrom contextlib import suppress\n\nlogger = logging.getLogger(__name__)\n"
CALL = 'logger.warning("save.exception_ignored", exc_info=True)'


def edited(*changes: tuple[str, str], text: str = OLD) -> str:
    """The text with each change made once."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


LOGGER = ("import os\nfrom contextlib import suppress\n", HEAD)
PASS = ("        pass\n", f"        {CALL}\n")
GOOD = edited(LOGGER, PASS)


def prove(
    new: str | bytes, old: str | bytes = OLD, filename: str = "/nowhere/store.py"
) -> ProvedFile | list[Difference]:
    """What `prove` says of two texts."""
    left, right = (text if isinstance(text, bytes) else text.encode() for text in (old, new))
    return prove_bytes(left, right, filename, SETTINGS)


ACCEPTED = {
    "logger and call": GOOD,
    "as written by hand": edited(LOGGER, ("        pass\n", '        logger.exception("saving failed")\n')),
    "call beside pass": edited(LOGGER, ("        pass\n", f"        {CALL}\n        pass\n")),
    "call in several lines": edited(
        LOGGER,
        (
            "        pass\n",
            '        logger.warning(\n            "save failed",\n            exc_info=True,\n        )\n',
        ),
    ),
    "suppress to try": edited(
        LOGGER,
        ("    with suppress(OSError, ValueError):\n", "    try:\n"),
        ("os.unlink(row)\n", 'os.unlink(row)\n    except (OSError, ValueError):\n        logger.debug("save")\n'),
    ),
    "one line to two": edited(
        LOGGER,
        ("except OSError: return None", 'except OSError:\n            logger.debug("load")\n            return None'),
    ),
    "one line": edited(LOGGER, ("except OSError: return None", 'except OSError: logger.debug("load"); return None')),
    "outside handlers": edited(LOGGER, ("    limit = 10\n", '    limit = 10\n    logger.info("saving")\n')),
    "structlog chain": edited(
        ("import os\n", "import os\nimport logging as _logging\n"),
        ("\n\ndef save", "\n_log = _logging.getLogger('app')\n\n\ndef save"),
        ("        pass\n", '        _log.error("x")\n'),
    ),
    "blank lines around": edited(LOGGER, ("        pass\n", f"\n        {CALL}\n\n")),
}
LOGGED_OLD = OLD.replace("import os\n", "import os\nimport logging\n").replace(
    "\n\ndef", "\nlog = logging.getLogger(__name__)\n\n\ndef", 1
)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_inserted_logging(name):
    """Inserted logging passes in whatever way it was written."""
    found = prove(ACCEPTED[name])
    assert isinstance(found, ProvedFile), found
    assert found.inserted


def test_accepts_a_traceback_added():
    """`exc_info=True` added at the end of a log call passes."""
    old = edited(("        pass\n", '        log.error("x", 1)\n'), text=LOGGED_OLD)
    new = edited(('log.error("x", 1)', 'log.error("x", 1, exc_info=True)'), text=old)
    assert isinstance(prove(new, old), ProvedFile)


def test_lists_what_was_inserted_and_where():
    """A proved file names each inserted statement with its row in the new text."""
    found = prove(GOOD)
    assert isinstance(found, ProvedFile)
    texts = {inserted.text for inserted in found.inserted}
    assert texts == {"import logging", "logger = logging.getLogger(__name__)", CALL}
    lines = GOOD.splitlines()
    assert all(inserted.text in lines[inserted.row - 1] for inserted in found.inserted)


TAMPERED = {
    "changed constant": (("limit = 10", "limit = 11"), "10 became 11"),
    "true for one": (("limit = 10", "limit = True"), "10 became True"),
    "dropped statement": (("    limit = 10\n", ""), "Assign"),
    "dropped handler body": ((CALL, "return limit"), "`Pass` became `Return`"),
    "changed name": (("db.write(row)", "db.write(limit)"), "'row' became 'limit'"),
    "renamed parameter": (("def save(db, row)", "def save(dc, row)"), "'db' became 'dc'"),
    "changed default": (('name="x"', 'name="y"'), "'x' became 'y'"),
    "changed type": (("except OSError: return", "except Exception: return"), "'OSError' became 'Exception'"),
    "changed docstring": (("Keeps rows", "Keeps all rows"), "Keeps rows"),
    "docstring pushed down": (
        ('    """Keeps rows."""\n', '    logger.info("x")\n    """Keeps rows."""\n'),
        "docstring",
    ),
    "swapped statements": (
        ("db.write(row)\n        db.commit(limit)", "db.commit(limit)\n        db.write(row)"),
        "became",
    ),
    "argument with a side effect": (("exc_info=True", "exc_info=row.pop()"), "became|was added"),
    "argument that is a name": ((f"{CALL}", 'logger.warning("x", row)'), "became|was added"),
    "formatted argument": ((f"{CALL}", 'logger.warning(f"{row}")'), "became|was added"),
    "two arguments": ((f"{CALL}", 'logger.warning("%s", 1)'), "one constant text"),
    "extra": (("exc_info=True", "extra=None"), "no keywords but those"),
    "other method": (("logger.warning", "logger.setLevel"), "became|was added"),
    "unknown level": (("logger.warning", "logger.trace"), "no log method"),
    "print": ((CALL, 'print("x")'), "`Pass` became"),
    "unknown import": (("import logging\n", "import logging\nimport json\n"), "`Import` was added|became"),
    "import with side effects": (("import logging\n", "import logging\nimport antigravity\n"), "was added|became"),
    "undeclared import": (("import logging\n", "import logging\nimport structlog\n"), "neither declares nor uses"),
    "import of more": (("import logging\n", "import logging, json\n"), "was added|became"),
    "logger of a call": (("getLogger(__name__)", "getLogger(os.getcwd())"), "was added|became"),
    "logger that hides a name": (("logger = logging", "os = logging"), "not free|not bound once"),
    "logger that hides a builtin": (
        ("logger = logging.getLogger(__name__)", "logger = logging.getLogger(__name__)\nopen = logging.getLogger()"),
        "not free",
    ),
    "logger named as Python names": (
        (
            "logger = logging.getLogger(__name__)",
            "logger = logging.getLogger(__name__)\n__path__ = logging.getLogger()",
        ),
        "keeps for itself",
    ),
    "logger within a function": (
        ("    limit = 10\n", "    limit = 10\n    logger = logging.getLogger()\n"),
        "was added|became",
    ),
    "comment changed": (("# Rows are written one by one.", "# Rows are written at once."), "one by one"),
    "comment dropped": (("    # Rows are written one by one.\n", ""), "one by one"),
    "comment added": (("    limit = 10\n", "    limit = 10  # ten\n"), "# ten"),
    "pragma dropped": (("  # noqa: BLE001", ""), "noqa"),
    "layout changed": (("limit = 10", "limit  =  10"), "layout"),
    "parentheses added": (("return limit\n", "return (limit)\n"), "text"),
    "quotes changed": (('name="x"', "name='x'"), "text"),
    "blank line added": (("    limit = 10\n", "\n    limit = 10\n"), "layout"),
    "final newline dropped": (("return None\n", "return None"), "newline"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_refuses_everything_else(name):
    """A rewrite that also does something else is not proved, and the difference is named."""
    change, said = TAMPERED[name]
    found = prove(edited(change, text=GOOD))
    assert isinstance(found, list)
    assert any(re.search(said, difference.what) for difference in found), found


def test_refuses_a_moved_call():
    """A call of the old text that stands elsewhere in the new one is gone from its place."""
    old = edited(("    return limit\n", '    log.info("done")\n    return limit\n'), text=LOGGED_OLD)
    new = edited(
        ('    log.info("done")\n    return limit\n', "    return limit\n"),
        ("    limit = 10\n", '    log.info("done")\n    limit = 10\n'),
        text=old,
    )
    assert isinstance(prove(new, old), list)


def test_refuses_a_call_on_a_local():
    """A call on a parameter that happens to be called logger is not logging for sure."""
    new = edited(("def save(db, row)", "def save(db, row, logger=None)"), PASS)
    old = edited(("def save(db, row)", "def save(db, row, logger=None)"))
    found = prove(edited(LOGGER, text=new), old)
    assert isinstance(found, list)
    assert any("not the module's global" in difference.what for difference in found)


def test_refuses_a_logger_below_its_use():
    """A call at import time above the logger's line would fail, and is not proved."""
    old = "import logging\n\ntry:\n    print(1)\nexcept Exception:\n    pass\n\nlog = logging.getLogger()\n"
    new = old.replace("    pass\n", '    log.info("x")\n')
    found = prove(new, old)
    assert isinstance(found, list)
    assert "may not be bound yet" in found[0].what
    below = old.replace("log = logging.getLogger()\n", "").replace(
        "logging\n", "logging\n\nlog = logging.getLogger()\n", 1
    )
    assert isinstance(prove(below.replace("    pass\n", '    log.info("x")\n'), below), ProvedFile)


def test_refuses_a_failure_outside_a_handler():
    """Twisted's `failure` raises where there is no exception, so it passes in a handler alone."""
    old = "from twisted.logger import Logger\n\nlog = Logger()\n\n\ndef f():\n    try:\n        g()\n"
    old += "    except OSError:\n        pass\n"
    assert isinstance(prove(old.replace("    pass", '    log.failure("x")'), old), ProvedFile)
    assert isinstance(prove(old.replace("    g()", '    log.failure("x")\n        g()'), old), list)


@pytest.mark.parametrize(("text", "proved"), [("x {log_failure}", True), ("x {log_failure.clean()}", False)])
def test_refuses_a_text_that_twisted_computes(text, proved):
    """Twisted calls what stands in braces, so only the failure itself may."""
    old = "from twisted.logger import Logger\n\nlog = Logger()\n\n\ndef f():\n    try:\n        g()\n"
    old += "    except OSError:\n        pass\n"
    found = prove(old.replace("    pass", f'    log.failure("{text}")'), old)
    assert isinstance(found, ProvedFile) == proved


def test_refuses_public_names_in_a_module_that_is_listed():
    """A module that lists its own globals would list a new public one too."""
    old = OLD + "\n\n__all__ = [name for name in dir() if name[0] != '_']\n"
    assert isinstance(prove(edited(LOGGER, PASS, text=old), old), list)
    private = [
        (
            old_,
            new.replace("logger", "_logger")
            .replace("import logging", "import logging as _logging")
            .replace("= logging", "= _logging"),
        )
        for old_, new in (LOGGER, PASS)
    ]
    assert isinstance(prove(edited(*private, text=old), old), ProvedFile)


@pytest.mark.parametrize("shape", ["numba", "metaclass", "handler", "plain"])
def test_refuses_calls_where_they_can_do_harm(shape):
    """Compiled functions, class bodies with a metaclass and logging code take no inserted calls."""
    heads = {
        "numba": "import numba\n\n\n@numba.njit\ndef f():\n",
        "metaclass": "class A(metaclass=B):\n",
        "handler": "class A(logging.Handler):\n  def emit(self, record):\n",
        "plain": "class A(B):\n  def emit(self, what):\n",
    }
    old = "import logging\n\nlogger = logging.getLogger(__name__)\n\n\n" + heads[shape] + "    x = 1\n"
    new = old + '    logger.info("x")\n'
    assert isinstance(prove(new, old), ProvedFile) == (shape == "plain")


def test_bytes_that_are_not_python():
    """Texts that can't be parsed prove nothing, and say so."""
    for old, new in ((OLD, GOOD + "("), (OLD + "(", GOOD), (OLD.encode(), b"# coding: nonsense\n" + GOOD.encode())):
        found = prove(new, old)
        assert isinstance(found, list)
        assert "can't be parsed" in found[0].what


def test_newline_kinds_are_layout():
    """A file whose newlines changed is not proved, one that keeps its own is."""
    crlf = OLD.replace("\n", "\r\n")
    assert isinstance(prove(GOOD, crlf), list)
    assert isinstance(prove(GOOD.replace("\n", "\r\n"), crlf), ProvedFile)
    bom = b"\xef\xbb\xbf"
    assert isinstance(prove(GOOD.encode(), bom + OLD.encode()), list)
    assert isinstance(prove(bom + GOOD.encode(), bom + OLD.encode()), ProvedFile)
