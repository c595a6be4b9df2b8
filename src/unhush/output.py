"""Where results and remarks go: results to stdout, remarks and progress to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

import click

T = TypeVar("T")

BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended: none of the documented codes
_PROGRESS_AFTER = 0.5
_PROGRESS_EVERY = 0.1


class Failure(click.ClickException):
    """Something that ends the run with exit code 2; the text is one line for the user."""

    exit_code = 2


class Output:
    """The two streams of one run; `quiet` leaves out remarks and progress, never errors."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a name or excerpt that the terminal can't show must not end the run
                stream.reconfigure(errors="backslashreplace")
        self._progress_shown = False

    @property
    def color(self) -> bool:
        """Whether results may be coloured."""
        return may_color(sys.stdout)

    def write(self, chunks: Iterable[str]) -> None:
        """Writes results as they come. Ends the run where stdout is closed or full."""
        for chunk in chunks:
            self._clear_progress()
            _put(sys.stdout.write, chunk)
        _put(sys.stdout.flush)

    def write_bytes(self, data: bytes) -> None:
        """Writes a result that is no text of ours (a diff of a file in any encoding)."""
        self._clear_progress()
        _put(sys.stdout.flush)
        _put(sys.stdout.buffer.write, data)
        _put(sys.stdout.buffer.flush)

    def error(self, text: str) -> None:
        """One line about something that went wrong."""
        self._clear_progress()
        print(f"error: {text}", file=sys.stderr)

    def remark(self, text: str) -> None:
        """A line about the run (a summary, a hint)."""
        self._clear_progress()
        if text and not self.quiet:
            print(text, file=sys.stderr)

    def progress(self, items: Iterable[T], verb: str) -> Iterator[T]:
        """Passes the items on, one a file; shows on a terminal how many are done, once that takes a while."""
        if self.quiet or not sys.stderr.isatty():
            yield from items
            return
        due = time.monotonic() + _PROGRESS_AFTER
        for done, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) >= due:
                due = now + _PROGRESS_EVERY
                print(f"\r\033[K{verb} {done:,} files", end="", file=sys.stderr, flush=True)
                self._progress_shown = True
        self._clear_progress()

    def _clear_progress(self) -> None:
        if self._progress_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._progress_shown = False


def may_color(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody asked for none (NO_COLOR)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _put(write: Callable[..., object], *chunk: str | bytes) -> None:
    """Writes to stdout. Ends the run where that fails: quietly where the reader has gone, else with one line."""
    try:
        write(*chunk)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter fails again on exit
        if isinstance(error, BrokenPipeError):
            raise SystemExit(BROKEN_PIPE) from error
        raise Failure(f"stdout can't be written: {error.strerror}") from error
