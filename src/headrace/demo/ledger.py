"""The city's own books: the latest row of every table, and what was written since somebody last looked."""

from __future__ import annotations

from headrace.demo.happenings import KEYS, CityRow, Happening, Question, Write


class Ledger:
    """Keeps the current rows and hands out what happened, in order.

    Attributes
    ----------
    tables
        Per table, the latest row by key. A row is replaced as a whole, never changed in place, so a copy of the
        mapping is a true copy of that instant.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, CityRow]] = {table: {} for table in KEYS}
        self._happened: list[Happening] = []

    def write(self, at: int, table: str, row: CityRow) -> None:
        """The row of this key is `row` from `at` on."""
        self.tables[table][row[KEYS[table]]] = row
        self._happened.append(Write(at, table, row))

    def ask(self, question: Question) -> None:
        """A customer asks."""
        self._happened.append(question)

    def take(self) -> list[Happening]:
        """What happened since the last call, in order."""
        happened, self._happened = self._happened, []
        return happened

    def forget_sales(self, before: int) -> None:
        """Drop sales older than `before`: nobody looks further back than the popularity window."""
        sales = self.tables["sales"]
        old: list[str] = []
        for key, row in sales.items():  # in order of time, so this stops at the first young one
            if row["sold_at"] >= before:
                break
            old.append(key)
        for key in old:
            del sales[key]

    def forget_orders(self, before: int) -> None:
        """Drop orders that ended before `before`: nobody asks about them any more."""
        orders = self.tables["orders"]
        ended = [
            key
            for key, row in orders.items()
            if row["state"] in ("delivered", "cancelled") and row["changed_at"] < before
        ]
        for key in ended:
            del orders[key]
