"""Parsing quietly: one exception for whatever the host's parser can't take."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .source import Source

if TYPE_CHECKING:
    import symtable

T = TypeVar("T")


class ParseFailure(Exception):
    """The host's Python can't parse the text; `reason` is one line, row and column are 1-based where known."""

    def __init__(self, reason: str, row: int | None = None, column: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.row, self.column = reason, row, column


def parse(source: Source) -> ast.Module:
    """The syntax tree of a file; its rows are the file's, its columns count bytes of UTF-8. Raises ParseFailure."""
    return parse_text(source.utf8)


def parse_text(utf8: bytes) -> ast.Module:
    """The syntax tree of UTF-8 text, whatever a coding cookie in it says. Raises ParseFailure."""
    return _quietly(lambda text: compile(text, "<source>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True), utf8)  # type: ignore[return-value]


def symbols(source: Source) -> symtable.SymbolTable:
    """The symbol table of a file's module. Its compiler pass also refuses misplaced `global` and `__future__`."""
    from symtable import symtable

    return _quietly(lambda text: symtable(text, "<source>", "exec"), source.utf8)


def _quietly(work: Callable[[str], T], utf8: bytes) -> T:
    """Hands text to the compiler, whose warnings stay quiet."""
    try:
        text = utf8.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work(text)
    except UnicodeDecodeError as error:
        raise ParseFailure("not valid utf-8", utf8.count(b"\n", 0, error.start) + 1) from None
    except SyntaxError as error:
        raise ParseFailure(f"{error.msg}", error.lineno, error.offset) from None
    except ValueError as error:
        raise ParseFailure(str(error), utf8.count(b"\n", 0, max(utf8.find(b"\0"), 0)) + 1) from None
    except (RecursionError, MemoryError):
        raise ParseFailure("nested too deeply for Python's parser") from None
