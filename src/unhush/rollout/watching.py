"""The watch list and what fired, put together: worst first, and what fired without being on the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..codemods.model import SEVERITY_RANK
from .fired import Came, Key, Source, together

ANY = ("", "root", "__main__", "__mp_main__")  # names that say nothing of a module


def joined(handlers: Sequence[Mapping[str, Any]], sources: Sequence[Source]) -> dict[str, Any]:
    """What `unhush rollout watch` shows: `handlers`, `unlisted`, `sources`, and whether there is `data` from each.

    A handler's count is None where nothing is known of it: it did not fire as far as seen, and a source had no data.
    `shared` says that another handler of that event may have fired in its place.
    """
    known = bool(sources) and not any(source.problem for source in sources)
    counts: list[Came] = [Came() for _ in handlers]
    shared = [False] * len(handlers)
    unlisted = []
    for key, came in together(sources).items():
        if not came.count:
            continue
        places = _places(handlers, key)
        for at in places:
            counts[at].add(came.count, came.last)
            shared[at] |= len(places) > 1
        if not places:
            unlisted.append(_row({"logger": key[0], "event": key[1], "severity": "", "places": []}, came, False, True))
    rows = [_row(handler, came, maybe, known) for handler, came, maybe in zip(handlers, counts, shared, strict=True)]
    return {
        "data": known,
        "handlers": sorted(rows, key=_worst_first),
        "unlisted": sorted(unlisted, key=_worst_first),
        "sources": [{"kind": source.kind, "name": source.name, "problem": source.problem} for source in sources],
    }


def _places(handlers: Sequence[Mapping[str, Any]], key: Key) -> list[int]:
    """The handlers that may have logged this: those of the event whose logger is the same, else may be the same."""
    logger, event = key
    alike = [at for at, handler in enumerate(handlers) if handler["event"] == event]
    same = [at for at in alike if handlers[at]["logger"] == logger]
    return same or [at for at in alike if _may_be(handlers[at]["logger"], logger)]


def _may_be(one: str, two: str) -> bool:
    """Whether two names may be of one logger: a module has a longer name where it is imported from further up."""
    if one in ANY or two in ANY:
        return True
    longer, shorter = (one, two) if len(one) > len(two) else (two, one)
    return longer == shorter or longer.endswith(f".{shorter}")


def _row(handler: Mapping[str, Any], came: Came, shared: bool, known: bool) -> dict[str, Any]:
    count = came.count if came.count or known else None
    return {**handler, "count": count, "last": came.last, "shared": shared}


def _worst_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return -(row["count"] or 0), -SEVERITY_RANK.get(row["severity"], -1), row["event"], row["logger"]
