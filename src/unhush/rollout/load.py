"""A load on the dead letter queue and the heartbeat: many jobs at once, a share of which fails, and what became of each.

    python -m unhush.rollout.load --jobs 2000 --concurrency 100 --fail 0.05

Prints one JSON object; `judge` works out from its samples whether a failed job was lost or kept twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from . import checks, evidence, figures, store
from .evidence import Evidence, Verdict
from .judges import not_ended

if TYPE_CHECKING:
    from ..runtime import DeadLetterQueue, Heartbeats

JOBS, CONCURRENCY, FAIL, P95_MS = 2000, 100, 0.05, 500.0
TYPICAL = 0.05  # seconds that a job takes by itself, at the median
PATIENCE = 1800.0  # seconds for the whole run
ACTOR = "unhush load test"
SAMPLES = "samples.json"
_PAGE = 500


class PlannedFailure(Exception):
    """What a job of the load raises where its plan says so."""


class Sample(NamedTuple):
    """One job: when it began and how long it took, in seconds; `own` of them were its work, the rest is ours."""

    number: int
    began: float
    took: float
    own: float
    failed: bool


class Load:
    """Runs jobs and keeps what happened to each.

    `queue` names both the dead letters' queue and the jobs' kind; it is new for each run, so that nothing else is in it.
    """

    def __init__(self, dlq: DeadLetterQueue, beats: Heartbeats, *, jobs: int, concurrency: int, fail: float) -> None:
        self.dlq, self.beats = dlq, beats
        self.concurrency = concurrency
        self.queue = f"unhush-load-{uuid4().hex[:12]}"
        draw = random.Random(self.queue)
        planned = max(1, round(jobs * fail)) if fail else 0
        self.failing = frozenset(draw.sample(range(jobs), planned))
        self.plan = [(number, min(draw.lognormvariate(0, 0.5) * TYPICAL, 2.0)) for number in range(jobs)]
        self._gate = threading.Barrier(min(concurrency, jobs) + 1)
        self._at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._started = 0.0

    def run(self) -> list[Sample]:
        """Runs all jobs. As many as there are workers start together; then each takes the next as soon as it is free."""
        guarded = self.dlq.dead_letter(queue=self.queue, job_name="load", job_id=lambda number, own: str(number))(
            self._work
        )
        waiting = iter(self.plan)
        with ThreadPoolExecutor(self.concurrency) as pool:
            workers = [pool.submit(self._worker, guarded, waiting) for _ in range(self._gate.parties - 1)]
            self._started = time.perf_counter()
            self._gate.wait()
            return sorted(sample for worker in workers for sample in worker.result())

    def kept(self) -> Counter[str]:
        """How many letters there are of each job, once the spool is in the database."""
        self.dlq.drain()
        return Counter(str(job_id) for job_id in self._job_ids())

    def clean_up(self) -> None:
        """Takes the letters of this run out of the queue; its history keeps that they were there."""
        from ..runtime import Filter

        mine = Filter(queue=self.queue)
        self.dlq.bulk("discard", mine, actor=ACTOR, reason="made by a load test")
        self.dlq.purge(mine, actor=ACTOR, reason="made by a load test", unseen=True)

    def _worker(self, guarded: Any, waiting: Iterator[tuple[int, float]]) -> list[Sample]:
        self._gate.wait()
        samples = []
        while (item := self._next(waiting)) is not None:
            samples.append(self._one(guarded, *item))
        return samples

    def _next(self, waiting: Iterator[tuple[int, float]]) -> tuple[int, float] | None:
        with self._lock:
            return next(waiting, None)

    def _one(self, guarded: Any, number: int, own: float) -> Sample:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        began = time.perf_counter()
        failed = False
        try:
            guarded(number, own)
        except PlannedFailure:
            failed = True
        took = time.perf_counter() - began
        with self._lock:
            self._at_once -= 1
        return Sample(number, round(began - self._started, 4), round(took, 6), round(own, 6), failed)

    def _work(self, number: int, own: float) -> None:
        with self.beats.job(str(number), kind=self.queue):
            time.sleep(own)
            if number in self.failing:
                raise PlannedFailure(f"job {number} of the load test fails as planned")

    def _job_ids(self) -> Iterator[str | None]:
        cursor = None
        while True:
            page = self.dlq.list(queue=self.queue, status=None, limit=_PAGE, cursor=cursor)
            yield from (letter.job_id for letter in page.letters)
            cursor = page.cursor
            if cursor is None:
                return


def gather(
    root: Path,
    name: str,
    *,
    run_id: str,
    url: str,
    jobs: int = JOBS,
    concurrency: int = CONCURRENCY,
    fail: float = FAIL,
    p95_ms: float = P95_MS,
    environment: str | None = None,
) -> Evidence:
    """Runs the load on the database at `url` in a process of its own, and writes its record of kind "load".

    Raises RolloutProblem where the record can't be written.
    """
    arguments = ["--jobs", str(jobs), "--concurrency", str(concurrency), "--fail", str(fail), "--p95-ms", str(p95_ms)]
    samples = f"{evidence.files_of(name)}/{SAMPLES}"
    command = [sys.executable, "-m", "unhush.rollout.load", *arguments, "--out", samples]
    record = checks.run(
        name,
        "load",
        command,
        root,
        run_id=run_id,
        timeout=PATIENCE,
        shown=["python", *command[1:]],
        facts={"p95_ms": p95_ms},
        environment=environment,
        env={"UNHUSH_DATABASE_URL": url},
    )
    return figures.taken(root, record, samples, counts_of)


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where each failed job is kept once, no other is, enough ran at once, and ours cost little time."""
    path = f"{evidence.files_of(record.name)}/{SAMPLES}"
    if red := not_ended(record) or figures.wrong(root, record, path, counts_of):
        return red
    data, counts = store.read_json(store.within(root, path)), record.counts
    if not counts["jobs"] or not counts["failed"]:
        return Verdict("no evidence", f"{counts['jobs']} jobs ran, {counts['failed']} of them failed: too few to tell")
    if counts["jobs"] < data["planned"]:
        return Verdict("fail", f"{counts['jobs']} of {data['planned']} planned jobs ran")
    wrong = [f"{counts[word]} {word}" for word in ("lost", "twice", "unexpected", "misjudged") if counts[word]]
    if wrong:
        return Verdict("fail", f"of {counts['failed']} failed jobs: {', '.join(wrong)}")
    if counts["at_once"] < data["concurrency"]:
        return Verdict("fail", f"{counts['at_once']} jobs ran at once, {data['concurrency']} were asked for")
    p95 = counts["p95_us"] / 1000
    if p95 > float(record.facts["p95_ms"]):
        return Verdict("fail", f"ours took {p95:.1f} ms of a job at p95, more than {record.facts['p95_ms']:g} ms")
    return Verdict(
        "pass",
        f"{counts['jobs']} jobs, {counts['at_once']} at once; all {counts['failed']} that failed are kept once; "
        f"ours took {p95:.1f} ms of a job at p95",
    )


