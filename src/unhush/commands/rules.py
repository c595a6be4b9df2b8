"""`unhush rules`: the table of rules."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import click

from ..codemods.rules import Rule, all_rules
from ..output import Output, may_color
from ..reports.markdown import default_word, rules_table


@click.command("rules")
@click.option("--output-format", type=click.Choice(("text", "json", "markdown")), default="text", show_default=True)
def command(output_format: str) -> None:
    """Prints the table of rules."""
    rules = all_rules().values()
    if output_format == "json":
        keys = ("code", "name", "summary", "default", "fix")
        text = json.dumps([{key: getattr(rule, key) for key in keys} for rule in rules], indent=2) + "\n"
    elif output_format == "markdown":
        text = rules_table(rules)
    elif may_color(sys.stdout):
        _print_table(rules)
        return
    else:
        text = _plain_table(rules)
    Output().write([text])


def _plain_table(rules: Iterable[Rule]) -> str:
    width = max(len(rule.name) for rule in rules)
    return "".join(f"{rule.code}  {rule.name:{width}}  {default_word(rule):6}  {rule.summary}\n" for rule in rules)


def _print_table(rules: Iterable[Rule]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("code", "name", "default", "what is swallowed")
    for rule in rules:
        table.add_row(rule.code, rule.name, default_word(rule), Text(rule.summary))
    Console().print(table)
