"""Documents from Jinja templates: those shipped, or a user's own of the same name, which win."""

from __future__ import annotations

import os
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .excerpt import shown

if TYPE_CHECKING:
    from jinja2 import Environment

SHIPPED = Path(__file__).parent / "templates"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#|~!$&])")
_BREAKS = re.compile(r"[\r\n\u0085\u2028\u2029]+")


def render(name: str, templates: str | None = None, **data: Any) -> str:
    """The template of that name with these data. `templates` is the folder of a user's own.

    In Markdown each value goes through a filter: `line` for text, `code` for what stands between backticks; in a script
    `sh` for a word, `plain` for its comments. Raises jinja2.TemplateError for a template that is broken or names something
    that is not there.
    """
    return _environment(os.path.abspath(templates) if templates else None).get_template(name).render(**data)


def text(name: str, templates: str | None = None) -> str:
    """A file that is shipped beside the templates, or a user's own of that name, as it is. Raises OSError."""
    own = Path(templates, name) if templates else None
    return (own if own and own.is_file() else SHIPPED / name).read_text(encoding="utf-8")


@cache  # compiling a template takes longer than all else here; jinja2 sees by itself that a file changed
def _environment(templates: str | None) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = [folder for folder in (templates, SHIPPED) if folder]
    made = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown and shell text have escapes of their own: the filters below
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(line=line, code=code, exact=exact, plain=plain, sh=sh)
    return made


def line(value: object) -> str:
    """Text on one line of Markdown that means nothing but itself."""
    return _MARKDOWN.sub(r"\\\1", _flat(value))


def code(value: object) -> str:
    """Text between backticks, on one line, fit for a cell of a table: a bar becomes a broken one."""
    return exact(_flat(value).replace("|", "¦"))


def exact(value: object) -> str:
    """Text between backticks, on one line, as it is, to be copied; not for a table."""
    flat = _flat(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def sh(value: object) -> str:
    """One word for a shell."""
    return shlex.quote(_flat(value))


def plain(value: object) -> str:
    """Text on one line, for the comments of a script."""
    return _flat(value)


def _flat(value: object) -> str:
    return shown(_BREAKS.sub(" ", str(value))).strip()
