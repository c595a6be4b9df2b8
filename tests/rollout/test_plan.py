from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.rollout import git, plan, settings, store
from unhush.rollout.errors import Refused, RolloutProblem

PLAN = {
    "schema": 1,
    "plan_id": "one",
    "created_at": "2026-01-02T03:04:05+00:00",
    "commit": "a" * 40,
    "base": "b" * 40,
    "tool_version": "1.0",
    "migrations": [{"label": "001_x", "dialect": "sqlite", "sha256": "c" * 64, "backout_sha256": "d" * 64}],
    "flags": {"DLQ_ENABLED": {"salt": "1f", "stages": ["off", 5.0]}},
    "stages": [{"soak": 900, "gates": [{"threshold": 10}]}],
    "schedule": {"start": "Monday"},
    "documents": {"runbooks/a.md": "e" * 64},
    "allowed_signers": "f" * 64,
    "evidence": {"tests": "0" * 64},
    "staging": {"staging/load": "1" * 64},
    "unsigned": False,
}


def leaves(value, path=()):
    """The place of every plain value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in leaves(inner, (*path, key))] or [path]


def changed(value, path):
    """A copy with another value at that place."""
    if not path:
        return not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else value + 1
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:])
    return copy


@pytest.mark.parametrize("path", leaves(PLAN), ids=lambda path: ".".join(map(str, path)))
def test_the_digest_covers_everything(path):
    """Any value of the plan, changed, makes another digest; the same plan has the same one."""
    assert plan.digest(changed(PLAN, path)) != plan.digest(PLAN)
    assert plan.digest(dict(reversed(PLAN.items()))) == plan.digest(PLAN)


@given(st.sampled_from(sorted(PLAN)))
def test_a_plan_without_one_of_its_parts_is_none(key):
    """Each part must be there: what is left out is not taken for empty."""
    assert plan._wrong({name: value for name, value in PLAN.items() if name != key}) == "is no plan of this version"
    assert plan._wrong(PLAN) is None


def test_a_plan_is_read_as_it_was_written(tmp_path):
    """Write and read are each other's inverse, and no plan at all is refused with the command that makes one."""
    with pytest.raises(Refused, match="run `unhush rollout prepare`"):
        plan.read(tmp_path)
    plan.write(tmp_path, PLAN)
    assert plan.read(tmp_path) == PLAN


def test_a_plan_that_says_the_same_keeps_its_id(tmp_path):
    """An id and a date of its own do not make another plan; anything else does."""
    plan.write(tmp_path, PLAN)
    same = {**PLAN, "plan_id": "two", "created_at": "2027-01-01T00:00:00+00:00"}
    assert plan.write(tmp_path, same)["plan_id"] == "one"
    assert plan.write(tmp_path, {**same, "unsigned": True})["plan_id"] == "two"
    assert plan.read(tmp_path)["plan_id"] == "two"


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n",
        lambda text: text.replace('"schema": 1', '"schema": 1.0'),
        lambda text: text.replace("Monday", "\\u004donday"),
        lambda text: text.replace("Monday", "\\ud800"),
        lambda text: text.replace("900", "1e999"),
        lambda text: text[:-2],
        lambda text: text.replace('"schema": 1', '"schema": 1, "schema": 1'),
    ],
)
def test_a_plan_that_is_not_as_it_is_written_is_refused(tmp_path, edit):
    """Even an edit that says the same is told of."""
    plan.write(tmp_path, PLAN)
    path = tmp_path / plan.FILE
    path.write_bytes(edit(path.read_text()).encode())
    with pytest.raises(RolloutProblem, match=r"edited|not valid JSON|has schema"):
        plan.read(tmp_path)


@pytest.mark.parametrize("part", ["sha256", "backout_sha256", "label"])
def test_another_migration_or_backout_is_a_difference(prepared_once, part):
    """A file of the migrations that is not the plan's is named; the plan's own are not."""
    found = plan.read(prepared_once.root)
    assert plan.differences(prepared_once.root, found) == []
    step = {**found["migrations"][0], part: "0" * 64}
    lines = plan.differences(prepared_once.root, {**found, "migrations": [step]})
    assert lines
    assert all("is not that of the plan" in line for line in lines)


def test_a_commit_that_was_rewritten_is_no_plan_any_more(prepared):
    """After an amended commit, git does not know the plan's; the next plan is of HEAD, with the old salts."""
    old = plan.read(prepared.root)
    prepared.git("commit", "-q", "--amend", "-m", "Other words")
    prepared.git("reflog", "expire", "--expire=now", "--all")
    prepared.git("gc", "-q", "--prune=now")
    with pytest.raises(RolloutProblem, match="git knows no commit"):
        plan.differences(prepared.root, old)
    found = settings.load(prepared.root)
    draft = plan.draft(prepared.root, found, base="base", records=[])
    assert draft["commit"] == git.head(prepared.root)
    assert draft["flags"] == old["flags"]


def test_migrations_are_those_of_the_databases_kind(prepared_once):
    """A URL says which migrations the plan holds; without one it holds all."""
    said = settings.load(prepared_once.root)
    assert plan.dialects(said) == ("sqlite",)
    from dataclasses import replace

    assert plan.dialects(replace(said, url="mysql://app@db/jobs")) == ("mariadb",)
    assert set(plan.dialects(replace(said, url=None))) == {"postgresql", "mariadb", "sqlite"}


def test_hashes_are_of_files_of_the_project_alone(tmp_path):
    """A path out of the project is refused; a file that is not there is absent."""
    (tmp_path / "a").write_text("x")
    assert plan.file_hash(tmp_path, "a") == store.sha256_bytes(b"x")
    assert plan.file_hash(tmp_path, "b") == plan.ABSENT
    for name in ("../a", "/etc/passwd", "", "a/../a", "./a", "a//b"):
        with pytest.raises(RolloutProblem):
            plan.file_hash(tmp_path, name)
