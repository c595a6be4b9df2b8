"""Takes parcels from a table of the database, a few at a time, and delivers them.

    python -m courier.worker enqueue 100 --broken 3
    python -m courier.worker work --metrics-port 9101
    python -m courier.worker counts
"""

import argparse
import os
import threading
import time

import structlog
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from prometheus_client import Counter, start_http_server
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, create_engine, func, insert, select, update

from unhush.runtime import DatabaseFlags, DeadLetterQueue, Heartbeats, IgnoredExceptions, Watchdog

from . import jobs

QUEUE = "parcels"
BATCH = 20  # parcels that are taken at once
DLQ, HEARTBEAT = "DLQ_ENABLED", "JOB_HEARTBEAT"
# What both flags are in the stages of a roll-out, so that each series is there before its first job.
SETTINGS = [("off", "off"), ("on 5%", "off"), ("out 5%", "off"), ("on 100%", "off")]
SETTINGS += [("on 100%", "on 5%"), ("on 100%", "out 5%"), ("on 100%", "on 100%")]

metadata = MetaData()
parcels = Table(
    "courier_parcel",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parcel", JSON, nullable=False),
    Column("status", String(16), nullable=False, server_default="waiting"),
)

engine = create_engine(os.environ.get("UNHUSH_DATABASE_URL", "sqlite:///courier.db"))
flags = api.get_client("unhush")
dlq = DeadLetterQueue(engine)
beats = Heartbeats(engine, every=2)
worked_on = Counter("jobs", "Parcels that were worked on, by what the flags said of them", ["dlq", "heartbeat"])
failed = Counter("jobs_failed", "Parcels of these that failed", ["dlq", "heartbeat"])


@dlq.dead_letter(queue=QUEUE, job_name="deliver", job_id=lambda number, parcel: str(number))
def deliver(number, parcel):
    """Delivers one parcel, and notes that it is done."""
    with beats.job(str(number), kind="deliver", deadline=300):
        jobs.deliver(parcel)
    with engine.begin() as connection:
        connection.execute(update(parcels).where(parcels.c.id == number).values(status="done"))


def setting(flag, number):
    """What a flag says of a job, as a gate counts it: `on 5%`, `out 5%`, or `off`."""
    said = flags.get_boolean_details(flag, False, EvaluationContext(targeting_key=str(number)))
    return (said.variant or "").rpartition(" v")[0] or "off"


def take():
    """The next parcels, marked as taken."""
    waiting = select(parcels).where(parcels.c.status == "waiting").order_by(parcels.c.id).limit(BATCH)
    with engine.begin() as connection:
        rows = connection.execute(waiting.with_for_update(skip_locked=True)).all()
        taken = [row.id for row in rows]
        connection.execute(update(parcels).where(parcels.c.id.in_(taken)).values(status="taken"))
        return rows


def one(row):
    """Delivers a parcel and counts it; a failed one is marked."""
    says = [setting(flag, row.id) for flag in (DLQ, HEARTBEAT)]
    try:
        deliver(row.id, row.parcel)
    except jobs.NoSuchAddress as error:
        failed.labels(*says).inc()
        print(f"parcel {row.id} failed: {error}", flush=True)
        with engine.begin() as connection:
            connection.execute(update(parcels).where(parcels.c.id == row.id).values(status="failed"))
    worked_on.labels(*says).inc()


def work(until_empty, port):
    """Works through the table: counters on a port, flags from the database, a watchdog beside it."""
    watch(port)
    while True:
        rows = take()
        for row in rows:
            one(row)
        if not rows and until_empty:
            return
        if not rows:
            time.sleep(0.2)


def watch(port):
    """What lets a roll-out see and steer this process."""
    structlog.configure(
        processors=[IgnoredExceptions(), structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    api.set_provider_and_wait(DatabaseFlags(engine), "unhush")
    for says in SETTINGS:
        worked_on.labels(*says)
        failed.labels(*says)
    dlq.export_gauges(QUEUE)
    beats.export_metrics()
    watchdog = Watchdog(engine, every=2)
    watchdog.export_metrics()
    threading.Thread(target=watchdog.run, daemon=True).start()
    if port:
        start_http_server(port, "127.0.0.1")


def enqueue(count, broken):
    """Puts parcels into the table, the last of them without an address."""
    rows = [
        {"number": number, "address": "" if number >= count - broken else "High Street 1", "printer": "http://127.0.0.1:9"}
        for number in range(count)
    ]
    with engine.begin() as connection:
        connection.execute(insert(parcels), [{"parcel": row} for row in rows])


def counts():
    """How many parcels there are in each status."""
    with engine.connect() as connection:
        return dict(connection.execute(select(parcels.c.status, func.count()).group_by(parcels.c.status)).all())


def smoke():
    """Delivers a parcel that stands in no table; raises where that fails. Safe on every database."""
    api.set_provider_and_wait(DatabaseFlags(engine), "unhush")
    deliver(0, {"number": 0, "address": "High Street 1", "printer": "http://127.0.0.1:9"})
    print(f"delivered; {setting(DLQ, 0)=} {setting(HEARTBEAT, 0)=} {counts()}")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="courier")
    acts = parser.add_subparsers(dest="act", required=True)
    working = acts.add_parser("work")
    working.add_argument("--until-empty", action="store_true")
    working.add_argument("--metrics-port", type=int, metavar="PORT")
    more = acts.add_parser("enqueue")
    more.add_argument("count", type=int)
    more.add_argument("--broken", type=int, default=0)
    more.add_argument("--every", type=float, metavar="SECONDS", help="again and again, until Ctrl-C")
    acts.add_parser("counts")
    acts.add_parser("smoke")
    asked = parser.parse_args()
    metadata.create_all(engine)
    if asked.act == "work":
        work(asked.until_empty, asked.metrics_port)
    elif asked.act == "enqueue":
        enqueue(asked.count, asked.broken)
        while asked.every:
            time.sleep(asked.every)
            enqueue(asked.count, asked.broken)
    elif asked.act == "smoke":
        smoke()
    else:
        print(counts())


if __name__ == "__main__":
    main()
