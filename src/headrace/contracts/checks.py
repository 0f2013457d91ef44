"""What is checked on rows that are valid one by one: event times against the clock, keys within a snapshot."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

from headrace.contracts.breach import Breach, value_text
from headrace.contracts.contract import Contract
from headrace.contracts.runs import UpsertRun
from headrace.core.clock import isoformat
from headrace.core.durations import format_duration
from headrace.core.schema import Row, show


class TimeCheck:
    """Whether event times are too late or too early."""

    def __init__(self, contract: Contract) -> None:
        name = contract.schema.event_time
        self._name = name or ""
        self._position = None if name is None else contract.schema.position(name)
        self._lateness = contract.lateness
        self._ahead = contract.ahead

    def check(self, run: UpsertRun, *, now: int, watermark: int | None) -> dict[int, Breach]:
        """The breaches by position in the run."""
        if self._position is None or not run.rows:
            return {}
        times: list[Any] = list(map(operator.itemgetter(self._position), run.rows))
        first = None if self._lateness is None or watermark is None else watermark - self._lateness
        last = None if self._ahead is None else now + self._ahead
        if (first is None or min(times) >= first) and (last is None or max(times) <= last):
            return {}
        found: dict[int, Breach] = {}
        for i, at in enumerate(times):
            if first is not None and at < first:
                found[i] = self._too_late(at, watermark or 0)
            elif last is not None and at > last:
                found[i] = self._too_early(at, now)
        return found

    def latest(self, run: UpsertRun) -> int | None:
        """The latest event time of a run."""
        if self._position is None or not run.rows:
            return None
        return max(map(operator.itemgetter(self._position), run.rows))  # pyright: ignore

    def _too_late(self, at: int, watermark: int) -> Breach:
        behind, allowed = format_duration(watermark - at), format_duration(self._lateness or 0)
        return Breach(
            "too_late",
            self._name,
            value_text(isoformat(at)),
            f"{self._name} is {behind} behind the latest event; {allowed} is allowed",
        )

    def _too_early(self, at: int, now: int) -> Breach:
        ahead, allowed = format_duration(at - now), format_duration(self._ahead or 0)
        return Breach(
            "too_early",
            self._name,
            value_text(isoformat(at)),
            f"{self._name} is {ahead} in the future; {allowed} is allowed: a clock is wrong",
        )


class UniqueCheck:
    """Whether a key comes twice in one batch of a snapshot, where each row should come once."""

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._positions = contract.schema.key_positions

    def check(self, run: UpsertRun, seen: set[Any]) -> dict[int, Breach]:
        """The breaches by position in the run; `seen` are the keys of the batch so far, those of the run come to it."""
        if not self._positions:
            return {}
        pick = cast("Callable[[Row], Any]", operator.itemgetter(*self._positions))
        keys = list(map(pick, run.rows))
        before = len(seen)
        fresh = set(keys)
        if len(fresh) == len(keys) and (not before or seen.isdisjoint(fresh)):
            seen |= fresh
            return {}
        found: dict[int, Breach] = {}
        for i, key in enumerate(keys):
            if key in seen:
                found[i] = self._breach(run.rows[i])
            seen.add(key)
        return found

    def _breach(self, row: tuple[Any, ...]) -> Breach:
        key = [
            show(self._schema.column(name).type, row[i])
            for name, i in zip(self._schema.key, self._positions, strict=True)
        ]
        shown = value_text(key[0] if len(key) == 1 else key)
        name = self._schema.key[0]
        return Breach("unique", name, shown, f"the key {shown} comes twice in one snapshot")
