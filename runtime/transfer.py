"""Letters as lines of JSON, to take them elsewhere and back.

Each line holds one letter, with its payload as it may be shown, and its history. Lines stand for themselves: each is
stored whole or not at all, and importing the same file again stores only what was broken before. Nothing is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import IO, Any

from sqlalchemy import BigInteger, Column, Connection, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from .claims import write
from .columns import UtcDateTime
from .cursor import read_id
from .engine import is_duplicate
from .letters import Act, Filter
from .lookup import matching
from .record import storable
from .redact import redact, redact_text
from .steps import Read, Steps, Write
from .tables import IN_DOUBT, REDRIVING, STATUSES, events, letters

FORMAT, VERSION = "unhush dead letter", 1
BATCH = 100

# What a line does not hold: the encrypted original, and who was working on the letter.
_LOCAL = ("secret_payload", "lease_until", "claimed_by", "operation_id")
_COLUMNS = tuple(column for column in letters.c if column.name not in _LOCAL)
_EVENT_COLUMNS = ("capture_id", "kind", "at", "actor", "reason", "fence", "detail")


_JSON_KINDS = {"changed_paths": list, "headers": dict, "payload": object, "detail": object}


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that was not stored, by its number from 1, and what to do about it."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Imported:
    """How many letters were stored, how many were there already, and which lines were broken."""

    stored: int
    present: int
    broken: Sequence[Broken]


def export(file: IO[str], asked: Filter, *, history: bool = True) -> Steps[int]:
    """Writes the letters that match, oldest first, as they are while they are written; how many."""
    after, written = None, 0
    while True:
        batch = yield Read(partial(_batch, asked=asked, after=after, history=history))
        if not batch:
            return written
        file.writelines(line for _, line in batch)
        written += len(batch)
        after = batch[-1][0]


def _batch(connection: Connection, asked: Filter, after: str | None, history: bool) -> list[tuple[str, str]]:
    query = select(*_COLUMNS).where(*matching(asked)).order_by(letters.c.id).limit(BATCH)
    if after is not None:
        query = query.where(letters.c.id > after)
    rows = connection.execute(query).all()
    told: dict[str, list[dict[str, Any]]] = {row.id: [] for row in rows}
    if history:
        found = select(events).where(events.c.letter_id.in_(list(told))).order_by(events.c.id)
        for event in connection.execute(found):
            told[event.letter_id].append({name: event._mapping[name] for name in _EVENT_COLUMNS})
    return [(row.id, _line(dict(row._mapping), told[row.id])) for row in rows]


def _line(letter: dict[str, Any], history: list[dict[str, Any]]) -> str:
    line = {"format": FORMAT, "version": VERSION, "letter": letter, "history": history}
    return json.dumps(line, default=datetime.isoformat) + "\n"


def import_(lines: Iterable[str], act: Act) -> Steps[Imported]:
    """Stores the letters of an export that are not there yet; blank lines are passed over.

    A letter that was being redriven when it was exported arrives in doubt.
    """
    numbered = iter(enumerate(lines, 1))
    stored = present = 0
    broken: list[Broken] = []
    while batch := list(islice(numbered, BATCH)):
        new, known, problems = yield Write(partial(_store, lines=batch, act=act))
        stored, present = stored + new, present + known
        broken += problems
    return Imported(stored, present, broken)


def _store(connection: Connection, lines: Sequence[tuple[int, str]], act: Act) -> tuple[int, int, list[Broken]]:
    stored = present = 0
    broken = []
    for number, line in lines:
        if not line.strip():
            continue
        try:
            letter, history = _read(line)
            with connection.begin_nested():
                new = _store_letter(connection, letter, history, act)
        except RecursionError:
            broken.append(Broken(number, "it is nested too deeply; export it again"))
        except ValueError as error:
            broken.append(Broken(number, f"{error}; mend the line or export it again"))
        except IntegrityError as error:
            if not is_duplicate(error):
                broken.append(Broken(number, "the database refuses its values; export it again"))
            present += is_duplicate(error)  # another process stored it just now
        except DataError:
            broken.append(Broken(number, "the database refuses its values; export it again"))
        else:
            stored, present = stored + new, present + (not new)
    return stored, present, broken


def _store_letter(connection: Connection, letter: dict[str, Any], history: list[dict[str, Any]], act: Act) -> bool:
    """Stores the letter and its history; False where it, or one of the same failure, is there."""
    same = letters.c.id == letter["id"]
    if letter["identity"] is not None:
        same |= letters.c.identity == letter["identity"]
    if connection.execute(select(letters.c.id).where(same).limit(1)).first() is not None:
        return False
    connection.execute(insert(letters).values(letter))
    known = set(
        connection.scalars(
            select(events.c.capture_id).where(
                events.c.capture_id.in_([event["capture_id"] for event in history if event["capture_id"]])
            )
        )
    )
    for event in history:
        if event["capture_id"] not in known:
            connection.execute(insert(events).values(letter_id=letter["id"], **event))
    write(connection, "imported", letter["id"], letter["fence"], act)
    return True


def _read(line: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The letter and its history as rows. Raises ValueError with what is wrong."""
    try:
        data = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"it is no {FORMAT}")
    if data.get("version") != VERSION:
        raise ValueError(f"it is of version {data.get('version')!r}, and this unhush reads version {VERSION}")
    letter, history = data.get("letter"), data.get("history", [])
    if not isinstance(letter, dict) or not isinstance(history, list):
        raise ValueError("it lacks the letter or its history")
    return _letter_row(letter), [_event_row(event) for event in history]


