"""A service with trouble of every kind, and one that is well, as alerts and runbooks meet them."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta

from deadletters import add_many
from sqlalchemy import Engine, update
from uuid_utils import uuid7

from unhush.runtime import BulkOptions, DeadLetterQueue, Filter, Watchdog, acts, beats
from unhush.runtime.beat_tables import jobs, processes, watchdogs
from unhush.runtime.beats import Process, Terms
from unhush.runtime.core import default_spool_folder
from unhush.runtime.engine import make_engine
from unhush.sql.runner import upgrade

UNREACHABLE = "postgresql+psycopg://nobody@127.0.0.1:1/none"


def well(url: str) -> None:
    """A database that is up to date, and on which a watchdog has just looked."""
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    with Watchdog(url) as watchdog:
        watchdog.run_once()


def broken(url: str) -> None:
    """Twelve dead letters, a bulk redrive that stopped, a lost job, a silent watchdog, and a failure in the spool."""
    well(url)
    with DeadLetterQueue(url) as dlq:
        add_many(dlq, [{"job_id": str(number)} for number in range(12)])
        dlq.register("mail", _fails)
        dlq.bulk("redrive", Filter(queue="mail"), actor="test", options=BulkOptions(window=3, stop_share=0.1))
        lost_job(dlq.engine)
    with DeadLetterQueue(UNREACHABLE, spool=default_spool_folder(url)) as away:
        away.put(queue="mail", job_name="send", error=ValueError("no such address"))


def lost_job(engine: Engine) -> None:
    """A job that has not beaten for ten minutes, and a watchdog that has not looked for as long."""
    process = Process(id=str(uuid7()), name=None, host=socket.gethostname(), pid=os.getpid(), every=15.0)
    acts.write(engine, beats.beat_process, process, None)
    acts.write(engine, beats.claim, Terms(kind="mail", job_id="42"), process)
    age(engine)


def age(engine: Engine) -> None:
    """Nobody has beaten or looked for ten minutes, and nobody has seen that yet."""
    old = datetime.now(UTC) - timedelta(minutes=10)
    with engine.begin() as connection:
        unseen = {"suspected_at": None, "suspected_state": None, "reported_state": None}
        connection.execute(update(jobs).values(beat_at=old, progress_at=old, **unseen))
        connection.execute(update(processes).values(beat_at=old))
        connection.execute(update(watchdogs).values(last_run_at=old, lease_until=old, gap=15.0))


def _fails(letter: object) -> None:
    raise ValueError("no such customer")
