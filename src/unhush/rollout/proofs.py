"""The proof that the files in which handlers were fixed differ from the base by inserted logging alone."""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ..version import __version__
from . import checks, evidence, git, scans, store
from .errors import RolloutProblem
from .evidence import Evidence, Verdict

NAME = "proof"
PATIENCE = 1800.0  # seconds
_PROVED = re.compile(r"^(\S.*): proved$", re.MULTILINE)
_OTHER = re.compile(r"^(\S.*?)(?::\d+)?: not logging: .*$", re.MULTILINE)


def prove(root: Path, base: str, commit: str) -> checks.Ran:
    """Proves one commit against another, both as git has them. Raises RolloutProblem."""
    with tempfile.TemporaryDirectory(prefix="unhush-proof-") as place:
        before, now = Path(place, "before"), Path(place, "now")
        for folder, ref in ((before, base), (now, commit)):
            folder.mkdir()
            git.export(root, ref, folder)
        ran = checks.execute([sys.executable, "-m", "unhush", "prove", "--against", str(before), "."], now, PATIENCE)
        return replace(ran, output=ran.output.replace(f"{place}/".encode(), b""))


def gather(root: Path, base: str, run_id: str) -> Evidence:
    """Proves HEAD against the base, and writes the record "proof". Raises RolloutProblem.

    Needs the record "handlers", which says in which files handlers were fixed.
    """
    started, commit = evidence.now(), git.head(root)
    ran = prove(root, base, commit)
    output = checks.keep(root, NAME, "output.txt", ran.output)
    proved, others = _read(ran.output.decode("utf-8", "replace"))
    record = Evidence(
        name=NAME,
        kind="proof",
        command=("unhush", "prove", "--against", git.resolve(root, base), "."),
        exit_code=ran.exit_code,
        started_at=started,
        ended_at=evidence.now(),
        run_id=run_id,
        tool_version=__version__,
        commit=commit,
        outputs=store.hashes(root, [output]),
        counts={"proved": len(proved), "by_hand": len(others)},
        facts={
            "base": git.resolve(root, base),
            "proved": proved,
            "by_hand": others,
            "rewritten": scans.fixed_files(root),
            **({} if ran.exit_code is not None else {"why": ran.why}),
        },
    )
    evidence.write(root, record)
    return record


def seen_again(record: Evidence, root: Path) -> str | None:
    """Proves once more; a line where that says another thing than the record. Raises RolloutProblem."""
    ran = prove(root, str(record.facts.get("base")), str(record.commit))
    stored = store.within(root, f"{evidence.files_of(NAME)}/output.txt").read_bytes()
    if (ran.exit_code, ran.output) != (record.exit_code, stored):
        return "another proof of the same commits says something else than the record"
    return None


def judge(record: Evidence, root: Path) -> Verdict:
    """Green where each file with a fixed handler is proved. Other files may differ: they are named, and not covered."""
    if record.exit_code is None:
        return Verdict("no evidence", f"could not be run: {record.facts.get('why')}")
    path = f"{evidence.files_of(NAME)}/output.txt"
    if path not in record.outputs:
        raise RolloutProblem("the record holds no output")
    proved, others = _read(store.within(root, path).read_bytes().decode("utf-8", "replace"))
    if [proved, others] != [record.facts.get("proved"), record.facts.get("by_hand")]:
        return Verdict("fail", "the record names other files than the output that it holds")
    if record.exit_code not in (0, 1) or (record.exit_code == 1) != bool(others):
        return Verdict("fail", f"unhush prove ended with exit code {record.exit_code}: something can't be read")
    rewritten = scans.fixed_files(root)
    if open_ := [name for name in rewritten if name not in proved]:
        return Verdict(
            "fail", f"{open_[0]} holds fixed handlers and differs by more than logging ({len(open_)} such files)"
        )
    if not rewritten:
        return Verdict("no evidence", "no handler was fixed: there is nothing to prove")
    by_hand = f"; {len(others)} other files were changed by hand and are not covered" if others else ""
    return Verdict("pass", f"{len(proved)} files differ by inserted logging alone{by_hand}")


def _read(text: str) -> tuple[list[str], list[str]]:
    """The files that are proved, and those that differ otherwise."""
    others = sorted({match[1] for match in _OTHER.finditer(text)})
    return sorted({match[1] for match in _PROVED.finditer(text)} - set(others)), others
