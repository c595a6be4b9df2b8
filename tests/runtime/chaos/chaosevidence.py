"""What the chaos left behind, and which of the queue's promises it breaks.

The job programs note each failure in a journal of their own, synced to disk, before they capture it; handlers leave a
row of `ledger` in the letter's own transaction, or a line in a file of what was sent. All that is held against the
letters and their history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# From which statuses an event may come, and where it leads; None where its detail says so.
MOVES: dict[str, tuple[frozenset[str], str | None]] = {
    "captured": (frozenset({""}), "dead"),
    "redriving": (frozenset({"dead"}), "redriving"),
    "redriven": (frozenset({"redriving"}), "redriven"),
    "redrive_failed": (frozenset({"redriving"}), None),
    "failed_again": (frozenset({"redriving", "redriven", "in_doubt"}), None),
    "in_doubt": (frozenset({"redriving"}), "in_doubt"),
    "reaped": (frozenset({"redriving"}), None),
}
STILL = frozenset({"late_result", "late_failure", "refused"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Letters and events as rows; ids of letters from `ledger`; what was noted, answered and sent."""

    letters: Sequence[Any]
    events: Sequence[Any]
    ledger: Sequence[str]
    noted: frozenset[str] = frozenset()  # job ids that failed
    noted_again: frozenset[tuple[str, int]] = frozenset()  # letter and redrive of jobs that failed after being sent
    sent: Sequence[tuple[str, int]] = ()  # letter and redrive, for each job sent


@dataclass(slots=True)
class Verdict:
    """What was found, and each promise that was broken, in a line."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdict:
    """Holds the evidence against every promise."""
    verdict = Verdict()
    history: dict[str, list[Any]] = defaultdict(list)
    for event in evidence.events:
        history[event.letter_id].append(event)
    verdict.broken += _captures(evidence, history, verdict.counts)
    for letter in evidence.letters:
        verdict.broken += _replayed(letter, history[letter.id])
        verdict.counts[letter.status] += 1
    verdict.broken += _transactional(evidence, verdict.counts)
    verdict.broken += _sent(evidence, history, verdict.counts)
    return verdict


def _captures(evidence: Evidence, history: dict[str, list[Any]], counts: Counter[str]) -> Iterator[str]:
    """Each failure is one letter, and each failure of a redriven job is in its letter's history."""
    letters = Counter(letter.job_id for letter in evidence.letters)
    again = Counter(
        (letter_id, event.detail["redrive"], event.kind)
        for letter_id, events in history.items()
        for event in events
        if event.kind in ("failed_again", "late_failure")
    )
    counts["failures noted"] = len(evidence.noted) + len(evidence.noted_again)
    for job_id in evidence.noted:
        if not letters[job_id]:
            counts["lost"] += 1
            yield f"lost: {job_id} failed and has no letter"
    for letter_id, redrive in evidence.noted_again:
        if not again[letter_id, redrive, "failed_again"] + again[letter_id, redrive, "late_failure"]:
            counts["lost"] += 1
            yield f"lost: redrive {redrive} of {letter_id} failed and its history does not say so"
    for job_id, number in letters.items():
        if number > 1:
            counts["duplicated"] += 1
            yield f"duplicated: {job_id} has {number} letters"
        if job_id not in evidence.noted:
            yield f"invented: nobody noted the failure of {job_id}"
    for (letter_id, redrive, kind), number in again.items():
        if kind == "failed_again" and number > 1:
            counts["duplicated"] += 1
            yield f"duplicated: redrive {redrive} of {letter_id} failed {number} times"


def _replayed(letter: Any, events: Sequence[Any]) -> Iterator[str]:
    """The letter is what its history makes of it, and its fencing number only grew."""
    status, fence, redrives = "", -1, 0
    for event in events:
        if event.kind in STILL:
            continue
        origins, to = MOVES[event.kind]
        if status not in origins:
            yield f"impossible: {event.kind} of {letter.id} while it was {status!r}"
        if event.fence != fence + 1:
            yield f"fence: {event.kind} of {letter.id} has {event.fence} after {fence}"
        if event.kind == "reaped" and event.detail["status"] == "dead" and not letter.transactional:
            yield f"in doubt: the cut-off redrive of {letter.id} was taken for one that did not happen"
        status, fence = to or event.detail["status"], event.fence
        redrives += event.kind == "redriving"
    if (status, fence, redrives) != (letter.status, letter.fence, letter.redrives):
        found = (letter.status, letter.fence, letter.redrives)
        yield f"unexplained: {letter.id} is {found}, its history says {(status, fence, redrives)}"
    if status == "redriving":
        yield f"stuck: {letter.id} is still redriving"


def _transactional(evidence: Evidence, counts: Counter[str]) -> Iterator[str]:
    """Where the handler is transactional, its work is there once if the letter is redriven, and else not at all."""
    ran = Counter(evidence.ledger)
    counts["redriven in one transaction"] = len(ran)
    for letter in evidence.letters:
        if not letter.queue.startswith("ledger"):
            continue
        wanted, found = int(letter.status == "redriven"), ran.pop(letter.id, 0)
        counts["redriven twice"] += found > 1
        if found != wanted:
            yield f"exactly once: {letter.id} is {letter.status} and its job ran {found} times"
    for letter_id, number in ran.items():
        yield f"exactly once: the ledger has {number} rows of {letter_id}, which is no such letter"


def _sent(evidence: Evidence, history: dict[str, list[Any]], counts: Counter[str]) -> Iterator[str]:
    """No redrive is sent twice, what is marked as redriven was sent, and what was cut off after sending is in doubt."""
    sent = Counter(evidence.sent)
    counts["sent"] = len(sent)
    for (letter_id, redrive), number in sent.items():
        if number > 1:
            counts["sent twice"] += 1
            yield f"sent twice: redrive {redrive} of {letter_id}"
    for letter in evidence.letters:
        if not letter.queue.startswith("broker"):
            continue
        redrive = 0
        for event in history[letter.id]:
            redrive += event.kind == "redriving"
            was_sent = (letter.id, redrive) in sent
            if event.kind == "redriven" and not was_sent:
                yield f"unsent: redrive {redrive} of {letter.id} is marked as done"
            if event.kind == "redrive_failed" and was_sent:
                yield f"in doubt: redrive {redrive} of {letter.id} was sent, and marked as failed"
            if event.kind == "reaped" and was_sent:
                counts["cut off after sending"] += 1
                counts["of those in doubt"] += event.detail["status"] == "in_doubt"
