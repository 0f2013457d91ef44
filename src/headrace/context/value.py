"""What a read returns: rows, how old they are, and what they stood on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.context.readset import ReadSet
from headrace.core.clock import isoformat
from headrace.core.frontier import Status


@dataclass(frozen=True, slots=True)
class InputAge:
    """What is known of one table, rollup or view that an answer stood on.

    Attributes
    ----------
    as_of
        Complete up to this instant (microseconds); None when nobody knows.
    status
        Measured against the input's own promise.
    state
        What its source is doing, as a lower-case word: "running", "failed", "never", ...
    error
        The error bar of its rows' value ages (microseconds): they come from the source's clock, and this is how far
        that may be from ours. None where nobody measured it. The as-of age comes from our clock alone.
    """

    as_of: int | None
    status: Status
    state: str
    error: int | None = None


@dataclass(frozen=True, slots=True)
class ContextValue:
    """The answer of a view or a table read.

    Attributes
    ----------
    name
        The view or table.
    rows
        One mapping a row, JSON-ready values (see `core.schema`).
    now
        When it was read (microseconds).
    as_of
        "Everything that the sources had committed up to this instant is in here": the minimum over the inputs,
        microseconds; None when it is unknown.
    status
        The as-of age measured against the promise: fresh, stale or unknown.
    changed
        Per row, the instant of the oldest change it is made of (microseconds): the minimum over its inputs.
    inputs
        Each input's own as-of and status.
    readset
        The versions that the answer depended on.
    """

    name: str
    rows: list[dict[str, Any]]
    now: int
    as_of: int | None
    status: Status
    changed: list[int | None]
    inputs: dict[str, InputAge]
    readset: ReadSet

    @property
    def age_ms(self) -> float | None:
        """As-of age in milliseconds; None when unknown."""
        return None if self.as_of is None else max(self.now - self.as_of, 0) / 1000

    @property
    def value_age_ms(self) -> list[float | None]:
        """Per row: milliseconds since the oldest change it is made of."""
        return [None if at is None else max(self.now - at, 0) / 1000 for at in self.changed]

    @property
    def value_age_error_ms(self) -> float | None:
        """How far off the value ages may be, milliseconds: the largest over inputs whose source's clock was compared
        with ours; None: none was."""
        worst = None
        for age in self.inputs.values():
            if age.error is not None and (worst is None or age.error > worst):
                worst = age.error
        return None if worst is None else worst / 1000

    @property
    def first(self) -> dict[str, Any] | None:
        """The first row, or None."""
        return self.rows[0] if self.rows else None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The answer as HTTP and MCP give it."""
        return {
            "rows": self.rows,
            "as_of": None if self.as_of is None else isoformat(self.as_of),
            "age_ms": self.age_ms,
            "status": self.status.value,
            "value_age_ms": self.value_age_ms,
            "value_age_error_ms": self.value_age_error_ms,
            "inputs": {
                name: {
                    "as_of": None if age.as_of is None else isoformat(age.as_of),
                    "age_ms": None if age.as_of is None else max(self.now - age.as_of, 0) / 1000,
                    "status": age.status.value,
                    "state": age.state,
                    "value_age_error_ms": None if age.error is None else age.error / 1000,
                }
                for name, age in self.inputs.items()
            },
        }
