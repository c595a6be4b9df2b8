"""Keeps the stock in a database."""

import logging
import sqlite3
from contextlib import suppress

log = logging.getLogger(__name__)


class Store:
    """The stock of one warehouse."""

    def __init__(self, path):
        self.db = sqlite3.connect(path)
        with suppress(Exception):
            self.db.execute("create table stock (sku text primary key, count integer not null)")
            self.db.commit()

    def count(self, sku):
        """How many pieces there are."""
        try:
            row = self.db.execute("select count from stock where sku = ?", [sku]).fetchone()
            return row[0]
        except:
            return 0

    def book(self, sku, change):
        """Adds to (or takes from) the stock of one article."""
        try:
            self.db.execute(
                "insert into stock values (?, ?) on conflict (sku) do update set count = count + excluded.count",
                [sku, change],
            )
            self.db.commit()
        except sqlite3.IntegrityError:
            log.warning("booking refused", exc_info=True)
            raise
        except Exception:
            pass
