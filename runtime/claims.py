"""Who holds a letter while it is put back to work: claims with a lease and a fencing number, and how they end.

Each change of a letter checks in the same UPDATE that its fencing number is still the one that was read, and raises it:
whoever comes late changes nothing. Times are those of the database's clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, literal_column, select, update

from .columns import database_now
from .core import Handler
from .history import LOOKS, note
from .letters import Act, DeadLetterError, Given, LeaseLost, Letter, NoHandler, NoSuchLetter, Outcome
from .lookup import SUMMARY, as_id, no_such, to_letter
from .secrecy import SecrecyError, Vault
from .tables import DEAD, DISCARDED, IN_DOUBT, PARKED, REDRIVEN, REDRIVING, events, letters, operations

# Results of acts on one letter, beside the statuses that a redrive ends in.
FAILED, LEASE_LOST = "failed", "lease_lost"
UNKNOWN, WRONG_STATE, CHANGED, BUSY = "unknown", "wrong_state", "changed", "busy"
NOT_REDRIVABLE, NO_HANDLER, SUPERSEDED, UNSEEN = "not_redrivable", "no_handler", "superseded", "unseen"
REFUSALS = (UNKNOWN, WRONG_STATE, CHANGED, BUSY, NOT_REDRIVABLE, NO_HANDLER, SUPERSEDED, UNSEEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms letters are claimed: by whom, for how many seconds, and how often at most.

    `ended` is called with the queue and the result of each redrive.
    """

    owner: str
    lease: float
    max_redrives: int
    handler: Callable[[str, str], Handler]
    vault: Vault | None = None
    ended: Callable[[str, str], object] | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A letter that is ours to redrive, as it is since the claim, with its own payload and its handler."""

    letter: Letter
    handler: Handler


def claim(
    connection: Connection,
    letter_id: str,
    act: Act,
    terms: Terms,
    *,
    if_match: int | None = None,
    given: Given | None = None,
) -> Claim | Outcome:
    """Claims one letter, or says why it can't be redriven. `if_match` is the fencing number that the caller saw."""
    row = locked(connection, letter_id)
    if isinstance(row, Outcome):
        return row
    return refusal(connection, row, terms, if_match, given) or _take(connection, row, act, terms, given)


def claim_next(connection: Connection, act: Act, terms: Terms) -> Claim | Outcome | None:
    """Claims the next letter of a bulk act; or says why that one is skipped; or None where none is to be had now."""
    waiting = _locked(letters.c.operation_id == act.operation_id, letters.c.status == DEAD)
    row = connection.execute(waiting.order_by(letters.c.id).limit(1)).first()
    if row is None:
        return None
    taken = refusal(connection, row, terms) or _take(connection, row, act, terms)
    if isinstance(taken, Outcome):
        release(connection, row, act, taken)
    return taken


def _locked(*conditions: ColumnElement[bool], columns: Sequence[Any] = (letters,)) -> Select[Any]:
    """The letters that no other transaction is changing; those, locked. SQLite locks as a whole, when it begins."""
    return select(*columns).where(*conditions).with_for_update(skip_locked=True)


def locked(connection: Connection, letter_id: str, columns: Sequence[Any] = (letters,)) -> Row[Any] | Outcome:
    """The letter's row, locked; or the outcome that says why it is not to be had."""
    try:
        wanted = as_id(letter_id)
    except NoSuchLetter as error:
        return Outcome(letter_id, UNKNOWN, str(error))
    row = connection.execute(_locked(letters.c.id == wanted, columns=columns)).first()
    if row is not None:
        return row
    if connection.scalar(select(letters.c.id).where(letters.c.id == wanted)) is None:
        return Outcome(letter_id, UNKNOWN, str(no_such(letter_id)))
    return busy(wanted)


def busy(letter_id: str) -> Outcome:
    """The outcome where another transaction holds the letter."""
    return Outcome(letter_id, BUSY, "another process is changing it at this moment: try again")


