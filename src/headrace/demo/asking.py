"""The customers' side of the endpoints: who can be asked, and what an answer is once it has come.

A question goes to both sides in the same words. What answers them is the same code behind the same endpoints; only what
it reads differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from headrace.core.clock import Clock
from headrace.demo.answering import Answering
from headrace.demo.happenings import Suggest, Whereabouts
from headrace.pipeline.answer import Asked


class Asker(Protocol):
    """Whoever answers the app's endpoints; `runtime.live.Live` is one."""

    async def ask(self, path: str, data: Any, /) -> Asked:
        """The answer of the endpoint at `path`, as plain data."""
        ...


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Dishes in order of recommendation, and how old the agent's context was (ms of city time)."""

    dishes: list[dict[str, Any]]
    age_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a support agent says about an order.

    Attributes
    ----------
    state
        None when the agent does not know the order at all.
    place
        Where the courier is, meters; None when nobody is on the way.
    eta
        Seconds until the courier is at the door, once the food was picked up.
    """

    state: str | None
    place: tuple[float, float] | None
    eta: float | None
    age_ms: float | None


class Agents:
    """The two agents of one side as a customer sees them: a recommender and a support agent.

    Parameters
    ----------
    asker
        Its endpoints.
    clock
        Tells real seconds.
    noted
        Where it is noted how each answer came about.
    """

    def __init__(self, asker: Asker, clock: Clock, noted: Answering) -> None:
        self._asker = asker
        self._clock = clock
        self._noted = noted

    async def suggest(self, question: Suggest) -> Suggestion:
        """What should I eat? Raises what the endpoint raises."""
        said = await self._ask("/recommend", {"zone": question.zone})
        return Suggestion(said["dishes"], said["age_ms"])

    async def locate(self, question: Whereabouts) -> Report:
        """Where is my order right now? Raises what the endpoint raises."""
        said = await self._ask("/where-is-my-order", {"order_id": question.order_id})
        place = said["courier"] and (said["courier"][0], said["courier"][1])
        return Report(said["state"], place, said["seconds_away"], said["age_ms"])

    async def _ask(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        began = self._clock.monotonic()
        asked = await self._asker.ask(path, data)
        self._noted.note(asked, self._clock.monotonic() - began)
        return asked.value
