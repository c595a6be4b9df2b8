"""`unhush rule`: the documentation of a rule."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..codemods.rules import Rule, all_rules
from ..output import Output, may_color
from ..reports.markdown import rule_page, rules_document
from ..selectors import nearest


@click.command("rule")
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="All rules on one page.")
@click.option("--output-format", type=click.Choice(("text", "json", "markdown")), default="text", show_default=True)
def command(code: str | None, every: bool, output_format: str) -> None:
    """Prints the documentation of the rule with this CODE (UNH102) or name (silent-broad-except)."""
    if (code is None) != every:
        raise click.UsageError("name one rule (see `unhush rules`), or say --all")
    rules = list(all_rules().values()) if code is None else [find_rule(code)]
    output = Output()
    if output_format == "json":
        found = [as_dict(rule) for rule in rules]
        output.write([json.dumps(found if every else found[0], indent=2) + "\n"])
        return
    page = rules_document(rules) if every else rule_page(rules[0])
    if output_format == "text" and may_color(sys.stdout):
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(page))
    else:
        output.write([page])


def find_rule(word: str) -> Rule:
    """The rule with that code or name. Raises UsageError, which names the nearest one."""
    rules = all_rules()
    for rule in rules.values():
        if word.upper() == rule.code or word.lower() == rule.name:
            return rule
    valid = [*rules, *(rule.name for rule in rules.values())]
    raise click.UsageError(f"unknown rule {word!r}{nearest(word, valid)}")


def as_dict(rule: Rule) -> dict[str, Any]:
    """A rule for other programs; `bad` and `good` are whole modules."""
    return {
        "code": rule.code,
        "name": rule.name,
        "summary": rule.summary,
        "default": rule.default,
        "fix": rule.fix,
        "documentation": rule.doc,
        "bad": list(rule.bad),
        "good": list(rule.good),
    }