def _letter_row(letter: dict[str, Any]) -> dict[str, Any]:
    row = {column.name: _value(letter, column) for column in _COLUMNS}
    row["id"] = read_id(row["id"])
    if row["status"] not in STATUSES:
        raise ValueError(f"{row['status']!r} is no status")
    if row["status"] == REDRIVING:
        row["status"] = IN_DOUBT
    # The file may come from anywhere: what is stored is redacted here too.
    shown = redact(row["payload"])
    row["payload"], row["headers"] = shown.value, redact(row["headers"]).value
    row["error_message"], row["traceback"] = redact_text(row["error_message"]), redact_text(row["traceback"])
    row["changed_paths"] = sorted({*map(str, row["changed_paths"] or ()), *shown.paths}) or None
    row["redrivable"] = row["redrivable"] and not row["changed_paths"]
    return row


def _event_row(event: Any) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise ValueError("an event of its history is no object")
    row = {name: _value(event, events.c[name]) for name in _EVENT_COLUMNS}
    if row["capture_id"] is not None:
        row["capture_id"] = read_id(row["capture_id"])
    row["detail"] = redact(row["detail"]).value
    return row


def _value(values: dict[str, Any], column: Column[Any]) -> Any:
    """A column's value out of a line. Raises ValueError for one that the column can't hold, or that is missing."""
    name, value = column.name, values.get(column.name)
    if value is None:
        if not column.nullable:
            raise ValueError(f"it lacks {name}")
        return None
    if name in _JSON_KINDS:
        return _checked(name, value, _JSON_KINDS[name])
    if isinstance(column.type, UtcDateTime):
        return _time(name, value)
    kind = column.type.python_type
    _checked(name, value, kind)
    if kind is int and not -(2**31) <= value < 2 ** (63 if isinstance(column.type, BigInteger) else 31):
        raise ValueError(f"{name} is out of range")
    if kind is not str:
        return value
    if len(value) > (getattr(column.type, "length", None) or len(value)):
        raise ValueError(f"{name} is too long")
    return storable(value)


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is not object and type(value) is not kind:
        raise ValueError(f"{name} is no {kind.__name__}")
    return value


def _time(name: str, value: Any) -> datetime:
    moment = datetime.fromisoformat(_checked(name, value, str))
    if moment.tzinfo is None:
        raise ValueError(f"{name} has no zone")
    return moment
