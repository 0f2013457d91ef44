"""What the HTTP and MCP edges need from the rest: a way to read and a way to write. `runtime` implements both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import ReadSet, Validity
from headrace.context.value import ContextValue
from headrace.core.changes import Receipt


class Reads(Protocol):
    """Reading context. Safe to call from one event loop; local reads take well under a millisecond."""

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """One view. `params` values may be text (from a URL): they are converted to the parameter's type.

        Raises `UnknownName`, `BadParameter`, `StaleContext`.
        """
        ...

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> list[ContextValue]:
        """Many views in one snapshot."""
        ...

    async def get(
        self,
        table: str,
        key: str | Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """The latest row of one key: `rows` holds one row or none."""
        ...

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
    ) -> ContextValue:
        """The rows of many keys in one snapshot, in the order of `keys`; keys without a row are left out."""
        ...

    def freshness(self) -> dict[str, Any]:
        """How old everything is, JSON-ready: {"now", "tables": {name: ...}, "views": {name: ...}, "problems": [...]}.

        Per table: as_of, age_ms, status, state, promise_ms, counters (since the store was made), waiting (records in
        quarantine now); per view: as_of, age_ms, status, inputs.
        """
        ...

    def validate(self, readset: ReadSet) -> Validity:
        """What changed since these reads."""
        ...

    def quarantine(
        self, *, table: str | None = None, rule: str | None = None, limit: int = 100, after: int = 0
    ) -> list[dict[str, Any]]:
        """Waiting records, oldest first, without their bytes. JSON-ready; each has its number as `id`."""
        ...

    def quarantined(self, number: int) -> dict[str, Any]:
        """One waiting record with its bytes (`raw`: text, or base64 where it is not UTF-8). Raises `UnknownName`."""
        ...


class Writes(Protocol):
    """Writing: what was pushed, and what is decided about quarantined records."""

    async def push(
        self, table: str, body: bytes, *, idempotency_key: str | None = None, origin: str = "push"
    ) -> Receipt:
        """Judge and commit a pushed body (one JSON object, an array, or NDJSON); returns once it is on disk.

        Raises `UnknownName`, `PushError` and its children, `Backpressure`, `StoreFull`.
        """
        ...

    async def replay(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """Judge quarantined records again and apply those that pass now: {"replayed": n, "still_quarantined": m}."""
        ...

    async def drop(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """Drop quarantined records for good: {"dropped": n}."""
        ...


class Health(Protocol):
    """How the engine itself is doing. Optional: an edge without one is ready when it can read."""

    async def health(self) -> dict[str, Any]:
        """{"ready": bool, "reasons": [sentence, ...], "gauges": {name: number}}, JSON-ready.

        `reasons` says why it is not ready: the store is not open, a source has not started. `gauges` are numbers for
        `/metrics`, such as "queue_depth" (submissions) and "durable_lag_seconds".

        Raises `Unavailable` when the engine cannot be reached.
        """
        ...
