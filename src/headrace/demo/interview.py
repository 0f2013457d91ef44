"""Puts every question to both sides and scores both answers against one truth.

The order is fixed: the live agent answers, the batch agent answers, the city walks on to the clock's instant, and only
then both answers are judged, against the city as it is at that one instant. So what happened while they were answering
counts against both, and nothing that either says changes the city.
"""

from __future__ import annotations

from headrace.demo.agents import Recommender, SupportAgent
from headrace.demo.happenings import Suggest, Whereabouts
from headrace.demo.reading import Reader
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.stories import tell
from headrace.demo.world import World


class Interview:
    """Two recommenders and two support agents, side by side."""

    def __init__(self, world: World, board: Scoreboard, *, batch: Reader, live: Reader) -> None:
        self._world = world
        self._board = board
        self._recommenders = Recommender(batch), Recommender(live)
        self._support = SupportAgent(batch), SupportAgent(live)

    async def answer_waiting(self) -> None:
        """Ask and score everything that customers have asked by now."""
        while self._world.questions:
            question = self._world.questions.popleft()
            if isinstance(question, Suggest):
                await self._suggest(question)
            else:
                await self._locate(question)

    async def _suggest(self, question: Suggest) -> None:
        batch, live = self._recommenders
        fresh, copied = await live.answer(question), await batch.answer(question)
        self._world.catch_up()
        self._board.live.judge_suggestion(self._world.city, question.number, fresh)
        self._board.batch.judge_suggestion(self._world.city, question.number, copied)

    async def _locate(self, question: Whereabouts) -> None:
        batch, live = self._support
        fresh, copied = await live.answer(question), await batch.answer(question)
        self._world.catch_up()
        truth = self._world.city.order(question.order_id)
        live_fault = self._board.live.judge_report(truth, fresh)
        batch_fault = self._board.batch.judge_report(truth, copied)
        if live_fault != batch_fault:
            self._board.story = tell(question.order_id, copied, fresh, truth)
