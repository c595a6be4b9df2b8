"""Which environment a database belongs to: written into the database itself, so that no option can say otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import IntegrityError

from ..runtime.columns import database_now
from ..runtime.flag_tables import MIGRATION, environments
from ..sql.runner import apply_apart, back_out_apart
from . import approvals, audit, git, plan, settings
from .errors import Refused

if TYPE_CHECKING:
    from sqlalchemy import Engine

PRODUCTION = "production"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Environment:
    """A database's environment. Where it is gated, migrations and stages need approvals."""

    name: str
    gated: bool


def valid_name(name: str) -> bool:
    """Whether an environment may be called so: it names a folder of approvals too."""
    return bool(_NAME.match(name))


def read(connection: Connection, gated: Iterable[str] = ()) -> Environment | None:
    """The environment of a database; None where it was given no name.

    It is gated where it was when it was named, and where `gated`, the setting as it is now, lists it.
    """
    if not inspect(connection).has_table(environments.name):
        return None
    row = connection.execute(select(environments.c.name, environments.c.gated)).one_or_none()
    return None if row is None else Environment(row.name, bool(row.gated) or row.name in {PRODUCTION, *gated})


def of(engine: Engine, gated: Iterable[str] = ()) -> Environment | None:
    """The same for an engine."""
    with engine.connect() as connection:
        return read(connection, gated)


def demand(engine: Engine, gated: Iterable[str] = ()) -> Environment:
    """The environment of a database. Raises Refused where it has none."""
    found = of(engine, gated)
    if found is None:
        raise Refused("this database has no name: run `unhush rollout init --environment NAME` first")
    return found


def name(engine: Engine, wanted: str, actor: str, gated: Iterable[str] = (PRODUCTION,)) -> bool:
    """Makes the roll-out's tables and writes the name; False where it was there. Raises Refused for another name.

    Raises SchemaProblem where the tables can't be made. A name is never changed: that would open a gate.
    """
    _refuse_other(of(engine), wanted)
    apply_apart(engine, MIGRATION)
    row = {"id": 1, "name": wanted, "gated": wanted in {PRODUCTION, *gated}, "set_by": actor[:255]}
    try:
        with engine.begin() as connection:
            if read(connection) is None:
                connection.execute(environments.insert().values(**row, set_at=database_now()))
                return True
    except IntegrityError:
        pass  # another operator wrote it at this moment: which name, is looked at next
    _refuse_other(of(engine), wanted)
    return False


def _refuse_other(found: Environment | None, wanted: str) -> None:
    if found is not None and found.name != wanted:
        raise Refused(f"this database is {found.name!r} already, and can't become {wanted!r}")


def remove(engine: Engine) -> bool:
    """Drops the roll-out's tables with all that is in them; False where they are not there.

    Raises SchemaProblem while a roll-out runs or a flag of it is on.
    """
    return back_out_apart(engine, MIGRATION)


def demand_approvals(engine: Engine, act: str) -> None:
    """Raises Refused on a gated database until all approvals of the plan stand; elsewhere it does nothing.

    The plan is that of the project in the working folder, where the refusal is written down too.
    """
    found = of(engine)
    if found is None:
        return
    known = settings.load(Path.cwd())
    root = known.root
    if not found.gated and found.name not in known.gated:
        return
    try:
        lacking = approvals.missing(root, plan.read(root), found.name)
    except Refused as refusal:
        lacking = [refusal.message]
    if lacking:
        audit.append(root, f"{act}.refused", git.mail(root), environment=found.name, why=lacking[0])
        more = f" (and {len(lacking) - 1} more: `unhush rollout status`)" if len(lacking) > 1 else ""
        raise Refused(f"{found.name}: {lacking[0]}{more}")
    audit.append(root, act, git.mail(root), environment=found.name)


def note(engine: Engine, act: str, **facts: object) -> None:
    """Writes an act on a gated database that needs no approval into the audit log: a way back is open, not unseen."""
    found = of(engine)
    if found is not None and found.gated:
        root = settings.load(Path.cwd()).root
        audit.append(root, act, git.mail(root), environment=found.name, **facts)
