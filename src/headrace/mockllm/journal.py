"""What became of each request: counters for all, and an entry for each of the latest ones."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

_KEPT = 2000
"""Entries that are kept; older ones only count."""


class Entry:
    """One request.

    Attributes
    ----------
    number
        Counted from 1.
    api, model, stream, fault
        What was asked for, and the failure that it met (empty: none).
    began, first, ended
        Instants (microseconds since the epoch); 0 while it has not happened.
    outcome
        `""` while it runs, then `answered`, `refused`, `failed` (on purpose) or `cancelled` (the client left first).
    status
        Of the answer; 0 when there was none.
    tokens
        Of the answer, as far as it was sent.
    sent
        The pieces of a stream; kept only while the mock is told to (`record`).
    """

    __slots__ = (
        "api", "began", "ended", "fault", "first", "model", "number", "outcome", "reserved", "sent", "status", "stream",
        "tokens",
    )  # fmt: skip

    def __init__(self, number: int, api: str, began: int) -> None:
        self.number = number
        self.api = api
        self.began = began
        self.model = ""
        self.stream = False
        self.fault = ""
        self.first = 0
        self.ended = 0
        self.outcome = ""
        self.status = 0
        self.tokens = 0
        self.reserved = 0
        self.sent: list[bytes] | None = None

    def as_json(self) -> dict[str, Any]:
        """For `/mock/requests`."""
        names = ("number", "api", "model", "stream", "fault", "began", "first", "ended", "outcome", "status", "tokens")
        shown: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.sent is not None:
            shown["sent"] = [piece.decode("utf-8", "replace") for piece in self.sent]
        return shown


class Journal:
    """All requests of one mock."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=_KEPT)
        self._numbered = 0
        self.requests = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.queued = 0
        self.tokens = 0
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()

    def begin(self, api: str, now: int) -> Entry:
        """A request came."""
        self.requests += 1
        self._numbered += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        entry = Entry(self._numbered, api, now)
        self.entries.append(entry)
        return entry

    def end(self, entry: Entry, outcome: str, now: int) -> None:
        """It is over; only the first end counts."""
        if entry.outcome:
            return
        entry.outcome = outcome
        entry.ended = now
        self.in_flight -= 1
        self.outcomes[outcome] += 1
        self.tokens += entry.tokens
        if entry.status:
            self.statuses[entry.status] += 1

    def stats(self) -> dict[str, Any]:
        """For `/mock/stats`."""
        outcomes = {name: self.outcomes[name] for name in ("answered", "refused", "failed", "cancelled")}
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "queued": self.queued,
            "output_tokens": self.tokens,
            **outcomes,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(sorted(self.faults.items())),
        }

    def clear(self) -> None:
        """Forget what is over; what runs goes on."""
        running, numbered = self.in_flight, self._numbered
        kept = [entry for entry in self.entries if not entry.outcome]
        self.__init__()
        self.in_flight = self.most_in_flight = running
        self._numbered = numbered  # identifiers of answers are made of it, and must not come twice
        self.entries.extend(kept)
