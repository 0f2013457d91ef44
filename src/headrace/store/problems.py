"""What is wrong now, kept where every process can read it: problems begin, and last until they are solved."""

from __future__ import annotations

import threading
from collections.abc import Callable

import apsw

from headrace.core.events import Problem, Recorder, Solved
from headrace.store import disk

_UNSTORED = frozenset({disk.KIND})
"""Kinds that cannot be written while they last: readers are told by the board."""


def _nobody() -> None:
    """Without an ingest, what waits is stored with whatever is committed next."""


class Problems:
    """Problems of the running engine. Recorded from any thread at once; stored with the next transaction.

    `on_news` is called when something waits to be stored, from the thread that recorded it.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Problem] = {}
        self._unwritten: list[Problem | Solved] = []
        self.on_news: Callable[[], None] = _nobody

    def record(self, problem: Problem) -> None:
        """A problem began, or it has a new message."""
        with self._lock:
            if self._open.get((problem.subject, problem.kind)) == problem:
                return
            self._open[problem.subject, problem.kind] = problem
            self._note(problem)
        self._tell(problem)

    def solve(self, subject: str, kind: str) -> None:
        """A problem is over; nothing happens when there was none."""
        with self._lock:
            if self._open.pop((subject, kind), None) is None:
                return
            self._note(Solved(subject, kind))
        self._tell(Solved(subject, kind))

    def _note(self, news: Problem | Solved) -> None:
        if news.kind not in _UNSTORED:
            self._unwritten.append(news)

    def _tell(self, news: Problem | Solved) -> None:
        self._recorder.record(news)
        self.on_news()

    def current(self) -> list[Problem]:
        """The problems of this engine that are not solved."""
        with self._lock:
            return list(self._open.values())

    @property
    def waiting(self) -> bool:
        """Whether something is to be written with the next transaction."""
        return bool(self._unwritten)

    def write(self, db: apsw.Connection, *, txn: int) -> int:
        """Store what is new, inside the caller's transaction; pass the result to `written` once that is committed."""
        with self._lock:
            news = list(self._unwritten)
        for event in news:
            if isinstance(event, Problem):
                db.execute(_RECORD, (event.subject, event.kind, event.message, event.hint, txn))
            else:
                db.execute("DELETE FROM _hr_problems WHERE subject = ? AND kind = ?", (event.subject, event.kind))
        return len(news)

    def written(self, count: int) -> None:
        """The first `count` news are committed."""
        if count:
            with self._lock:
                del self._unwritten[:count]


_RECORD = """INSERT INTO _hr_problems VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET message = excluded.message, hint = excluded.hint"""


def stored_problems(db: apsw.Connection) -> list[tuple[Problem, int]]:
    """Every stored problem with the instant at which it began (microseconds), oldest first; for any process."""
    rows = db.execute("SELECT subject, kind, message, hint, since FROM _hr_problems ORDER BY since, subject, kind")
    return [(Problem(subject, kind, message, hint), since) for subject, kind, message, hint, since in rows]
