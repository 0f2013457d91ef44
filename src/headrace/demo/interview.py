"""Puts every question to both sides and scores both answers against one truth.

Both sides are asked at once. When both have answered, the city walks on to the clock's instant, and both answers are
judged, against the city as it is at that one instant. So what happened while they were answering counts against both,
and nothing that either says changes the city.

Questions are answered side by side, as an app answers its customers, up to so many at a time. The figures are sums and
sorted values, so it makes no difference in which order the answers come; the story of the screen is that of the latest
question, not of the latest answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from headrace.core.clock import SECOND
from headrace.core.errors import DeadlinePassed, ModelError, Overloaded
from headrace.demo.asking import Agents, Asker
from headrace.demo.clock import CityClock
from headrace.demo.happenings import Question, Suggest, Whereabouts
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.stories import tell
from headrace.demo.world import World

T = TypeVar("T")

PATIENCE = 5.0
"""Real seconds that a question waits for a place; then its customer has gone, and neither side is scored."""
TICK = 0.005
"""Seconds between two looks at the city."""
_NO_ANSWER = (ModelError, DeadlinePassed, Overloaded)


class Interview:
    """A recommender and a support agent on each side, asked the same questions.

    Parameters
    ----------
    places
        Questions that are being answered at a time, by both sides.
    """

    def __init__(
        self, world: World, board: Scoreboard, clock: CityClock, *, batch: Asker, live: Asker, places: int
    ) -> None:
        self._world = world
        self._board = board
        self._clock = clock
        self._places = places
        self._batch = Agents(batch, clock, board.batch.answering)
        self._live = Agents(live, clock, board.live.answering)
        self._asked: set[asyncio.Task[None]] = set()
        self._told = 0

    async def run(self) -> None:
        """Answer and score what customers ask, as they ask it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._world.catch_up()
                self._begin(group)
                await self._clock.sleep(TICK)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        waiting, patience = self._world.questions, PATIENCE * self._clock.speed * SECOND
        while waiting and len(self._asked) < self._places:
            question = waiting.popleft()
            if self._world.city.now - question.at > patience:
                self._board.unanswered += 1
                continue
            task = group.create_task(self._answer(question))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _answer(self, question: Question) -> None:
        try:
            await (self._suggest(question) if isinstance(question, Suggest) else self._locate(question))
        except _NO_ANSWER:  # not even the fallback had one: one side's silence is no figure of the other
            self._board.unanswered += 1

    async def _suggest(self, question: Suggest) -> None:
        fresh, copied = await _both(self._live.suggest(question), self._batch.suggest(question))
        self._world.catch_up()
        self._board.live.judge_suggestion(self._world.city, question.number, fresh)
        self._board.batch.judge_suggestion(self._world.city, question.number, copied)

    async def _locate(self, question: Whereabouts) -> None:
        fresh, copied = await _both(self._live.locate(question), self._batch.locate(question))
        self._world.catch_up()
        truth = self._world.city.order(question.order_id)
        live_fault = self._board.live.judge_report(truth, fresh)
        batch_fault = self._board.batch.judge_report(truth, copied)
        if live_fault != batch_fault and question.at >= self._told:
            self._told = question.at
            self._board.story = tell(question.order_id, copied, fresh, truth)


async def _both(live: Awaitable[T], batch: Awaitable[T]) -> tuple[T, T]:
    """Both answers, once both are there; no side is waited for by itself, so neither is asked later than the other."""
    fresh, copied = await asyncio.gather(live, batch, return_exceptions=True)
    for found in (fresh, copied):
        if isinstance(found, BaseException):
            raise found
    return fresh, copied  # pyright: ignore[reportReturnType]
