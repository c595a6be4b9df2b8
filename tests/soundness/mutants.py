"""Source files changed in ways that a search by bytes may trip over. Not every mutant is valid Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]

_STATEMENT = re.compile(rb"^([ \t]+)(?=(?:return|raise|pass|continue|break|self\.\w+ =)\b)", re.M)
_EXCEPT = re.compile(rb"^([ \t]*)except\b", re.M)
_BODY = re.compile(rb"(except[^\n:]*:)[ \t]*\n[ \t]+(\w[^\n]*\n)(?=[ \t]*(?:\n|\w))")
_DEF = re.compile(rb"^([ \t]*)(?:async def|def)\b[^\n]*:\n([ \t]+)", re.M)


def _before_statements(text: bytes, chance: float, random: Random, make: Callable[[bytes], bytes]) -> bytes:
    """Puts lines before some statements; `make` is given the indentation."""
    return _STATEMENT.sub(lambda m: (make(m[1]) if random.random() < chance else b"") + m[1], text)


def _some(pattern: re.Pattern[bytes], text: bytes, random: Random, new: Callable[[re.Match[bytes]], bytes]) -> bytes:
    return pattern.sub(lambda m: new(m) if random.random() < 0.5 else m[0], text)


def _in_docstrings(text: bytes, random: Random, code: bytes) -> bytes:
    """Gives functions a string that holds code at low indentation."""
    return _some(_DEF, text, random, lambda m: m[0] + b'"""Text.\n' + code + b'"""\n' + m[2])


def _odd_comment(random: Random) -> bytes:
    return b" " * random.randrange(9) + b"# except Exception: '''\n"


_SILENT = b"def g():\n    try:\n        x()\n    except Exception:\n        pass\n"

MUTATIONS: dict[str, Mutation] = {
    "crlf": lambda text, _: text.replace(b"\n", b"\r\n"),
    "cr": lambda text, _: text.replace(b"\n", b"\r"),
    "mixed newlines": lambda text, random: re.sub(rb"\n", lambda _: random.choice((b"\n", b"\r\n", b"\r")), text),
    "tabs": lambda text, _: re.sub(rb"^(?: {4})+", lambda m: b"\t" * (len(m[0]) // 4), text, flags=re.M),
    "bom": lambda text, _: b"\xef\xbb\xbf" + text,
    "no last newline": lambda text, _: text.rstrip(b"\n"),
    "form feeds": lambda text, random: _some(re.compile(rb"^(?=\S)", re.M), text, random, lambda _: b"\f"),
    "form feed in indentation": lambda text, random: _some(_EXCEPT, text, random, lambda m: b"\f" + m[0]),
    "form feed before handlers": lambda text, random: _some(_EXCEPT, text, random, lambda m: b"  \f" + m[0]),
    "form feeds alone": lambda text, random: _before_statements(text, 0.3, random, lambda _: b"\f\n"),
    "backslash before handlers": lambda text, random: _some(_EXCEPT, text, random, lambda m: m[1] + b"\\\n" + m[0]),
    "backslash at the margin": lambda text, random: _some(_EXCEPT, text, random, lambda m: b"\\\n" + m[0]),
    "backslash in headers": lambda text, random: _some(_EXCEPT, text, random, lambda m: m[0] + b"\\\n "),
    "backslash after pass": lambda text, _: text.replace(b"pass\n", b"pass \\\n\n"),
    "joined lines": lambda text, random: _before_statements(text, 0.3, random, lambda i: i + b"zz = 1 + \\\n2\n"),
    "joined strings": lambda text, random: _before_statements(
        text, 0.3, random, lambda i: i + b"zz = 'a \\\n  except Exception:\\\n    pass'\n"
    ),
    "one-line handlers": lambda text, random: _some(_BODY, text, random, lambda m: m[1] + b" " + m[2]),
    "two statements": lambda text, _: text.replace(b"pass\n", b"pass; pass\n"),
    "semicolons": lambda text, _: text.replace(b"pass\n", b"pass; x()\n"),
    "groups": lambda text, _: re.sub(rb"^([ \t]*)except (?=[\w(])", rb"\1except* ", text, flags=re.M),
    "within a string": lambda text, _: b"zz = r'''\n" + text.replace(b"'''", b'"""') + b"'''\n" + text,
    "code in docstrings": lambda text, random: _in_docstrings(text, random, _SILENT),
    "quotes in docstrings": lambda text, random: _in_docstrings(text, random, b"it's '''one''' \\\"\"\" # two\n"),
    "nested quotes": lambda text, random: _before_statements(text, 0.3, random, lambda i: i + b'zz = f"{zz["a"]}"\n'),
    "nested triple quotes": lambda text, random: _before_statements(
        text, 0.3, random, lambda i: i + b'zz = f"""{zz["""\nexcept Exception: pass\n"""]}"""\n'
    ),
    "comments anywhere": lambda text, random: re.sub(
        rb"\n", lambda _: b"\n" + (_odd_comment(random) if random.random() < 0.2 else b""), text
    ),
    "low closers": lambda text, random: _before_statements(text, 0.3, random, lambda i: i + b"zz = (1,\n)\n"),
    "low elements": lambda text, random: _before_statements(text, 0.3, random, lambda i: i + b"zz = [1,\n2]\n"),
    "low clauses": lambda text, random: _before_statements(
        text, 0.3, random, lambda i: i + b"zz = [a\nfor a in b\nif a]\n"
    ),
    "low slices": lambda text, random: _before_statements(
        text, 0.2, random, lambda i: i + b"zz = b[a\nif a else 1:\n2]\n"
    ),
    "low strings": lambda text, random: _before_statements(
        text, 0.3, random, lambda i: i + b"zz = '''\nclass A:\n'''\n"
    ),
    "quotes in comments": lambda text, random: _before_statements(text, 0.3, random, lambda i: i + b'# don\'t """\n'),
    "quotes in strings": lambda text, random: _before_statements(
        text, 0.3, random, lambda i: i + b"zz = '\"\"\"', \"'''\", b'\\'', r'\\'  # '''\n"
    ),
    "in a condition": lambda text, _: b"if 1:\n" + re.sub(rb"^(?=[^\n])", b"  ", text, flags=re.M),
    "in a class": lambda text, _: (
        b"class A(B.C, D[E], metaclass=F):\n" + re.sub(rb"^(?=[^\n])", b"  ", text, flags=re.M)
    ),
    "in a long class": lambda text, _: (
        b"class A(\n  B,  # why: so\n):\n" + re.sub(rb"^(?=[^\n])", b" ", text, flags=re.M)
    ),
    "in a function": lambda text, _: b"async def f(\n  a,\n):\n" + re.sub(rb"^(?=[^\n])", b"\t", text, flags=re.M),
    "decorated": lambda text, _: re.sub(
        rb"^([ \t]*)(?=(?:async )?def\b)", rb"\1@a\n\n # '''\n\1@b(\n1, lambda: 2,\n\1)\n\1", text, flags=re.M
    ),
    "odd heads": lambda text, random: re.sub(
        rb"\bdef ", lambda _: random.choice((b"def ", b"def\t", b"def \\\n")), text
    ),
    "alias": lambda text, _: b"Ex = Exception\n" + re.sub(rb"except Exception\b", b"except Ex", text),
    "alias of a tuple": lambda text, _: re.sub(rb"except \w+:", b"except Ex:", text) + b"\nEx = (OSError, Exception)\n",
    "builtins": lambda text, _: re.sub(rb"except Exception\b", b"except (OSError, builtins.Exception)", text),
    "bare": lambda text, _: re.sub(rb"except \w+:", b"except:", text),
    "base": lambda text, _: re.sub(rb"except \w+:", b"except BaseException:", text),
    "long headers": lambda text, _: re.sub(rb"except (\w+):", rb"except (\n\1, # why: so\nException):", text),
    "clean-up": lambda text, random: re.sub(
        rb"\bpass\n",
        lambda _: random.choice((b"a.close()\n", b"a(\n1).close()\n", b"a(')',\n).b(1)\n", b"x = 1\n")),
        text,
    ),
}