def refusal(
    connection: Connection, row: Row[Any], terms: Terms, if_match: int | None = None, given: Given | None = None
) -> Outcome | None:
    """Why that letter must not be redriven, or None where it may."""
    if row.status != DEAD:
        return Outcome(row.id, WRONG_STATE, _state_told(row))
    if if_match is not None and row.fence != if_match:
        return stale(row)
    try:
        terms.handler(row.queue, row.job_name)
    except NoHandler as error:
        return Outcome(row.id, NO_HANDLER, str(error))
    if given is None and not row.redrivable:
        where = ", ".join(row.changed_paths or ()) or "places unknown"
        return Outcome(row.id, NOT_REDRIVABLE, f"its payload is not the job's own (changed: {where}): edit it first")
    return _superseded(connection, row)


def stale(row: Row[Any]) -> Outcome:
    """The outcome for a caller who saw an older version of the letter."""
    return Outcome(row.id, CHANGED, f"it has changed since (version {row.fence} by now): look at it again")


def _state_told(row: Row[Any]) -> str:
    if row.status == PARKED:
        return f"it is parked after {row.redrives} redrives: find out why it fails, then restore it"
    if row.status == IN_DOUBT:
        return "nobody knows whether its last redrive was sent: find out, then restore or discard it"
    if row.status == REDRIVING:
        return f"{row.claimed_by} redrives it"
    return f"it is {row.status}, and only dead letters are redriven"


def _superseded(connection: Connection, row: Row[Any]) -> Outcome | None:
    """A newer letter of the same job says that the job ran again since: redriving both would run it twice."""
    if row.job_id is None:
        return None
    newer = connection.execute(
        select(letters.c.id, letters.c.status)
        .where(
            letters.c.queue == row.queue,
            letters.c.job_id == row.job_id,
            letters.c.id > row.id,
            letters.c.status != DISCARDED,
        )
        .order_by(letters.c.id.desc())
        .limit(1)
    ).first()
    if newer is None:
        return None
    return Outcome(row.id, SUPERSEDED, f"letter {newer.id} of the same job is newer and {newer.status}")


def original(row: Row[Any], vault: Vault | None) -> Any:
    """The job's own payload, still encoded. Raises DeadLetterError for an encrypted one of which the key is not here."""
    if row.secret_payload is None:
        return row.payload
    if vault is None:
        raise DeadLetterError(f"the payload of letter {row.id} is encrypted: give the queue its encryption_keys")
    try:
        return json.loads(vault.open(bytes(row.secret_payload)))
    except SecrecyError as error:
        raise DeadLetterError(f"letter {row.id}: {error}") from error


def _take(connection: Connection, row: Row[Any], act: Act, terms: Terms, given: Given | None = None) -> Claim | Outcome:
    handler = terms.handler(row.queue, row.job_name)
    try:
        letter = to_letter(row, original(row, terms.vault) if given is None else None)
    except DeadLetterError as error:
        return Outcome(row.id, NOT_REDRIVABLE, str(error))
    until = moment(connection) + timedelta(seconds=terms.lease)
    taken = change(
        connection,
        row,
        status=REDRIVING,
        redrives=row.redrives + 1,
        lease_until=until,
        claimed_by=terms.owner,
        transactional=handler.transactional,
        operation_id=act.operation_id,
    )
    if not taken:
        return busy(row.id)
    letter = replace(
        letter,
        status=REDRIVING,
        redrives=row.redrives + 1,
        fence=row.fence + 1,
        lease_until=until,
        claimed_by=terms.owner,
        operation_id=act.operation_id,
        payload=letter.payload if given is None else given.payload,
    )
    detail = {"redrive": letter.redrives, "owner": terms.owner} | ({"payload": "given"} if given else {})
    write(connection, "redriving", letter.id, letter.fence, act, detail)
    return Claim(letter, handler)


