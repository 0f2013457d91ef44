"""The work of the stream, as the partition sees it: groups of batches as they come, large ones piece by piece."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from headrace.core.changes import Batch, Position
from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.core.events import Event
from headrace.sources.postgres import publication, slot
from headrace.sources.postgres.assembly import Assembler, Item
from headrace.sources.postgres.conveyor import Conveyor
from headrace.sources.postgres.fence import FenceThread
from headrace.sources.postgres.handoff import Ready, Wanted, ask_types
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.routes import Routes
from headrace.sources.postgres.spool import Spool
from headrace.sources.postgres.stream import AHEAD, Stream
from headrace.sources.postgres.tables import find
from headrace.sources.postgres.trouble import refused
from headrace.sources.postgres.worker import Worker


class StreamWork:
    """Reads the stream from `standing` on."""

    def __init__(
        self,
        ready: Ready,
        wanted: Wanted,
        standing: Standing,
        worker: Worker,
        spool: Spool,
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        self._ready = ready
        self._wanted = wanted
        self._worker = worker
        self._spool = spool
        self._conveyor: Conveyor[Item] = Conveyor(AHEAD, asyncio.get_running_loop())
        routes = Routes(ready.tables, lambda oids: ask_types(ready.session, oids), tell=tell)
        self._stream = Stream(
            ready.replication, Assembler(routes, replace(standing, new=False), spool), self._conveyor, clock,
            patience=ready.facts.patience,
        )  # fmt: skip
        self._fences = FenceThread(
            ready.session, clock, deliver=self._stream.fence, look=self._look, failed=self._conveyor.fail,
            is_waiting=lambda: self._stream.is_waiting,
        )  # fmt: skip
        self._ready_batches: deque[Batch] = deque()
        if standing.new:
            # So that a slot that is lost from here on is known to have been there.
            self._ready_batches.append(Batch((), position=replace(standing, new=False).text, origin="slot"))
        self._large: Iterator[Batch] | None = None

    def start(self) -> None:
        """Ask the server for the stream. Blocks shortly.

        Raises
        ------
        SourceError
            The server refuses.
        """
        self._stream.start(self._wanted.slot, self._wanted.publication, self._ready.facts.protocol)
        self._fences.start()

    async def take(self) -> Batch | None:
        """The next batch; None when there is none now.

        Raises
        ------
        SourceError
            The stream broke: everything that was given is whole, and it is begun anew behind that.
        """
        if self._ready_batches:
            return self._ready_batches.popleft()
        if self._large is None:
            item = self._conveyor.take()
            if item is None:
                return None
            if isinstance(item, list):
                self._ready_batches.extend(item)
                return self._ready_batches.popleft()
            self._large = item.batches()
        return await self._next_of_large(self._large)

    async def _next_of_large(self, batches: Iterator[Batch]) -> Batch | None:
        batch = await self._worker.run(lambda: next(batches, None))
        if batch is None or not batch.more:
            self._large = None
        return batch

    async def wait(self, seconds: float) -> None:
        """Wait for something to take."""
        await self._conveyor.wait(seconds)

    def confirm(self, position: Position) -> None:
        """Everything up to `position` is on disk."""
        self._stream.confirm(Standing.parse(position).lsn)

    def close(self) -> None:
        """End it. Blocks shortly."""
        self._conveyor.close()
        self._fences.stop(self._ready.session.cut)
        self._stream.stop()
        self._ready.close()
        self._spool.clear()

    def _look(self) -> None:
        """Whether the slot, the publication and the tables still are as they must be.

        Raises
        ------
        SourceError
            One is not. Connecting again finds out what follows from that.
        """
        session, wanted = self._ready.session, self._wanted
        found = slot.look(session, wanted.slot)
        if found is None or found.lost:
            why = "is gone" if found is None else f"was given up by the server: {found.lost}"
            raise refused(f"the replication slot {wanted.slot} {why}", "nothing need be done: the copy is made anew")
        members = publication.published(session, wanted.publication, self._ready.tables)
        since = publication.since(session, wanted.publication, self._ready.tables)
        for table in self._ready.tables:
            fed = wanted.fed[table.name]
            now = find(session, wanted.named[table.name], fed.schema, extra=fed.extra)
            if now.oid != table.oid:
                raise refused(f"{table.sql} was dropped and made anew", "nothing need be done: it is copied again")
            if table.oid not in members or since.get(table.name) != self._ready.members.get(table.name):
                raise SourceError(
                    f"{table.sql} was taken out of the publication {wanted.publication}",
                    hint="it is added again and copied anew",
                    source="postgres",
                )
