"""Rules as Markdown: what `unhush rule` prints and the documentation pages are made of."""

from __future__ import annotations

from collections.abc import Iterable

from ..codemods.rules import Rule

_FIXES = {
    "log": "inserts a log call with the traceback",
    "suppress": "turns the `with suppress(...)` into a try statement whose handler logs",
    "exc_info": "adds the traceback to the log call",
    "reraise": "none that is safe: the exception should be raised again",
    "level": "raises the level of the log call (unsafe)",
    "comment": "removes the comment, or the words of it that suppress nothing",
    None: "none",
}


def rule_page(rule: Rule) -> str:
    """The documentation of one rule."""
    selected = "on by default" if rule.default else "opt-in (`--extend-select`, or the preset `strict`)"
    lines = [f"# {rule.name} ({rule.code})", "", f"{rule.summary}.", ""]
    lines += [f"- Selection: {selected}", f"- Fix: {_FIXES[rule.fix]}", "", rule.doc.strip(), ""]
    return "\n".join(lines)


def rules_table(rules: Iterable[Rule]) -> str:
    """A table with one row for each rule."""
    head = ["| code | name | what is swallowed | default |", "|---|---|---|---|"]
    rows = [f"| {rule.code} | {rule.name} | {_cell(rule.summary)} | {default_word(rule)} |" for rule in rules]
    return "\n".join(head + rows) + "\n"


def default_word(rule: Rule) -> str:
    """How tables say whether a rule is selected when nothing is said."""
    return "on" if rule.default else "opt-in"


def rules_document(rules: Iterable[Rule]) -> str:
    """The page on all rules: the table, then each rule's documentation one heading lower."""
    rules = list(rules)
    pages = (_lowered(rule_page(rule)) for rule in rules)
    return "\n".join(["# Rules", "", rules_table(rules), *pages]).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _lowered(page: str) -> str:
    """The page with its headings one level lower, those in code blocks (comments) left alone."""
    lines, code = [], False
    for line in page.split("\n"):
        code ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not code else line)
    return "\n".join(lines)
