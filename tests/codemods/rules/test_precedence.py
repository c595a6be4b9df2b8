"""One handler gets one finding: of the selected rules the most specific wins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

HANDLERS = {
    "cancellation before shutdown": ("(asyncio.CancelledError, KeyboardInterrupt)", ["UNH301", "UNH501", "UNH103"]),
    "cancellation before broad": ("BaseException", ["UNH301", "UNH102"]),
    "cancellation before bare": ("", ["UNH301", "UNH101"]),
    "shutdown before broad": ("(Exception, KeyboardInterrupt)", ["UNH501", "UNH102"]),
}


@pytest.mark.parametrize(("caught", "codes"), HANDLERS.values(), ids=HANDLERS.keys())
def test_the_most_specific_selected_rule_wins(caught: str, codes: list[str], places: Places) -> None:
    """As the more specific rules are deselected one by one, the next one reports the handler."""
    text = (
        "import asyncio\n\n\nasync def f(queue, jobs):\n    for job in jobs:\n        try:\n"
        f"            await queue.put(job)\n            job.commit()\n        except {caught}:\n            continue\n"
    ).replace("except :", "except:")
    while codes:
        assert places(text, *codes) == [(codes[0], 9)]
        codes = codes[1:]


def test_suppress_of_a_cancellation(places: Places) -> None:
    """A suppress call has one finding too."""
    text = "import asyncio\nfrom contextlib import suppress\n\n\nasync def f(queue):\n    with suppress({}):\n"
    text += "        await queue.send()\n        queue.commit()\n"
    assert places(text.format("asyncio.CancelledError"), "UNH202", "UNH301") == [("UNH301", 6)]
    assert places(text.format("asyncio.CancelledError"), "UNH202") == [("UNH202", 6)]
    assert places(text.format("BaseException"), "UNH201", "UNH301") == [("UNH301", 6)]
    assert places(text.format("BaseException"), "UNH201") == [("UNH201", 6)]


def test_lost_evidence_stands_beside_a_swallowed_cancellation(places: Places) -> None:
    """Family 4 speaks of the record, the others of the control flow: a handler may have one of each."""
    text = "async def f(queue, log):\n    try:\n        await queue.get()\n"
    text += "    except BaseException:\n        log.error('x')\n"
    assert places(text, "UNH301", "UNH401", "UNH402", "UNH403") == [("UNH301", 4), ("UNH401", 4)]
