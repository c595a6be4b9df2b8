"""The load test: every failed job is kept, none twice, and figures that say otherwise are not believed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rollout.webservice import serving
from services import fresh_database
from sqlalchemy import create_engine

from unhush.reports import load as report
from unhush.rollout import checks, evidence, figures, http_load, load, store
from unhush.rollout.evidence import Evidence, verdict
from unhush.runtime import DeadLetterQueue
from unhush.sql.runner import upgrade

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    who = ["-c", "user.email=dev@x.org", "-c", "user.name=Dev"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"], cwd=folder, check=True)
    return folder


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for flag in ("DLQ_ENABLED", "JOB_HEARTBEAT"):
        monkeypatch.setenv(f"FEATURE_FLAG_{flag}", "true")
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
    with fresh_database(request.param, str(tmp_path)) as made:
        engine = create_engine(made)
        upgrade(engine)
        engine.dispose()
        yield made


def test_every_failed_job_is_kept_once(root: Path, url: str) -> None:
    """With many jobs at once each that fails becomes one dead letter, and afterwards the queue is as it was."""
    many = 100 if url.startswith("postgresql") else 10
    record = load.gather(
        root, "staging/load", run_id="r", url=url, jobs=2 * many, concurrency=many, fail=0.2, p95_ms=60_000
    )
    found = verdict(record, root)
    assert found.status == "pass", found.why
    assert record.counts["failed"] == 0.4 * many
    assert record.counts["at_once"] == many
    assert evidence.read(root, "staging/load") == record
    with DeadLetterQueue(url) as dlq:
        assert not dlq.stats().depths


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_failures_that_nobody_keeps_are_seen(root: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag off every failed job is lost, and the load test says how many."""
    monkeypatch.setenv("FEATURE_FLAG_DLQ_ENABLED", "false")
    record = load.gather(root, "staging/load", run_id="r", url=url, jobs=20, concurrency=5, fail=0.5, p95_ms=60_000)
    assert verdict(record, root) == evidence.Verdict("fail", "of 10 failed jobs: 10 lost")


def made(root: Path, **changed: Any) -> Evidence:
    """The record of a load that ran well, with some of its samples changed."""
    data = {
        "queue": "q",
        "planned": 4,
        "concurrency": 2,
        "failing": [1],
        "at_once": 2,
        "kept": {"1": 1},
        "samples": [[number, 0.1 * number, 0.060, 0.050, number == 1] for number in range(4)],
        **changed,
    }
    path = f"{evidence.files_of('load')}/{load.SAMPLES}"
    store.write_text(root / path, json.dumps(data))
    record = checks.run("load", "load", ["true"], root, run_id="r", facts={"p95_ms": 50.0})
    return figures.taken(root, record, path, load.counts_of)


SLOW = [[number, 0.0, 1.0, 0.05, number == 1] for number in range(4)]


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        ({}, "pass", "all 1 that failed are kept once"),
        ({"kept": {}}, "fail", "1 lost"),
        ({"kept": {"1": 2}}, "fail", "1 twice"),
        ({"kept": {"1": 1, "3": 1}}, "fail", "1 unexpected"),
        ({"failing": [1, 2]}, "fail", "1 misjudged"),
        ({"planned": 5}, "fail", "4 of 5 planned jobs ran"),
        ({"at_once": 1}, "fail", "1 jobs ran at once, 2 were asked for"),
        ({"samples": []}, "no evidence", "0 jobs ran"),
        ({"failing": [], "kept": {}, "samples": [[0, 0.0, 0.06, 0.05, False]]}, "no evidence", "0 of them failed"),
        ({"samples": SLOW}, "fail", "more than 50 ms"),
        ({"samples": [[0]]}, "no evidence", ""),
    ],
)
def test_verdict_is_worked_out_from_the_samples(root: Path, changed: dict[str, Any], status: str, why: str) -> None:
    """Lost, double, missing and slow jobs are red, a load without jobs or failures is no evidence."""
    found = verdict(made(root, **changed), root)
    assert (found.status, why in found.why) == (status, True), found.why


def test_counts_are_not_believed(root: Path) -> None:
    """Counts written over those of the samples, and samples changed afterwards, are red."""
    record = made(root, kept={})
    forged = replace(record, counts={**record.counts, "lost": 0})
    assert verdict(forged, root).why == "the record's counts are not those of the figures that it holds"
    (root / evidence.files_of("load") / load.SAMPLES).write_text("{}", encoding="utf-8")
    assert "is not the file that was seen" in verdict(record, root).why


# -- HTTP -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.mark.skipif(not find_spec("locust"), reason="locust is not installed")  # imported, it would patch this process
def test_requests_are_made_and_judged(root: Path, host: str) -> None:
    """Locust's users get the service's paths: answers are green, errors red, and a service that is not there too."""
    gather: Callable[..., Evidence] = lambda **more: http_load.gather(  # noqa: E731
        root, "http", run_id="r", users=10, seconds=2, p95_ms=30_000, **more
    )
    good = gather(host=host)
    found = verdict(good, root)
    assert found.status == "pass", found.why
    assert good.counts["requests"] >= 10
    assert "failed" in verdict(gather(host=host, paths=("/", "/broken")), root).why
    assert "failed" in verdict(gather(host="http://127.0.0.1:9"), root).why
    many = gather(host=host, minimum=10**6)
    assert verdict(many, root).status == "no evidence"


def entry(**changed: Any) -> dict[str, Any]:
    """An entry of Locust's figures."""
    return {
        "num_requests": 3,
        "num_failures": 0,
        "response_times": {"10": 2, "900": 1},
        "num_reqs_per_sec": {"1": 2, "2": 1},
        **changed,
    }


def test_figures_of_locust_are_counted_anew() -> None:
    """Totals that are not those of their parts are refused, and 95% of the response times are counted from all entries."""
    assert http_load.counts_of([entry(), entry()]) == {"requests": 6, "failures": 0, "p95_ms": 900}
    assert http_load.counts_of([]) == {"requests": 0, "failures": 0, "p95_ms": 0}
    for forged in (entry(num_requests=300), entry(response_times={"1": 99})):
        with pytest.raises(figures.BadFigures):
            http_load.counts_of([forged])


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_and_plot(root: Path, snapshot: Any) -> None:
    """The page says the verdict and the counts, the plot has a dot for each job and a line for the limit."""
    record = made(root)
    data = store.read_json(root / evidence.files_of("load") / load.SAMPLES)
    assert report.page(verdict(record, root).why, record.counts, 50.0, "plot.svg") == snapshot(name="page")
    assert report.page("not run", None, 0.0, "") == "# Load test\n\nnot run\n"
    drawn = report.plot(data["samples"], 50.0)
    assert drawn.count("<circle") == 4
    assert drawn.count('class="failed"') == 1
    assert drawn.count('class="limit"') == 1
    assert report.plot([], 50.0).count("<circle") == 0
