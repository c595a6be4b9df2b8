"""Dead letters on their way out of a database that loses its tables: to a file, or knowingly nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..output import Failure, Output
from ..sql import letters_kept
from ..sql.errors import SchemaProblem
from ..sql.files import Migration, dialect_named
from ..sql.session import reading

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class WayOut:
    """What was asked for: a file that is not there yet, and whether letters may be lost."""

    file: Path | None
    lose: bool

    def check(self, engine: Engine, steps: Iterable[Migration]) -> None:
        """Raises SchemaProblem where letters would be lost unasked, and Failure for a file that is there already."""
        if self.file is not None and self.file.exists():
            raise Failure(f"--export: {self.file} is there already, and is not overwritten")
        if self.lose or not _takes_letters(steps):
            return
        with engine.connect() as connection:
            query, dialect = reading(connection), dialect_named(engine.dialect.name)
            waiting, sealed = letters_kept.unsettled(dialect, query), letters_kept.sealed(dialect, query)
        if waiting and self.file is None:
            raise SchemaProblem(
                f"the database holds {letters_kept.told(waiting)}; nothing was changed: say --export FILE to keep them in"
                " a file, or --lose-letters"
            )
        if sealed and self.file is not None:
            raise SchemaProblem(
                f"{sealed:,} of the letters have an encrypted original, which no export holds; nothing was changed:"
                " redrive or discard them first, or say --lose-letters too"
            )

    def export(self, engine: Engine, steps: Iterable[Migration], output: Output) -> str | None:
        """Writes the letters to the file; what `downgrade` is to know of it. Raises Failure."""
        if self.file is None or not _takes_letters(steps):
            return letters_kept.LOSE if self.lose else None
        with engine.connect() as connection:
            query = reading(connection)
            there = letters_kept.is_there(dialect_named(engine.dialect.name), query)
            seen = letters_kept.mark(query) if there else ""
        count = _written(engine, self.file) if there else 0
        output.remark(f"exported {count:,} {'letter' if count == 1 else 'letters'} to {self.file}")
        return letters_kept.LOSE if self.lose or not there else seen


def _written(engine: Engine, file: Path) -> int:
    from ..database import needs_runtime
    from .dlq.moving import written_whole

    with needs_runtime():
        from ..runtime.dlq import DeadLetterQueue
    try:
        with DeadLetterQueue(engine.url) as queue, written_whole(file) as target:
            return queue.export(target)
    except OSError as error:
        raise Failure(f"{file} can't be written: {error.strerror or error}") from error


def _takes_letters(steps: Iterable[Migration]) -> bool:
    return any(letters_kept.TABLE in step.backout.dropped for step in steps)
