"""UNH902: a suppression comment that suppresses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Rule, all_rules

if TYPE_CHECKING:
    from ..hushes import Hush, Hushes


def match(hush: Hush, hushes: Hushes) -> str | None:
    """What is to be said of a comment of which some words, or all, suppress nothing."""
    unused = hushes.unused(hush)
    if unused is None:
        return None
    whole = f"`{hush.text.partition(']')[0]}]`" if hush.words is not None else "`# unhush: ignore`"
    unknown = [word for word in unused if not _is_known(word)]
    tail = f"; no rule has the name {', '.join(unknown)}" if unknown else ""
    if unused == (hush.words or ()):
        return f"{whole} suppresses nothing here{tail}"
    return f"{', '.join(unused)} in {whole} suppresses nothing here{tail}"


def _is_known(word: str) -> bool:
    from ..suppressions import names_rule

    return any(names_rule(word, rule) for rule in all_rules().values())


RULE = Rule(
    code="UNH902",
    name="unused-suppression",
    summary="A suppression comment of unhush suppresses nothing",
    default=True,
    kind="comment",
    match=match,
    fix="comment",
    doc="""\
## What it does
Reports `# unhush: ignore` and `# unhush: ignore[...]` where no rule there is, or none of those named, finds anything,
and names that no rule has. Rules count whether they are selected or not, so that a run with few rules does not call
the others' comments unused. `# unhush: ignore-file`, comments of other tools (`noqa`, `nosec`) and files that this
Python can't parse are left alone.

## Why is this bad
The comment tells of a swallowed exception that is not there, and hides the one that comes to stand there later.

## Example
```python
def warm(cache):
    try:
        cache.fill()
    except OSError as error:  # unhush: ignore[UNH102] a cold cache is slower, not wrong
        raise CacheError from error
```

## Use instead
```python
def warm(cache):
    try:
        cache.fill()
    except OSError as error:
        raise CacheError from error
```

## Fix safety
The fix removes the comment, or the names that suppress nothing, and is safe: it is proved that nothing but a comment
changes.

## Options
`min-severity`

## References
- [ruff: unused-noqa (RUF100)](https://docs.astral.sh/ruff/rules/unused-noqa/)
- [mypy: warn_unused_ignores](https://mypy.readthedocs.io/en/stable/config_file.html#confval-warn_unused_ignores)
""",
    bad=(
        "def warm(cache):\n    try:\n        cache.fill()\n"
        "    except OSError as error:  # unhush: ignore[UNH102] it is slower\n        raise Slow from error\n",
        "def warm(cache):\n    try:\n        cache.fill()\n        cache.save()\n"
        "    except Exception:  # unhush: ignore[UNH102, UNH203] it is slower\n        pass\n",
        "total = sum(rows)  # unhush: ignore\n",
    ),
    good=(
        "def warm(cache):\n    try:\n        cache.fill()\n        cache.save()\n"
        "    except Exception:  # unhush: ignore[UNH102] it is slower\n        pass\n",
        "def warm(cache):\n    try:\n        cache.fill()\n"
        "    except OSError:  # unhush: ignore[silent-narrow-except] it is slower\n        pass\n",
        "total = sum(rows)  # noqa: S110\n",
    ),
)
