"""UNH901: a suppression comment that does not say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Rule

if TYPE_CHECKING:
    from ..hushes import Hush, Hushes


def match(hush: Hush, hushes: Hushes) -> str | None:
    """What is to be said of a comment without a reason."""
    return None if hush.reason else f"`{hush.text}` does not say why the exception may be swallowed"


RULE = Rule(
    code="UNH901",
    name="suppression-without-reason",
    summary="A suppression comment of unhush does not say why",
    default=False,
    kind="comment",
    match=match,
    doc="""\
## What it does
Reports `# unhush: ignore`, `# unhush: ignore[...]` and `# unhush: ignore-file` without a reason. The reason is the text
behind it, up to another comment (`# noqa`) on the line. Other tools' comments are left alone.

## Why is this bad
A suppression says that a swallowed exception is meant to be so. Whoever comes next can't tell a decision from a way to
get the build green, dares not touch it, and copies it.

## Example
```python
def warm(cache):
    try:
        cache.fill()
        cache.save()
    except Exception:  # unhush: ignore[UNH102]
        pass
```

## Use instead
```python
def warm(cache):
    try:
        cache.fill()
        cache.save()
    except Exception:  # unhush: ignore[UNH102] a cold cache is slower, not wrong
        pass
```

## Fix safety
There is no fix: only a person can say why. `unhush check --add-ignores --reason TEXT` writes one reason for many.

## Options
`min-severity`, `preset`

## References
- [ruff: the `reason` of suppressions, a wish](https://github.com/astral-sh/ruff/issues/5182)
""",
    bad=(
        "def warm(cache):\n    try:\n        cache.fill()\n        cache.save()\n"
        "    except Exception:  # unhush: ignore[UNH102]\n        pass\n",
        "# unhush: ignore-file\nimport os\n",
        "def stop(server):\n    try:\n        server.stop()\n"
        "    except Exception:  # unhush: ignore - # noqa: BLE001\n        pass\n",
    ),
    good=(
        "def warm(cache):\n    try:\n        cache.fill()\n"
        "    except Exception:  # unhush: ignore[UNH102] a cold cache is slower, not wrong\n        pass\n",
        "# unhush: ignore-file written by a program\nimport os\n",
        "def warm(cache):\n    try:\n        cache.fill()\n    except Exception:  # noqa: BLE001\n        pass\n",
    ),
)
