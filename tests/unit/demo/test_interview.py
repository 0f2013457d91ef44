"""Many questions at a time, answered by askers that a test holds back and lets go."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from headrace.core.errors import ModelRefused
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.happenings import Question, Suggest, Whereabouts
from headrace.demo.interview import PATIENCE, Interview
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.twin import Twin
from headrace.demo.world import World
from headrace.pipeline.answer import Asked

PLACES = 4
PLAN = CityPlan(restaurants=4, dishes=4, couriers=6, zones=1, orders_per_minute=4, warm_up=30, suggestions_per_minute=1)


class Held:
    """Answers "cooking" to each question when it is let go of; a question can be refused."""

    def __init__(self, *, open: bool = False) -> None:
        self.gate = asyncio.Event()
        if open:
            self.gate.set()
        self.running = self.most = self.asked = 0
        self.state: str | None = "cooking"
        self.refuses = False

    async def ask(self, path: str, data: Any, /) -> Asked:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.refuses:
            raise ModelRefused("no", reason="failed")
        if path == "/recommend":
            return Asked({"dishes": [], "age_ms": 0.0}, "a", "1")
        return Asked({"state": self.state, "courier": None, "seconds_away": None, "age_ms": 0.0}, "a", "1")


class Room:
    def __init__(self, *, live: Held, batch: Held) -> None:
        city = City(PLAN, random.Random(7))
        self.clock = CityClock(city.now, 60.0)  # it is not let go: the city stands
        twin = Twin({}, self.clock.now)
        self.world = World(city, twin, self.clock, window=5 * MINUTE)
        self.board = Scoreboard(PLAN, seed=7, speed=60.0, window=5 * MINUTE)
        self.interview = Interview(self.world, self.board, self.clock, batch=batch, live=live, places=PLACES)
        self.orders = list(city.dispatch.orders)

    def ask(self, number: int, *, ago: int = 0) -> Question:
        at = self.world.city.now - ago
        question = Whereabouts(at, number, self.orders[number % len(self.orders)])
        self.world.questions.append(question)
        return question

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.interview.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, done: Any) -> None:
        async with asyncio.timeout(10):
            while not done():
                await self.clock.sleep(0.001)


async def test_questions_are_answered_side_by_side_up_to_a_bound_and_the_city_goes_on():
    live, batch = Held(), Held()
    room = Room(live=live, batch=batch)
    for number in range(PLACES + 5):
        room.ask(number)
    async with room.running():
        await room.until(lambda: live.running == PLACES)
        await room.clock.sleep(0.05)
        assert (live.most, batch.most, len(room.world.questions)) == (PLACES, PLACES, 5)
        live.gate.set()
        await room.clock.sleep(0.05)
        assert room.board.live.wrong.of == 0  # neither is judged before both have answered
        batch.gate.set()
        await room.until(lambda: room.board.live.wrong.of == PLACES + 5)
    assert room.board.batch.wrong.of == PLACES + 5
    assert room.board.unanswered == 0


async def test_a_question_without_an_answer_is_scored_for_neither_side():
    live, batch = Held(open=True), Held(open=True)
    live.refuses = True
    room = Room(live=live, batch=batch)
    room.ask(0)
    room.world.questions.append(Suggest(room.world.city.now, 1, "z0"))
    async with room.running():
        await room.until(lambda: room.board.unanswered == 2)
    assert (room.board.live.wrong.of, room.board.batch.wrong.of) == (0, 0)
    assert batch.asked == 2


async def test_a_customer_who_waited_too_long_has_gone():
    live, batch = Held(open=True), Held(open=True)
    room = Room(live=live, batch=batch)
    room.ask(0, ago=round((PATIENCE + 1) * 60 * 1_000_000))
    room.ask(1, ago=round((PATIENCE - 1) * 60 * 1_000_000))
    async with room.running():
        await room.until(lambda: room.board.live.wrong.of == 1)
    assert (room.board.unanswered, live.asked) == (1, 1)


async def test_the_story_is_that_of_the_latest_question_in_whatever_order_answers_come():
    class Late(Held):
        """Answers the latest question at once, and the one before it when it is let go of."""

        async def ask(self, path: str, data: Any, /) -> Asked:
            if data["order_id"] == room.orders[0]:
                await self.gate.wait()
            return Asked({"state": "placed", "courier": None, "seconds_away": None, "age_ms": 0.0}, "a", "1")

    live, batch = Late(), Held(open=True)
    batch.state = None  # it knows no order, so the two sides differ on both questions
    room = Room(live=live, batch=batch)
    room.ask(0, ago=1_000_000)
    room.ask(1)
    async with room.running():
        await room.until(lambda: room.board.live.wrong.of == 1)
        story = room.board.story
        assert story is not None
        assert room.orders[1] in story.question
        live.gate.set()
        await room.until(lambda: room.board.live.wrong.of == 2)
    assert room.board.story is story
