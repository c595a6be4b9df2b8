"""The dead letter that a running job would be: kept beside its row from its claim to its end, so that a job whose process
was killed can be put back to work by whoever finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select
from uuid_utils import uuid7

from . import record
from .beat_tables import job_letters
from .failure import Failure

if TYPE_CHECKING:
    from .beat_terms import Claim
    from .core import Core
    from .record import Record

BY_FENCE = 0  # as `attempts`: each run of the job is a failure of its own

_NOTHING_YET = Failure(type="", message="", traceback="", fingerprint="")


def build(core: Core, failure: Mapping[str, Any]) -> Record:
    """The record of a job that has not failed, given by the arguments of the queue's `put` without an error.

    It is redacted and encrypted as any other. Never raises.
    """
    return record.build(
        **failure,
        error=_NOTHING_YET,
        code_version=core.code_version,
        vault=core.vault,
        payload_limit=core.payload_limit,
    )


def keep_all(connection: Connection, begun: Sequence[tuple[Claim, Record | None]]) -> None:
    """Keeps the records of runs that begin, in place of those of any runs before."""
    again = [claim.id for claim, _ in begun if claim.fence > 1]
    forget_all(connection, again)
    kept = [{"job": claim.id, "fence": claim.fence, "record": record} for claim, record in begun if record is not None]
    if kept:
        connection.execute(job_letters.insert(), kept)


def forget(connection: Connection, job: str, fence: int | None = None) -> None:
    """Deletes the record of a run that ends; without its number, that of the job's last run, whose row is locked."""
    kept = job_letters.delete().where(job_letters.c.job == job)
    connection.execute(kept if fence is None else kept.where(job_letters.c.fence == fence))


def forget_all(connection: Connection, ids: Sequence[str]) -> None:
    """Deletes the records of the last runs of jobs, whose rows this transaction holds."""
    if ids:
        connection.execute(job_letters.delete().where(job_letters.c.job.in_(ids)))


def failed(connection: Connection, row: Any, error: BaseException, at: datetime) -> Record | None:
    """The record of a job's last run, which is taken for failed at that time; None where none was kept."""
    found = select(job_letters.c.record).where(job_letters.c.job == row.id)
    kept: Record | None = connection.execute(found).scalar_one_or_none()
    if kept is None:
        return None
    moment = at.isoformat()
    told = kept | {"id": str(uuid7()), "first_failed_at": moment, "failed_at": moment} | record.failure_fields(error)
    if told["attempts"] == BY_FENCE:
        told["attempts"] = row.fence
        told["identity"] = record.identity(told["queue"], told["job_id"], row.fence, (told["redrive"] or (None, 0))[1])
    return told
