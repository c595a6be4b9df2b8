"""Inputs that are made to be slow: big, repetitive, deep, or traps for a pattern that backtracks."""

from __future__ import annotations

from collections.abc import Callable

MB = 1_000_000

_FUNCTION = b"""
def load_%d(path, retries=3):
    '''Reads a record.'''
    for attempt in range(retries):
        try:
            with open(path) as file:
                return parse(file.read(), attempt)
        except ValueError as error:
            log.warning("bad record %%s", error)
        except Exception:
            continue
    return {"path": path, "items": [attempt for attempt in range(retries) if attempt]}
"""


def _fill(piece: bytes, size: int) -> bytes:
    return piece * (size // len(piece) + 1)


def ordinary(size: int) -> bytes:
    """Plain functions, each with a silent handler."""
    parts, length, number = [], 0, 0
    while length < size:
        parts.append(_FUNCTION % number)
        length += len(parts[-1])
        number += 1
    return b"".join(parts)


def handlers(count: int) -> bytes:
    """One function with `count` silent handlers in a row."""
    return b"def run(jobs):\n" + b"    try:\n        step()\n    except Exception:\n        pass\n" * count


def methods(count: int) -> bytes:
    """One class with `count` methods, each with a silent handler."""
    method = b"    def run_%d(self):\n        try:\n            step()\n        except Exception:\n            pass\n\n"
    return b"class Jobs:\n" + b"".join(method % number for number in range(count))


def module_handlers(count: int) -> bytes:
    """`count` silent handlers at module level, functions between them."""
    return b"".join(
        b"try:\n    step()\nexcept Exception:\n    pass\n\n\ndef run_%d():\n    return 1\n\n\n" % number
        for number in range(count)
    )


def nested(depth: int) -> bytes:
    """`depth` try statements, one in the other."""
    lines = [b" " * level + b"try:" for level in range(depth)]
    lines.append(b" " * depth + b"step()")
    for level in range(depth - 1, -1, -1):
        lines += [b" " * level + b"except Exception:", b" " * (level + 1) + b"pass"]
    return b"\n".join(lines) + b"\n"


def nested_functions(depth: int) -> bytes:
    """`depth` functions, one in the other, with a silent handler in the innermost."""
    lines = [b" " * level + b"def f():" for level in range(depth)]
    indent = b" " * depth
    return b"\n".join([*lines, indent + b"try: step()", indent + b"except Exception: pass"]) + b"\n"


# A handler that makes the screen look at the rest of the file.
_TAIL = b"\ndef run():\n    try:\n        step()\n    except Exception:\n        pass\n"

TRAPS: dict[str, Callable[[int], bytes]] = {
    "one line": lambda size: b"x = [" + _fill(b"(1, 'a', {2: 3}), ", size) + b"]\n" + _TAIL,
    "one line of text": lambda size: b"x = '" + _fill(b"except Exception: ", size) + b"'\n" + _TAIL,
    "quotes": lambda size: b"x = " + _fill(b"'' \"\" ", size) + b"\n" + _TAIL,
    "open quotes in comments": lambda size: _fill(b"# don't \"\"\" '''\n", size) + _TAIL,
    "unclosed triple quotes": lambda size: _fill(b'x = """a" \'\'\'\n', size) + _TAIL,
    "backslashes": lambda size: b"x = '" + _fill(b"\\\\", size) + b"'\n" + _TAIL,
    "joined lines": lambda size: b"x = 1" + _fill(b" + \\\n1", size) + b"\n" + _TAIL,
    "open calls": lambda size: b'"""\n' + _fill(b"    except Exception:\n        foo(bar(\n", size) + b'"""\n' + _TAIL,
    "open quotes in calls": lambda size: b'"""\n' + _fill(b"  except Exception:\n   f('a\n", size) + b'"""\n' + _TAIL,
    "comments after headers": lambda size: (
        b"try:\n    step()\nexcept Exception:\n" + _fill(b"    # why\n", size) + b"    pass\n"
    ),
    "blank lines": lambda size: b"try:\n    step()\nexcept Exception:\n" + _fill(b"        \n", size) + b"    pass\n",
    "blanks": lambda size: b"\n" + _fill(b" ", size) + b"\n" + _TAIL,
    "excepts in a string": lambda size: (
        b"x = '''\n" + _fill(b"    except Exception:\n        pass\n", size) + b"'''\n" + _TAIL
    ),
    "long headers": lambda size: b"try:\n    step()\nexcept (" + _fill(b"ValueError, ", size) + b"):\n    pass\n",
    "decorators": lambda size: (
        _fill(b"@decorate\n", size) + b"def run():\n    try: step()\n    except Exception: pass\n"
    ),
    "definitions": lambda size: _fill(b"def f(): pass\n", size) + _TAIL,
    "words": lambda size: _fill(b"x = async_ + suppress_ + finally_ + exit__ + concurrent_ + excepts\n", size) + _TAIL,
    "suppress": lambda size: b"from contextlib import suppress\n" + _fill(b"with suppress(E): x()\n", size),
    "finally": lambda size: _fill(b"try:\n  a()\nfinally:\n  b()\n", size),
    "imports": lambda size: (
        _fill(b"import a.b as c, d\n", size) + b"import contextlib\nwith contextlib.suppress(Exception): x()\n"
    ),
    "aliases": lambda size: _fill(b"E = (A, B, Exception\n", size) + b"try: x()\nexcept E: pass\n",
    "carriage returns": lambda size: _fill(b"x = 1\r", size) + _TAIL.replace(b"\n", b"\r"),
    "form feeds": lambda size: _fill(b"x = 1\n\f\n", size) + _TAIL,
    "null bytes": lambda size: _fill(b"\0", size) + _TAIL,
    "brackets": lambda size: _fill(b"(", size) + _TAIL,
    "sums": lambda size: b"x = 1" + _fill(b"+1", size) + b"\n" + _TAIL,
    "nested functions": lambda size: _fill(nested_functions(90), size),
    "classes": lambda size: _fill(b"class A(B, C[D]):\n  x = 1\n", size) + _TAIL,
    "cookie": lambda size: b"# coding: latin-1\n" + _fill(b"# \xe9\xe8\n", size) + _TAIL,
}
