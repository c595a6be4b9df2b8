from __future__ import annotations

import logging
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from brokenservice import broken
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from services import program

from unhush.reports import runbooks
from unhush.reports.alerts import alerts, render
from unhush.runtime import DeadLetterQueue, Heartbeats, IgnoredExceptions, Watchdog
from unhush.runtime.metrics import Metrics

HERE = Path(__file__).parent
URL = "https://runbooks.example.org/unhush"
RULES = render(URL)
NAMES = [alert.name for alert in alerts()]


def promtool(folder: Path, rules: str) -> subprocess.CompletedProcess[str]:
    """Runs every test of the rules against these."""
    tool = program("promtool")
    (folder / "unhush.rules.yml").write_text(rules)
    names = []
    for path in sorted(HERE.glob("*.yml")):
        (folder / path.name).write_text(path.read_text().replace("RUNBOOKS/", f"{URL}/"))
        names.append(path.name)
    return subprocess.run([tool, "test", "rules", *names], cwd=folder, capture_output=True, text=True, check=False)


def test_rules_are_valid_for_prometheus(tmp_path):
    """promtool accepts the file and finds all its rules in it."""
    (tmp_path / "rules.yml").write_text(RULES)
    tool = program("promtool")
    done = subprocess.run([tool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False)
    assert (done.returncode, f"{len(NAMES)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_each_alert_fires_and_does_not(tmp_path):
    """promtool's tests of firing, of not firing and of no data hold for the rules as they are."""
    done = promtool(tmp_path, RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_a_broken_alert_is_noticed(tmp_path, expression):
    """A rule that never fires, and one that always does, fails these tests, whichever it is."""
    document = yaml.safe_load(RULES)
    for rule in document["groups"][0]["rules"]:
        rule["expr"] = expression
        rule.pop("for", None)
    done = promtool(tmp_path, yaml.safe_dump(document))
    assert done.returncode == 1
    assert set(re.findall(r"alertname: ?(\w+)", done.stdout + done.stderr)) == set(NAMES)


def test_each_alert_is_tried_without_data():
    """Each alert has a test in which nothing is scraped."""
    silent = next(
        test for test in yaml.safe_load((HERE / "absent.yml").read_text())["tests"] if "input_series" not in test
    )
    assert {one["alertname"] for one in silent["alert_rule_test"]} == set(NAMES)


def test_each_alert_says_what_a_person_needs():
    """Severity, summary, what is normal, and a runbook that exists, with the alert in it."""
    document = yaml.safe_load(RULES)
    rules = document["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules] == NAMES
    for rule, alert in zip(rules, alerts(), strict=True):
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"{URL}/{alert.runbook}"
        assert alert.note.startswith("Normal: ")
        assert alert.expr == " ".join(rule["expr"].split())
        assert alert.pending == rule.get("for", "0m")
        assert alert.runbook.removesuffix(".md") in runbooks.NAMES


@pytest.mark.parametrize("address", ["", "two words", 'quo"te', "br{ace", "com#ment", "line\nbreak"])
def test_an_address_that_yaml_misreads_is_refused(address):
    """Only what YAML reads as plain text becomes part of the rules."""
    with pytest.raises(ValueError, match="address"):
        render(address)


def test_a_rewritten_rule_of_a_user_is_not_lost(tmp_path):
    """A rule file of a user's own is used, and one whose rules can't be shown in the runbooks is refused."""
    (tmp_path / "alerts").mkdir()
    own = tmp_path / "alerts" / "unhush.rules.yml"
    own.write_text(render("RUNBOOKS").replace("> 10\n", "> 50\n", 1))
    assert alerts(str(tmp_path))[0].expr.endswith("> 50")
    own.write_text("groups: [{name: a, rules: [\n{\n- alert: Other}]}]")
    with pytest.raises(ValueError, match="write each rule"):
        alerts(str(tmp_path))


@pytest.fixture
def scrape(tmp_path, monkeypatch) -> str:
    """What a process shows that has used the queue, the spool, heartbeats, the watchdog, and ignored an exception."""
    monkeypatch.setenv("FEATURE_FLAG_JOB_HEARTBEAT", "true")
    monkeypatch.setenv("UNHUSH_SPOOL", str(tmp_path / "spool"))
    url, registry = f"sqlite:///{tmp_path}/unhush.db", CollectorRegistry()
    broken(url)
    where: dict[str, Any] = {"registry": registry, "exporters": ["prometheus"]}
    with DeadLetterQueue(url, metrics=Metrics(**where)) as dlq, Heartbeats(url) as beats, Watchdog(url) as dog:
        dlq.export_gauges("mail")
        beats.export_metrics(**where)
        dog.export_metrics(**where)
        dog.run_once()
        IgnoredExceptions(**where).filter(logging.makeLogRecord({"name": "app", "msg": "save.exception_ignored"}))
        return generate_latest(registry).decode()


def test_rules_ask_for_what_is_exported(scrape):
    """Each metric of the rules, with each of its labels, is in a scrape of a real process."""
    shown: dict[str, set[str]] = {}
    values: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            shown.setdefault(sample.name, {"instance"}).update(sample.labels)
            values.setdefault(sample.name, []).append(sample.value)
    asked = [found for alert in alerts() for found in re.findall(r"(unhush_\w+)(?:\{(.*?)\})?", alert.expr)]
    assert len(asked) > 15
    for name, selectors in asked:
        assert name in shown
        assert set(re.findall(r"(\w+)=", selectors)) <= shown[name]
    for alert in alerts():
        names = re.findall(r"unhush_\w+", alert.expr)
        for labels in re.findall(r"by \(([^)]*)\)", alert.expr):
            assert set(labels.split(", ")) <= set.union(*(shown[name] for name in names))
    assert max(values["unhush_dlq_depth"]) == 12
    assert values["unhush_dlq_spool_records"] == [1]
    assert values["unhush_dlq_stopped_operations"] == [1]
    assert 'unhush_jobs{kind="mail",state="lost"} 1.0' in scrape


def test_states_of_the_rules_exist(scrape):
    """The states of jobs and letters that the rules name are states that there are."""
    from unhush.runtime.states import BAD
    from unhush.runtime.tables import STATUSES

    rules = " ".join(alert.expr for alert in alerts())
    assert set(re.search(r'state=~"([^"]+)"', rules)[1].split("|")) == set(BAD)
    assert set(re.findall(r'status="(\w+)"', rules)) <= set(STATUSES)