def change(connection: Connection, row: Row[Any] | Letter, **values: Any) -> bool:
    """Changes a letter, and raises its fencing number, if it is still as `row` has it; says whether it did."""
    done = connection.execute(
        update(letters)
        .where(letters.c.id == row.id, letters.c.fence == row.fence, letters.c.status == row.status)
        .values(fence=row.fence + 1, changed_at=database_now(), **values)
    )
    return done.rowcount == 1


def write(connection: Connection, kind: str, letter_id: str, fence: int, act: Act, detail: Any = None) -> None:
    """Writes an event of a letter as part of an act."""
    note(
        connection,
        kind,
        letter_id=letter_id,
        operation_id=act.operation_id,
        actor=act.actor,
        reason=act.reason,
        fence=fence,
        detail=detail,
    )


def release(connection: Connection, row: Row[Any], act: Act, refused: Outcome) -> None:
    """Leaves a letter out of the bulk act that holds it, and writes why."""
    connection.execute(update(letters).where(letters.c.id == row.id).values(operation_id=None))
    write(connection, "refused", row.id, row.fence, act, {"result": refused.result, "detail": refused.detail})
    count(connection, act.operation_id, refused.result)


def moment(connection: Connection) -> Any:
    """The database's clock now."""
    return connection.scalar(select(database_now()))


def finish(connection: Connection, letter: Letter, act: Act) -> Outcome:
    """Marks a claimed letter as redriven; or says who else ended its redrive meanwhile."""
    if not _redriven(connection, letter):
        return _overtaken(connection, letter, act, REDRIVEN)
    return told_redriven(connection, letter, act)


def finish_first(connection: Connection, letter: Letter) -> None:
    """Marks a letter as redriven before its transactional handler runs, and so locks it; raises LeaseLost.

    `told_redriven`, after the handler, completes it. The bulk act's row must not stay locked meanwhile.
    """
    if not _redriven(connection, letter):
        raise LeaseLost(f"letter {letter.id} is no longer held by this process")


def told_redriven(connection: Connection, letter: Letter, act: Act) -> Outcome:
    """Writes that a letter is redriven."""
    return _settled(connection, letter, act, "redriven", REDRIVEN)


def _redriven(connection: Connection, letter: Letter) -> bool:
    return change(connection, letter, status=REDRIVEN, lease_until=None, claimed_by=None)


def fail(
    connection: Connection, letter: Letter, act: Act, terms: Terms, error: dict[str, Any], *, again: bool = False
) -> Outcome:
    """Marks the redrive of a claimed letter as failed: dead again, or parked where it failed often enough.

    `error` holds columns of the letter, redacted. They become the letter's own where the job itself failed `again`; a
    handler's error, say of sending the job, is kept in the history alone.
    """
    status = PARKED if letter.redrives >= terms.max_redrives else DEAD
    news = {**error, "failed_at": database_now(), "seen_at": None} if again else {}
    ended = {"status": status, "lease_until": None, "claimed_by": None, "operation_id": None}
    if not change(connection, letter, **ended, **news):
        return _overtaken(connection, letter, act, FAILED)
    kind = "failed_again" if again else "redrive_failed"
    detail = {**error, "status": status, "redrive": letter.redrives}
    return _settled(connection, letter, act, kind, PARKED if status == PARKED else FAILED, detail)


def doubt(connection: Connection, letter: Letter, act: Act, detail: Any) -> Outcome:
    """Marks a claimed letter as one of which nobody can tell whether it was sent: a person must find out."""
    if not change(connection, letter, status=IN_DOUBT, lease_until=None, claimed_by=None):
        return _overtaken(connection, letter, act, IN_DOUBT)
    return _settled(connection, letter, act, "in_doubt", IN_DOUBT, detail)


