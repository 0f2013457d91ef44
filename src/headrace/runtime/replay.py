"""Judging quarantined records again, as if they had just arrived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import apsw

from headrace.core.changes import Judged
from headrace.core.clock import Clock
from headrace.runtime.lane import Lane
from headrace.store.base import Submission
from headrace.store.ingest import Ingest
from headrace.store.quarantine import Quarantined, get, waiting

PAGE = 1_000
"""Records judged and committed at a time."""


class Replay:
    """One pass over waiting records: those that pass now are applied and leave quarantine in the same transaction.

    `plain` names the tables whose sources bring records only, none of which is an envelope.
    """

    def __init__(
        self, lanes: Mapping[str, Lane], ingest: Ingest, clock: Clock, *, plain: frozenset[str] = frozenset()
    ) -> None:
        self._lanes = lanes
        self._plain = plain
        self._ingest = ingest
        self._clock = clock

    async def run(self, *, numbers: Sequence[int] | None, table: str | None) -> dict[str, int]:
        """`{"replayed": n, "still_quarantined": m}`; raises `UnknownName` for a number that does not wait."""
        total = {"replayed": 0, "still_quarantined": 0}
        if numbers is not None:
            records = await self._ingest.execute(lambda db, _: [get(db, n) for n in dict.fromkeys(numbers)])
            await self._replay([r for r in records if table is None or r.table == table], total)
            return total
        after = 0
        while records := await self._page(table, after):
            after = records[-1].number
            await self._replay(records, total)
        return total

    async def _page(self, table: str | None, after: int) -> list[Quarantined]:
        def read(db: apsw.Connection, _: int) -> list[Quarantined]:
            return [get(db, found.number) for found in waiting(db, table=table, limit=PAGE, after=after)]

        return await self._ingest.execute(read)

    async def _replay(self, records: Sequence[Quarantined], total: dict[str, int]) -> None:
        by_table: dict[str, list[Quarantined]] = defaultdict(list)
        for record in records:
            by_table[record.table].append(record)
        for name, waiting_records in by_table.items():
            lane = self._lanes.get(name)
            passed = [] if lane is None else await self._passed(lane, waiting_records)
            total["still_quarantined"] += len(waiting_records) - len(passed)
            total["replayed"] += len(passed)
            if passed:
                await self._apply(name, passed)

    async def _passed(self, lane: Lane, records: Sequence[Quarantined]) -> list[tuple[int, Judged]]:
        async with lane.turn:
            now, envelope = self._clock.now(), lane.table not in self._plain
            judged = [
                (r.number, lane.judge.replay(r.raw, now=now, watermark=lane.watermark, envelope=envelope))
                for r in records
            ]
        return [(number, result) for number, result in judged if not result.violations and not result.rejected]

    async def _apply(self, table: str, passed: Sequence[tuple[int, Judged]]) -> None:
        merged = Judged(
            changes=[change for _, judged in passed for change in judged.changes],
            nulled=sum(judged.nulled for _, judged in passed),
            max_event_time=max((j.max_event_time for _, j in passed if j.max_event_time is not None), default=None),
        )
        numbers = tuple(number for number, _ in passed)
        await self._ingest.submit(Submission(table=table, judged=merged, replays=numbers))
