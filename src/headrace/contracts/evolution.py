"""Watching a source change its shape: columns that vanish, change their type or appear.

One bad record is a violation; when (nearly) all records of a while have the same one, the source itself has changed and
a person should know. A problem is raised when at least `RAISE` of the latest records show it and solved when at most
`SOLVE` do, so that a source that flickers in between changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from headrace.contracts.contract import Contract
from headrace.core.changes import Judged, Upserts
from headrace.core.events import Event, Problem, Solved

RAISE = 0.9
SOLVE = 0.1
LEAST = 10
"""Fewer records than this prove nothing (batches of three for new fields, which are sampled once a batch)."""
WINDOW = 100
"""The latest batches that together hold at least this many records are looked at."""

Sign = tuple[str, str]
"""A kind of problem ("column_dropped", "column_retyped", "column_added") and a column."""

_KINDS = {"missing": "column_dropped", "type": "column_retyped"}
_NOT_RECORDS = ("bad_bytes", "json", "op", "key_missing")


@dataclass(slots=True)
class _Window:
    """Counts of signs over the latest batches, in a unit of `records` or of batches."""

    least: int
    size: int
    batches: deque[tuple[int, Counter[Sign]]] = field(default_factory=deque[tuple[int, Counter[Sign]]])
    total: int = 0
    signs: Counter[Sign] = field(default_factory=Counter[Sign])

    def add(self, count: int, signs: Counter[Sign]) -> None:
        """Take in one batch and forget those that are not needed to fill the window."""
        self.batches.append((count, signs))
        self.total += count
        self.signs.update(signs)
        while self.total - self.batches[0][0] >= self.size:
            gone, old = self.batches.popleft()
            self.total -= gone
            self.signs.subtract(old)

    def share(self, sign: Sign) -> float | None:
        """Which part of the window shows the sign; None when the window is too small to tell."""
        return None if self.total < self.least else self.signs[sign] / self.total


class Evolution:
    """Decides, from judged batches, whether a source has changed its shape. Pure; never raises.

    Only the first broken rule of a record counts, so of two columns that vanish at once the first is reported (its
    violations name both) and the other one once that is mended.

    Examples
    --------
    >>> from headrace.contracts.infer import schema_of
    >>> from headrace.core.changes import Violation
    >>> from headrace.core.records import Record
    >>> from headrace.core.schema import TableKind
    >>> class Item(Record):
    ...     item_id: str
    ...     price: float
    >>> evolution = Evolution(Contract(Item, schema_of(Item, kind=TableKind.TABLE, key="item_id")))
    >>> gone = Violation(b"{}", "missing", "price", "", "price is missing")
    >>> [(p.kind, p.subject) for p in evolution.observe(Judged(violations=[gone] * 20))]
    [('column_dropped', 'source:items')]
    >>> evolution.observe(Judged(changes=[Upserts([("i1", 1.0)] * 500)]))
    [Solved(subject='source:items', kind='column_dropped')]
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._subject = f"source:{contract.schema.name}"
        self._records = _Window(LEAST, WINDOW)
        self._samples = _Window(3, 10)
        self._open: dict[str, list[str]] = {}
        """The columns of each open problem."""

    def observe(self, judged: Judged) -> list[Event]:
        """Take one judged batch into account; the problems that begin and end with it."""
        refused = [v for v in (*judged.violations, *judged.rejected) if v.rule not in _NOT_RECORDS]
        count = len(refused) + sum(len(c.rows) for c in judged.changes if isinstance(c, Upserts))
        if not count:
            return []
        signs = Counter((_KINDS[v.rule], v.column) for v in refused if v.rule in _KINDS and v.column)
        self._records.add(count, signs)
        self._samples.add(1, Counter(("column_added", name) for name in judged.unknown_fields))
        events = self._decide("column_dropped", self._records) + self._decide("column_retyped", self._records)
        if self._contract.new_fields != "adopt":
            events += self._decide("column_added", self._samples)
        return events

    def _decide(self, kind: str, window: _Window) -> list[Event]:
        """Compare the columns that show the sign now with those that were reported."""
        before = self._open.get(kind, [])
        if window.total < window.least:
            return []
        now = [name for name in before if (window.share((kind, name)) or 0) > SOLVE]
        names = dict.fromkeys(name for found, name in window.signs if found == kind)
        now += [name for name in names if name not in now and (window.share((kind, name)) or 0) >= RAISE]
        if now == before:
            return []
        self._open[kind] = now
        return [self._problem(kind, now)] if now else [Solved(self._subject, kind)]

    def _problem(self, kind: str, names: list[str]) -> Problem:
        listed, table = ", ".join(map(repr, names)), self._contract.schema.name
        if kind == "column_dropped":
            return Problem(
                self._subject,
                kind,
                f"the records of {table} come without {listed}, which their contract requires: they are quarantined",
                "restore it at the source, or give it a default and replay the quarantine",
            )
        if kind == "column_retyped":
            return Problem(
                self._subject,
                kind,
                f"the records of {table} bring {listed} in another type than their contract says: they are quarantined",
                "change the type in the record (or at the source) and replay the quarantine",
            )
        fate = "quarantined" if self._contract.new_fields == "quarantine" else "ignored"
        return Problem(
            self._subject,
            kind,
            f"the records of {table} bring {listed}, which their contract does not declare: {fate}",
            'declare it in the record, or keep all new fields with new_fields="adopt"',
        )