def counts_of(data: dict[str, Any]) -> dict[str, int]:
    """The counts of a file of samples: jobs, failures, what became of them, and what ours cost in microseconds."""
    samples = [Sample(*item) for item in data["samples"]]
    failed = {str(one.number) for one in samples if one.failed}
    planned = set(map(str, data["failing"]))
    kept = Counter({str(job_id): int(times) for job_id, times in data["kept"].items()})
    extra = sorted(one.took - one.own for one in samples)
    return {
        "jobs": len({one.number for one in samples}),
        "failed": len(failed),
        "misjudged": len(failed ^ (planned & {str(one.number) for one in samples})),
        "lost": len(failed - kept.keys()),
        "twice": sum(times > 1 for times in kept.values()),
        "unexpected": len(kept.keys() - failed),
        "at_once": int(data["at_once"]),
        **{f"p{share}_us": _percentile(extra, share) for share in (50, 95, 99)},
        "max_us": _percentile(extra, 100),
    }


def _percentile(values: Sequence[float], share: int) -> int:
    """The value below which that share of the sorted values lies, in microseconds; 0 for none."""
    if not values:
        return 0
    return round(max(values[min(len(values) - 1, len(values) * share // 100)], 0.0) * 1e6)


def main() -> None:
    """The command line of the generator."""
    parser = argparse.ArgumentParser(prog="python -m unhush.rollout.load", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("UNHUSH_DATABASE_URL"), help="the database")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY)
    parser.add_argument("--fail", type=float, default=FAIL, help="the share of jobs that fail")
    parser.add_argument("--p95-ms", type=float, default=P95_MS, help="what ours may take of a job at p95; judged later")
    parser.add_argument("--out", type=Path, help="where the samples go (default: stdout)")
    asked = parser.parse_args()
    if not asked.url or asked.jobs < 1 or asked.concurrency < 1 or not 0 <= asked.fail <= 1:
        parser.error("give --url or UNHUSH_DATABASE_URL, at least 1 job and 1 at once, and --fail from 0 to 1")
    data = _carried_out(asked)
    if asked.out:
        store.write_text(asked.out, json.dumps(data) + "\n")
        print(json.dumps({"queue": data["queue"], **counts_of(data)}, indent=2))
    else:
        print(json.dumps(data))


def _carried_out(asked: argparse.Namespace) -> dict[str, Any]:
    from openfeature import api
    from sqlalchemy import create_engine

    from ..runtime import DeadLetterQueue, Heartbeats
    from ..runtime.flag_provider import DatabaseFlags

    engine = create_engine(asked.url, pool_size=min(asked.concurrency, 20), max_overflow=10, pool_timeout=60)
    # Flags of the database hold, where it has any; else the environment's do.
    api.set_provider_and_wait(DatabaseFlags(engine), "unhush")
    with DeadLetterQueue(engine) as dlq:
        beats = Heartbeats(engine)
        load = Load(dlq, beats, jobs=asked.jobs, concurrency=asked.concurrency, fail=asked.fail)
        samples = load.run()
        kept = load.kept()
        load.clean_up()
        beats.close()
    engine.dispose()
    return {
        "queue": load.queue,
        "planned": asked.jobs,
        "concurrency": min(asked.concurrency, asked.jobs),
        "failing": sorted(load.failing),
        "at_once": load.most_at_once,
        "kept": dict(kept),
        "samples": samples,
    }


if __name__ == "__main__":
    main()
