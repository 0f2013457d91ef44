"""What the pipeline needs of the rest: a way to read context, and whether what was read still holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Present, ReadSet, Validity
from headrace.context.value import ContextValue


class Reads(Protocol):
    """Reading context; `runtime.reads.LocalReads` is one.

    `until` is the instant (seconds of the monotonic clock) at which the wait of a policy ends at the latest.
    """

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """One view."""
        ...

    async def read_many(
        self,
        reads: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> list[ContextValue]:
        """Many views in one snapshot."""
        ...

    async def get(
        self,
        table: str,
        key: Any,
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The row of one key."""
        ...

    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The rows of many keys in one snapshot."""
        ...

    def validate(self, readset: ReadSet) -> Validity:
        """What changed since these reads."""
        ...

    def current(self, readset: ReadSet) -> Present:
        """Whether the same reads made now would show the same."""
        ...

    def again(self, readset: ReadSet) -> Present:
        """The same reads made now: all that show something else. Raises `StaleContext` where a policy refuses."""
        ...

    def frontiers(self, readset: ReadSet) -> Mapping[str, int | None]:
        """Up to when each input of these reads is complete now (microseconds)."""
        ...


@runtime_checkable
class Shadowing(Protocol):
    """A caller of models that says whether there is room for a call whose answer nobody waits for."""

    def may_shadow(self) -> bool:
        """Take a token of the resilience budget; False: do not send it."""
        ...
