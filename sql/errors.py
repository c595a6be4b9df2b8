"""What goes wrong with a schema."""

from __future__ import annotations


class SchemaProblem(Exception):
    """The database's schema can't be used or changed as asked; the text is one line that says what to do."""
