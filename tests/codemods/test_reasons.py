"""The reasons given for a severity hold: what a name merely suggests is not told as a fact."""

from __future__ import annotations

import pytest

from unhush.codemods.engine import check_bytes
from unhush.codemods.rules import all_rules
from unhush.codemods.settings import Settings

ASKS = "asks a network, a database or another party"
WRITES = "writes or changes something"
TEXT = "{}\n\n\ndef work(self, row, url):\n    try:\n        {}\n        self.go(row)\n    except Exception:\n        pass\n"


def reasons(imports: str, statement: str) -> tuple[str, ...]:
    """The reasons given for one handler."""
    settings = Settings(select=frozenset(all_rules()), min_severity="low")
    (finding,) = check_bytes(TEXT.format(imports, statement).encode(), "/nowhere/store.py", settings).findings
    return finding.severity_reasons


@pytest.mark.parametrize(
    ("imports", "statement"),
    [
        ("import requests", "requests.get(url)"),
        ("import httpx as h", "h.post(url)"),
        ("from urllib import request", "request.urlopen(url)"),
        ("", "self.client.get(url)"),
        ("", "self.db.execute(row)"),
    ],
)
def test_who_is_asked_is_told(imports, statement):
    """A call of a library for networks or databases, or on a client or connection, is said to ask another party."""
    assert ASKS in reasons(imports, statement)


@pytest.mark.parametrize(
    ("imports", "statement"),
    [
        ("import requests", "row.get('a')"),
        ("import asyncio", "asyncio.get_event_loop()"),
        ("", "self.table.select(row)"),
    ],
)
def test_a_look_up_asks_nobody(imports, statement):
    """`get` of a dictionary, an event loop and the like are not said to ask anybody."""
    assert ASKS not in reasons(imports, statement)


@pytest.mark.parametrize(("statement", "told"), [("row.replace('a', 'b')", False), ("self.write(row)", True)])
def test_a_text_with_parts_replaced_is_not_written(statement, told):
    """`replace` of a text changes nothing, and is not said to; writing is."""
    assert (WRITES in reasons("", statement)) == told
