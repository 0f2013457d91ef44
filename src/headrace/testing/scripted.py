"""Scripted: a source that plays a written script, crashes included; what the tests of a whole app feed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel

from headrace.core.changes import BadBytes, Batch, Json, Kept, Keys, Partial, Payload, Position, Rows, Tuples
from headrace.core.clock import SECOND, Clock
from headrace.core.errors import SourceError
from headrace.sources.base import Opening, Partition, Source


class SimulatedCrash(BaseException):
    """The process dies here. Not an `Exception`: nothing may catch it and go on, as nothing catches `kill -9`."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of the script (`EOF`) or of the process (`CRASH`)."""

    word: str


EOF: Final = Marker("EOF")
"""The source has said all that it will ever say."""

CRASH: Final = Marker("CRASH")
"""`SimulatedCrash` is raised, the first time that the script comes by; after a restart the script goes on."""


@dataclass(frozen=True, slots=True)
class PAUSE:
    """Nothing to say for `seconds` of the clock's time, and no sign of life either: the source is silent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life: complete up to `frontier` (microseconds), or up to now."""

    frontier: int | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """`error` is raised `times` times in this process, then the script goes on."""

    error: SourceError
    times: int = 1


Step = Mapping[str, Any] | BaseModel | Payload | Batch | Sequence[Any] | Marker | PAUSE | Heartbeat | Fail
"""One step of a script: a record, several as one batch (a list), a payload, a whole batch, or a marker."""


class Scripted(Source):
    """Plays a script; each record or list of records is one batch with the frontier "now".

    The position is the number of steps that are done, so a restart resumes exactly. Which crashes and failures have
    happened is remembered in this object: restart with the same one.

    Parameters
    ----------
    script
        The steps, or a mapping of partition names to steps.
    stream
        The name of the stream, for a source that feeds several tables: its steps are then whole `Batch`es that name
        their `table`.

    Attributes
    ----------
    opened
        What it was opened with, each time.

    Examples
    --------
    >>> Scripted([{"id": 1}, CRASH, [{"id": 2}, {"id": 3}], PAUSE(1), EOF]).describe()
    'scripted, 5 steps'
    """

    kind: ClassVar[str] = "scripted"

    def __init__(self, script: Sequence[Step] | Mapping[str, Sequence[Step]], *, stream: str | None = None) -> None:
        self.scripts: dict[str, Sequence[Step]] = dict(script) if isinstance(script, Mapping) else {"script": script}
        self.happened: dict[tuple[str, int], int] = {}
        self.acknowledged: dict[str, Position] = {}
        self.opened: list[Opening] = []
        self._stream = stream

    @property
    def stream(self) -> str | None:
        return self._stream

    async def open(self, opening: Opening) -> Sequence[Partition]:
        self.opened.append(opening)
        return [
            ScriptedPartition(self, name, steps, opening.resume.get(name), opening.clock)
            for name, steps in self.scripts.items()
        ]

    def describe(self) -> str:
        return f"scripted, {sum(len(steps) for steps in self.scripts.values())} steps"


class ScriptedPartition:
    """One script under way."""

    def __init__(
        self, source: Scripted, name: str, steps: Sequence[Step], position: Position | None, clock: Clock
    ) -> None:
        self.name = name
        self._source = source
        self._steps = steps
        self._next = 0 if position is None else int(position)
        self._clock = clock
        self._until: float | None = None
        self._done = False

    async def next_batch(self) -> Batch | None:
        while self._next < len(self._steps) and not self._done:
            step = self._steps[self._next]
            if isinstance(step, PAUSE):
                if self._pausing(step):
                    return None
                self._next += 1
            elif isinstance(step, Fail) or step is CRASH:
                self._break(step)
                self._next += 1
            else:
                return self._say(step)
        return None

    def next_awake(self) -> float:
        if self._until is None:
            return 1.0 if self._done or self._next >= len(self._steps) else 0.0
        return max(0.0, self._until - self._clock.monotonic())

    async def acknowledge(self, position: Position) -> None:
        self._source.acknowledged[self.name] = position

    async def close(self) -> None:
        self._done = True

    def _pausing(self, pause: PAUSE) -> bool:
        now = self._clock.monotonic()
        if self._until is None:
            self._until = now + pause.seconds
        # One microsecond of tolerance: a clock that is moved in microseconds may stop a rounding short of the end.
        if now < self._until - 1 / SECOND:
            return True
        self._until = None
        return False

    def _break(self, step: Step) -> None:
        """Raise what the step says, as often as it says so."""
        place = (self.name, self._next)
        times = self._source.happened.get(place, 0)
        if times >= (step.times if isinstance(step, Fail) else 1):
            return
        self._source.happened[place] = times + 1
        if isinstance(step, Fail):
            raise step.error
        raise SimulatedCrash(f"{self.name}, step {self._next}")

    def _say(self, step: Step) -> Batch:
        now = self._clock.now()
        self._next += 1
        if isinstance(step, Heartbeat):
            return Batch((), frontier=now if step.frontier is None else step.frontier)
        if step is EOF:
            self._done = True
            return Batch((), frontier=now, ended=True)
        position = str(self._next)
        if isinstance(step, Batch):
            keep = step.position is not None or step.more or not step.payloads
            return step if keep else replace(step, position=position)
        return Batch(payloads(step), position, origin=f"{self.name}:{self._next - 1}", frontier=now)


def payloads(step: Any) -> list[Payload]:
    """The payloads of a record, a payload, or a list of them; neighbouring records become one `Rows`."""
    found: list[Payload] = []
    records: list[Mapping[str, Any]] = []
    for item in cast("list[Any]", step if isinstance(step, list | tuple) else [step]):
        if not isinstance(item, Json | Rows | Tuples | Partial | Keys | Kept | BadBytes):
            records.append(item.model_dump() if isinstance(item, BaseModel) else item)
            continue
        if records:
            found.append(Rows(records))
            records = []
        found.append(item)
    return [*found, Rows(records)] if records else found
