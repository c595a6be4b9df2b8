"""Fits the weights of `codemods/severity.py` to the labelled handlers, and prints them as its table.

python tests/accuracy/fit.py [CORPUS]

CORPUS is as for measure.py. Needs numpy. Only the fitted part of the sample is read; the held-out part is left for
measure.py. Two logistic regressions with a ridge (L2) penalty, each class weighted to the same sum, on the signs of
`codemods/signals.py`: "there is a case" (clear or arguable) and "a clear case". What is shown is decided by the first
plus three tenths of the second, what is high by the second. Weights are in tenths of a logit.

Before the table it prints how such weights fare on packages that they were not fitted to: false alarms and the share
of the rest that is shown, at several recalls of the clear cases, by cross-validation grouped by package. It does not
choose the two thresholds of severity.py.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from corpus import cache_folder, fetch
from labelled import Labelled, read_table

from unhush.codemods.idioms import excuse
from unhush.codemods.scope import ClassHeader, Function, HandlerSite, Scope
from unhush.codemods.signals import signs_of
from unhush.codemods.source import Source

RIDGE = 4.0
LEAST = 8  # A sign that fewer handlers bear gets no weight.
MIX = 0.3
FOLDS = 8
RECALLS = (0.8, 0.85, 0.9, 0.95)

# A handler's signs, its label, its package, and whether an idiom excuses it.
Row = tuple[frozenset[str], str, str, bool]


def scopes(source: Source, node: ast.AST, classes: tuple[ClassHeader, ...] = ()) -> Iterator[Scope]:
    """The scope of every outermost function below a node, each with the classes around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield Scope(source, child, classes)
        elif isinstance(child, ast.ClassDef):
            header = ClassHeader(child.name, tuple(map(ast.unparse, child.bases)))
            yield from scopes(source, child, (*classes, header))
        elif not isinstance(child, ast.expr):
            yield from scopes(source, child, classes)


def rows(corpus: Path, handlers: Sequence[Labelled]) -> Iterator[Row]:
    """The handlers that are silent by unhush's definition, with what there is to learn from them."""
    sites: dict[str, dict[int, HandlerSite]] = {}
    for handler in handlers:
        file, line = handler.place
        if file not in sites:
            source = Source((corpus / file).read_bytes(), file)
            tree = ast.parse(source.utf8)
            every = (site for scope in (Scope(source, tree), *scopes(source, tree)) for site in scope.sites())
            sites[file] = {site.handler.lineno: site for site in every}
        site = sites[file][line]
        if site.shape != "acts":
            yield signs_of(site), handler.label, handler.folder, excuse(site) is not None


def logistic(signs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights of the columns of `signs` (0 or 1), and the constant last, by Newton's method."""
    design = np.hstack([signs, np.ones((len(signs), 1))])
    balance = np.where(target, (~target).sum() / target.sum(), 1.0)
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[-1, -1] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(20):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (balance * (chance - target)) + penalty @ weights
        curve = (design.T * (balance * chance * (1 - chance))) @ design + penalty
        step = np.linalg.solve(curve, slope)
        weights -= step
        if abs(step).max() < 1e-6:
            break
    return weights


def both(signs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights for what is shown and for what is high."""
    clear = logistic(signs, labels == "clear")
    return logistic(signs, labels != "none") + MIX * clear, clear


def cross_validated(signs: np.ndarray, labels: np.ndarray, packages: np.ndarray) -> np.ndarray:
    """For each handler its sum by weights that were fitted without its package and a share of the others."""
    names = np.unique(packages)
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % FOLDS, strict=True))
    folds = np.array([fold_of[name] for name in packages])
    sums = np.zeros(len(labels))
    for fold in range(FOLDS):
        apart = folds == fold
        weights, _ = both(signs[~apart], labels[~apart])
        sums[apart] = signs[apart] @ weights[:-1] + weights[-1]
    return sums


def main(args: Sequence[str]) -> None:
    """Prints the cross-validated figures and the table."""
    handlers = [one for one in read_table() if one.part == "fitted"]
    corpus = Path(args[0]) if args else fetch(handlers, cache_folder())
    data = list(rows(corpus, handlers))
    borne = Counter(sign for found, *_ in data for sign in found)
    names = sorted(sign for sign, count in borne.items() if count >= LEAST)
    signs = np.array([[name in found for name in names] for found, *_ in data], dtype=float)
    labels, packages = np.array([row[1] for row in data]), np.array([row[2] for row in data])
    sums = cross_validated(signs, labels, packages)
    sums[[row[3] for row in data]] = -np.inf
    for recall in RECALLS:
        clear = np.sort(sums[labels == "clear"])
        shown = sums >= clear[int((1 - recall) * len(clear))]
        alarms, rest = (shown & (labels == "none")).sum() / shown.sum(), shown[labels != "clear"].mean()
        print(f"# recall {recall:.0%}: false alarms {alarms:.1%}, of the rest {rest:.1%} shown")
    shown_weights, high_weights = both(signs, labels)
    print(f"_BASE = ({_tenths(shown_weights[-1])}, {_tenths(high_weights[-1])})")
    for name, shown_weight, high_weight in zip(names, shown_weights, high_weights, strict=False):
        print(f'    "{name}": ({_tenths(shown_weight)}, {_tenths(high_weight)}),  # {borne[name]} handlers')


def _tenths(weight: float) -> int:
    return round(float(weight) * 10)


if __name__ == "__main__":
    main(sys.argv[1:])
