"""Putting letters back to work, as steps that a blocking or an asyncio queue takes.

A claim is committed before the handler runs, so that a letter whose handler kills its worker is not taken for one that
nobody touched. How a redrive ends is written afterwards, unless the handler is transactional: then its own work and the
letter's new status are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from socket import gethostname
from typing import Any

import structlog
from sqlalchemy import Connection, select

from . import claims
from .claims import Claim, Terms
from .core import Core
from .failure import Failure, describe
from .letters import Act, DeadLetterError, Given, InDoubt, NoSuchLetter, Outcome
from .lookup import as_id, no_such
from .record import process_name, storable
from .redact import redact_text
from .steps import JobFailed, Read, Run, RunInside, Steps, Write
from .tables import letters

WOULD_REDRIVE = "would_redrive"

_log = structlog.get_logger("unhush.runtime")


def terms_of(core: Core) -> Terms:
    """On what terms this process claims letters of that queue."""
    return Terms(
        owner=f"{gethostname()}:{process_name()}"[:255],
        lease=core.lease,
        max_redrives=core.max_redrives,
        handler=core.handler,
        vault=core.vault,
        ended=core.metrics.redriven,
    )


def redrive(
    letter_ids: Sequence[str],
    act: Act,
    terms: Terms,
    *,
    if_match: int | None = None,
    given: Given | None = None,
    dry_run: bool = False,
) -> Steps[list[Outcome]]:
    """Puts these letters back to work, one after another, and gives an outcome for each.

    `if_match`, the fencing number that the caller saw, and `given`, a payload for this run alone, go with one letter.
    """
    wanted = list(dict.fromkeys(letter_ids))
    if len(wanted) != 1 and (if_match is not None or given is not None):
        raise DeadLetterError("if_match and payload belong to one letter: give one id")
    if dry_run:
        return (yield Read(partial(_preview, letter_ids=wanted, terms=terms, if_match=if_match, given=given)))
    yield from reap(terms.max_redrives)
    outcomes = []
    for letter_id in wanted:
        taken = yield Write(
            partial(claims.claim, letter_id=letter_id, act=act, terms=terms, if_match=if_match, given=given)
        )
        outcomes.append((yield from run(taken, act, terms)) if isinstance(taken, Claim) else taken)
    return outcomes


def reap(max_redrives: int) -> Steps[list[Outcome]]:
    """Ends all redrives whose lease ran out."""
    ended: list[Outcome] = []
    while True:
        batch = yield Write(partial(claims.reap, max_redrives=max_redrives))
        if not batch:
            return ended
        ended += batch


def run(claim: Claim, act: Act, terms: Terms, renew: Callable[[Connection], bool] | None = None) -> Steps[Outcome]:
    """Runs a claimed letter's handler and writes how that ended. Raises again what would end the process."""
    outcome = yield from _run(claim, act, terms, renew)
    if terms.ended is not None:
        terms.ended(claim.letter.queue, outcome.result)
    _log.info(
        "dead_letter.redrive_ended",
        letter_id=outcome.letter_id,
        queue=claim.letter.queue,
        result=outcome.result,
        redrive=claim.letter.redrives,
        operation_id=act.operation_id,
    )
    return outcome


def _run(claim: Claim, act: Act, terms: Terms, renew: Callable[[Connection], bool] | None) -> Steps[Outcome]:
    letter = claim.letter
    renewal = renew or partial(claims.renew, letter=letter, lease=terms.lease)
    try:
        if claim.handler.transactional:
            first, last = (
                partial(claims.finish_first, letter=letter),
                partial(claims.told_redriven, letter=letter, act=act),
            )
            return (yield RunInside(claim, first, last))
        yield Run(claim, renewal, terms.lease / 3)
    except InDoubt as doubt:
        return (yield Write(partial(claims.doubt, letter=letter, act=act, detail=_told(describe(doubt)))))
    except JobFailed as error:
        detail = _told(error.failure)
        return (yield Write(partial(claims.fail, letter=letter, act=act, terms=terms, error=detail, again=True)))
    except Exception as error:  # noqa: BLE001 - becomes the letter's outcome and an event of its history
        detail = _told(describe(error))
        return (yield Write(partial(claims.fail, letter=letter, act=act, terms=terms, error=detail)))
    except BaseException as error:
        detail = _told(describe(error))
        if claim.handler.transactional:  # rolled back: it did not happen
            yield Write(partial(claims.fail, letter=letter, act=act, terms=terms, error=detail))
        else:
            yield Write(partial(claims.doubt, letter=letter, act=act, detail=detail))
        raise
    return (yield Write(partial(claims.finish, letter=letter, act=act)))


def _told(failure: Failure) -> dict[str, Any]:
    """A failure as the columns of a letter, which are also the detail of an event."""
    return {
        "error_type": failure.type,
        "error_message": storable(redact_text(failure.message)),
        "traceback": storable(redact_text(failure.traceback)),
        "fingerprint": failure.fingerprint,
    }


def _preview(
    connection: Connection, letter_ids: Sequence[str], terms: Terms, if_match: int | None, given: Given | None
) -> list[Outcome]:
    return [_would(connection, letter_id, terms, if_match, given) for letter_id in letter_ids]


def _would(connection: Connection, letter_id: str, terms: Terms, if_match: int | None, given: Given | None) -> Outcome:
    try:
        row = connection.execute(select(letters).where(letters.c.id == as_id(letter_id))).first()
    except NoSuchLetter:
        row = None
    if row is None:
        return Outcome(letter_id, claims.UNKNOWN, str(no_such(letter_id)))
    return claims.refusal(connection, row, terms, if_match, given) or Outcome(row.id, WOULD_REDRIVE)
