"""Tokens of the admin API: made, listed, revoked."""

from __future__ import annotations

from datetime import timedelta

import click

from ...reports import letters as texts
from .desk import DONE, Desk, on_queue
from .options import actor_option, as_span, reason_option

ROLES = ("viewer", "operator")  # those of runtime/tables.py, which needs SQLAlchemy: help must not


@click.group("token")
def token() -> None:
    """Makes, lists and revokes the bearer tokens of the admin API."""


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option(
    "--expires", callback=as_span, metavar="AGE", help="How long it lasts, such as 90d (default: until revoked)."
)
@actor_option
@on_queue()
def create_token(desk: Desk, /, name: str, role: str, expires: timedelta | None, actor: str) -> int:
    """Makes a token for NAME, who will use it, and prints it: it can't be had again."""
    from ...runtime import tokens

    made, text = desk.queue._write(tokens.create, name, role, actor=actor, lifetime=expires)
    desk.tell({"token": made, "text": text}, [f"{text}\n"])
    desk.output.remark("keep it safe: it is not shown again")
    return DONE


@token.command("list")
@on_queue()
def list_tokens(desk: Desk, /) -> int:
    """Lists all tokens, the oldest first, also those that are revoked or expired."""
    from ...runtime import tokens

    found = desk.queue._read(tokens.list_tokens)
    desk.tell({"tokens": found}, texts.tokens(found, desk.now) if found else ["no tokens\n"])
    return DONE


@token.command("revoke")
@click.argument("name")
@actor_option
@reason_option
@on_queue()
def revoke_token(desk: Desk, /, name: str, actor: str, reason: str | None) -> int:
    """Ends NAME's token for good."""
    from ...runtime import tokens

    ended = desk.queue._write(tokens.revoke, name, actor=actor, reason=reason)
    desk.tell({"token": ended}, [f"revoked {ended.name}\n"])
    return DONE
