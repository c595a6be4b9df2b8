"""The documented idioms: each row's example is left alone, and its look-alike is not."""

import pytest

from unhush.codemods import engine, idioms
from unhush.codemods.settings import Settings

ALL = Settings(select=frozenset({"UNH101", "UNH102", "UNH103"}), min_severity="low")


def codes(source):
    return [finding.code for finding in engine.check_bytes(source.encode(), "app.py", ALL).findings]


@pytest.mark.parametrize("idiom", idioms.IDIOMS, ids=lambda idiom: idiom.name)
def test_an_idiom_is_never_reported(idiom):
    """The example of an idiom yields no finding, at any severity."""
    assert codes(idiom.example) == []


@pytest.mark.parametrize("idiom", idioms.IDIOMS, ids=lambda idiom: idiom.name)
def test_what_only_looks_like_an_idiom_is_reported(idiom):
    """The positive control of an idiom yields a finding."""
    assert codes(idiom.control)


@pytest.mark.parametrize("idiom", [row for row in idioms.IDIOMS if not row.broad], ids=lambda idiom: idiom.name)
def test_an_idiom_of_named_types_does_not_excuse_a_broad_handler(idiom):
    """The same code under `except Exception` is a finding: only the named type makes it expected."""
    lines = [
        f"{line[: len(line) - len(line.lstrip())]}except Exception:" if line.lstrip().startswith("except") else line
        for line in idiom.example.split("\n")
    ]
    assert codes("\n".join(lines)) == ["UNH102"]


LOSES = (
    "def f(x):\n    try:\n        x.insert(parse(x.read()))\n        x.commit()\n    except Exception:\n        {}\n"
)


@pytest.mark.parametrize(
    ("says", "does_not"),
    [
        ("load_failed = True", "load_failed = False"),
        ("self._broken = True", "self.ignore_errors = True"),
        ("state['corrupt'] = True; return", "state['complete'] = True; return"),
        ("x.ok = False", "x.done = False"),
        ("reply['ok'] = False", "reply['more'] = False"),
        ("status_code = 500", "size = 500"),
        ("return Status.ERROR", "return Status.READY"),
        ("return EXIT_FAILURE", "return failures"),
        ("return {'success': False}", "return {'success': None}"),
        ("return {'status': 'failed'}", "return {'status': 'new'}"),
        ("return None, 'could not save'", "return None, 'nothing'"),
        ("return '', 500", "return 400, 500"),
    ],
)
def test_a_value_that_says_that_it_failed_is_left_alone(says, does_not):
    """Flags, constants, statuses and texts of an error are heard of; their like without that word are not."""
    assert codes(LOSES.format(says)) == []
    assert codes(LOSES.format(does_not)) == ["UNH102"]


def test_names_of_idioms_are_unique():
    """An idiom is named once, so that docs can point to it."""
    names = [idiom.name for idiom in idioms.IDIOMS]
    assert names
    assert len(names) == len(set(names))