def _settled(connection: Connection, letter: Letter, act: Act, kind: str, result: str, detail: Any = None) -> Outcome:
    write(connection, kind, letter.id, letter.fence + 1, act, detail)
    count(connection, act.operation_id, result)
    error = detail and f"{detail.get('error_type', '')}: {detail.get('error_message', '')}"
    return Outcome(letter.id, result, (error or "")[:200])


def _overtaken(connection: Connection, letter: Letter, act: Act, result: str) -> Outcome:
    """The outcome where somebody else ended the redrive first: nothing is changed, but the history says so."""
    last = connection.execute(
        select(events.c.kind, letters.c.status)
        .select_from(events.join(letters, letters.c.id == events.c.letter_id))
        .where(events.c.letter_id == letter.id, letters.c.redrives == letter.redrives, events.c.kind.not_in(LOOKS))
        .order_by(events.c.id.desc())
        .limit(1)
    ).first()
    if last is not None and last.kind == "redriven" and result != IN_DOUBT:
        return Outcome(letter.id, REDRIVEN)  # an earlier try to say so was not answered, but done
    told = f"ended elsewhere before this process could say {result!r}"
    if last is not None and last.kind == "failed_again":
        ended = PARKED if last.status == PARKED else FAILED
        count(connection, act.operation_id, ended)
        return Outcome(letter.id, ended, told)
    write(connection, "late_result", letter.id, letter.fence, act, {"result": result})
    return Outcome(letter.id, LEASE_LOST, told)


def count(connection: Connection, operation_id: str | None, result: str, number: int = 1) -> None:
    """Adds to the progress of a bulk act."""
    if operation_id is None:
        return
    if result in REFUSALS:
        column = operations.c.skipped
    elif result in (FAILED, PARKED, IN_DOUBT):
        column = operations.c.failed
    else:
        column = operations.c.succeeded
    connection.execute(
        update(operations)
        .where(operations.c.id == operation_id)
        .values({column: column + number, operations.c.changed_at: database_now()})
    )


def renew(connection: Connection, letter: Letter, lease: float) -> bool:
    """Holds a claimed letter for another lease; False where it is no longer ours."""
    done = connection.execute(
        update(letters)
        .where(letters.c.id == letter.id, letters.c.fence == letter.fence, letters.c.status == REDRIVING)
        .values(lease_until=moment(connection) + timedelta(seconds=lease))
    )
    return done.rowcount == 1


def reap(connection: Connection, max_redrives: int, *, limit: int = 100) -> list[Outcome]:
    """Ends redrives whose lease ran out, at most `limit`, and says what became of the letters.

    A transactional one did not happen: dead again, or parked. Any other may have been sent: in doubt.
    """
    # A literal, so that a prepared statement too can use the index of redriving letters alone.
    redriving = letters.c.status == literal_column(f"'{REDRIVING}'")
    columns = (*SUMMARY, letters.c.transactional)
    cut_off = _locked(redriving, letters.c.lease_until < database_now(), columns=columns)
    rows = connection.execute(cut_off.order_by(letters.c.lease_until).limit(limit)).all()
    ended = (_reap_one(connection, row, max_redrives) for row in rows)
    return [outcome for outcome in ended if outcome is not None]


def _reap_one(connection: Connection, row: Row[Any], max_redrives: int) -> Outcome | None:
    if row.transactional:
        status = PARKED if row.redrives >= max_redrives else DEAD
        result = PARKED if status == PARKED else FAILED
    else:
        status = result = IN_DOUBT
    operation_id = row.operation_id if status == IN_DOUBT else None
    if not change(connection, row, status=status, lease_until=None, claimed_by=None, operation_id=operation_id):
        return None
    act = Act(actor="reaper", reason="its lease ran out", operation_id=row.operation_id)
    write(connection, "reaped", row.id, row.fence + 1, act, {"claimed_by": row.claimed_by, "status": status})
    count(connection, row.operation_id, result)
    return Outcome(row.id, result, f"{row.claimed_by} held it until its lease ran out")
