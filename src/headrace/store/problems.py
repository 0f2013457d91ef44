"""What is wrong now, kept where every process can read it: problems begin, and last until they are solved."""

from __future__ import annotations

import threading

import apsw

from headrace.core.events import Problem, Recorder, Solved


class Problems:
    """Problems of the running engine. Recorded from any thread at once; stored with the next transaction."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Problem] = {}
        self._unwritten: list[Problem | Solved] = []

    def record(self, problem: Problem) -> None:
        """A problem began, or it has a new message."""
        with self._lock:
            if self._open.get((problem.subject, problem.kind)) == problem:
                return
            self._open[problem.subject, problem.kind] = problem
            self._unwritten.append(problem)
        self._recorder.record(problem)

    def solve(self, subject: str, kind: str) -> None:
        """A problem is over; nothing happens when there was none."""
        with self._lock:
            if self._open.pop((subject, kind), None) is None:
                return
            self._unwritten.append(Solved(subject, kind))
        self._recorder.record(Solved(subject, kind))

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
