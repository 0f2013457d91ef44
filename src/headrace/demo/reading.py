"""What the demo needs of the running app: that it is asked, is given rows, and shows a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.core.frontier import Status
from headrace.demo.asking import Asker


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


class Tables(Protocol):
    """The running app's tables, as its producers need them."""

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give rows to a table; returns once they are on disk."""
        ...

    async def get(self, table: str, key: str) -> Reading:
        """The latest row of one key, or none."""
        ...


class Service(Asker, Tables, Protocol):
    """The running app, as the demo needs it."""

    @property
    def copy(self) -> Asker:
        """The app's endpoints over the batch twin."""
        ...
