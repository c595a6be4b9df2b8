"""Beginning a redrive by the API, and looking at a letter, as acts on the database."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, select

from .. import bulk, claims, lookup
from ..claims import Terms
from ..core import Core
from ..history import PAYLOAD_SEEN, SEEN, note
from ..letters import Act, Filter, Letter, NoHandler, Operation, Outcome
from ..redrive import terms_of
from ..tables import DEAD, operations
from .problems import refused


def begin(
    connection: Connection,
    asked: Filter,
    act: Act,
    core: Core,
    *,
    key: str,
    options: bulk.BulkOptions | None = None,
    everything: bool = False,
    if_match: int | None = None,
) -> Operation:
    """Begins a redrive, or gives the one that was begun under this key.

    Where ids are given, all of them or none: raises Problem with what some of them refuse. An error leaves the key free.
    """
    return bulk.start(
        connection,
        bulk.REDRIVE,
        asked,
        act,
        everything=everything,
        options=options,
        idempotency_key=key,
        check=partial(_check, asked=asked, core=core, if_match=if_match),
    )


def _check(connection: Connection, asked: Filter, core: Core, if_match: int | None) -> None:
    if asked.ids is None:
        demand_handler(core, asked.queue)
        return
    outcomes = [_refusal(connection, letter_id, terms_of(core), if_match) for letter_id in asked.ids]
    refusals = [outcome for outcome in outcomes if outcome is not None]
    if refusals:
        raise refused(refusals)


def demand_handler(core: Core, queue: str | None) -> None:
    """Raises NoHandler where this process can redrive none of these letters."""
    if not core.handles(queue):
        raise NoHandler("this process has no handler for these letters: call register(queue, handler)")


def _refusal(connection: Connection, letter_id: str, terms: Terms, if_match: int | None) -> Outcome | None:
    row = claims.locked(connection, letter_id)
    if isinstance(row, Outcome):
        return row
    holding = select(operations.c.id).where(operations.c.id == row.operation_id, operations.c.status.in_(bulk.HOLDING))
    if row.status == DEAD and connection.scalar(holding) is not None:
        return Outcome(row.id, claims.BUSY, f"the bulk act {row.operation_id} holds it: wait for that, or cancel it")
    return claims.refusal(connection, row, terms, if_match)


def looked(connection: Connection, letter: Letter, actor: str, *, payload: bool) -> None:
    """Notes who looked at a letter: first of all, or at its payload."""
    if letter.seen_at is None:
        lookup.mark_seen(connection, letter.id)
        note(connection, SEEN, letter_id=letter.id, actor=actor, fence=letter.fence)
    if payload:
        note(connection, PAYLOAD_SEEN, letter_id=letter.id, actor=actor, fence=letter.fence)
