"""Fences: up to when everything is in, on our own clock, whatever the server's clock shows.

    t0 = our clock; L = the end of the server's log on disk

What was committed before t0 ends at or before L. So when everything up to L has been received, and is committed here,
everything that the server had committed before t0 is in: the frontier is t0.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headrace.core.clock import Clock, ClockOffset
from headrace.core.errors import HeadraceError
from headrace.sources.postgres.lsn import Lsn, parse_lsn
from headrace.sources.postgres.session import Session

EVERY = 0.25
"""Seconds between two fences."""

LOOK_EVERY = 5.0
"""Seconds between two looks at slot, publication and tables."""

ANSWER_SECONDS = 2.0
"""How long a question that is under way may take when everything is to end."""

NUDGE_AFTER = 2.0
"""Seconds after which a fence that is not reached, although the server answers, gets a helping hand."""

_ASK = """
SELECT pg_current_wal_flush_lsn()::text AS lsn, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now
"""
_NUDGE = "SELECT pg_logical_emit_message(true, 'headrace', '')"
_MOST = 256


@dataclass(frozen=True, slots=True)
class Fence:
    """Everything that was committed before `at` (our clock) ends at or before `lsn`."""

    at: int
    lsn: Lsn
    clock: ClockOffset


class Fences:
    """Fences that were set and not yet reached, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Fence] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, fence: Fence) -> None:
        """Set one; when very many wait, every second one is forgotten."""
        self._waiting.append(fence)
        if len(self._waiting) > _MOST:
            self._waiting = deque(list(self._waiting)[::2])

    def pass_(self, received: Lsn) -> Fence | None:
        """The last one that `received` has reached; it and those before it are done."""
        reached = None
        while self._waiting and self._waiting[0].lsn <= received:
            reached = self._waiting.popleft()
        return reached


class FenceThread:
    """Sets fences, and every few seconds looks whether the server still is as it must be.

    Parameters
    ----------
    deliver
        Takes each fence; called from the thread.
    look
        Raises SourceError when something is not as it must be.
    failed
        Takes the error that ended the thread.
    is_waiting
        Whether fences wait although the stream has nothing to read.
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        *,
        deliver: Callable[[Fence], None],
        look: Callable[[], None],
        failed: Callable[[HeadraceError], None],
        is_waiting: Callable[[], bool],
    ) -> None:
        self._session = session
        self._clock = clock
        self._deliver = deliver
        self._look = look
        self._failed = failed
        self._is_waiting = is_waiting
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-postgres-fence", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, cut: Callable[[], None]) -> None:
        """End, and wait for it; `cut` breaks the connection off when its answer does not come."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(ANSWER_SECONDS)
            if self._thread.is_alive():
                cut()
                self._thread.join()

    def _run(self) -> None:
        looked = nudged = self._clock.monotonic()
        try:
            while True:
                self._deliver(ask(self._session, self._clock))
                now = self._clock.monotonic()
                if now - looked >= LOOK_EVERY:
                    looked = now
                    self._look()
                if not self._is_waiting():
                    nudged = now
                elif now - nudged >= NUDGE_AFTER:
                    # The log may end on disk within a record, where no commit ends: a commit of ours completes it.
                    nudged = now
                    self._session.run(_NUDGE, doing="completing the log")
                if self._stopping.wait(EVERY):
                    return
        except HeadraceError as error:
            self._failed(error)


def ask(session: Session, clock: Clock) -> Fence:
    """A fence as of now."""
    before = clock.now()
    row = session.one(_ASK, doing="asking how far the log reaches")
    after = clock.now()
    offset = ClockOffset(int(row["now"]) - (before + after) // 2, max(1, (after - before) // 2))
    return Fence(before, parse_lsn(row["lsn"]), offset)
