"""Asks the database's flags as a service does, and prints what they say: once, or until they are OFF.

Run as `python -m unhush.rollout.flag_watch [--until-off SECONDS]`; the database is `$UNHUSH_DATABASE_URL`. The last line
is JSON: how many jobs were asked about, for how many each flag is on, and by the database's clock how many seconds after
its row was changed the last of them was seen OFF.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from ..runtime.flags import Flag
from .flag_probe import FLAGS, JOBS

READY = "ready"
LOOK_SECONDS = 0.05
_JOB = "job-0"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m unhush.rollout.flag_watch", description=__doc__)
    parser.add_argument("--until-off", type=float, metavar="SECONDS", help="wait until no flag is on, so long at most")
    asked = parser.parse_args()
    _ask_database()
    data = {"jobs": JOBS, "on": _on(), "off_after": None}
    if asked.until_off is not None:
        print(READY, flush=True)
        ends = time.monotonic() + asked.until_off
        while any(Flag(key).on(_JOB) for key in FLAGS) and time.monotonic() < ends:
            time.sleep(LOOK_SECONDS)
        data["off_after"] = _since_change()
    print(json.dumps(data, sort_keys=True), flush=True)


def _since_change() -> float | None:
    """Seconds since the flags' rows were changed, by the database's clock; None where a flag is still on."""
    from sqlalchemy import func, select

    from ..runtime.beats import read_clock
    from ..runtime.engine import make_engine
    from ..runtime.flag_tables import flags

    if any(Flag(key).on(_JOB) for key in FLAGS):
        return None
    engine = make_engine(None)
    with engine.connect() as connection:
        changed = connection.execute(select(func.max(flags.c.changed_at))).scalar_one()
        since = (read_clock(connection) - changed).total_seconds()
    engine.dispose()
    return round(max(0.0, since), 3)


def _ask_database() -> None:
    import structlog
    from openfeature import api

    from ..runtime.flag_provider import DatabaseFlags

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    api.set_provider_and_wait(DatabaseFlags(), "unhush")


def _on() -> dict[str, int]:
    return {key: sum(flag.on(f"job-{number}") for number in range(JOBS)) for key in FLAGS for flag in [Flag(key)]}


if __name__ == "__main__":
    main()
