"""Figures that a check leaves in a JSON file: taken into its record, and counted anew whenever it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import evidence, store
from .evidence import Evidence, Verdict

Counter = Callable[[Any], dict[str, int]]


class BadFigures(Exception):
    """A file of figures that contradicts itself or has another form; the text is one line."""


def taken(root: Path, record: Evidence, path: str, counts_of: Counter) -> Evidence:
    """The record with that file as an output and the counts of it, written anew; as it was where there is no file.

    Raises RolloutProblem where the record can't be written.
    """
    if not store.within(root, path).is_file():
        return record
    try:
        counts = counts_of(store.read_json(store.within(root, path)))
    except (BadFigures, LookupError, TypeError, ValueError) as error:
        return _written(root, replace(record, facts={**record.facts, "figures_problem": f"{path}: {error}"}))
    return _written(root, replace(record, outputs={**record.outputs, **store.hashes(root, [path])}, counts=counts))


def wrong(root: Path, record: Evidence, path: str, counts_of: Counter) -> Verdict | None:
    """A verdict where the record does not hold the file, or its counts are not those of the file; else None."""
    if path not in record.outputs:
        return Verdict("no evidence", str(record.facts.get("figures_problem", "the check left no figures")))
    try:
        counts = counts_of(store.read_json(store.within(root, path)))
    except BadFigures as error:
        return Verdict("fail", f"{path}: {error}")
    if counts != record.counts:
        return Verdict("fail", "the record's counts are not those of the figures that it holds")
    return None


def _written(root: Path, record: Evidence) -> Evidence:
    evidence.write(root, record)
    return record
