"""Reads suppliers' price lists."""

import csv
from decimal import Decimal

try:
    import chardet
except ImportError:  # optional: without it files are taken for UTF-8
    chardet = None


def encoding_of(path):
    """Guess a file's encoding."""
    if chardet is None:
        return "utf-8"
    with open(path, "rb") as file:
        return chardet.detect(file.read())["encoding"]


def load_prices(path):
    """Read a price list: a dict of prices by stock number."""
    prices = {}
    with open(path, encoding=encoding_of(path), newline="") as file:
        for row in csv.DictReader(file):
            try:
                net = Decimal(row["net"])
                prices[row["sku"]] = net * (1 + Decimal(row["vat"]) / 100)
            except Exception:
                continue
    return prices
