"""What one run of a handler did so far: its stages, reads and calls; shared by its context and whoever runs it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Read
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.events import ModelCall, ReadAge
from headrace.models.reply import Caller
from headrace.pipeline.ask import Ask
from headrace.pipeline.ports import Reads
from headrace.pipeline.stages import Stages

_KEYS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Means:
    """What every run of every endpoint has at hand.

    Attributes
    ----------
    reads
        The context.
    callers
        The running models, by name.
    views, tables
        The names that can be read.
    clock
        What time it is.
    """

    reads: Reads
    callers: Mapping[str, Caller]
    views: frozenset[str]
    tables: frozenset[str]
    clock: Clock


class Closing(Protocol):
    """What can be let go of."""

    async def aclose(self) -> None:
        """Let go; of what has ended, nothing happens."""
        ...


@dataclass(slots=True)
class Run:
    """One run of a handler.

    Attributes
    ----------
    deadline
        The instant (seconds, monotonic) at which it is cancelled. Of a stream that may have a fallback, it is that of
        its first item until that is out; then it is `end`.
    end
        The instant until when a stream that it has begun may last.
    account
        Whose money its calls spend.
    instead
        A model that answers in place of every other.
    failure
        Why a fallback runs.
    shadow
        Whether nobody waits for it.
    failed
        What failed last in a stage that had ended when it was seen, and the stage.
    number
        Calls to models so far.
    seen
        What of the request, beside its input, the handler looked at: "user", "header accept-language", ...
    streams
        Answers of models that may still be coming.
    key
        Unique in this process; request ids come from outside, and may come twice.
    """

    means: Means
    ask: Ask
    endpoint: str
    version: str
    deadline: float
    end: float
    stages: Stages
    policy: FreshnessPolicy | None = None
    reask: int = 1
    account: str = ""
    instead: str | None = None
    failure: HeadraceError | None = None
    shadow: bool = False
    reads: list[Read] = field(default_factory=list[Read])
    ages: list[ReadAge] = field(default_factory=list[ReadAge])
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
    failed: tuple[BaseException, str] | None = None
    number: int = 0
    seen: set[str] = field(default_factory=set[str])
    streams: list[Closing] = field(default_factory=list[Closing])
    key: str = field(default_factory=lambda: f"{next(_KEYS):x}")

    async def let_go(self) -> None:
        """The run is over: whatever still comes from models is cancelled there. (`async for` closes nothing.)"""
        streams, self.streams = self.streams, []
        for stream in streams:
            await stream.aclose()

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        return max(self.deadline - self.means.clock.monotonic(), 0.0)
