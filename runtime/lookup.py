"""Looking at letters: one, pages of them, groups of the same bug, and counts that don't scan millions of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    bindparam,
    func,
    literal,
    select,
    union_all,
    update,
)

from . import payload
from .columns import database_now
from .cursor import from_cursor, read_id, to_cursor
from .letters import (
    DeadLetterError,
    Depth,
    Filter,
    Group,
    Letter,
    LetterSummary,
    NoSuchLetter,
    Page,
    Stats,
    check_limit,
)
from .spool import SpoolSize
from .tables import DEAD, STATUSES, letters, operations

COUNT_LIMIT = 100_000
# MariaDB ends a recursion silently after `max_recursive_iterations`, 1,000 by default.
_STEPS = 500

SUMMARY = tuple(letters.c[field.name] for field in fields(LetterSummary))


def get(connection: Connection, letter_id: str) -> Letter:
    """The letter whole, its payload as it may be shown. Raises NoSuchLetter."""
    row = connection.execute(select(letters).where(letters.c.id == as_id(letter_id))).first()
    if row is None:
        raise no_such(letter_id)
    return to_letter(row, row.payload)


def mark_seen(connection: Connection, letter_id: str) -> None:
    """Notes that somebody looked at the letter, if nobody had; not where a redrive holds its row, which may take long."""
    unseen = select(letters.c.id).where(letters.c.id == letter_id, letters.c.seen_at.is_(None))
    if connection.execute(unseen.with_for_update(skip_locked=True)).first() is not None:
        connection.execute(update(letters).where(letters.c.id == letter_id).values(seen_at=database_now()))


def as_id(text: str) -> str:
    """A letter's id as the database writes it. Raises NoSuchLetter for what can't be one."""
    try:
        return read_id(text)
    except (ValueError, AttributeError, TypeError) as error:
        raise no_such(text) from error


def no_such(letter_id: object) -> NoSuchLetter:
    """The error for an id that no letter has."""
    return NoSuchLetter(f"there is no letter {str(letter_id)[:80]!r}: look its id up in the list")


def to_letter(row: Row[Any], data: Any) -> Letter:
    """A row of all columns as a letter whose payload is that JSON, decoded."""
    values = {field.name: row._mapping[field.name] for field in fields(Letter)}
    values["changed_paths"] = tuple(row.changed_paths or ())
    values["payload"] = payload.decode(data)
    return Letter(**values)


def list_letters(connection: Connection, asked: Filter, *, limit: int = 50, cursor: str | None = None) -> Page:
    """The letters that match, newest first, at most `limit`; nothing of them that may be large or private.

    `cursor` is the one of the page before. Pages hold each letter once, whatever is captured meanwhile. Raises
    BadCursor for a cursor of another list.
    """
    check_limit(limit)
    conditions = matching(asked)
    if cursor is not None:
        conditions.append(letters.c.id < from_cursor(cursor, asked, read_id))
    found = [LetterSummary(**row._mapping) for row in connection.execute(_newest(asked, conditions, limit + 1))]
    shown = found[:limit]
    return Page(shown, to_cursor(shown[-1].id, asked) if len(found) > limit else None)


def matching(asked: Filter) -> list[ColumnElement[bool]]:
    """The filter as conditions on the table of letters. Raises DeadLetterError for an unknown status."""
    if asked.status is not None and asked.status not in STATUSES:
        raise DeadLetterError(f"{asked.status!r} is no status: it is one of {', '.join(STATUSES)}")
    conditions = [
        letters.c[name] == (as_id(value) if name == "operation_id" else value)
        for name in ("queue", "status", "job_name", "job_id", "fingerprint", "error_type", "operation_id", "redrivable")
        if (value := getattr(asked, name)) is not None
    ]
    if asked.ids is not None:
        conditions.append(letters.c.id.in_([as_id(letter_id) for letter_id in asked.ids]))
    if asked.failed_before is not None:
        conditions.append(letters.c.failed_at < asked.failed_before)
    if asked.failed_after is not None:
        conditions.append(letters.c.failed_at > asked.failed_after)
    return conditions


def _newest(asked: Filter, conditions: list[ColumnElement[bool]], limit: int) -> Select[Any]:
    """The newest of those letters, found along an index that ends in the id."""
    newest = select(*SUMMARY).where(*conditions).order_by(letters.c.id.desc()).limit(limit)
    indexed = asked.queue is not None or asked.fingerprint is not None or asked.operation_id is not None
    if asked.status is not None or asked.job_id is not None or not indexed:
        return newest
    # The indexes name the status before the id: the newest of each status, then the newest of those.
    each = union_all(*(select(newest.where(letters.c.status == status).subquery()) for status in STATUSES)).subquery()
    return select(each).order_by(each.c.id.desc()).limit(limit)


def groups(
    connection: Connection, *, status: str = DEAD, limit: int = 50, count_limit: int = COUNT_LIMIT
) -> list[Group]:
    """The bugs with the most letters of that status, biggest first; equal ones with the newest letter first.

    Costs a few index look-ups for each bug, and counts each up to `count_limit`.
    """
    check_limit(limit)
    matching(Filter(status=status))
    of_status = letters.c.status == status
    same = select(letters.c.id).where(of_status, letters.c.fingerprint == bindparam("value"))
    newest_of = same.order_by(letters.c.id.desc()).limit(1).scalar_subquery()
    counted = select(_capped(same, count_limit), newest_of)
    sizes = []
    for fingerprint in _distinct(connection, letters.c.fingerprint, of_status):
        number, newest_id = connection.execute(counted, {"value": fingerprint}).one()
        if newest_id is not None:
            sizes.append((*_counted(number, count_limit), newest_id, fingerprint))
    top = sorted(sizes, key=lambda size: (size[0], size[2]), reverse=True)[:limit]
    rows = connection.execute(select(*SUMMARY).where(letters.c.id.in_([newest_id for *_, newest_id, _ in top])))
    newest = {row.id: LetterSummary(**row._mapping) for row in rows}
    return [
        Group(fingerprint=fingerprint, count=count, exact=exact, newest=newest[newest_id])
        for count, exact, newest_id, fingerprint in top
        if newest_id in newest
    ]


def depths(connection: Connection, *, count_limit: int = COUNT_LIMIT) -> list[Depth]:
    """How many letters each queue has in each status that occurs, counted up to `count_limit`."""
    of_queue = select(letters.c.id).where(letters.c.queue == bindparam("value"))
    counted = select(*(_capped(of_queue.where(letters.c.status == status), count_limit) for status in STATUSES))
    found = []
    for queue in _distinct(connection, letters.c.queue):
        numbers = connection.execute(counted, {"value": queue}).one()
        for status, number in zip(STATUSES, numbers, strict=True):
            count, exact = _counted(number, count_limit)
            if count:
                found.append(Depth(queue=queue, status=status, count=count, exact=exact))
    return found


def stats(connection: Connection, *, spool: SpoolSize, count_limit: int = COUNT_LIMIT) -> Stats:
    """The depths, when the dead letter that waits longest was captured, stopped bulk acts, and the spool's size as given."""
    oldest = select(letters.c.captured_at).where(letters.c.status == DEAD).order_by(letters.c.id).limit(1)
    stopped = select(func.count()).select_from(operations).where(operations.c.status == "stopped")
    return Stats(
        depths=depths(connection, count_limit=count_limit),
        oldest_dead_at=connection.scalar(oldest),
        spool_records=spool.records,
        spool_bytes=spool.bytes,
        stopped_operations=connection.scalar(stopped) or 0,
    )


def _capped(query: Select[Any], limit: int) -> ScalarSelect[Any]:
    """Counts the rows of a query, but stops after one more than the limit."""
    return select(func.count()).select_from(query.limit(limit + 1).subquery()).scalar_subquery()


def _counted(count: int, limit: int) -> tuple[int, bool]:
    return min(count, limit), count <= limit


def _distinct(connection: Connection, column: Column[str], *conditions: ColumnElement[bool]) -> Iterator[str]:
    """The values that the column has, in order, each found by one step along an index (a loose index scan)."""
    smallest = select(func.min(column)).where(*conditions)
    after: str | None = None
    while True:
        first = smallest if after is None else smallest.where(column > after)
        step = select(first.scalar_subquery().label("value"), literal(1).label("number")).cte("step", recursive=True)
        following = smallest.where(column > step.c.value).scalar_subquery()
        step = step.union_all(
            select(following, step.c.number + 1).where(step.c.value.is_not(None), step.c.number < _STEPS)
        )
        values = connection.execute(select(step.c.value).where(step.c.value.is_not(None))).scalars().all()
        yield from values
        if len(values) < _STEPS:
            return
        after = values[-1]
