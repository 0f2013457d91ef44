"""Steps that are taken together at the end of a turn of the loop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from headrace.core.errors import ExchangeError
from headrace.http1.answer import Answer
from headrace.http1.batch import Batch
from headrace.http1.forms import Forms
from headrace.http1.link import Link

sys.path.insert(0, str(Path(__file__).parent))
from http1_reading import CLIENT, Wire
from test_forms import numbered

INF = float("inf")


async def turn() -> None:
    """Let what is due in this turn of the loop run."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


async def test_what_is_put_is_done_at_the_end_of_the_turn_in_order() -> None:
    done: list[int] = []
    batch = Batch(done.append)
    for number in range(3):
        batch.put(number)
    assert done == []
    await turn()
    assert done == [0, 1, 2]
    batch.put(3)
    await turn()
    assert done == [0, 1, 2, 3]


async def test_what_comes_up_meanwhile_is_done_after_what_is_due_by_then() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        if number == 1:
            asyncio.get_running_loop().call_soon(done.append, -1)
        done.append(number)
        if number < 10:
            batch.put(number + 10)

    batch = Batch(do)
    batch.put(1)
    batch.put(2)
    for _ in range(3):
        await turn()
    assert done == [1, 2, -1, 11, 12]


async def test_many_are_done_with_pauses_for_others() -> None:
    done: list[int] = []
    seen: list[int] = []

    def do(number: int) -> None:
        done.append(number)
        if number in (63, 127):
            asyncio.get_running_loop().call_soon(lambda: seen.append(len(done)))

    batch = Batch(do)
    for number in range(150):
        batch.put(number)
    for _ in range(3):
        await turn()
    assert (seen, done) == ([64, 128], list(range(150)))


async def test_one_that_raises_is_not_the_loss_of_the_others() -> None:
    done: list[int] = []
    told: list[object] = []

    def do(number: int) -> None:
        if number == 1:
            raise ValueError(number)
        done.append(number)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    batch = Batch(do)
    for number in range(4):
        batch.put(number)
    for _ in range(3):
        await turn()
    assert done == [0, 2, 3]
    assert [str(error) for error in told] == ["1"]


class Known:
    """A link whose next answer is recognised, and told at the end of the turn."""

    def __init__(self) -> None:
        self.released: list[Link] = []
        self.told: list[Answer | ExchangeError] = []
        self.wire = Wire()
        self.link = Link(
            asyncio.get_running_loop(),
            CLIENT,
            released=self.released.append,
            lost=lambda _: None,
            forms=Forms(),
            answered=Batch(Link.deliver),
        )
        self.link.connection_made(self.wire)
        for number in range(2):
            self.ask()
            self.link.data_received(numbered(b"%d" % number))
        self.told.clear()
        self.released.clear()
        self.ask()
        self.link.data_received(numbered(b"7"))
        assert (self.told, self.released) == ([], [])

    def ask(self) -> None:
        self.link.ask(b"", 0.0, INF, self.told.append)


async def test_a_link_is_free_when_its_answer_is_told_and_not_before() -> None:
    one = Known()
    await turn()
    [answer] = one.told
    assert isinstance(answer, Answer)
    assert (answer.header(b"x-number"), answer.take(), one.released) == (b"7", b"a", [one.link])
    one.ask()
    one.link.data_received(numbered(b"8"))
    await turn()
    assert len(one.told) == 2


async def test_bytes_after_an_answer_that_is_not_told_yet_end_the_connection_and_not_the_answer() -> None:
    one = Known()
    one.link.data_received(numbered(b"8"))
    await turn()
    [answer] = one.told
    assert isinstance(answer, Answer)
    assert (answer.whole, one.released, one.wire.closed) == (True, [], True)


async def test_an_answer_is_told_although_its_connection_has_ended_since() -> None:
    one = Known()
    one.link.connection_lost(ConnectionResetError())
    await turn()
    [answer] = one.told
    assert isinstance(answer, Answer)
    assert (answer.whole, one.released, one.link.usable) == (True, [], False)


@pytest.mark.parametrize("lost", [False, True])
async def test_an_answer_that_nobody_wants_any_more_is_not_told_and_its_connection_not_used_again(lost: bool) -> None:
    one = Known()
    one.link.drop()
    if lost:
        one.link.connection_lost(None)
    await turn()
    assert (one.told, one.released) == ([], [])
