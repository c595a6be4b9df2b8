"""Flags as rows of `unhush_flag`: what one says of a job, and how it is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Connection, select

from .columns import database_now
from .flag_tables import OFF, ON, flags
from .flags import PROBE, bucket


@dataclass(frozen=True, slots=True)
class FlagRow:
    """A flag's setting. With the state `off` it is off for every job, whatever its percentage."""

    name: str
    state: str
    percentage: float
    salt: str
    version: int

    @property
    def part(self) -> Fraction:
        """The part of all jobs for which it is on, from 0 to 1."""
        return Fraction(repr(float(self.percentage))) / 100 if self.state == ON else Fraction(0)

    @property
    def needs_key(self) -> bool:
        """Whether it depends on the job."""
        return 0 < self.part < 1

    def holds(self, job_id: str | None) -> bool:
        """Whether it is on for a job: for the same ones at each call, and a wider percentage only adds some.

        Without an id only 0 and 100% mean anything. The probe asks whether it is on for any.
        """
        if not self.needs_key:
            return self.part == 1
        if job_id == PROBE:
            return True
        return job_id is not None and bucket(self.salt, job_id) < self.part

    def variant(self, on: bool) -> str:
        """What is kept with a job of which this said ON or OFF: `on 5% v3`, `out 5% v3`, `off v4`."""
        if self.state == OFF:
            return f"off v{self.version}"
        return f"{'on' if on else 'out'} {self.percentage:g}% v{self.version}"


def read(connection: Connection, *, lock: bool = False) -> dict[str, FlagRow]:
    """All flags of the database, by name; with `lock` nobody else changes them until the transaction ends."""
    rows = select(flags.c.name, flags.c.state, flags.c.percentage, flags.c.salt, flags.c.version).order_by(flags.c.name)
    return {row.name: FlagRow(*row) for row in connection.execute(rows.with_for_update() if lock else rows)}


def write(
    connection: Connection, name: str, *, state: str, percentage: float, actor: str, salt: str | None = None
) -> FlagRow:
    """Sets a flag, under the next version; a flag keeps its salt where none is given (at first: its name)."""
    before = connection.execute(select(flags.c.salt, flags.c.version).where(flags.c.name == name).with_for_update())
    seen = before.one_or_none()
    values = {
        "state": state,
        "percentage": float(percentage),
        "salt": salt if salt is not None else seen.salt if seen else name,
        "version": seen.version + 1 if seen else 1,
        "changed_by": actor[:255],
        "changed_at": database_now(),
    }
    if seen is None:
        connection.execute(flags.insert().values(name=name, **values))
    else:
        connection.execute(flags.update().where(flags.c.name == name).values(**values))
    return FlagRow(name, state, float(percentage), str(values["salt"]), int(values["version"]))


def turn_off(connection: Connection, names: Iterable[str], actor: str) -> list[FlagRow]:
    """Sets flags OFF for every job; one that is so already is left as it is. Gives those that were changed."""
    known = read(connection)
    return [
        write(connection, name, state=OFF, percentage=0, actor=actor)
        for name in sorted(set(names))
        if name not in known or known[name].state != OFF
    ]
