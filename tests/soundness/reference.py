"""The slow reference: the findings of a file by parsing it whole and asking every rule about everything."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from unhush.codemods.engine import finding
from unhush.codemods.model import Finding
from unhush.codemods.rules import Match, Rule, all_rules, winners
from unhush.codemods.scope import ClassHeader, HandlerSite, Scope
from unhush.codemods.settings import Settings
from unhush.codemods.source import Source
from unhush.codemods.suppressions import Suppressions

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def reference_findings(data: bytes, filename: str, settings: Settings) -> tuple[Finding, ...] | None:
    """The findings of a file, or None where it can't be parsed."""
    source = Source(data, filename, settings.root)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(source.utf8.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [entry for scope in scopes(source, module) for entry in _ask(scope, settings)]
    found.sort(key=lambda entry: (entry[1].node.lineno, entry[1].node.col_offset, entry[0].code))
    counts: dict[tuple[str, ...], int] = {}
    findings = []
    suppressions = Suppressions(source, settings)
    for rule, match, scope in found:
        if suppressions.hides(rule, match, scope):
            continue
        first = finding(rule, match, scope, settings)
        key = (first.code, first.qualname, first.fingerprint)
        counts[key] = counts.get(key, -1) + 1
        findings.append(finding(rule, match, scope, settings, counts[key]))
    return tuple(findings)


def scopes(source: Source, module: ast.Module) -> Iterator[Scope]:
    """The module and every outermost function of it, as scopes of the one tree."""
    yield Scope(source, module)
    stack: list[tuple[ast.AST, tuple[ClassHeader, ...]]] = [(module, ())]
    while stack:
        node, classes = stack.pop()
        if isinstance(node, FUNCTIONS):
            yield Scope(source, node, classes)
            continue
        if isinstance(node, ast.ClassDef):
            classes = (*classes, ClassHeader(node.name, tuple(_bases(node))))
        stack += [(child, classes) for child in ast.iter_child_nodes(node)]


def _bases(node: ast.ClassDef) -> Iterator[str]:
    for base in node.bases:
        text = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        if all(part.isidentifier() for part in text.split(".")):
            yield text


def _ask(scope: Scope, settings: Settings) -> list[tuple[Rule, Match, Scope]]:
    """What the selected rules say of a scope: the handler rules of every handler, the scope rules of the whole."""
    rules = [rule for code, rule in all_rules().items() if code in settings.select]
    said = [
        (rule, match)
        for site in _sites(scope)
        for rule in rules
        if rule.kind == "handler"
        if (match := rule.match(site, settings))
    ]
    said += [(rule, match) for rule in rules if rule.scope_match for match in rule.scope_match(scope, settings)]
    return [(rule, match, scope) for rule, match in winners(said)]


def _sites(scope: Scope) -> Iterator[HandlerSite]:
    """Every handler below a scope, in functions within it too, but for a module's: those are scopes of their own."""
    stack: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(scope.tree, (scope.tree,))]
    while stack:
        node, path = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(scope.tree, ast.Module) and isinstance(child, FUNCTIONS):
                continue
            if isinstance(child, ast.ExceptHandler):
                yield HandlerSite(scope, node, child, path)
            if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                stack.append((child, (*path, child)))
