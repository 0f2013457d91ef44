"""What the agents see of the world: something that answers the app's views, and says how old the answer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.core.frontier import Status


class Reading(Protocol):
    """An answer: rows, their age and what that means. `context.value.ContextValue` is one."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One mapping a row."""
        ...

    @property
    def age_ms(self) -> float | None:
        """As-of age in milliseconds of city time; None when nobody knows."""
        ...

    @property
    def status(self) -> Status:
        """fresh, stale or unknown."""
        ...


class Reader(Protocol):
    """Answers the app's views."""

    async def read(self, view: str, /, **params: Any) -> Reading:
        """The rows of `view` for these parameters."""
        ...


class Service(Reader, Protocol):
    """The running app, as the demo needs it."""

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give rows to a table; returns once they are on disk."""
        ...

    async def get(self, table: str, key: str) -> Reading:
        """The latest row of one key, or none."""
        ...
