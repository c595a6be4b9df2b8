"""Letters to a file and back, and from the spool into the database."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from ...output import Failure
from .desk import DONE, REFUSED, Desk, on_queue
from .options import actor_option, filter_of, filter_options, reason_option

if TYPE_CHECKING:
    from ...runtime.spool import Drained

STDIO = "-"


@click.command("export")
@filter_options
@click.option("-o", "--output", "target", default=STDIO, metavar="FILE", help="Where to (default: stdout).")
@on_queue()
def export_letters(desk: Desk, /, target: str, **given: Any) -> int:
    """Writes letters that match as lines of JSON, with payloads as they may be shown and their history.

    A file is written whole or not at all, and only you may read it.
    """
    asked = filter_of(given)
    if target == STDIO:
        count = desk.queue.export(cast(IO[str], _Lines(desk.write)), asked)
    else:
        try:
            with written_whole(Path(target)) as file:
                count = desk.queue.export(file, asked)
        except OSError as error:
            raise Failure(f"{Path(target)} can't be written: {error.strerror or error}") from error
    if desk.as_json and target != STDIO:
        desk.tell({"exported": count}, [])
    else:
        desk.output.remark(f"exported {_count(count, 'letter')}")
    return DONE


@contextmanager
def written_whole(target: Path) -> Iterator[IO[str]]:
    """A text file that takes the target's place, of mode 0600 and on the disk, unless an error is raised.

    Raises OSError; also where the target is there and no file, for a folder, a pipe or a device is not to be replaced.
    """
    from ...runtime.disk import sync_folder

    if target.exists() and not target.is_file():
        raise OSError("it is there, and is no regular file")
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
        sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


class _Lines:
    """As much of a text file as an export needs."""

    def __init__(self, write: Callable[[Iterable[str]], None]) -> None:
        self.writelines = write


@click.command("import")
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@actor_option
@reason_option
@on_queue()
def import_letters(desk: Desk, /, source: str, actor: str, reason: str | None) -> int:
    """Stores the letters of an exported FILE that are not there yet; `-` is stdin.

    Exits with 0 when each line was stored or there, 1 where a line can't be read; the others are stored all the same.
    """
    name = "<stdin>" if source == STDIO else source
    try:
        with sys.stdin.buffer if source == STDIO else open(source, "rb") as file:
            done = desk.queue.import_(_decoded(file), actor=actor, reason=reason)
    except OSError as error:
        raise Failure(f"{name} can't be read: {error.strerror}") from error
    for broken in done.broken:
        desk.output.error(f"{name}:{broken.line}: {broken.problem}")
    told = f"stored {_count(done.stored, 'letter')}, {done.present:,} there already, {len(done.broken):,} broken\n"
    desk.tell(done, [told])
    return REFUSED if done.broken else DONE


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """The lines as text. One that is not UTF-8 as what Python calls it, which is no JSON: it is told as broken."""
    for line in lines:
        try:
            yield line.decode()
        except UnicodeDecodeError:
            yield repr(line)


@click.command("drain")
@on_queue(spool=True)
def drain_spool(desk: Desk, /) -> int:
    """Puts what waits in this host's spool into the database.

    Exits with 0 when all of it is there, 1 where records were kept, set aside or left to another process.
    """
    desk.queue.list(limit=1)  # no database, or no table in it: said before anything is tried
    drained = desk.queue.drain()
    desk.tell(drained, [_drained(drained)])
    return REFUSED if drained.kept or drained.corrupt or drained.refused or drained.skipped else DONE


def _drained(drained: Drained) -> str:
    words = {
        "kept": "still waiting",
        "corrupt": "corrupt and set aside",
        "refused": "refused and set aside",
    }
    counts = asdict(drained)
    parts = [f"{counts[name]:,} {said}" for name, said in words.items() if counts[name]]
    if drained.skipped:
        parts.append(f"{_count(drained.skipped, 'file')} left alone")
    return ", ".join([f"stored {_count(drained.stored, 'record')}", *parts]) + "\n"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
