"""What a dry run tries: the pending migrations, or a user's own files, each with what takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...output import Failure
from ...sql.files import Migration, Script
from ...sql.statements import split

BACKOUT = ".backout.sql"


@dataclass(frozen=True)
class Step:
    """One file to try. `migration` is None for a file that the runner's history knows nothing of."""

    label: str
    up: Script
    down: Script | None
    migration: Migration | None = None

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.label}.sql"

    def script(self, direction: str) -> Script:
        """The file for `up`, or for `down`. Raises LookupError where there is no way back."""
        script = self.up if direction == "up" else self.down
        if script is None:
            raise LookupError(f"{self.label} has no backout")
        return script

    def facts(self, dialect: str) -> dict[str, object]:
        """What the report says of the files."""
        return {
            "migration": self.label,
            "sha256": sha256(self.up.data).hexdigest(),
            "backout_sha256": sha256(self.down.data).hexdigest() if self.down else None,
            "in_transaction": self.up.in_transaction,
            "own_file": self.migration is None,
            "statements": len(split(self.up.text, dialect)),
            "backout_statements": len(split(self.down.text, dialect)) if self.down else None,
        }


def of_migrations(found: Sequence[Migration]) -> list[Step]:
    """The steps of migrations."""
    return [Step(migration.label, migration.script, migration.backout, migration) for migration in found]


def of_files(paths: Sequence[Path]) -> list[Step]:
    """The steps of a user's own files; `NAME.backout.sql` beside `NAME.sql` takes it back.

    Raises Failure for a file that can't be read, is not UTF-8, or has the name of another.
    """
    steps: list[Step] = []
    for path in paths:
        if path.name.endswith(BACKOUT):
            raise Failure(f"{path}: name the file that it takes back; a backout is found beside it")
        backout = path.with_name(path.name.removesuffix(".sql") + BACKOUT)
        step = Step(path.name.removesuffix(".sql"), _read(path), _read(backout) if backout.exists() else None)
        if step.label in {other.label for other in steps}:
            raise Failure(f"{path}: another file has the same name")
        steps.append(step)
    return steps


def _read(path: Path) -> Script:
    try:
        script = Script(path.read_bytes())
        _ = script.text
    except OSError as error:
        raise Failure(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from error
    return script
